package publish

import (
	"context"
	"errors"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/lifecycle"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// definition reads a flow whose only screen has this title.
func definition(t *testing.T, title string) *flow.Definition {
	t.Helper()
	raw, err := os.ReadFile("testdata/one-screen.json")
	if err != nil {
		t.Fatal(err)
	}
	def, err := flow.Load([]byte(os.Expand(string(raw), func(string) string { return title })), nil)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func load(t *testing.T, pool *pgxpool.Pool, flows map[string]*flow.Definition) map[string]Loaded {
	t.Helper()
	all, err := Load(t.Context(), pool, "default", flows)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]Loaded)
	for _, l := range all {
		byName[l.Flow] = l
	}
	return byName
}

func TestAVersionIsAddedOnlyWhenTheContentChanged(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	first, second := definition(t, "One"), definition(t, "Two")
	for i, c := range []struct {
		def     *flow.Definition
		version int
		isNew   bool
	}{{first, 1, true}, {first, 1, false}, {second, 2, true}, {second, 2, false}, {first, 3, true}} {
		got := load(t, pool, map[string]*flow.Definition{"csat": c.def, "other": first})["csat"]
		if got.Version != c.version || got.New != c.isNew || got.Definition != c.def.Hash() || got.Status != "active" {
			t.Errorf("load %d: %+v, want version %d, new %t", i+1, got, c.version, c.isNew)
		}
	}
	var raw []byte
	if err := pool.QueryRow(t.Context(), `SELECT flow_json FROM flow_versions v JOIN flows f ON f.id = v.flow_id WHERE f.name = 'csat' AND v.version = 2`).
		Scan(&raw); err != nil || string(raw) != string(second.FlowJSON()) {
		t.Errorf("the Flow JSON is not kept byte for byte: %v", err)
	}
}

