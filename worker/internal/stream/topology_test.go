package stream

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// onOwn is a suite on servers that the test has started.
func onOwn(t *testing.T, o redis.UniversalOptions, shards int) *suite {
	t.Helper()
	client := redis.NewUniversalClient(&o)
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	return suiteOn(t, o, client, keyspace.New("t:", shards))
}

// behindProxy is a suite on a Redis of its own, which the readers reach through a
// proxy and the test itself does not.
func behindProxy(t *testing.T) (*suite, *testkit.Proxy) {
	t.Helper()
	server := testkit.StartRedis(t)
	proxy := testkit.NewProxy(t, server.Address)
	proxy.Open()
	s := onOwn(t, redis.UniversalOptions{Addrs: []string{proxy.Address}}, 1)
	s.client = server.Client()
	return s, proxy
}

// Shards of a cluster are on different nodes, and some of them move.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, 3)
	s := onOwn(t, cluster.Options, 6)
	s.config.MinIdle = 300 * time.Millisecond
	for shard := range 6 {
		s.add(s.keys.Events(shard), 100)
		s.add(s.keys.LargeEvents(shard), 2)
	}
	s.leavePending(s.keys.Events(0), "gone", 30, 1)
	s.leavePending(s.keys.Events(1), "w", 30, 1)
	s.leavePending(s.keys.Events(2), "gone", 10, 1)
	if err := s.client.XTrimMaxLen(t.Context(), s.keys.Events(2), 96).Err(); err != nil {
		t.Fatal(err)
	}
	s.addRaw(s.keys.Events(3), []any{"x", "y"})
	r, stop := s.run()
	s.eventuallyStored(608)
	testkit.Eventually(t, "what was trimmed is counted", func() bool { return s.metric("stream_entries_lost_total") == 4 })
	if n := s.metric("stream_entries_claimed_total"); n < 30 {
		t.Errorf("claimed = %v, expected at least the 30 that another worker left", n)
	}
	if n, err := s.client.XLen(t.Context(), s.keys.DeadEvents(3)).Result(); err != nil || n != 1 {
		t.Errorf("%d in the dead stream (%v), expected 1", n, err)
	}
	if ids := s.storedIDs(); len(ids) != 608 {
		t.Errorf("%d entries stored, expected each once: 608", len(ids))
	}
	nodes := make(map[redis.UniversalClient]bool)
	for _, reader := range r.readers {
		nodes[reader.server] = true
	}
	if len(nodes) < 2 {
		t.Errorf("the streams are on %d nodes, expected several", len(nodes))
	}

	// Entries are appended while the slot is on its way.
	key := s.keys.Events(4)
	s.add(key, 20)
	cluster.Move(key)
	s.add(key, 20)
	s.eventuallyStored(648)
	oldest := Oldest(s.client, s.keys)
	if _, ok, err := oldest(t.Context(), 4); ok || err != nil {
		t.Errorf("oldest = %v, %v", ok, err)
	}
	testkit.Eventually(t, "progress of every reader", func() bool { return time.Since(r.Progress()) < time.Second })
	stop()
}

// The primary dies while entries are appended. Those that were on the replica
// when their append was acknowledged are stored, and reading goes on soon.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := testkit.StartSentinel(t)
	s := onOwn(t, sentinel.Options, 2)
	r, _ := s.run()

	var safe []string // acknowledged by the replica too
	n := 0
	add := func() error {
		conn := s.client.(*redis.Client).Conn() // WAIT is of one connection's writes
		defer conn.Close()                      //nolint:errcheck // back to its pool
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		n++
		e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: fmt.Sprint("safe", n), Time: time.Now(), Source: "edge", Seq: uint64(n), Body: []byte("{}")}
		if err := conn.XAdd(ctx, &redis.XAddArgs{Stream: s.keys.Events(n % 2), Values: e.Values()}).Err(); err != nil {
			return err
		}
		replicas, err := conn.Wait(ctx, 1, 500*time.Millisecond).Result()
		if err == nil && replicas > 0 {
			safe = append(safe, e.ID)
		}
		return err
	}
	for range 300 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	sentinel.Primary.Kill()
	died := time.Now()
	testkit.Eventually(t, "appends succeed again", func() bool { return add() == nil })
	accepted := time.Since(died)
	s.add(s.keys.Events(0), 20)
	s.add(s.keys.Events(1), 20)
	for i := range 40 {
		safe = append(safe, fmt.Sprint("e", i+1))
	}
	testkit.Eventually(t, "all that was on the replica is stored", func() bool {
		stored := s.storedIDs()
		for _, id := range safe {
			if !slices.Contains(stored, id) {
				return false
			}
		}
		return true
	})
	took := time.Since(died)
	t.Logf("%d entries were safe; Redis took appends %s after the death of the primary, and all was stored after %s",
		len(safe), accepted.Round(time.Millisecond), took.Round(time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("reading went on after %s, expected within 15 s", took)
	}
	s.eventuallyEmpty()
	testkit.Eventually(t, "progress of every reader", func() bool { return time.Since(r.Progress()) < time.Second })
}

