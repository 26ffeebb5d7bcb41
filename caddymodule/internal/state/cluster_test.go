package state

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// cluster is a store whose client takes one Redis for a cluster of two
// primaries: the lower half of the slots directly, the upper half, with the
// shards 0 and 1, through a cable.
func cluster(t *testing.T) (bench, *cable) {
	t.Helper()
	b, cable := throughCable(t, Options{})
	direct, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		MaxRedirects: 3, MaxRetries: -1, ContextTimeoutEnabled: true, Protocol: 2, ReadTimeout: 200 * time.Millisecond,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{
				{Start: 0, End: 8191, Nodes: []redis.ClusterNode{{Addr: direct.Addr}}},
				{Start: 8192, End: 16383, Nodes: []redis.ClusterNode{{Addr: cable.listener.Addr().String()}}},
			}, nil
		},
	})
	t.Cleanup(func() { client.Close() })
	return bench{NewStore(client, b.keys, Options{}), b.client}, cable
}

func TestClusterWritesToThePrimaryOfEachShard(t *testing.T) {
	b, _ := cluster(t)
	for i := range 8 {
		l := b.lookup(fmt.Sprint("e", i), fmt.Sprint("step-", i))
		b.commit(t, b.step(l, b.open(t, l), `{}`, "B"))
		if err := b.Append(t.Context(), i%4, webhook("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.Store.primaries.batchers); n != 2 {
		t.Errorf("%d batchers, expected one for each of the two primaries", n)
	}
	total := 0
	for shard := range 4 {
		total += len(b.entries(t, shard))
	}
	if total != 16 {
		t.Errorf("%d entries, expected 16", total)
	}
}

func TestSlowPrimaryHoldsUpItsOwnShardsOnly(t *testing.T) {
	b, cable := cluster(t)
	onCable := make(map[bool]int) // a shard for each primary
	for shard := range 4 {
		node, err := b.Store.client.(*redis.ClusterClient).MasterForKey(t.Context(), b.keys.Events(shard))
		if err != nil {
			t.Fatal(err)
		}
		onCable[strings.HasSuffix(cable.listener.Addr().String(), node.Options().Addr)] = shard
	}
	if len(onCable) != 2 {
		t.Fatalf("all shards lie on one primary: %v", onCable)
	}
	resume := cable.stall()
	slow := make(chan error, 2*batchesUnderWay)
	for i := range cap(slow) {
		go func() { slow <- b.Append(t.Context(), onCable[true], webhook(fmt.Sprint(i))) }()
	}
	for range 50 {
		if err := b.Append(t.Context(), onCable[false], webhook("x")); err != nil {
			t.Errorf("append to the other primary: %v", err)
		}
	}
	for range cap(slow) {
		if err := <-slow; err == nil {
			t.Error("an append through the stalled cable succeeded")
		}
	}
	resume()
	if err := b.Append(t.Context(), onCable[true], webhook("after")); err != nil {
		t.Errorf("the next append: %v", err)
	}
}
