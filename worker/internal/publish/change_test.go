package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestAFlowThatIsRenamedIsUnloadedUnderItsFormerName(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	p := New(pool, client, keys, zap.NewNop())
	one, two := definition(t, "One"), definition(t, "Two")
	rename := func(from, to string) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			f, err := flows.Lock(t.Context(), tx, flows.Key{Account: "default", Name: from})
			if err != nil {
				return err
			}
			changed := f.Properties
			changed.Name = to
			return f.Change(t.Context(), tx, changed)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(step string, want map[string]string) {
		t.Helper()
		if err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := client.HGetAll(t.Context(), keys.Index()).Result(); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: index = %v, %v; want %v", step, got, err, want)
		}
	}
	load(t, pool, map[string]*flow.Definition{"a": one})
	expect("loaded", map[string]string{"default/a": one.Hash()})
	rename("a", "b")
	expect("renamed", map[string]string{"default/a": keyspace.Tombstone, "default/b": one.Hash()})
	load(t, pool, map[string]*flow.Definition{"a": two})
	expect("its former name is another flow's", map[string]string{"default/a": two.Hash(), "default/b": one.Hash()})
	rename("a", "c")
	rename("b", "a")
	expect("and its own again", map[string]string{"default/a": one.Hash(), "default/b": keyspace.Tombstone, "default/c": two.Hash()})
}

func TestAVersionThatCannotRunIsNeverPublished(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	p := New(pool, client, keys, zap.NewNop())
	one := definition(t, "One")
	add := func(name string, create bool) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			f, err := flows.Lock(t.Context(), tx, flows.Key{Account: "default", Name: name})
			if create {
				f, err = flows.Create(t.Context(), tx, "default", flows.Properties{Name: name, Status: flows.Active})
			}
			if err != nil {
				return err
			}
			number, added, err := f.AddVersion(t.Context(), tx, flows.Content{FlowJSON: []byte("{}"), Broken: "it is empty"})
			if !added || number != f.Latest || f.Active == number {
				t.Errorf("%s: version %d, added %t, active %d", name, number, added, f.Active)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	load(t, pool, map[string]*flow.Definition{"a": one, "c": one})
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE flows SET deleted_at = now() WHERE name = 'c'`); err != nil {
		t.Fatal(err)
	}
	add("a", false)
	add("b", true)
	add("c", true) // in the place of the one that was deleted
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := client.HGetAll(t.Context(), keys.Index()).Result(); err != nil || !maps.Equal(got, map[string]string{"default/a": one.Hash(), "default/c": keyspace.Tombstone}) {
		t.Errorf("index = %v, %v", got, err)
	}
	if got := load(t, pool, map[string]*flow.Definition{"a": one})["a"]; got.New || got.Version != 1 {
		t.Errorf("loading what is active: %+v", got)
	}
}

// What is slower than another worker knows less than that one has written.
func TestASlowWorkerDoesNotUndoWhatAnotherPublished(t *testing.T) {
	t.Parallel()
	client, keys, _ := testkit.Redis(t, 4)
	replace := func(read, hash string) bool {
		t.Helper()
		done, err := replaceField.Run(t.Context(), client, []string{keys.Index()}, "default/a", read, hash).Bool()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		return done
	}
	for _, c := range []struct {
		name, read, hash, left string
		done                   bool
	}{
		{"the first one", "", "v1", "v1", true},
		{"another first one", "", "v0", "v1", false},
		{"the next", "v1", "v3", "v3", true},
		{"one that read before", "v1", "v2", "v3", false},
	} {
		if done := replace(c.read, c.hash); done != c.done {
			t.Errorf("%s: written %t", c.name, done)
		}
		if got, err := client.HGet(t.Context(), keys.Index(), "default/a").Result(); err != nil || got != c.left {
			t.Errorf("%s: the index holds %s, %v", c.name, got, err)
		}
	}
}

func TestAChangeIsPublishedAtOnceBySeveralWorkers(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 4)
	ctx, cancel := context.WithCancel(t.Context())
	var workers []*Publisher
	var running sync.WaitGroup
	for range 3 {
		p := New(pool, client, keys, zap.NewNop())
		workers = append(workers, p)
		running.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 20 {
		def := definition(t, fmt.Sprint("Version ", i))
		load(t, pool, map[string]*flow.Definition{"a": def})
		began := time.Now()
		workers[i%len(workers)].Changed()
		testkit.Eventually(t, "the change is in Redis", func() bool {
			hash, err := client.HGet(t.Context(), keys.Index(), "default/a").Result()
			return err == nil && hash == def.Hash()
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("change %d took %s", i, took)
		}
	}
	cancel()
	running.Wait()
}

func TestTwoLoadsOfANewFlowAtOnceMakeOneFlow(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	var all sync.WaitGroup
	for i := range 8 {
		def := definition(t, fmt.Sprint("Version ", i))
		all.Go(func() {
			if _, err := Load(t.Context(), pool, "default", map[string]*flow.Definition{"a": def}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var count, versions, newest int
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM flows), count(*), max(version) FROM flow_versions`).Scan(&count, &versions, &newest); err != nil ||
		count != 1 || versions != 8 || newest != 8 {
		t.Errorf("%d flows, %d versions, newest %d, %v", count, versions, newest, err)
	}
}