// A Redis that starts again answers LOADING, one that lost its primary READONLY
// or MASTERDOWN: readers wait and lose nothing.
func TestRedisThatRefusesForAWhile(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(ctx context.Context, client *redis.Client) error{
		"a read-only replica": func(ctx context.Context, client *redis.Client) error {
			return client.ReplicaOf(ctx, "127.0.0.1", "1").Err()
		},
		"a replica without its primary, which answers nothing": func(ctx context.Context, client *redis.Client) error {
			if err := client.ConfigSet(ctx, "replica-serve-stale-data", "no").Err(); err != nil {
				return err
			}
			return client.ReplicaOf(ctx, "127.0.0.1", "1").Err()
		},
		"a full memory": func(ctx context.Context, client *redis.Client) error {
			return client.ConfigSet(ctx, "maxmemory", "1").Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.StartRedis(t)
			s := onOwn(t, redis.UniversalOptions{Addrs: []string{server.Address}}, 1)
			control := server.Client()
			s.run()
			s.add(s.keys.Events(0), 5)
			s.eventuallyStored(5)
			if err := refuse(t.Context(), control); err != nil {
				t.Fatal(err)
			}
			if name != "a full memory" {
				testkit.Eventually(t, "failed reads", func() bool { return s.metric("stream_read_errors_total") > 0 })
			}
			for _, heal := range [][]any{{"REPLICAOF", "NO", "ONE"}, {"CONFIG", "SET", "maxmemory", "0"}} {
				if err := control.Do(t.Context(), heal...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			s.add(s.keys.Events(0), 5)
			s.eventuallyStored(10)
		})
	}
	t.Run("killed and started again", func(t *testing.T) {
		t.Parallel()
		server := testkit.StartRedis(t)
		s := onOwn(t, redis.UniversalOptions{Addrs: []string{server.Address}}, 2)
		r, _ := s.run()
		s.add(s.keys.Events(1), 500)
		server.Kill()
		server.Start()
		s.eventuallyStored(500)
		testkit.Eventually(t, "progress of every reader", func() bool { return time.Since(r.Progress()) < time.Second })
		if n := s.metric("stream_group_recreated_total"); n != 0 {
			t.Errorf("%v groups were made again, although nothing was lost", n)
		}
	})
}

// The peer vanished without a word. A blocked read notices within its own time
// and ten seconds; the entries of the reply that was swallowed are stored.
func TestHalfOpenConnection(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	core, logs := observer.New(zap.ErrorLevel)
	s.config.Log = zap.New(core)
	s.config.ClaimEvery = time.Hour // or another command would notice first
	r, _ := s.run()
	testkit.Eventually(t, "progress of every reader", func() bool { return !r.Progress().IsZero() })
	proxy.BlackHole(true)
	vanished := time.Now()
	s.add(s.keys.Events(0), 50)
	proxy.BlackHole(false) // what was open stays swallowed
	testkit.Eventually(t, "the entries are stored over a new connection", func() bool { return len(s.storedIDs()) == 50 })
	took := time.Since(vanished)
	t.Logf("stored %s after the connections went dead", took.Round(time.Millisecond))
	if limit := r.block + 10*time.Second + 2*time.Second; took > limit {
		t.Errorf("noticed after %s, expected within %s", took, limit)
	}
	if logs.Len() == 0 {
		t.Error("nothing in the log")
	}
	s.eventuallyEmpty()
}

// After a stop Redis knows none of the readers' connections.
func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, 2)
	sentinel := testkit.StartSentinel(t)
	single := testkit.StartRedis(t)
	for name, c := range map[string]struct {
		options redis.UniversalOptions
		servers []*testkit.RedisServer
	}{
		"single":   {redis.UniversalOptions{Addrs: []string{single.Address}}, []*testkit.RedisServer{single}},
		"sentinel": {sentinel.Options, []*testkit.RedisServer{sentinel.Primary, sentinel.Replica}},
		"cluster":  {cluster.Options, cluster.Nodes},
	} {
		t.Run(name, func(t *testing.T) {
			s := onOwn(t, c.options, 3)
			s.config.Consumer = "one of müller's"
			connections := func() (n int) {
				for _, server := range c.servers {
					list, err := server.Client().ClientList(t.Context()).Result()
					if err != nil {
						t.Fatal(err)
					}
					n += strings.Count(list, "name=whatsapp-flows-worker:one-of-m-ller's ")
				}
				return n
			}
			s.add(s.keys.Events(0), 10)
			_, stop := s.run()
			s.eventuallyStored(10)
			testkit.Eventually(t, "a connection for each reader", func() bool { return connections() >= 6 })
			stop()
			testkit.Eventually(t, "no connection is left", func() bool { return connections() == 0 })
		})
	}
}

// A cluster's own client would have sent the read again, and the reader would
// not have looked at what the first reply left pending.
func TestLostReplyOfACluster(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, 1)
	proxy := testkit.NewProxy(t, cluster.Nodes[0].Address)
	proxy.Open()
	o := cluster.Options
	o.Addrs = []string{proxy.Address}
	dialed := atomic.Int32{}
	o.Dialer = throughProxy(proxy.Address, &dialed)
	s := onOwn(t, o, 1)
	s.client = cluster.Nodes[0].Client()
	s.config.Metrics = prometheus.NewRegistry()
	s.run()
	s.add(s.keys.Events(0), 10)
	s.eventuallyStored(10)
	for range 5 {
		proxy.Cut()
		s.add(s.keys.Events(0), 10)
		proxy.Open()
	}
	s.eventuallyStored(60)
	if dialed.Load() == 0 {
		t.Error("the cluster was not reached through the proxy")
	}
}

// throughProxy connects to address whatever a cluster says that its nodes are at.
func throughProxy(address string, dialed *atomic.Int32) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		dialed.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}
