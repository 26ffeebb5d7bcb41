package doctor_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// user is a client of a user that may do everything but what rules take away.
func user(t *testing.T, client *redis.Client, rules ...string) *redis.Client {
	t.Helper()
	args := []any{"ACL", "SETUSER", "small", "on", ">geheim", "~*", "+@all"}
	for _, rule := range rules {
		args = append(args, rule)
	}
	set(t, client.Do(t.Context(), args...).Err())
	o := *client.Options()
	o.Username, o.Password = "small", "geheim"
	small := redis.NewClient(&o)
	t.Cleanup(func() { _ = small.Close() })
	return small
}

// edited is a hook that changes what INFO says, for what no server of a test can
// be: an old one, or one of a machine that is full.
type edited struct{ edit *strings.Replacer }

func (e edited) DialHook(next redis.DialHook) redis.DialHook { return next }

func (e edited) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (e edited) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if info, ok := cmd.(*redis.StringCmd); ok && strings.EqualFold(cmd.Name(), "info") {
			info.SetVal(e.edit.Replace(info.Val()))
		}
		return err
	}
}

func says(oldnew ...string) func(*testing.T, *redis.Client, *redischeck.Config) {
	return func(_ *testing.T, client *redis.Client, _ *redischeck.Config) {
		client.AddHook(edited{strings.NewReplacer(oldnew...)})
	}
}

// told waits until INFO says something.
func told(t *testing.T, client *redis.Client, line string) {
	t.Helper()
	testkit.Eventually(t, "Redis says "+line, func() bool {
		info, err := client.Info(context.Background()).Result()
		return err == nil && strings.Contains(info, line)
	})
}

// takeDirectory removes the directory Redis works in. Files that are open stay.
func takeDirectory(t *testing.T, client *redis.Client) {
	t.Helper()
	dir, err := client.ConfigGet(t.Context(), "dir").Result()
	if err == nil {
		err = os.RemoveAll(dir["dir"])
	}
	set(t, err)
}

func snapshot(t *testing.T, client *redis.Client) {
	t.Helper()
	set(t, client.BgSave(t.Context()).Err())
	told(t, client, "rdb_last_bgsave_status:err")
}

var processID = regexp.MustCompile(`process_id:([0-9]+)`)

// fillDisk has every write of Redis to its files fail, as on a full disk.
func fillDisk(t *testing.T, client *redis.Client) {
	t.Helper()
	info, err := client.Info(t.Context(), "server").Result()
	set(t, err)
	if out, err := exec.Command("prlimit", "--pid", processID.FindStringSubmatch(info)[1], "--fsize=1:1").CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	_ = client.Set(t.Context(), "x", "y", 0).Err() // it may be refused already
	told(t, client, "aof_last_write_status:err")
}

var changeCount = regexp.MustCompile(`rdb_changes_since_last_save:[0-9]+`)

// changes counts what was ever written; empty of a Redis that does not tell.
func changes(client *redis.Client) string {
	info, _ := client.Info(context.Background(), "persistence").Result()
	return changeCount.FindString(info)
}

// examine looks at a Redis that is built of several.
func examine(t *testing.T, o redis.UniversalOptions, want map[string]string) {
	t.Helper()
	o.DialerRetries, o.MaxRetries, o.DialTimeout = 1, 1, time.Second
	o.PoolSize = 1000 // after so many failures a goroutine stays for a second
	client := redis.NewUniversalClient(&o)
	defer client.Close() //nolint:errcheck // only read
	config := redischeck.Config{Client: client, Keys: keyspace.New("", 4), Where: "there", Now: time.Now}
	_ = client.HSet(t.Context(), config.Keys.Index(), "default/book", "hash").Err()
	_ = client.Set(t.Context(), config.Keys.Definition("hash"), "x", 0).Err()
	proof.Compare(t, doctor.Examine(t.Context(), redischeck.Check(config)), want)
}

func TestEachFaultOfASentinelIsFoundAndNoOther(t *testing.T) {
	t.Parallel()
	s := testkit.StartSentinel(t)
	examine(t, s.Options, map[string]string{redischeck.Reachable: "ok there answers in"})

	primary := s.Primary.Client()
	set(t, primary.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	examine(t, s.Options, map[string]string{redischeck.Eviction: "fail allkeys-lru"})

	gone := s.Options
	gone.Addrs = []string{"127.0.0.1:1"}
	examine(t, gone, map[string]string{redischeck.Reachable: "fail sentinel"})
}

func TestEachFaultOfAClusterIsFoundAndNoOther(t *testing.T) {
	t.Parallel()
	c := testkit.StartCluster(t, 3)
	examine(t, c.Options, map[string]string{redischeck.Version: "ok " + c.Nodes[2].Address, redischeck.Persistence: "ok " + c.Nodes[1].Address})

	// One of three is enough.
	set(t, c.Nodes[1].Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	set(t, c.Nodes[2].Client().ConfigSet(t.Context(), "appendonly", "no").Err())
	examine(t, c.Options, map[string]string{redischeck.Eviction: "fail " + c.Nodes[1].Address + ": maxmemory-policy allkeys-lru",
		redischeck.Persistence: "fail " + c.Nodes[2].Address + ": appendonly no", redischeck.Fsync: "skipped " + c.Nodes[2].Address})

	c.Nodes[1].Kill()
	alone := c.Options
	alone.Addrs = []string{c.Nodes[0].Address}
	any := map[string]string{redischeck.Version: "fail " + c.Nodes[1].Address}
	for _, name := range []string{redischeck.Shards, redischeck.Lag, redischeck.Dead, redischeck.Flows, redischeck.Reachable} {
		any[name] = "any" // as the slots of their keys fall
	}
	examine(t, alone, any)
}
