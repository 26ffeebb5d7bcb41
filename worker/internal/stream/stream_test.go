package stream

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestEveryStreamIsReadAndEmptied(t *testing.T) {
	s := newSuite(t)
	for shard := range s.keys.Shards() {
		s.add(s.keys.Events(shard), 150)
		s.add(s.keys.LargeEvents(shard), 3)
	}
	r, stop := s.run()
	s.eventuallyStored(306)
	testkit.Eventually(t, "progress", func() bool { return time.Since(r.Progress()) < 5*time.Second })
	s.add(s.keys.Events(0), 1)
	s.eventuallyStored(307)
	stop()
	if ids := s.storedIDs(); len(ids) != 307 {
		t.Errorf("%d entries written, expected each once: 307", len(ids))
	}
}

func TestUndecodableEntryGoesToTheDeadStream(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(1)
	s.add(key, 5)
	id := s.addRaw(key, []any{"v", "99", "kind", "webhook", "body", "\x00\xff"})
	s.addRaw(key, []any{"x", "y"})
	s.add(key, 5)
	s.run()
	s.eventuallyStored(10)
	dead, err := s.client.XRange(t.Context(), s.keys.DeadEvents(1), "-", "+").Result()
	if err != nil || len(dead) != 2 {
		t.Fatalf("dead stream = %v, %v", dead, err)
	}
	d := dead[0].Values
	if d["dead_id"] != id || d["dead_stream"] != key || d["body"] != "\x00\xff" || !strings.Contains(fmt.Sprint(d["dead_reason"]), `field v is "99"`) {
		t.Errorf("dead entry = %q", d)
	}
}

// A dead stream that takes nothing, as when Redis is full, must not keep the
// stream from being emptied.
func TestDeadStreamThatRefuses(t *testing.T) {
	s := newSuite(t)
	if err := s.client.Set(t.Context(), s.keys.DeadEvents(0), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.addRaw(s.keys.Events(0), []any{"x", "y"})
	s.add(s.keys.Events(0), 5)
	s.run()
	s.eventuallyStored(5)
}

// While storing fails nothing is acknowledged and nothing more is read.
func TestDatabaseDown(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	var down atomic.Bool
	down.Store(true)
	var tries atomic.Int32
	s.setFail(func([]Entry) ([]Dead, error) {
		if down.Load() {
			tries.Add(1)
			return nil, errors.New("connection refused")
		}
		return nil, nil
	})
	s.add(key, 500)
	s.run()
	testkit.Eventually(t, "three tries", func() bool { return tries.Load() >= 3 })
	if n := s.length(key); n != 500 {
		t.Errorf("%d entries left, expected all 500", n)
	}
	pending, err := s.client.XPending(t.Context(), key, keyspace.Group).Result()
	if err != nil || pending.Count > backlogEntries {
		t.Errorf("%v pending (%v), expected one batch at most", pending, err)
	}
	s.add(key, 100)
	testkit.Eventually(t, "the gauge shows what waits", func() bool { return s.metric("stream_lag_entries") == 600 })
	down.Store(false)
	s.eventuallyStored(600)
	if ids := s.storedIDs(); len(ids) != 600 {
		t.Errorf("%d entries stored, expected each once", len(ids))
	}
}

func TestGroupLost(t *testing.T) {
	for name, lose := range map[string]func(s *suite, key string) error{
		"the stream is deleted while a read is blocked": func(s *suite, key string) error { return s.client.Del(s.Context(), key).Err() },
		"the group is destroyed while a read is blocked": func(s *suite, key string) error {
			return s.client.XGroupDestroy(s.Context(), key, keyspace.Group).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			created := make(chan struct{}, 100)
			s.config.GroupCreated = func() { created <- struct{}{} }
			key := s.keys.Events(0)
			s.run()
			s.add(key, 3)
			s.eventuallyStored(3)
			for range 4 {
				<-created // at the first start: one for each stream
			}
			if err := lose(s, key); err != nil {
				t.Fatal(err)
			}
			s.add(key, 3) // before anybody noticed
			<-created
			s.eventuallyStored(6)
			if n := s.metric("stream_group_recreated_total"); n != 1 {
				t.Errorf("recreated = %v, expected 1", n)
			}
		})
	}
}

// Entries that a worker of the same name had read before it was killed.
func TestOwnPendingEntriesComeFirst(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	s.add(key, 10)
	s.leavePending(key, "w", 10, 1)
	s.add(key, 5)
	s.run()
	s.eventuallyStored(15)
	if ids := s.storedIDs(); ids[0] != "e1" || len(ids) != 15 {
		t.Errorf("stored = %v", ids)
	}
}

func TestEntriesOfADeadWorkerAreTakenOver(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	s.add(key, 200)
	s.leavePending(key, "gone", 200, 1)
	s.config.MinIdle = 200 * time.Millisecond
	s.run()
	s.eventuallyStored(200)
	if n := s.metric("stream_entries_claimed_total"); n != 200 {
		t.Errorf("claimed = %v, expected 200", n)
	}
}

