package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) {
	if prefix := os.Getenv("STREAM_TEST_WORKER"); prefix != "" {
		os.Exit(runWorker(prefix))
	}
	goleak.VerifyTestMain(m)
}

// killed is the status of a worker that an entry has ended.
const killed = 9

// runWorker is a worker process: it reads the streams under prefix until they
// are empty, remembers in Redis what it stores, and ends at once, as by a
// SIGKILL, when it stores an entry whose id begins with "killer".
func runWorker(prefix string) int {
	o, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return 1
	}
	shards, _ := strconv.Atoi(os.Getenv("STREAM_TEST_SHARDS"))
	client, keys := redis.NewClient(o), keyspace.New(prefix, shards)
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	r, err := New(Config{
		Redis: redis.UniversalOptions{Addrs: []string{o.Addr}}, Keys: keys, Consumer: "w",
		Write: func(ctx context.Context, entries []Entry) (dead []Dead, err error) {
			for _, e := range entries {
				switch {
				case e.Problem != nil:
					dead = append(dead, Dead{Entry: e, Reason: e.Problem.Error()})
				case strings.HasPrefix(e.Event.ID, "killer"):
					os.Exit(killed)
				}
			}
			for _, e := range entries {
				if e.Problem == nil {
					if err := client.RPush(ctx, prefix+"stored", e.Event.ID).Err(); err != nil {
						return nil, err
					}
				}
			}
			return dead, nil
		},
	})
	if err != nil {
		return 1
	}
	r.block = 20 * time.Millisecond
	go func() {
		for ctx.Err() == nil {
			left := int64(0)
			for shard := range shards {
				n, err := client.XLen(ctx, keys.Events(shard)).Result()
				if err != nil {
					n = 1
				}
				left += n
			}
			if left == 0 {
				stop()
			}
			<-time.After(10 * time.Millisecond)
		}
	}()
	_ = r.Run(ctx)
	return 0
}

// Entries that end the process are given up in the end, each alone: no entry
// that was beside them, in a batch, in a merged one or with another writer.
func TestEntriesThatEndTheProcess(t *testing.T) {
	t.Parallel()
	const shards = 4
	client, keys, prefix := testkit.Redis(t, shards)
	s := suiteOn(t, redis.UniversalOptions{}, client, keys)
	healthy := 0
	for shard := range shards {
		for i := range 100 {
			s.add(keys.Events(shard), 1)
			healthy++
			if (shard == 0 && i == 3) || (shard == 2 && i == 90) {
				s.addNamed(keys.Events(shard), fmt.Sprint("killer", shard))
			}
		}
	}
	deaths := 0
	for status := killed; status == killed; {
		worker := exec.Command(os.Args[0])
		worker.Env = append(os.Environ(), "STREAM_TEST_WORKER="+prefix, "STREAM_TEST_SHARDS="+strconv.Itoa(shards))
		var exit *exec.ExitError
		err := worker.Run()
		if status = 0; errors.As(err, &exit) {
			status = exit.ExitCode()
		}
		if status == killed {
			deaths++
		} else if err != nil {
			t.Fatal(err)
		}
		if deaths > 30 {
			t.Fatal("the worker ends for ever")
		}
	}
	t.Logf("the worker ended %d times", deaths)
	dead := 0
	for shard := range shards {
		entries, err := client.XRange(t.Context(), keys.DeadEvents(shard), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			dead++
			if !strings.HasPrefix(fmt.Sprint(e.Values["id"]), "killer") {
				t.Errorf("%v was given up: %v", e.Values["id"], e.Values["dead_reason"])
			}
		}
		if n := s.length(keys.Events(shard)); n != 0 {
			t.Errorf("%d entries are left of shard %d", n, shard)
		}
	}
	if dead != 2 {
		t.Errorf("%d entries were given up, expected the 2 killers", dead)
	}
	stored := make(map[string]bool)
	for _, id := range client.LRange(t.Context(), prefix+"stored", 0, -1).Val() {
		stored[id] = true
	}
	if len(stored) != healthy {
		t.Errorf("%d entries stored, expected %d", len(stored), healthy)
	}
}

