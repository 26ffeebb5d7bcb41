package stream

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func (s *suite) consumers(key string) (names []string) {
	s.Helper()
	all, err := s.client.XInfoConsumers(s.Context(), key, keyspace.Group).Result()
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range all {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// Consumers that are gone are removed once they hold nothing; one with pending
// entries is not, for they would be dropped with it.
func TestConsumersThatAreGone(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	s.add(key, 5)
	s.leavePending(key, "holds", 5, 1)
	for _, name := range []string{"gone", "long gone"} {
		if err := s.client.XGroupCreateConsumer(t.Context(), key, keyspace.Group, name).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.config.SweepEvery = 1 // nanosecond
	_, stop := s.run()
	s.add(key, 1)
	testkit.Eventually(t, "this worker has looked at the consumers and read on", func() bool { return len(s.storedIDs()) == 1 })
	stop()
	if names := s.consumers(key); !slices.Equal(names, []string{"gone", "holds", "long gone", "w"}) {
		t.Errorf("consumers that were heard of today: %v, expected all to stay", names)
	}

	s.config.ConsumerIdle = 1
	s.config.Metrics = newRegistry()
	_, stop = s.run()
	testkit.Eventually(t, "those that hold nothing are removed", func() bool {
		return slices.Equal(s.consumers(key), []string{"holds", "w"})
	})
	stop()
	if n := s.metric("stream_consumers_removed_total"); n != 2 {
		t.Errorf("removed = %v, expected 2", n)
	}
	pending, err := s.client.XPending(t.Context(), key, keyspace.Group).Result()
	if err != nil || pending.Count != 5 || pending.Consumers["holds"] != 5 {
		t.Errorf("pending = %+v (%v), expected the 5 of the one that holds them", pending, err)
	}
}

// A worker that had nothing to read for a day is removed while its read is
// blocked: what comes then is its own all the same.
func TestConsumerThatIsRemovedWhileItsReadIsBlocked(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	s.add(key, 1)
	s.leavePending(key, "quiet", 1, 1)
	pending, err := s.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: key, Group: keyspace.Group, Start: "-", End: "+", Count: 1}).Result()
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	if err := s.client.XAck(t.Context(), key, keyspace.Group, pending[0].ID).Err(); err != nil {
		t.Fatal(err)
	}
	got := make(chan []redis.XStream, 1)
	go func() {
		streams, _ := s.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: keyspace.Group, Consumer: "quiet", Streams: []string{key, ">"}, Block: 10 * time.Second}).Result()
		got <- streams
	}()
	testkit.Eventually(t, "the read is blocked", func() bool {
		info, err := s.client.Info(t.Context(), "clients").Result()
		return err == nil && !strings.Contains(info, "blocked_clients:0")
	})
	removed, err := sweepScript.Run(t.Context(), s.client, []string{key}, keyspace.Group, "w", 0).StringSlice()
	if err != nil || !slices.Equal(removed, []string{"quiet"}) {
		t.Fatalf("removed = %v, %v", removed, err)
	}
	id := s.add(key, 1)
	if streams := <-got; len(streams) != 1 || len(streams[0].Messages) != 1 || streams[0].Messages[0].ID != id {
		t.Fatalf("the blocked read got %+v", streams)
	}
	if n, err := s.client.XAck(t.Context(), key, keyspace.Group, id).Result(); err != nil || n != 1 {
		t.Errorf("XACK = %d, %v: the entry was not pending", n, err)
	}
}

// A consumer that is removed again and again while it reads loses nothing: what
// it read is either acknowledged or still pending with it.
func TestConsumerThatIsRemovedWhileItReads(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	const entries = 300
	s.add(key, entries)
	if err := s.client.XGroupCreate(t.Context(), key, keyspace.Group, "0").Err(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	removed := 0
	wait.Go(func() {
		for ctx.Err() == nil {
			names, err := sweepScript.Run(t.Context(), s.client, []string{key}, keyspace.Group, "w", 0).StringSlice()
			if err != nil {
				t.Error(err)
				return
			}
			removed += len(names)
		}
	})
	kept := make(map[string]bool)
	read := 0
	for read < entries {
		streams, err := s.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: keyspace.Group, Consumer: "other", Streams: []string{key, ">"}, Count: 3, Block: -1}).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range streams[0].Messages {
			if read++; read%50 == 0 {
				kept[m.ID] = true
				continue
			}
			if n, err := s.client.XAck(t.Context(), key, keyspace.Group, m.ID).Result(); err != nil || n != 1 {
				t.Fatalf("XACK = %d, %v: the entry was no longer pending", n, err)
			}
		}
		if len(kept) == 1 { // let it be removed again
			for id := range kept {
				if n, err := s.client.XAck(t.Context(), key, keyspace.Group, id).Result(); err != nil || n != 1 {
					t.Fatalf("XACK = %d, %v: the entry was no longer pending", n, err)
				}
				delete(kept, id)
			}
		}
	}
	stop()
	wait.Wait()
	t.Logf("removed %d times while it read", removed)
	if removed == 0 {
		t.Error("never removed")
	}
}
