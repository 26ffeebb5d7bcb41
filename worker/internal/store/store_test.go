package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func empty(t *testing.T) *pgxpool.Pool {
	t.Helper()
	t.Parallel()
	pool, err := store.Open(t.Context(), testkit.EmptyDatabaseURL(t), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestSeveralWorkersMigrateAtOnce(t *testing.T) {
	pool := empty(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	applied := 0
	for range 3 {
		wait.Go(func() {
			m, err := store.Up(t.Context(), pool)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			applied += len(m)
		})
	}
	wait.Wait()
	all, err := store.Status(t.Context(), pool)
	if err != nil || len(all) != applied || applied == 0 {
		t.Fatalf("%d of %d migrations applied (%v), expected each once", applied, len(all), err)
	}
	for _, m := range all {
		if m.AppliedAt.IsZero() || !strings.HasSuffix(m.Name, ".sql") {
			t.Errorf("migration = %+v", m)
		}
	}
}

func TestDownAndUpAgain(t *testing.T) {
	pool := empty(t)
	if err := store.Migrate(t.Context(), pool, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	all, err := store.Status(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	for range all {
		if m, err := store.Down(t.Context(), pool); err != nil || m == nil {
			t.Fatalf("Down = %v, %v", m, err)
		}
	}
	if m, err := store.Down(t.Context(), pool); err != nil || m != nil {
		t.Fatalf("Down with nothing left = %v, %v", m, err)
	}
	if err := store.Migrate(t.Context(), pool, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
}

// Deliveries of before several endpoints, and back: what is open stays open, under
// its webhook-id.
func TestDeliveriesSurviveTheirMigrationBothWays(t *testing.T) {
	const version = 4
	pool := empty(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	expect := func(want, sql string) {
		t.Helper()
		var got string
		if err := pool.QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
			t.Errorf("%s\n got %q, %v\nwant %q", sql, got, err, want)
		}
	}
	up := func() {
		t.Helper()
		if err := store.Migrate(t.Context(), pool, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	down := func() {
		t.Helper()
		for {
			m, err := store.Down(t.Context(), pool)
			if err != nil || m == nil {
				t.Fatalf("Down = %v, %v", m, err)
			}
			if m.Version == version {
				return
			}
		}
	}
	id := func(kind, n string) string { return "'01a20978-302d-7d9a-b7bb-0000000" + kind + n + "'" }
	const open = `SELECT coalesce(string_agg(right(id::text, 5) || ' ' || state, ', ' ORDER BY id), '') FROM deliveries`

	up()
	down()
	exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts) VALUES (` + id("0000", "1") + `, '*', 'env', 'https://a.example', '{}', 1, 1)`)
	for i, state := range []string{"due", "leased", "delivered", "dead"} {
		n := string(rune('1' + i))
		exec(`INSERT INTO flow_responses (id, source, flow, response_data, answered_at) VALUES (` + id("1000", n) + `, 'nfm_reply', 'csat', '{}', '2026-11-23T12:00:00Z')`)
		exec(`INSERT INTO deliveries (id, endpoint_id, event_type, response_id, state, body, last_status, finished_at)
			VALUES (` + id("2000", n) + `, ` + id("0000", "1") + `, 'flow_completed', ` + id("1000", n) + `, '` + state + `', 'x', 500, CASE WHEN '` + state + `' IN ('delivered', 'dead') THEN timestamptz '2026-11-23T13:00:00Z' END)`)
	}

	up()
	expect("20001 due, 20002 leased", open)
	expect("2", `SELECT count(*)::text FROM deliveries WHERE event_id = id AND event_type = 'flow.completed' AND flow = 'csat' AND body = 'x'
		AND event_at = '2026-11-23T12:00:00Z' AND right(subject_id::text, 4) = right(id::text, 4)`)
	expect("20003 delivered, 20004 dead", `SELECT string_agg(right(id::text, 5) || ' ' || state, ', ' ORDER BY id) FROM delivery_history
		WHERE event_id = id AND event_type = 'flow.completed' AND flow = 'csat' AND endpoint_name = 'env' AND event_at = '2026-11-23T12:00:00Z'
		AND finished_at = '2026-11-23T13:00:00Z' AND right(subject_id::text, 4) = right(id::text, 4)`)

	// One answer to two endpoints, and an event that there was not before.
	exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts) VALUES (` + id("0000", "2") + `, '*', 'crm', 'https://b.example', '{}', 1, 1)`)
	exec(`INSERT INTO flow_responses (id, source, response_data, answered_at) VALUES (` + id("1000", "5") + `, 'nfm_reply', '{}', now())`)
	exec(`INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		SELECT ('01a20978-302d-7d9a-b7bb-00000002000' || n + 4)::uuid, ('01a20978-302d-7d9a-b7bb-00000000000' || n)::uuid, 'flow.completed', ` + id("3000", "5") + `, now(), ` + id("1000", "5") + `, now()
		FROM generate_series(1, 2) AS n`)
	exec(`INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		VALUES (` + id("2000", "7") + `, ` + id("0000", "2") + `, 'webhook.received', ` + id("3000", "7") + `, now(), ` + id("4000", "7") + `, now())`)

	down()
	expect("20001 due, 20002 leased, 20006 due, 30005 due", open)
	expect("4", `SELECT count(*)::text FROM deliveries WHERE event_type = 'flow_completed' AND response_id IS NOT NULL`)
	up()
	expect("20001 due, 20002 leased, 20006 due, 30005 due", open)
}

func TestSeedDatabaseIsLeftAlone(t *testing.T) {
	pool := empty(t)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE flows (id uuid PRIMARY KEY, name text UNIQUE, flow_json jsonb); CREATE TABLE flow_sessions (id uuid, flow_token text)"); err != nil {
		t.Fatal(err)
	}
	for name, migrate := range map[string]func() error{
		"migrate": func() error { return store.Migrate(t.Context(), pool, zap.NewNop()) },
		"down":    func() error { _, err := store.Down(t.Context(), pool); return err },
		"status":  func() error { _, err := store.Status(t.Context(), pool); return err },
	} {
		if err := migrate(); !errors.Is(err, store.ErrSeedDatabase) || !strings.Contains(err.Error(), "worker import seed") {
			t.Errorf("%s = %v", name, err)
		}
	}
	var tables int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil || tables != 2 {
		t.Errorf("%d tables (%v), expected the 2 of the seed", tables, err)
	}
}

// As createdb makes a database for another user.
func TestADatabaseThatBelongsToAnother(t *testing.T) {
	owner := empty(t)
	role := "guest_" + testkit.Random()
	if _, err := owner.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'geheim'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	config := owner.Config()
	config.ConnConfig.User, config.ConnConfig.Password = role, "geheim"
	guest, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	_, err = store.Up(t.Context(), guest)
	if want := `make this user its owner: ALTER DATABASE "` + config.ConnConfig.Database + `" OWNER TO "` + role + `"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, expected %s", err, want)
	}
}

func TestOpenNamesTheVariableAndNoPassword(t *testing.T) {
	for _, url := range []string{"postgres://u:geheim@127.0.0.1:1/db?connect_timeout=1", "postgres://u:geheim@[::1/db", "nonsense=geheim"} {
		_, err := store.Open(t.Context(), url, 1)
		if err == nil || strings.Contains(err.Error(), "geheim") && !strings.Contains(url, "nonsense") {
			t.Errorf("Open(%q) = %v", url, err)
		}
	}
}

func TestNames(t *testing.T) {
	pool := empty(t)
	claim := func(want string) *store.Name {
		t.Helper()
		n, err := store.ClaimName(t.Context(), pool, "host")
		if err != nil || n.Name != want {
			t.Fatalf("name = %+v, %v, expected %s", n, err, want)
		}
		return n
	}
	first, second := claim("host"), claim("host-2")
	first.Release()
	first.Release()
	again := claim("host")
	again.Release()
	second.Release()
}

func TestPartitions(t *testing.T) {
	pool := testkit.Database(t)
	ctx, now := t.Context(), time.Now().UTC()
	// A row that came while its day had no partition.
	if _, err := pool.Exec(ctx, "INSERT INTO webhook_events (id, received_at, body) VALUES (gen_random_uuid(), $1, 'x')", now.AddDate(0, 0, 2)); err != nil {
		t.Fatal(err)
	}
	used := func() bool {
		t.Helper()
		used, err := store.DefaultUsed(ctx, pool, now)
		if err != nil {
			t.Fatal(err)
		}
		return used["webhook_events"]
	}
	if !used() {
		t.Fatal("the default partition is empty before there are others")
	}
	for range 2 {
		if err := store.CreatePartitions(ctx, pool, now); err != nil {
			t.Fatal(err)
		}
	}
	if used() {
		t.Error("the row stayed in the default partition")
	}
	var rows, partitions int
	if err := pool.QueryRow(ctx, "SELECT (SELECT count(*) FROM webhook_events), (SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_events'::regclass)").Scan(&rows, &partitions); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || partitions != 9 {
		t.Errorf("%d rows in %d partitions, expected 1 in 9", rows, partitions)
	}
}

// Rows came while every worker failed to create partitions, days ago; others are
// of clocks that are wrong.
func TestRowsOfDaysThatHadNoPartition(t *testing.T) {
	pool := testkit.Database(t)
	ctx, now := t.Context(), time.Now().UTC()
	if err := store.CreatePartitions(ctx, pool, now); err != nil {
		t.Fatal(err)
	}
	for _, daysAgo := range []int{1, 3, 3, 399, 500, -30} {
		for _, table := range store.Partitioned() {
			if _, err := pool.Exec(ctx, minimal[table], now.AddDate(0, 0, -daysAgo)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := store.EmptyDefaults(ctx, pool, now); err != nil {
			t.Fatal(err)
		}
	}
	used, err := store.DefaultUsed(ctx, pool, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range store.Partitioned() {
		var all, left int
		if err := pool.QueryRow(ctx, "SELECT (SELECT count(*) FROM "+table+"), (SELECT count(*) FROM "+table+"_default)").Scan(&all, &left); err != nil {
			t.Fatal(err)
		}
		if all != 6 || left != 2 || used[table] {
			t.Errorf("%s has %d rows, %d of them in its default partition, which is reported as used: %t; expected 6, 2, false", table, all, left, used[table])
		}
	}
}