// Nothing but the end of the process counts against an entry.
func TestWhatDoesNotCountAgainstAnEntry(t *testing.T) {
	for name, happens := range map[string]func(s *suite, key string){
		"replies that are lost, again and again": func(s *suite, key string) {
			s.leavePending(key, "w", 10, 1) // the group reads past them: only their pending list is left
		},
		"workers that took them over from each other": func(s *suite, key string) {
			s.leavePending(key, "gone", 10, 1)
			for i := range 10 {
				if err := s.client.XAutoClaimJustID(s.Context(), &redis.XAutoClaimArgs{Stream: key, Group: keyspace.Group, Consumer: fmt.Sprint("gone", i), Start: "0"}).Err(); err != nil {
					s.Fatal(err)
				}
			}
			s.config.MinIdle = time.Millisecond
		},
		"starts while the database is away, that end by a stop": func(s *suite, key string) {
			s.leavePending(key, "w", 10, 1)
			s.config.StopTimeout = time.Millisecond
			s.setFail(func([]Entry) ([]Dead, error) { return nil, errors.New("connection refused") })
			for range 8 {
				before := s.metric("batch_write_errors_total")
				_, stop := s.run()
				testkit.Eventually(s.T, "a try", func() bool { return s.metric("batch_write_errors_total") > before })
				stop()
				s.config.Metrics = newRegistry()
			}
			s.setFail(nil)
			s.config.StopTimeout = 5 * time.Second
		},
		"a database that is away for long": func(s *suite, key string) {
			s.leavePending(key, "w", 10, 2) // suspects
			s.setFail(func([]Entry) ([]Dead, error) { return nil, errors.New("connection refused") })
			_, stop := s.run()
			testkit.Eventually(s.T, "more tries than an entry has deaths", func() bool { return s.metric("batch_write_errors_total") > deadAfter })
			s.setFail(nil)
			s.eventuallyStored(10)
			stop()
			s.config.Metrics = newRegistry()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			key := s.keys.Events(0)
			s.add(key, 10)
			happens(s, key)
			s.run()
			s.eventuallyStored(10)
			if n, err := s.client.XLen(t.Context(), s.keys.DeadEvents(0)).Result(); err != nil || n != 0 {
				t.Errorf("%d entries were given up (%v)", n, err)
			}
		})
	}
}

// Replies are lost that often that an entry which ended the process as often
// would be given up.
func TestRepliesThatAreLost(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"xreadgroup", "xpending", "xrange", "xclaim", "xack"} {
		t.Run("to "+command, func(t *testing.T) {
			t.Parallel()
			s, proxy := behindProxy(t)
			key := s.keys.Events(0)
			s.add(key, 64)
			s.leavePending(key, "w", 32, 1)
			proxy.LoseReplies(command, deadAfter+1)
			s.run()
			s.eventuallyStored(64)
			if command == "xreadgroup" || command == "xpending" { // the others only while something is pending
				testkit.Eventually(t, "every reply that was to be lost is lost", func() bool { return proxy.RepliesToLose() == 0 })
			}
			if n := s.metric("stream_entries_dead_total"); n != 0 {
				t.Errorf("%v entries were given up", n)
			}
			if n := s.metric("stream_entries_lost_total"); n != 0 {
				t.Errorf("%v entries were counted as lost", n)
			}
			testkit.Eventually(t, "nothing is pending", func() bool {
				pending, err := s.client.XPending(t.Context(), key, keyspace.Group).Result()
				return err == nil && pending.Count == 0
			})
		})
	}
}

