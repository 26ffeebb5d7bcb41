package stream

import (
	"context"
	"strconv"
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
	lengths, pendings := make([]*redis.IntCmd, len(r.readers)), make([]*redis.XPendingCmd, len(r.readers))
	_, _ = client.Pipelined(ops, func(p redis.Pipeliner) error { // each command has its own error
		for i, reader := range r.readers {
			lengths[i], pendings[i] = p.XLen(ops, reader.key), p.XPending(ops, reader.key, keyspace.Group)
		}
		return nil
	})
	for i, reader := range r.readers {
		name := strings.Replace(reader.key[strings.IndexByte(reader.key, '{')+1:], "}", "", 1) // s3:events
		if n, err := lengths[i].Result(); err == nil {
			r.metrics.lag.WithLabelValues(name).Set(float64(n))
		}
		if p, err := pendings[i].Result(); err == nil {
			r.metrics.oldestPending.WithLabelValues(name).Set(age(p))
		}
	}
}

// age is how long ago the oldest pending entry was appended, in seconds.
func age(p *redis.XPending) float64 {
	ms, _, ok := strings.Cut(p.Lower, "-")
	if !ok || p.Count == 0 {
		return 0
	}
	at, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return 0
	}
	return max(time.Since(time.UnixMilli(at)).Seconds(), 0)
}
