package doctor_test

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	workerdoctor "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// proof holds for every table of this package. Servers of tests do not wait for
// their disks.
var proof = doctortest.Proof{Skips: true, Leave: []string{workerdoctor.Durability}, Secrets: []string{"geheim"}}

func TestMain(m *testing.M) {
	// What Redis's files may have is limited: see fillDisk.
	signal.Ignore(syscall.SIGXFSZ)
	logging.Disable() // go-redis tells of each server that is gone
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.Exit(proof.Exit(code, "*.go", "../../../shared/doctor/redischeck/*.go"))
	}))
}

// execute runs statements in a database, outside of any pool.
func execute(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

const receiver = "INSERT INTO callback_endpoints (id, name, url, secrets, timeout_ms, max_attempts) VALUES (gen_random_uuid(), 'crm', 'https://example.com/geheim', '{whsec_geheim}', 1000, 10)"

func TestEachFaultOfPostgresIsFoundAndNoOther(t *testing.T) {
	for _, c := range []struct {
		name   string
		breaks func(*testing.T, *pgxpool.Pool, *workerdoctor.Postgres)
		want   map[string]string
	}{
		{"nothing", nil, nil},
		{"a receiver that works", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) { execute(t, pool, receiver) },
			map[string]string{workerdoctor.Callbacks: "ok default/crm active"}},
		{"nobody there", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.URL = "postgres://u:geheim@127.0.0.1:1/x"
		}, map[string]string{workerdoctor.Reachable: "fail "}},
		{"no such database", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.URL = strings.Replace(p.URL, "/waf_test_", "/waf_gone_", 1)
		},
			map[string]string{workerdoctor.Reachable: "fail does not exist"}},
		{"another password", func(t *testing.T, pool *pgxpool.Pool, p *workerdoctor.Postgres) {
			u, err := url.Parse(p.URL)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword("nobody_here", "geheim")
			p.URL = u.String()
		}, map[string]string{workerdoctor.Reachable: "fail nobody_here"}},
		{"a URL that is none", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.URL = "postgres://u:geheim@127.0.0.1:x/y"
		},
			map[string]string{workerdoctor.Reachable: "fail DATABASE_URL"}},
		{"an old Postgres", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "CREATE SCHEMA old", `CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS
				$$ SELECT CASE $1 WHEN 'server_version_num' THEN '140010' WHEN 'server_version' THEN '14.10' ELSE pg_catalog.current_setting($1) END $$`,
				"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, old, pg_catalog', current_database()); END $$")
		}, map[string]string{workerdoctor.Version: "fail Postgres 14.10"}},
		{"a user who may not read", func(t *testing.T, pool *pgxpool.Pool, p *workerdoctor.Postgres) { p.URL = smallUser(t, pool, p.URL) },
			map[string]string{workerdoctor.Migrations: "fail permission denied for table goose_db_version", workerdoctor.Disk: "skipped unless it is granted pg_read_all_settings",
				workerdoctor.Oldest: "skipped sessions of other users cannot be seen"}},
		{"a server elsewhere", func(t *testing.T, pool *pgxpool.Pool, p *workerdoctor.Postgres) {
			// Another machine's, as far as can be told: this one by a name that is not localhost.
			p.URL = strings.NewReplacer("@127.0.0.1:", "@0.0.0.0:", "@localhost:", "@0.0.0.0:").Replace(p.URL)
		}, map[string]string{workerdoctor.Disk: "skipped on another machine"}},
		{"a migration is missing", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			if _, err := store.Down(t.Context(), pool); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{workerdoctor.Migrations: "fail missing: 00004_delivery.sql"}},
		{"a newer worker was here", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
		}, map[string]string{workerdoctor.Migrations: "warn migration 99"}},
		{"an empty database", func(t *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) { p.URL = testkit.EmptyDatabaseURL(t) },
			map[string]string{workerdoctor.Migrations: "fail missing: 00001_initial.sql, 00002"}},
		{"the tables of the seed", func(t *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.URL = testkit.EmptyDatabaseURL(t)
			execute(t, testkit.Pool(t, p.URL), "CREATE TABLE flows (id uuid)")
		}, map[string]string{workerdoctor.Migrations: "fail the tables of whatsapp-flows-server"}},
		{"commits are not waited for", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
		}, map[string]string{workerdoctor.Durability: durabilityWithout(t)}},
		{"read-only", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
		}, map[string]string{workerdoctor.Writable: "fail default_transaction_read_only"}},
		{"little room", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.Room = func(string) (uint64, uint64, error) { return 10 << 30, 100 << 30, nil }
		}, map[string]string{workerdoctor.Disk: "warn 10.0 GiB of 100.0 GiB are free"}},
		{"hardly any room", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.Room = func(string) (uint64, uint64, error) { return 1 << 30, 100 << 30, nil }
		}, map[string]string{workerdoctor.Disk: "fail 1.0 GiB of 100.0 GiB are free"}},
		{"enough room, a small part of a large disk", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.Room = func(string) (uint64, uint64, error) { return 24 << 30, 1000 << 30, nil }
		}, nil},
		{"an old transaction", func(t *testing.T, pool *pgxpool.Pool, p *workerdoctor.Postgres) {
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
			if _, err := tx.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
				t.Fatal(err)
			}
			p.Old = time.Nanosecond
		}, map[string]string{workerdoctor.Oldest: "warn whatsapp-flows-worker (pid "}},
		{"a clock that is off", func(_ *testing.T, _ *pgxpool.Pool, p *workerdoctor.Postgres) {
			p.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) }
		}, map[string]string{"clock: against Postgres": "fail behind it"}},
		{"a receiver that is gone", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, receiver, "UPDATE callback_endpoints SET status = 'disabled', status_reason = 'the receiver answered 410 Gone'")
		}, map[string]string{workerdoctor.Callbacks: "fail default/crm is disabled: the receiver answered 410 Gone"}},
		{"a receiver that fails", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, receiver, "UPDATE callback_endpoints SET failing_since = now()")
		}, map[string]string{workerdoctor.Callbacks: "warn default/crm fails"}},
		{"a late delivery", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, receiver, `INSERT INTO deliveries (id, account, endpoint_id, event_type, event_at, event_id, subject_id, subject_at, state, run_at)
				SELECT gen_random_uuid(), 'default', id, 'flow.completed', now(), gen_random_uuid(), gen_random_uuid(), now(), 'due', now() - interval '10 minutes' FROM callback_endpoints`)
		}, map[string]string{workerdoctor.Queue: "warn late by 10m"}},
		{"a dead entry", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "INSERT INTO dead_entries (id, stream, stream_id, reason, fields) VALUES (gen_random_uuid(), 's', '1-1', 'x', '\\x')")
		}, map[string]string{workerdoctor.DeadEntries: "warn 1 entries"}},
		{"flows without a token", func(t *testing.T, pool *pgxpool.Pool, _ *workerdoctor.Postgres) {
			execute(t, pool, "INSERT INTO flow_steps (id, at, kind, flow, action, outcome) VALUES (gen_random_uuid(), now(), 'stateless_step', 'book', 'INIT', 'ok')")
		}, map[string]string{workerdoctor.UnusedTokens: "warn 1 of 1 steps"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := testkit.EmptyDatabaseURL(t)
			pool := testkit.Pool(t, url)
			if err := store.Migrate(t.Context(), pool, zap.NewNop()); err != nil {
				t.Fatal(err)
			}
			p := workerdoctor.Postgres{URL: url, Now: time.Now, Room: func(string) (uint64, uint64, error) { return 50 << 30, 100 << 30, nil }}
			if c.breaks != nil {
				c.breaks(t, pool, &p)
			}
			before := testkit.Contents(t, pool)
			report := doctor.Examine(t.Context(), p.Check())
			proof.Compare(t, report, c.want)
			if after := testkit.Contents(t, pool); !maps.Equal(before, after) {
				t.Error("the database is another after it")
			}
		})
	}
}

