package site

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/redisurl"
)

// Unread counts the entries that the worker has not committed yet: it deletes
// what it has.
func (s *Site) Unread(ctx context.Context) (int64, error) {
	return s.entries(ctx, keyspace.Keys.Events, keyspace.Keys.LargeEvents)
}

// DeadEntries counts the entries that the worker gave up on.
func (s *Site) DeadEntries(ctx context.Context) (int64, error) {
	return s.entries(ctx, keyspace.Keys.DeadEvents)
}

// entries counts what is on these streams of all shards, in one round trip.
func (s *Site) entries(ctx context.Context, streams ...func(keyspace.Keys, int) string) (int64, error) {
	client, err := s.redis()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	keys := keyspace.New(s.Prefix, 0)
	lengths, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range keys.Shards() {
			for _, name := range streams {
				p.XLen(ctx, name(keys, shard))
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var total int64
	for _, length := range lengths {
		total += length.(*redis.IntCmd).Val()
	}
	return total, nil
}

// WaitUntilRead returns once the worker has committed every entry.
func (s *Site) WaitUntilRead(ctx context.Context) error {
	for {
		unread, err := s.Unread(ctx)
		if err == nil && unread == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d entries are still on the streams (%v): %w", unread, err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Site) redis() (redis.UniversalClient, error) {
	o, err := redisurl.Parse(s.RedisURL)
	if err != nil {
		return nil, err
	}
	return redis.NewUniversalClient(o), nil
}
