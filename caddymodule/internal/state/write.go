package state

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// primaries are the batchers of a Store: one for a single Redis or Sentinel's
// master, one for each primary of a cluster, so that a slow node holds up its
// own shards only. When writes wait for replicas, they have batchers of their
// own, so that nothing else waits with them.
type primaries struct {
	mu       sync.Mutex
	batchers map[primary]*batcher
}

type primary struct {
	address string // of a cluster's node; empty without a cluster
	waits   bool
}

func (s *Store) batcher(key primary) *batcher {
	s.primaries.mu.Lock()
	defer s.primaries.mu.Unlock()
	b := s.primaries.batchers[key]
	if b == nil {
		send := s.send
		if key.waits {
			send = s.sendAndWait
		}
		b = &batcher{send: send, underWay: s.underWay}
		s.primaries.batchers[key] = b
	}
	return b
}

// do has c sent to the primary that holds key, and returns once it is known
// what became of it; then c.reply or c.err is set, or both with ErrReplicas.
func (s *Store) do(c *command, key string) {
	s.once(c, key)
	if c.err != nil && redis.HasErrorPrefix(c.err, "NOSCRIPT") {
		// This Redis was started, or took over, after the scripts were loaded.
		for _, script := range scripts {
			if c.args[1] == script.hash {
				c.args[0], c.args[1] = "eval", script.source
			}
		}
		s.once(c, key)
	}
}

func (s *Store) once(c *command, key string) {
	c.cmd = redis.NewStringCmd(c.ctx, c.args...)
	to := primary{waits: c.write && s.options.Wait > 0}
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		c.node = s.client
		s.batcher(to).do(c)
		return
	}
	node, err := cluster.MasterForKey(c.ctx, key)
	if err != nil {
		c.err = &notSentError{err}
		return
	}
	c.node, to.address = node, node.Options().Addr
	s.batcher(to).do(c)
	if c.reply != nil {
		return
	}
	// The node may have lost its slots, or be gone.
	cluster.ReloadState(c.ctx)
	if !to.waits && (redis.HasErrorPrefix(c.err, "MOVED") || redis.HasErrorPrefix(c.err, "ASK") || redis.HasErrorPrefix(c.err, "TRYAGAIN")) {
		c.cmd = redis.NewStringCmd(c.ctx, c.args...)
		c.resolve(cluster.Process(c.ctx, redirected{c.cmd}))
	}
}

// redirected is a command on its way to where a cluster says that its slot is
// now. The client of a cluster sends a command again also when its answer was
// lost: an entry would be appended twice, and a step would meet its own answer
// and give the number of its entry away once more.
type redirected struct{ *redis.StringCmd }

// NoRetry is asked after each try.
func (r redirected) NoRetry() bool { return !certainlyNotWritten(r.Err()) }

// send sends a batch to the node of its commands.
func (s *Store) send(ctx context.Context, batch []*command) {
	if len(batch) == 1 {
		c := batch[0]
		c.resolve(c.node.Process(ctx, c.cmd))
		return
	}
	err := pipeline(ctx, batch, make([]redis.Cmder, 0, len(batch)))
	for _, c := range batch {
		c.resolve(err)
	}
}

// sendAndWait sends a batch of writes and one WAIT for all of them. WAIT speaks
// of the writes of its own connection only, so it goes in the same pipeline.
func (s *Store) sendAndWait(ctx context.Context, batch []*command) {
	wait := redis.NewIntCmd(ctx, "wait", s.options.Wait, s.options.WaitTimeout.Milliseconds())
	err := pipeline(ctx, batch, make([]redis.Cmder, 0, len(batch)+1), wait)
	replicas, waitErr := wait.Result()
	for _, c := range batch {
		switch c.resolve(err); {
		case c.err != nil:
		case waitErr != nil:
			c.err = fmt.Errorf("%w: %w", ErrReplicas, waitErr)
		case replicas < int64(s.options.Wait):
			c.err = fmt.Errorf("%w: %d of %d within %s", ErrReplicas, replicas, s.options.Wait, s.options.WaitTimeout)
		}
	}
}

// pipeline sends a batch and what follows it on one connection.
func pipeline(ctx context.Context, batch []*command, room []redis.Cmder, then ...redis.Cmder) error {
	for _, c := range batch {
		room = append(room, c.cmd)
	}
	p := batch[0].node.Pipeline()
	if err := p.BatchProcess(ctx, append(room, then...)...); err != nil {
		return err
	}
	_, err := p.Exec(ctx)
	return err
}
