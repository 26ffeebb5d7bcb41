package stream

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestOldestIsOfBothStreamsPendingEntriesIncluded(t *testing.T) {
	s := newSuite(t)
	oldest := Oldest(s.client, s.keys)
	expect := func(what string, want time.Time) {
		t.Helper()
		at, ok, err := oldest(t.Context(), 0)
		if err != nil || ok == want.IsZero() || ok && at.Sub(want).Abs() > time.Second {
			t.Errorf("%s: oldest = %v, %v, %v; want %v", what, at, ok, err, want)
		}
	}
	expect("empty streams", time.Time{})
	s.add(s.keys.Events(1), 1)
	expect("entries of another shard", time.Time{})

	now := time.Now()
	addAt := func(key string, at time.Time) {
		t.Helper()
		if err := s.client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: strconv.FormatInt(at.UnixMilli(), 10) + "-0", Values: []any{"x", "y"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	addAt(s.keys.Events(0), now.Add(-time.Minute))
	expect("an entry that nobody has read", now.Add(-time.Minute))
	addAt(s.keys.LargeEvents(0), now.Add(-time.Hour))
	s.leavePending(s.keys.LargeEvents(0), "gone", 1, 1)
	expect("a large one, pending with a dead consumer", now.Add(-time.Hour))
	if err := s.client.XTrimMaxLen(t.Context(), s.keys.LargeEvents(0), 0).Err(); err != nil {
		t.Fatal(err)
	}
	expect("the large one is stored", now.Add(-time.Minute))

	down := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer down.Close() //nolint:errcheck // never connected
	if _, _, err := Oldest(down, s.keys)(t.Context(), 0); err == nil {
		t.Error("no error without Redis")
	}
}

// Postgres is away for one worker only, say, and for longer than MinIdle: what
// it has in hand stays its own.
func TestEntriesInHandAreNotTakenOver(t *testing.T) {
	s := newSuite(t)
	s.config.MinIdle = 300 * time.Millisecond
	proceed := make(chan struct{})
	s.setFail(func([]Entry) ([]Dead, error) { <-proceed; return nil, nil })
	key := s.keys.Events(0)
	s.add(key, 10)
	s.run()
	testkit.Eventually(t, "the first worker has them in hand", func() bool {
		p, err := s.client.XPending(t.Context(), key, keyspace.Group).Result()
		return err == nil && p.Count == 10
	})
	release := sync.OnceFunc(func() { close(proceed) })
	t.Cleanup(release)
	second := &suite{T: t, client: s.client, keys: s.keys, config: s.config}
	second.config.Consumer, second.config.Write, second.config.Metrics = "w2", second.write, prometheus.NewRegistry()
	began := time.Now()
	r, _ := second.run()
	testkit.Eventually(t, "the second has looked for abandoned entries again and again", func() bool {
		return time.Since(began) > 4*s.config.MinIdle && time.Since(r.Progress()) < time.Second
	})
	if n := second.metric("stream_entries_claimed_total"); n != 0 {
		t.Errorf("%v entries were taken over", n)
	}
	pending, err := s.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: key, Group: keyspace.Group, Start: "-", End: "+", Count: 1}).Result()
	if err != nil || len(pending) != 1 || pending[0].RetryCount != 1 {
		t.Errorf("pending = %+v, %v; want one delivery", pending, err)
	}
	release()
	s.eventuallyStored(10)
}