// smallUser is the URL of a user who may only connect. The sessions of others are
// hidden from it, and pool has one.
func smallUser(t *testing.T, pool *pgxpool.Pool, databaseURL string) string {
	t.Helper()
	name := "small_" + testkit.Random()
	execute(t, pool, "CREATE ROLE "+name+" LOGIN PASSWORD 'geheim'")
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP ROLE "+name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "geheim")
	return u.String()
}

// durabilityWithout is what is found without synchronous_commit: the server of a
// test may lack more.
func durabilityWithout(t *testing.T) string {
	t.Helper()
	pool := testkit.Pool(t, testkit.EmptyDatabaseURL(t))
	var fsync string
	if err := pool.QueryRow(t.Context(), "SHOW fsync").Scan(&fsync); err != nil {
		t.Fatal(err)
	}
	if fsync == "off" {
		return "fail fsync off, full_page_writes off, synchronous_commit off"
	}
	return "warn synchronous_commit off"
}

func TestTheRoomOfThisMachine(t *testing.T) {
	free, all, err := workerdoctor.Room(t.TempDir())
	if err != nil || free == 0 || all < free {
		t.Errorf("%d of %d, %v", free, all, err)
	}
}

func TestEachFaultOfRedisIsFoundAndNoOther(t *testing.T) {
	const shards = 4
	for _, c := range []struct {
		name   string
		args   []string // of redis-server
		breaks func(*testing.T, *redis.Client, *redischeck.Config)
		want   map[string]string
	}{
		{"nothing", nil, nil, nil},
		{"nobody there", nil, func(t *testing.T, _ *redis.Client, c *redischeck.Config) {
			client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
			t.Cleanup(func() { _ = client.Close() })
			c.Client = client
		}, map[string]string{redischeck.Reachable: "fail connection refused"}},
		{"a password is wanted", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.ConfigSet(t.Context(), "requirepass", "geheim").Err())
			without := redis.NewClient(client.Options())
			t.Cleanup(func() { _ = without.Close() })
			c.Client = without
		}, map[string]string{redischeck.Reachable: "fail NOAUTH"}},
		{"no append-only file", []string{"--appendonly", "no"}, nil, map[string]string{redischeck.Persistence: "fail appendonly no", redischeck.Fsync: "skipped no append-only file"}},
		{"written once a second", []string{"--appendfsync", "everysec"}, nil, map[string]string{redischeck.Fsync: "warn appendfsync everysec"}},
		{"an old Redis", nil, says("redis_version:7.", "redis_version:6."), map[string]string{redischeck.Version: "fail Redis 6."}},
		{"a machine that is nearly full, without maxmemory", nil, says("total_system_memory:", "total_system_memory:1536000\r\nx:"),
			map[string]string{redischeck.Memory: "warn without maxmemory"}},
		{"a machine that is full, without maxmemory", nil, says("total_system_memory:", "total_system_memory:614400\r\nx:"),
			map[string]string{redischeck.Memory: "fail without maxmemory"}},
		{"a replica", nil, func(t *testing.T, _ *redis.Client, c *redischeck.Config) {
			primary := testkit.StartRedis(t)
			client := primary.Client()
			set(t, client.HSet(t.Context(), c.Keys.Index(), "default/book", "hash").Err())
			set(t, client.Set(t.Context(), c.Keys.Definition("hash"), "x", 0).Err())
			host, port, _ := strings.Cut(primary.Address, ":")
			replica := testkit.StartRedis(t, "--replicaof", host+" "+port)
			c.Client = replica.Client()
			testkit.Eventually(t, "the replica is in step", func() bool {
				n, err := client.Wait(t.Context(), 1, 100*time.Millisecond).Result()
				return err == nil && n == 1
			})
		}, map[string]string{redischeck.Writable: "fail a replica of 127.0.0.1:"}},
		{"replicas that are asked for and not there", nil, func(_ *testing.T, _ *redis.Client, c *redischeck.Config) { c.Wait = 1 },
			map[string]string{redischeck.Writable: "fail wait asks for 1 replicas, 0 are connected"}},
		{"replicas that Redis itself asks for", nil, func(t *testing.T, client *redis.Client, _ *redischeck.Config) {
			set(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
		}, map[string]string{redischeck.Writable: "fail min-replicas-to-write is 1, and 0 replicas are in step"}},
		{"no room for a snapshot", nil, func(t *testing.T, client *redis.Client, _ *redischeck.Config) {
			takeDirectory(t, client)
			snapshot(t, client)
		}, map[string]string{redischeck.Persistence: "warn the last snapshot failed"}},
		{"no room for a snapshot that Redis insists on", []string{"--save", "900", "1000"}, func(t *testing.T, client *redis.Client, _ *redischeck.Config) {
			takeDirectory(t, client)
			snapshot(t, client)
		}, map[string]string{redischeck.Persistence: "warn the last snapshot failed", redischeck.Writable: "fail the last snapshot failed"}},
		{"no room to rewrite the append-only file", nil, func(t *testing.T, client *redis.Client, _ *redischeck.Config) {
			takeDirectory(t, client)
			_ = client.BgRewriteAOF(t.Context()).Err() // it fails now, or behind
			told(t, client, "aof_last_bgrewrite_status:err")
		}, map[string]string{redischeck.Persistence: "warn the last rewrite of the append-only file failed"}},
		{"no room for the append-only file", []string{"--appendfsync", "everysec"}, func(t *testing.T, client *redis.Client, _ *redischeck.Config) {
			fillDisk(t, client)
		}, map[string]string{redischeck.Persistence: "fail the last write of the append-only file failed", redischeck.Fsync: "warn everysec"}},
		{"CONFIG is not allowed", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) { c.Client = user(t, client, "-config") },
			map[string]string{redischeck.Fsync: "skipped may not ask"}},
		{"keys are not allowed", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			c.Client = user(t, client, "resetkeys", "~x")
		},
			map[string]string{redischeck.Shards: "fail NOPERM", redischeck.Lag: "fail NOPERM", redischeck.Dead: "fail NOPERM", redischeck.Flows: "fail NOPERM"}},
		{"nothing is allowed", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) { c.Client = user(t, client, "-time") },
			map[string]string{redischeck.Reachable: "fail NOPERM"}},
		{"another password", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.ConfigSet(t.Context(), "requirepass", "other").Err())
			o := *client.Options()
			o.Password = "geheim"
			wrong := redis.NewClient(&o)
			t.Cleanup(func() { _ = wrong.Close() })
			c.Client = wrong
		}, map[string]string{redischeck.Reachable: "fail WRONGPASS"}},
		{"a definition is gone", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.Del(t.Context(), c.Keys.Definition("hash")).Err())
		}, map[string]string{redischeck.Flows: "fail no definition of default/book"}},
		{"it throws away", []string{"--maxmemory-policy", "allkeys-lru"}, nil, map[string]string{redischeck.Eviction: "fail allkeys-lru"}},
		{"nearly full", []string{"--maxmemory", "1500kb"}, nil, map[string]string{redischeck.Memory: "warn of 1.5 MiB (maxmemory)"}},
		{"full", []string{"--maxmemory", "600kb"}, nil, map[string]string{redischeck.Memory: "fail of 0.6 MiB (maxmemory)"}},
		{"another number of shards", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.Set(t.Context(), c.Keys.ShardCount(), "16", 0).Err())
		}, map[string]string{redischeck.Shards: "fail 4 configured, this Redis is in use with 16"}},
		{"an event that just came", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: c.Keys.Events(1), Values: []string{"v", "1"}}).Err())
		}, map[string]string{redischeck.Lag: "ok 1 events wait"}},
		{"no worker for some minutes", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: c.Keys.LargeEvents(3), ID: ago(5 * time.Minute), Values: []string{"v", "1"}}).Err())
		}, map[string]string{redischeck.Lag: "warn 1 events wait, the oldest for 5m"}},
		{"no worker for an hour", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: c.Keys.Events(0), ID: ago(time.Hour), Values: []string{"v", "1"}}).Err())
		}, map[string]string{redischeck.Lag: "fail the oldest for 1h"}},
		{"a dead entry", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: c.Keys.DeadEvents(2), Values: []string{"v", "1"}}).Err())
		}, map[string]string{redischeck.Dead: "warn 1 entries"}},
		{"no flow", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.HSet(t.Context(), c.Keys.Index(), "default/book", keyspace.Tombstone).Err())
		}, map[string]string{redischeck.Flows: "warn none"}},
		{"no flow, for the configuration has them", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			set(t, client.Del(t.Context(), c.Keys.Index()).Err())
			c.FlowsElsewhere = true
		}, map[string]string{redischeck.Flows: "skipped none"}},
		{"a clock that is off", nil, func(_ *testing.T, _ *redis.Client, c *redischeck.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Minute) }
		}, map[string]string{"clock: against Redis": "fail ahead of it"}},
		{"INFO is not allowed", nil, func(t *testing.T, client *redis.Client, c *redischeck.Config) {
			c.Client = user(t, client, "-info")
		}, map[string]string{redischeck.Version: "warn NOPERM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := testkit.StartRedis(t, c.args...)
			client := redis.NewClient(&redis.Options{Addr: server.Address})
			t.Cleanup(func() { _ = client.Close() })
			config := redischeck.Config{Client: client, Keys: keyspace.New("", shards), Where: server.Address, Now: time.Now}
			// When full, nothing can be set; and nothing needs to.
			_ = client.HSet(t.Context(), config.Keys.Index(), "default/book", "hash").Err()
			_ = client.Set(t.Context(), config.Keys.Definition("hash"), "x", 0).Err()
			if c.breaks != nil {
				c.breaks(t, client, &config)
			}
			before := changes(client)
			report := doctor.Examine(t.Context(), redischeck.Check(config))
			if after := changes(client); after != before {
				t.Errorf("it changed something: %s, then %s", before, after)
			}
			if c.name == "full" {
				c.want[redischeck.Flows] = "warn none" // it took none
			}
			proof.Compare(t, report, c.want)
		})
	}
}