// Somebody trimmed entries that were read and not stored.
func TestTrimmedEntriesAreCountedAsLost(t *testing.T) {
	for name, consumer := range map[string]string{"pending with another worker": "gone", "pending with this worker": "w"} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.config.MinIdle = 100 * time.Millisecond
			key := s.keys.Events(0)
			s.add(key, 10)
			s.leavePending(key, consumer, 10, 1)
			if err := s.client.XTrimMaxLen(t.Context(), key, 4).Err(); err != nil {
				t.Fatal(err)
			}
			s.run()
			s.eventuallyStored(4)
			testkit.Eventually(t, "6 entries counted as lost", func() bool { return s.metric("stream_entries_lost_total") == 6 })
			pending, err := s.client.XPending(t.Context(), key, keyspace.Group).Result()
			if err != nil || pending.Count != 0 {
				t.Errorf("pending = %+v, %v", pending, err)
			}
		})
	}
}

// What is in hand at a stop is stored and acknowledged before Run returns.
func TestStopFinishesTheBatchInHand(t *testing.T) {
	s := newSuite(t)
	writing, proceed := make(chan struct{}, 10), make(chan struct{})
	s.setFail(func([]Entry) ([]Dead, error) { writing <- struct{}{}; <-proceed; return nil, nil })
	s.add(s.keys.Events(0), 10)
	_, stop := s.run()
	<-writing
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("Run returned with a batch in hand")
	case <-time.After(100 * time.Millisecond):
	}
	close(proceed)
	<-stopped
	if n := s.length(s.keys.Events(0)); n != 0 || len(s.storedIDs()) != 10 {
		t.Errorf("%d entries left, %d stored", n, len(s.storedIDs()))
	}
}

// What cannot be stored in time stays pending, for the next start.
func TestStopAbandonsWhatCannotBeStored(t *testing.T) {
	s := newSuite(t)
	s.config.StopTimeout = 50 * time.Millisecond
	s.setFail(func([]Entry) ([]Dead, error) { return nil, errors.New("connection refused") })
	s.add(s.keys.Events(0), 10)
	_, stop := s.run()
	testkit.Eventually(t, "a try", func() bool { return s.metric("batch_write_errors_total") > 0 })
	stop()
	s.setFail(nil)
	s.config.Metrics = prometheus.NewRegistry()
	s.run()
	s.eventuallyStored(10)
}

// Batches of several shards that wait become one transaction.
func TestWaitingBatchesAreMerged(t *testing.T) {
	s := newSuite(t)
	s.config.Writers = 1
	first, proceed := make(chan struct{}, 100), make(chan struct{})
	s.setFail(func([]Entry) ([]Dead, error) { first <- struct{}{}; <-proceed; return nil, nil })
	s.add(s.keys.Events(0), 64)
	r, _ := s.run()
	<-first
	for range 2 {
		s.add(s.keys.Events(1), 32)
		s.add(s.keys.LargeEvents(1), 1)
		s.add(s.keys.LargeEvents(0), 1)
	}
	testkit.Eventually(t, "every other reader has a batch in hand", func() bool {
		n := 0
		for _, reader := range r.readers {
			p, err := s.client.XPending(t.Context(), reader.key, keyspace.Group).Result()
			if err == nil && p.Count > 0 {
				n++
			}
		}
		return n == 4
	})
	close(proceed)
	s.eventuallyStored(132)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sizes[0] != 64 || s.sizes[1] < 3 {
		t.Errorf("sizes of transactions = %v, expected the second to hold several batches", s.sizes)
	}
}

func TestRedisDownAtStart(t *testing.T) {
	s := newSuite(t)
	s.config.Redis.Addrs = []string{"127.0.0.1:1"}
	r, stop := s.run()
	testkit.Eventually(t, "failed reads", func() bool { return s.metric("stream_read_errors_total") > 0 })
	if !r.Progress().IsZero() {
		t.Error("progress without Redis")
	}
	stop()
}

// Two workers came to use one name. One finds entries pending, the other stores,
// acknowledges and deletes them, and then the first one looks for them.
func TestWhatAWorkerOfTheSameNameStoredIsNotLost(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	s.add(key, 10)
	s.leavePending(key, "w", 10, 1)
	pending, err := s.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: key, Group: keyspace.Group, Start: "-", End: "+", Count: 10}).Result()
	if err != nil || len(pending) != 10 {
		t.Fatalf("pending = %v, %v", pending, err)
	}
	ids := make([]string, len(pending))
	for i, p := range pending {
		ids[i] = p.ID
	}
	first, err := New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	reader := first.readers[0]
	reader.server = s.client
	if err := s.client.XDel(t.Context(), key, ids[0]).Err(); err != nil { // by somebody else
		t.Fatal(err)
	}
	if err := reader.remove(t.Context(), ids[1:]); err != nil {
		t.Fatal(err)
	}
	entries, gone, err := reader.reread(t.Context(), ids)
	if err != nil || len(entries) != 0 || len(gone) != 10 {
		t.Fatalf("%d entries, %v gone, %v", len(entries), gone, err)
	}
	if err := reader.lostPending(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if n := s.metric("stream_entries_lost_total"); n != 1 {
		t.Errorf("%v entries counted as lost, expected the one that somebody deleted", n)
	}
}
