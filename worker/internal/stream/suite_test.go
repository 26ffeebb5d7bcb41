package stream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// suite is two shards of a Redis and a Write that remembers.
type suite struct {
	*testing.T
	client redis.UniversalClient
	keys   keyspace.Keys
	config Config

	mu     sync.Mutex
	stored []string // ids of the entries written, in order
	sizes  []int    // entries of each write
	fail   func([]Entry) ([]Dead, error)
	seq    int
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	t.Parallel()
	client, keys, _ := testkit.Redis(t, 2)
	o, err := redis.ParseURL(testkit.RedisURL(t))
	if err != nil {
		t.Fatal("REDIS_URL is not a Redis URL")
	}
	return suiteOn(t, redis.UniversalOptions{Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, DB: o.DB}, client, keys)
}

// suiteOn is a suite on another Redis than the shared one.
func suiteOn(t *testing.T, o redis.UniversalOptions, client redis.UniversalClient, keys keyspace.Keys) *suite {
	t.Helper()
	s := &suite{T: t, client: client, keys: keys}
	s.config = Config{
		Redis: o,
		Keys:  keys, Consumer: "w", Write: s.write, ClaimEvery: 50 * time.Millisecond, StopTimeout: 5 * time.Second,
		Metrics: prometheus.NewRegistry(),
	}
	return s
}

func (s *suite) write(_ context.Context, entries []Entry) ([]Dead, error) {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	var dead []Dead
	if fail != nil {
		var err error
		if dead, err = fail(entries); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		if e.Problem != nil {
			dead = append(dead, Dead{Entry: e, Reason: e.Problem.Error()})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes = append(s.sizes, len(entries))
	for _, e := range entries {
		if !slices.ContainsFunc(dead, func(d Dead) bool { return d.Entry.ID == e.ID }) {
			s.stored = append(s.stored, e.Event.ID)
		}
	}
	return dead, nil
}

func (s *suite) setFail(fail func([]Entry) ([]Dead, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *suite) storedIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stored)
}

// run starts readers; stop stops them and waits.
func (s *suite) run() (r *Readers, stop func()) {
	s.Helper()
	r, err := New(s.config)
	if err != nil {
		s.Fatal(err)
	}
	r.block = 50 * time.Millisecond // it bounds how long stopping takes
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				s.Error(err)
			}
		case <-time.After(15 * time.Second):
			s.Error("Run did not return")
		}
	})
	s.Cleanup(stop)
	return r, stop
}

// add appends n entries to a stream and returns the last stream id.
func (s *suite) add(key string, n int) (last string) {
	s.Helper()
	for range n {
		s.seq++
		e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: fmt.Sprint("e", s.seq), Time: time.Now(), Source: "edge", Seq: uint64(s.seq), Body: []byte("{}")}
		last = s.addRaw(key, e.Values())
	}
	return last
}

// addNamed appends one entry with an id of its own.
func (s *suite) addNamed(key, id string) {
	s.Helper()
	s.seq++
	e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: id, Time: time.Now(), Source: "edge", Seq: uint64(s.seq), Body: []byte("{}")}
	s.addRaw(key, e.Values())
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

func (s *suite) addRaw(key string, values []any) string {
	s.Helper()
	id, err := s.client.XAdd(s.Context(), &redis.XAddArgs{Stream: key, Values: values}).Result()
	if err != nil {
		s.Fatal(err)
	}
	return id
}

func (s *suite) length(key string) int64 {
	s.Helper()
	n, err := s.client.XLen(s.Context(), key).Result()
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// leavePending leaves n entries pending with another consumer, delivered so many times.
func (s *suite) leavePending(key, consumer string, n, deliveries int) {
	s.Helper()
	ctx := s.Context()
	if err := s.client.XGroupCreateMkStream(ctx, key, keyspace.Group, "0").Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		s.Fatal(err)
	}
	for i := range deliveries {
		from := ">"
		if i > 0 {
			from = "0"
		}
		if err := s.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: keyspace.Group, Consumer: consumer, Streams: []string{key, from}, Count: int64(n), Block: -1}).Err(); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *suite) eventuallyStored(n int) {
	s.Helper()
	testkit.Eventually(s.T, fmt.Sprint(n, " entries stored"), func() bool { return len(s.storedIDs()) >= n })
	s.eventuallyEmpty()
}

func (s *suite) eventuallyEmpty() {
	s.Helper()
	testkit.Eventually(s.T, "the streams are empty", func() bool {
		for shard := range s.keys.Shards() {
			if s.length(s.keys.Events(shard))+s.length(s.keys.LargeEvents(shard)) > 0 {
				return false
			}
		}
		return true
	})
}

func (s *suite) metric(name string) float64 {
	s.Helper()
	families, err := s.config.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		s.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "whatsapp_flows_worker_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
