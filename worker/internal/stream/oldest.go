package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Oldest returns a function that says when the oldest entry still in either
// stream of a shard was appended; ok is false when both are empty. Committed
// entries are deleted, so whatever was appended before that time is stored.
//
// An id holds the time of Redis' clock. What is returned is by the clock of
// this process, so that a Redis whose clock is ahead does not make a waiting
// entry look young.
func Oldest(client redis.UniversalClient, keys keyspace.Keys) func(ctx context.Context, shard int) (at time.Time, ok bool, err error) {
	return func(ctx context.Context, shard int) (at time.Time, ok bool, err error) {
		for _, key := range []string{keys.Events(shard), keys.LargeEvents(shard)} {
			first, found, err := oldestOf(ctx, client, key)
			if err != nil {
				return time.Time{}, false, err
			}
			if found && (!ok || first.Before(at)) {
				at, ok = first, true
			}
		}
		return at, ok, nil
	}
}

func oldestOf(ctx context.Context, client redis.UniversalClient, key string) (at time.Time, ok bool, err error) {
	entries, err := client.XRangeN(ctx, key, "-", "+", 1).Result()
	if err != nil {
		return time.Time{}, false, fmt.Errorf("XRANGE: %w", err)
	}
	if len(entries) == 0 {
		return time.Time{}, false, nil
	}
	clock, err := client.Time(ctx).Result()
	if err != nil {
		return time.Time{}, false, fmt.Errorf("TIME: %w", err)
	}
	ms, _, _ := strings.Cut(entries[0].ID, "-")
	appended, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("the stream id %q does not begin with milliseconds", entries[0].ID)
	}
	return time.Now().Add(-clock.Sub(time.UnixMilli(appended))), true, nil
}
