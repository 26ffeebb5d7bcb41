package publish

import (
	"errors"
	"maps"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// What is published lies in several slots of a cluster, and behind sentinels.
func TestPublishingToOtherThanASingleRedis(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) redis.UniversalOptions{
		"a cluster": func(t *testing.T) redis.UniversalOptions { return testkit.StartCluster(t, 3).Options },
		"sentinels": func(t *testing.T) redis.UniversalOptions { return testkit.StartSentinel(t).Options },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := start(t)
			o.ContextTimeoutEnabled = true
			client := redis.NewUniversalClient(&o)
			defer client.Close() //nolint:errcheck // the test is over
			pool, keys := testkit.Database(t), keyspace.New("t:", 4)
			p := New(pool, client, keys, zap.NewNop())
			defs := make(map[string]*flow.Definition)
			want := make(map[string]string)
			for _, title := range []string{"One", "Two", "Three", "Four", "Five"} {
				defs[title] = definition(t, title)
				want[keyspace.IndexField("default", title)] = defs[title].Hash()
			}
			load(t, pool, defs)
			changes := client.Subscribe(t.Context(), keys.Changed())
			defer changes.Close() //nolint:errcheck // the test is over
			if _, err := changes.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := p.Publish(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := client.HGetAll(t.Context(), keys.Index()).Result(); err != nil || !maps.Equal(got, want) {
				t.Errorf("index = %v, %v, want %v", got, err, want)
			}
			for _, def := range defs {
				if blob, err := client.Get(t.Context(), keys.Definition(def.Hash())).Result(); err != nil || blob != string(def.Document()) {
					t.Errorf("definition %.12s: %v", def.Hash(), err)
				}
			}
			for range defs {
				if _, err := changes.ReceiveMessage(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			var mismatch *ShardMismatchError
			if err := New(pool, client, keyspace.New("t:", 5), zap.NewNop()).CheckShards(t.Context()); !errors.As(err, &mismatch) {
				t.Errorf("another number of shards: %v", err)
			}
		})
	}
}