func TestRedisFollowsTheFlowsOfPostgres(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, prefix := testkit.Redis(t, 4)
	p := New(pool, client, keys, zap.NewNop())
	one, two := definition(t, "One"), definition(t, "Two")

	index := func() map[string]string {
		t.Helper()
		if err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := client.HGetAll(t.Context(), keys.Index()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	expect := func(step string, want map[string]string, present ...*flow.Definition) {
		t.Helper()
		if got := index(); !maps.Equal(got, want) {
			t.Errorf("%s: index = %v, want %v", step, got, want)
		}
		for _, def := range present {
			if blob, err := client.Get(t.Context(), keys.Definition(def.Hash())).Result(); err != nil || blob != string(def.Document()) {
				t.Errorf("%s: definition %.12s: %v", step, def.Hash(), err)
			}
		}
	}
	sql := func(statement string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}

	expect("no flow", map[string]string{})
	changes := client.Subscribe(t.Context(), keys.Changed())
	defer changes.Close() //nolint:errcheck // the test is over
	if _, err := changes.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	load(t, pool, map[string]*flow.Definition{"a": one, "b": two})
	expect("loaded", map[string]string{"default/a": one.Hash(), "default/b": two.Hash()}, one, two)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if m, err := changes.ReceiveMessage(ctx); err != nil || (m.Payload != "default/a" && m.Payload != "default/b") {
		t.Errorf("announcement %v, %v", m, err)
	}

	// A session is open on the version that is replaced.
	sql(`INSERT INTO flow_sessions (id, flow, token_hash, flow_token, definition, version, attempt, status, started_at, last_activity_at)
		VALUES (gen_random_uuid(), 'b', 'h', 't', $1, 1, 1, 'active', now(), now())`, two.Hash())
	load(t, pool, map[string]*flow.Definition{"b": one})
	testkit.Empty(t, client, prefix)
	expect("Redis lost everything", map[string]string{"default/a": one.Hash(), "default/b": one.Hash()}, one, two)
	if n, err := client.Get(t.Context(), keys.ShardCount()).Int(); n != 4 || err != nil {
		t.Errorf("shards = %d, %v", n, err)
	}

	if err := client.Del(t.Context(), keys.Definition(one.Hash())).Err(); err != nil {
		t.Fatal(err)
	}
	expect("Redis lost one definition", map[string]string{"default/a": one.Hash(), "default/b": one.Hash()}, one)

	sql(`UPDATE flows SET status = 'inactive' WHERE name = 'a'`)
	sql(`UPDATE flows SET status = 'deprecated' WHERE name = 'b'`)
	expect("inactive and deprecated", map[string]string{"default/a": keyspace.Tombstone, "default/b": one.Hash()})
	sql(`UPDATE flows SET status = 'active', deleted_at = now() WHERE name = 'b'`)
	expect("deleted", map[string]string{"default/a": keyspace.Tombstone, "default/b": keyspace.Tombstone})
	load(t, pool, map[string]*flow.Definition{"b": two})
	expect("loaded again after deletion", map[string]string{"default/a": keyspace.Tombstone, "default/b": two.Hash()}, two)

	if err := client.HSet(t.Context(), keys.Index(), "default/unknown", one.Hash()).Err(); err != nil {
		t.Fatal(err)
	}
	expect("a flow Postgres does not know is left alone",
		map[string]string{"default/a": keyspace.Tombstone, "default/b": two.Hash(), "default/unknown": one.Hash()})
}

// Sessions may be open on a version that was published and replaced since the
// start, and Redis came back with an older state of its data.
func TestAReplacedDefinitionIsKeptThere(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	p := New(pool, client, keys, zap.NewNop())
	one, two := definition(t, "One"), definition(t, "Two")
	for _, def := range []*flow.Definition{one, two} {
		load(t, pool, map[string]*flow.Definition{"a": def})
		if err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Del(t.Context(), keys.Definition(one.Hash())).Err(); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := client.Exists(t.Context(), keys.Definition(one.Hash())).Val(); n != 1 {
		t.Error("the replaced definition is gone from Redis")
	}
}

// An installation without a flow must not walk through its sessions every 2 s.
func TestOpenSessionsAreLookedUpOnceNotEveryRound(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	p := New(pool, client, keys, zap.NewNop())
	publish := func() error { return p.Publish(t.Context()) }
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "ALTER TABLE flow_sessions RENAME TO away"); err != nil {
		t.Fatal(err)
	}
	if err := publish(); err != nil {
		t.Errorf("the second round read them again: %v", err)
	}
	load(t, pool, map[string]*flow.Definition{"a": definition(t, "One")})
	if err := publish(); err == nil {
		t.Error("an empty index did not make it read them")
	}
}

func TestADefinitionThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	one, two := definition(t, "One"), definition(t, "Two")
	load(t, pool, map[string]*flow.Definition{"a": one, "b": two})
	if _, err := pool.Exec(t.Context(), `UPDATE flow_versions SET flow_json = '{' WHERE definition = $1`, one.Hash()); err != nil {
		t.Fatal(err)
	}
	if err := New(pool, client, keys, zap.NewNop()).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := client.HGetAll(t.Context(), keys.Index()).Result()
	if want := map[string]string{"default/b": two.Hash()}; err != nil || !maps.Equal(got, want) {
		t.Errorf("index = %v, %v; want %v: the index must not name what is not there", got, err, want)
	}
}

func TestAnEmptiedRedisIsFilledAgainWhileRunning(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, prefix := testkit.Redis(t, 4)
	one := definition(t, "One")
	load(t, pool, map[string]*flow.Definition{"a": one})
	p := New(pool, client, keys, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	published := func() bool {
		hash, err := client.HGet(t.Context(), keys.Index(), "default/a").Result()
		return err == nil && hash == one.Hash()
	}
	testkit.Eventually(t, "the flow is published", published)
	testkit.Empty(t, client, prefix)
	p.Nudge()
	testkit.Eventually(t, "the flow is published again", published)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnotherNumberOfShardsStopsTheProcess(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, prefix := testkit.Redis(t, 4)
	if err := client.Set(t.Context(), keys.ShardCount(), "16", 0).Err(); err != nil {
		t.Fatal(err)
	}
	g := lifecycle.New(zap.NewNop())
	g.Start(lifecycle.Part{Name: "publisher", Run: New(pool, client, keys, zap.NewNop()).Run})
	defer g.Stop(context.Background()) //nolint:errcheck // without a deadline
	select {
	case err := <-g.Fatal():
		var mismatch *ShardMismatchError
		if !errors.As(err, &mismatch) || err.Error() !=
			"this Redis is in use with 16 shards (key "+prefix+"shards) and this worker is set to 4: set REDIS_SHARDS=16, or give this installation a REDIS_PREFIX of its own" {
			t.Errorf("err = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
}
