package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// run runs a writing script and, when so configured, waits for replicas on the
// same connection. With ErrReplicas the script's answer is returned too.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args []any) ([]string, error) {
	if s.options.Wait == 0 {
		return script.Run(ctx, s.client, keys, args...).StringSlice()
	}
	node, err := s.node(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	once := func(eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) ([]string, error) {
		var answer *redis.Cmd
		replicas, err := s.waiting(ctx, node, func(p redis.Pipeliner) { answer = eval(ctx, p, keys, args...) })
		if answerErr := answer.Err(); answerErr != nil {
			return nil, answerErr
		}
		res, _ := answer.StringSlice()
		if err != nil {
			return nil, err
		}
		return res, s.enough(replicas)
	}
	res, err := once(script.EvalSha)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		res, err = once(script.Eval)
	}
	return res, err
}

// xadd appends e to stream.
func (s *Store) xadd(ctx context.Context, stream string, e event.Entry) error {
	args := &redis.XAddArgs{Stream: stream, Values: e.Values()}
	if s.options.Wait == 0 {
		return s.client.XAdd(ctx, args).Err()
	}
	node, err := s.node(ctx, stream)
	if err != nil {
		return err
	}
	var added *redis.StringCmd
	replicas, err := s.waiting(ctx, node, func(p redis.Pipeliner) { added = p.XAdd(ctx, args) })
	if added.Err() != nil {
		return added.Err()
	}
	if err != nil {
		return err
	}
	return s.enough(replicas)
}

// waiting runs write and WAIT in one pipeline, hence on one connection: WAIT
// speaks of the writes of its own connection only.
func (s *Store) waiting(ctx context.Context, node *redis.Client, write func(redis.Pipeliner)) (int64, error) {
	p := node.Pipeline()
	write(p)
	wait := p.Do(ctx, "WAIT", s.options.Wait, s.options.WaitTimeout.Milliseconds())
	_, err := p.Exec(ctx)
	if replicas, waitErr := wait.Int64(); waitErr == nil {
		return replicas, nil // the write's own error is read from its command
	}
	return 0, err
}

func (s *Store) enough(replicas int64) error {
	if replicas < int64(s.options.Wait) {
		return fmt.Errorf("%w: %d of %d within %s", ErrReplicas, replicas, s.options.Wait, s.options.WaitTimeout)
	}
	return nil
}

// node is the primary that holds key.
func (s *Store) node(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.client.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	default:
		return nil, errors.New("waiting for replicas needs a single, Sentinel or Cluster client")
	}
}
