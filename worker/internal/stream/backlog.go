package stream

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// watch measures the backlog of every stream until ctx ends. It is not for the
// readers to do: while the database is away they wait, and the backlog grows.
func (r *Readers) watch(ctx context.Context, client redis.UniversalClient) {
	tick := time.NewTicker(r.config.ClaimEvery)
	defer tick.Stop()
	for {
		r.measure(context.WithoutCancel(ctx), client)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// measure sets the gauges of every stream, asked for in one round trip. What
// fails leaves its gauge as it was: the readers report what is wrong.
func (r *Readers) measure(ops context.Context, client redis.UniversalClient) {
	lengths, lefts := make([]*redis.IntCmd, len(r.readers)), make([]*redis.XPendingExtCmd, len(r.readers))
	_, _ = client.Pipelined(ops, func(p redis.Pipeliner) error { // each command has its own error
		for i, reader := range r.readers {
			lengths[i] = p.XLen(ops, reader.key)
			lefts[i] = p.XPendingExt(ops, &redis.XPendingExtArgs{
				Stream: reader.key, Group: keyspace.Group, Idle: r.config.MinIdle, Start: "-", End: "+", Count: 100})
		}
		return nil
	})
	for i, reader := range r.readers {
		name := strings.Replace(reader.key[strings.IndexByte(reader.key, '{')+1:], "}", "", 1) // s3:events
		if n, err := lengths[i].Result(); err == nil {
			r.metrics.lag.WithLabelValues(name).Set(float64(n))
		}
		if left, err := lefts[i].Result(); err == nil {
			r.metrics.oldestPending.WithLabelValues(name).Set(longest(left).Seconds())
		}
	}
}

// longest is how long no worker has read or renewed the pending entry of which
// that is longest ago. Not how old an entry is: after an outage all are old.
func longest(left []redis.XPendingExt) (idle time.Duration) {
	for _, p := range left {
		idle = max(idle, p.Idle)
	}
	return idle
}
