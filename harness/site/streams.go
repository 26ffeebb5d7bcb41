package site

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Unread counts the entries that the worker has not committed yet: it deletes
// what it has.
func (s *Site) Unread(ctx context.Context) (int64, error) {
	client, err := s.redis()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	keys := keyspace.New(s.Prefix, 0)
	var total int64
	for shard := range keys.Shards() {
		for _, stream := range []string{keys.Events(shard), keys.LargeEvents(shard)} {
			n, err := client.XLen(ctx, stream).Result()
			if err != nil {
				return 0, err
			}
			total += n
		}
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

// DeadEntries counts the entries that the worker gave up on.
func (s *Site) DeadEntries(ctx context.Context) (int64, error) {
	client, err := s.redis()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	keys := keyspace.New(s.Prefix, 0)
	var total int64
	for shard := range keys.Shards() {
		n, err := client.XLen(ctx, keys.DeadEvents(shard)).Result()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func (s *Site) redis() (*redis.Client, error) {
	o, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(o), nil
}