// Suspects are tried while nothing else is, and a try that the process survives
// leaves their count as it was.
func TestSuspectsAreTriedByThemselves(t *testing.T) {
	s := newSuite(t)
	s.config.Writers = 4
	suspects := make(map[string]bool)
	for _, shard := range []int{0, 1} {
		key := s.keys.Events(shard)
		s.add(key, 12)
		s.leavePending(key, "w", 12, 2)
		for i := range 12 {
			suspects[fmt.Sprint("e", shard*12+i+1)] = true
		}
	}
	under := make(chan int, 1)
	under <- 0
	failed := false
	s.setFail(func(entries []Entry) ([]Dead, error) {
		n := <-under + 1
		under <- n
		suspect := suspects[entries[0].Event.ID]
		for _, e := range entries {
			if suspects[e.Event.ID] != suspect {
				t.Error("suspects were stored with others")
			}
		}
		if suspect && (n > 1 || len(entries) > few) {
			t.Errorf("%d suspects were stored while %d tries were under way", len(entries), n)
		}
		n = <-under - 1
		first := !failed && suspect
		failed = failed || suspect
		under <- n
		if first {
			return nil, errors.New("connection refused")
		}
		return nil, nil
	})
	s.run()
	s.add(s.keys.LargeEvents(0), 20)
	s.add(s.keys.LargeEvents(1), 20)
	s.eventuallyStored(64)
}

// A worker has nothing but pending entries in hand and the database is away, so
// that nothing more is read; then Redis is away too. Both come back.
func TestRedisGoesWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	key := s.keys.Events(0)
	s.add(key, 10)
	s.leavePending(key, "w", 10, 1)
	tried := make(chan struct{}, 1)
	s.setFail(func([]Entry) ([]Dead, error) {
		proxy.Cut()
		s.setFail(nil)
		tried <- struct{}{}
		return nil, errors.New("connection refused")
	})
	s.run()
	<-tried
	// The one that reads, and the one whose try could not be counted.
	testkit.Eventually(t, "both readers found Redis away", func() bool { return s.metric("stream_read_errors_total") >= 2 })
	proxy.Open()
	s.add(key, 10)
	s.eventuallyStored(20)
}

// What was committed while Redis went away is acknowledged when it is back, not
// stored again: of a backlog that would be work for as long as it took.
func TestRedisGoesBetweenCommitAndAcknowledgement(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	key := s.keys.Events(0)
	s.add(key, 300)
	s.leavePending(key, "w", 10, 1) // the same holds of these
	for range 2 {
		gone := make(chan struct{})
		s.setFail(func([]Entry) ([]Dead, error) {
			proxy.Cut()
			s.setFail(nil)
			close(gone)
			return nil, nil
		})
		if s.storedIDs() == nil {
			s.run()
		} else {
			s.add(key, 10)
		}
		<-gone
		failed := s.metric("stream_read_errors_total")
		testkit.Eventually(t, "reading fails", func() bool { return s.metric("stream_read_errors_total") > failed })
		proxy.Open()
	}
	s.eventuallyEmpty()
	if ids := s.storedIDs(); len(ids) != 310 {
		t.Errorf("%d entries were stored, expected each of 310 once", len(ids))
	}
}

// A network that loses the very commands that put a count back, again and again:
// the process is alive, so nothing may count against what it stores.
func TestCommandsThatAreLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(proxy *testkit.Proxy) error{
		"the count is not put back after a failed try": func(proxy *testkit.Proxy) error {
			proxy.LoseRequests("xclaim", 2) // nor is the next try counted
			return errors.New("connection refused")
		},
		"what is stored is not acknowledged": func(proxy *testkit.Proxy) error {
			proxy.LoseRequests("xack", 1)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, proxy := behindProxy(t)
			key := s.keys.Events(0)
			s.add(key, 1)
			s.leavePending(key, "w", 1, 1)
			tries := 0 // of one entry, one after the other
			s.setFail(func([]Entry) ([]Dead, error) {
				if tries++; tries > deadAfter {
					return nil, nil
				}
				return nil, lose(proxy)
			})
			s.run()
			s.eventuallyEmpty()
			if n := s.metric("stream_entries_dead_total"); n != 0 {
				t.Errorf("%v entries were given up", n)
			}
			if len(s.storedIDs()) == 0 {
				t.Error("the entry was not stored")
			}
		})
	}
}
