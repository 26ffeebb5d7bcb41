package testkit

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a Redis of a test's own, which it may kill. It runs with the
// settings that the project demands of every Redis.
type RedisServer struct {
	Address string // host:port, the same after a restart

	t       testing.TB
	args    []string
	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{} // closed once the process has
	output  *bytes.Buffer // of it; to be read after ended
}

// StartRedis starts redis-server, which must be on the PATH, with further
// arguments. It ends with t.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s := newServer(t)
	s.args = append([]string{"--dir", t.TempDir(), "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--maxmemory-policy", "noeviction"}, args...)
	s.Start()
	return s
}

func newServer(t testing.TB) *RedisServer {
	t.Helper()
	s := &RedisServer{t: t, Address: "127.0.0.1:" + freePort(t)}
	t.Cleanup(s.Kill)
	return s
}

// Start starts it, again after Kill with the data it had, and returns when it
// answers.
func (s *RedisServer) Start() {
	s.t.Helper()
	s.run("redis-server", append([]string{"--port", s.port(), "--bind", "127.0.0.1", "--daemonize", "no"}, s.args...)...)
	s.await()
}

func (s *RedisServer) await() {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true})
	defer client.Close() //nolint:errcheck // only asked
	Eventually(s.t, "the server on "+s.Address+" answers", func() bool {
		select {
		case <-s.ended:
			s.t.Fatalf("the server on %s has ended: %s", s.Address, s.output)
		default:
		}
		return client.Ping(context.Background()).Err() == nil
	})
}

func (s *RedisServer) port() string {
	_, port, _ := net.SplitHostPort(s.Address)
	return port
}

func (s *RedisServer) run(program string, args ...string) {
	s.t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		s.t.Fatalf("%v: this test needs servers of its own: install redis-server", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	command, ended := exec.Command(path, args...), make(chan struct{})
	s.output = &bytes.Buffer{}
	command.Stdout, command.Stderr, command.SysProcAttr = s.output, s.output, child()
	started := make(chan error)
	go func() {
		// The kernel kills the program with the thread that started it, which
		// must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // by SIGKILL, as a rule
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	s.command, s.ended = command, ended
}

// Kill ends it with SIGKILL and waits for its end. It may be called twice.
func (s *RedisServer) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	<-s.ended
	s.command = nil
}

// Client is a client of this server, closed when the test ends.
func (s *RedisServer) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
	s.t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	return client
}

// given are the ports that this process has handed out: their new owners may not
// have bound them yet.
var given sync.Map

// freePort lies below the ports that kernels take for outgoing connections, one
// of which could have it before its new owner binds it.
func freePort(t testing.TB) string {
	t.Helper()
	for range 200 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		l.Close() //nolint:errcheck // only asked
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port
		}
	}
	t.Fatal("no free port from 20000 to 32000")
	return ""
}

// Sentinel is a primary and a replica watched by three sentinels, which take a
// second of silence as a death.
type Sentinel struct {
	Options redis.UniversalOptions
	Primary *RedisServer // at the start
	Replica *RedisServer
}

// StartSentinel starts them and returns once the sentinels agree.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{Primary: StartRedis(t)}
	s.Replica = StartRedis(t, "--replicaof", "127.0.0.1 "+s.Primary.port())
	s.Options = redis.UniversalOptions{MasterName: "main"}
	var watchers []*redis.SentinelClient
	for range 3 {
		sentinel := newServer(t)
		file := writeFile(t, fmt.Sprintf(`port %s
bind 127.0.0.1
dir %q
sentinel monitor main 127.0.0.1 %s 2
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
sentinel parallel-syncs main 1
`, sentinel.port(), t.TempDir(), s.Primary.port()))
		sentinel.run("redis-server", file, "--sentinel")
		sentinel.await()
		s.Options.Addrs = append(s.Options.Addrs, sentinel.Address)
		watcher := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Address})
		t.Cleanup(func() { watcher.Close() }) //nolint:errcheck // the test is over
		watchers = append(watchers, watcher)
	}
	Eventually(t, "every sentinel knows the two others and the replica", func() bool {
		for _, watcher := range watchers {
			others, err := watcher.Sentinels(context.Background(), "main").Result()
			replicas, errReplicas := watcher.Replicas(context.Background(), "main").Result()
			if err != nil || errReplicas != nil || len(others) != 2 || len(replicas) != 1 {
				return false
			}
		}
		return true
	})
	primary := s.Primary.Client()
	Eventually(t, "the replica is in step", func() bool {
		n, err := primary.Wait(context.Background(), 1, 100*time.Millisecond).Result()
		return err == nil && n == 1
	})
	return s
}

// URL is the REDIS_URL of it.
func (s *Sentinel) URL() string {
	return "redis+sentinel://" + list(s.Options.Addrs) + "/" + s.Options.MasterName
}

// Cluster is a Redis Cluster of primaries without replicas.
type Cluster struct {
	Options redis.UniversalOptions
	Nodes   []*RedisServer

	t testing.TB
}

const slots = 16384

// StartCluster starts primaries that share the slots evenly.
func StartCluster(t testing.TB, primaries int) *Cluster {
	t.Helper()
	ctx := context.Background()
	c := &Cluster{t: t, Options: redis.UniversalOptions{IsClusterMode: true}}
	var buses []string // ports on which the nodes talk to each other
	for range primaries {
		bus := freePort(t)
		buses = append(buses, bus)
		node := StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000")
		c.Nodes = append(c.Nodes, node)
		c.Options.Addrs = append(c.Options.Addrs, node.Address)
	}
	for i, node := range c.Nodes {
		client := node.Client()
		if err := client.ClusterAddSlotsRange(ctx, i*slots/primaries, (i+1)*slots/primaries-1).Err(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue
		}
		if err := client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", c.Nodes[0].port(), buses[0]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range c.Nodes {
		client := node.Client()
		Eventually(t, "the cluster is up for "+node.Address, func() bool {
			info, err := client.ClusterInfo(ctx).Result()
			known, errKnown := client.ClusterShards(ctx).Result()
			return err == nil && errKnown == nil && bytes.Contains([]byte(info), []byte("cluster_state:ok")) && len(known) == primaries
		})
	}
	return c
}

// URL is the REDIS_URL of it.
func (c *Cluster) URL() string { return "redis+cluster://" + list(c.Options.Addrs) }

// Move moves the slot of key, and what is in it, to the next node.
func (c *Cluster) Move(key string) {
	c.t.Helper()
	ctx := context.Background()
	do := func(node *RedisServer, args ...any) (answer string) {
		c.t.Helper()
		answer, err := node.Client().Do(ctx, args...).Text()
		if err != nil {
			c.t.Fatalf("%v: %v", args, err)
		}
		return answer
	}
	slot, err := c.Nodes[0].Client().ClusterKeySlot(ctx, key).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	from := 0
	for int(slot) >= (from+1)*slots/len(c.Nodes) {
		from++
	}
	source, target := c.Nodes[from], c.Nodes[(from+1)%len(c.Nodes)]
	sourceID, targetID := do(source, "CLUSTER", "MYID"), do(target, "CLUSTER", "MYID")
	do(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID)
	do(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID)
	keys, err := source.Client().ClusterGetKeysInSlot(ctx, int(slot), 1000).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range keys {
		do(source, "MIGRATE", "127.0.0.1", target.port(), k, 0, 5000)
	}
	for _, node := range append([]*RedisServer{target, source}, c.Nodes...) {
		do(node, "CLUSTER", "SETSLOT", slot, "NODE", targetID)
	}
}
