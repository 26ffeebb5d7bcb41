package servers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Topology is how the Redis of a private stack is built.
type Topology string

// The topologies.
const (
	Single   Topology = ""         // one server
	Sentinel Topology = "sentinel" // a primary, a replica and three sentinels
	Cluster  Topology = "cluster"  // three masters with a replica each
)

// Redises are the servers of a topology of several, which tests kill and bring
// back by their number.
type Redises struct {
	url       string
	nodes     []*Server
	sentinels []*Server
}

// URL is that of the whole, as REDIS_URL takes it.
func (r *Redises) URL() string { return r.url }

// Node is one of the data servers, by its address host:port.
func (r *Redises) Node(address string) (*Server, error) {
	for _, n := range r.nodes {
		if strings.TrimPrefix(n.URL(), "redis://") == address {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no server of this stack is at %s", address)
}

// Addresses are those of the data servers.
func (r *Redises) Addresses() []string { return addresses(r.nodes) }

func addresses(all []*Server) []string {
	list := make([]string, len(all))
	for i, s := range all {
		list[i] = strings.TrimPrefix(s.URL(), "redis://")
	}
	return list
}

func (r *Redises) close() error {
	var errs []error
	for _, s := range append(append([]*Server(nil), r.sentinels...), r.nodes...) {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// startTopology brings several servers up from installed binaries: containers
// could not reach each other on the loopback interface.
func startTopology(ctx context.Context, t Topology) (r *Redises, err error) {
	_, bin := findBinaries()
	if bin == "" {
		return nil, errors.New("a Redis of several servers needs redis-server on this machine (Debian, Ubuntu: sudo apt-get install redis-server)")
	}
	r = &Redises{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	switch t {
	case Sentinel:
		return r, r.startSentinel(ctx, bin)
	case Cluster:
		return r, r.startCluster(ctx, bin)
	default:
		return r, fmt.Errorf("there is no topology %q", t)
	}
}

// start runs one more data server with more arguments.
func (r *Redises) start(ctx context.Context, bin string, args ...string) (*Server, error) {
	s, err := startServer(ctx, func() (instance, error) {
		made, err := newRedis(bin)
		if err != nil {
			return nil, err
		}
		made.more = args
		return made, nil
	})
	if err == nil {
		r.nodes = append(r.nodes, s)
	}
	return s, err
}

// each asks every server of a list something at once.
func each(all []*Server, ask func(i int, client *redis.Client) error) error {
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, s := range all {
		running.Go(func() { errs[i] = withClient(s, func(c *redis.Client) error { return ask(i, c) }) })
	}
	running.Wait()
	return errors.Join(errs...)
}

func withClient(s *Server, do func(*redis.Client) error) error {
	o, err := redis.ParseURL(s.URL())
	if err != nil {
		return err
	}
	// One that is dead is known at once: whoever asks tries again, or another one.
	o.MaxRetries, o.DialerRetries = -1, 1
	client := redis.NewClient(o)
	defer client.Close()
	return do(client)
}
