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

// oldestScript returns the id of a stream's first entry, empty without one, and
// Redis' time in milliseconds since 1970. It is a script so that the time is
// that of the cluster's node that has the stream.
//
//	KEYS  stream
var oldestScript = redis.NewScript(`
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local t = redis.call('TIME')
return {first[1] and first[1][1] or '', string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000))}
`)

func oldestOf(ctx context.Context, client redis.UniversalClient, key string) (at time.Time, ok bool, err error) {
	answer, err := oldestScript.Run(ctx, client, []string{key}).StringSlice()
	if err != nil {
		return time.Time{}, false, fmt.Errorf("asking for the first entry of %s: %w", key, err)
	}
	if len(answer) != 2 || answer[0] == "" {
		return time.Time{}, false, nil
	}
	ms, _, _ := strings.Cut(answer[0], "-")
	appended, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("the stream id %q does not begin with milliseconds", answer[0])
	}
	now, err := strconv.ParseInt(answer[1], 10, 64)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("redis says that the time is %q, expected milliseconds since 1970", answer[1])
	}
	return time.Now().Add(-time.Duration(now-appended) * time.Millisecond), true, nil
}