func set(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ago is the id of an entry of that time.
func ago(d time.Duration) string {
	return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) + "-0"
}

func TestEachFaultOfTheConfigurationIsFound(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/token"
	if err := os.WriteFile(file, []byte("geheim-und-lang-genug"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"DATABASE_URL": "postgres://u:geheim@127.0.0.1/x", "REDIS_URL": "redis://127.0.0.1:6379", "API_TOKEN_FILE": file}
	for name, c := range map[string]struct {
		set  map[string]string
		want map[string]string
	}{
		"nothing":                     {nil, nil},
		"a placeholder":               {map[string]string{"CALLBACK_SECRET": "changeme"}, map[string]string{workerdoctor.Configuration: "fail placeholder"}},
		"no database":                 {map[string]string{"DATABASE_URL": ""}, map[string]string{workerdoctor.Configuration: "fail DATABASE_URL"}},
		"both forms":                  {map[string]string{"API_TOKEN": "geheim"}, map[string]string{workerdoctor.Configuration: "fail both API_TOKEN and API_TOKEN_FILE"}},
		"every page may call":         {map[string]string{"CORS_ORIGINS": "*"}, map[string]string{workerdoctor.Access: "warn CORS_ORIGINS is *"}},
		"a token that can be guessed": {map[string]string{"API_TOKEN_FILE": "", "API_TOKEN": "geheim"}, map[string]string{workerdoctor.Access: "warn API_TOKEN 1 is short"}},
		"no API":                      {map[string]string{"API_TOKEN_FILE": ""}, map[string]string{workerdoctor.Access: "skipped off"}},
		"a secret that is not there":  {map[string]string{"META_ACCESS_TOKEN_FILE": dir + "/none"}, map[string]string{workerdoctor.SecretFiles: "fail /none cannot be looked at"}},
	} {
		t.Run(name, func(t *testing.T) {
			src := setting.Source{ReadFile: os.ReadFile, LookupEnv: func(name string) (string, bool) {
				if value, ok := c.set[name]; ok {
					return value, true
				}
				value, ok := good[name]
				return value, ok
			}}
			proof.Compare(t, doctor.Report{Findings: append(workerdoctor.Configured(src), workerdoctor.SecretFilesOf(src, os.Stat))}, c.want)
		})
	}
}
