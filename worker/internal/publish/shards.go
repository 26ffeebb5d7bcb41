package publish

import (
	"context"
	"fmt"
	"strconv"
)

// ShardMismatchError says that another number of shards is in use.
type ShardMismatchError struct {
	Key      string
	Stored   string
	Expected int
}

func (e *ShardMismatchError) Error() string {
	return fmt.Sprintf("this Redis is in use with %s shards (key %s) and this worker is set to %d: set REDIS_SHARDS=%s, or give this installation a REDIS_PREFIX of its own",
		e.Stored, e.Key, e.Expected, e.Stored)
}

// CheckShards stores the number of shards if none is stored, and returns a
// *ShardMismatchError if it is another one.
func (p *Publisher) CheckShards(ctx context.Context) error {
	key, expected := p.keys.ShardCount(), p.keys.Shards()
	if err := p.redis.SetNX(ctx, key, expected, 0).Err(); err != nil {
		return fmt.Errorf("writing the number of shards: %w", err)
	}
	stored, err := p.redis.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("reading the number of shards: %w", err)
	}
	if stored != strconv.Itoa(expected) {
		return &ShardMismatchError{Key: key, Stored: stored, Expected: expected}
	}
	return nil
}
