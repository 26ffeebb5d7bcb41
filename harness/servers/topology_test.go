package servers

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/redisurl"
)

func startRedises(t *testing.T, topology Topology) (*Redises, redis.UniversalClient) {
	t.Helper()
	stack, err := Start(t.Context(), Options{Private: true, Redis: topology, Say: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	o, err := redisurl.Parse(stack.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewUniversalClient(o)
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), stack.Close()); err != nil {
			t.Error(err)
		}
	})
	return stack.Redises, client
}

// silent takes what go-redis says of servers that are killed here.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

func TestSentinelsElectTheReplica(t *testing.T) {
	t.Parallel()
	redises, client := startRedises(t, Sentinel)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Set(ctx, "kept", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	primary, err := redises.Primary(ctx)
	if err != nil {
		t.Fatal(err)
	}
	node, err := redises.Node(primary)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, "the replica is the primary", func(ctx context.Context) error {
		now, err := redises.Primary(ctx)
		if err == nil && now == primary {
			err = errors.New("it is not")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, "a client finds it, and the data", func(ctx context.Context) error { return client.Get(ctx, "kept").Err() }); err != nil {
		t.Fatal(err)
	}
}

func TestClusterMovesSlotsAndSurvivesAMaster(t *testing.T) {
	t.Parallel()
	redises, client := startRedises(t, Cluster)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Set(ctx, "kept", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before, err := redises.Owner(ctx, "kept")
	if err != nil {
		t.Fatal(err)
	}
	if err := redises.Move(ctx, "kept"); err != nil {
		t.Fatal(err)
	}
	owner, err := redises.Owner(ctx, "kept")
	if err != nil || owner == before {
		t.Fatalf("after the move the owner is %s, as before (%v)", owner, err)
	}
	if got, err := client.Get(ctx, "kept").Result(); err != nil || got != "1" {
		t.Fatalf("after the move: %q, %v", got, err)
	}
	node, err := redises.Node(owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := eventually(ctx, "its replica has taken over", func(ctx context.Context) error {
		now, err := redises.Owner(ctx, "kept")
		if err == nil && now == owner {
			err = errors.New("it has not")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fresh := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: redises.Addresses(), IsClusterMode: true})
	defer fresh.Close()
	if got, err := fresh.Get(ctx, "kept").Result(); err != nil || got != "1" {
		t.Errorf("after the failover: %q, %v", got, err)
	}
}
