package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream/failpoint"
)

// reader reads one stream.
type reader struct {
	set    *Readers
	shard  int
	key    string
	count  int64 // entries in one read
	client redis.UniversalClient
	work   chan<- *batch

	progress atomic.Int64 // Unix ms of the last answer after which nothing was left in hand
	created  bool         // the group has existed while this process ran
	looked   time.Time    // last look for entries that others left pending
	cursor   string       // where that look goes on
}

// run reads until ctx ends. After every error it begins again with the entries
// that are pending under its own name: a reply that was lost on its way has left
// them there.
func (r *reader) run(ctx context.Context) {
	pause := backoff{first: 100 * time.Millisecond, limit: 2 * time.Second}
	for ctx.Err() == nil {
		err := r.follow(ctx, &pause)
		switch {
		case err == nil || errors.Is(err, errAbandoned):
			continue // ctx has ended
		case redis.HasErrorPrefix(err, "NOGROUP"), redis.HasErrorPrefix(err, "UNBLOCKED"):
			if err = r.createGroup(ctx); err == nil {
				continue
			}
		}
		r.set.metrics.readErrors.Inc()
		if ok, more := r.set.quiet.pass(); ok {
			r.set.config.Log.Error("reading a stream failed, trying again",
				zap.String("stream", r.key), zap.Int("suppressed", more), zap.Error(err))
		}
		pause.wait(ctx)
	}
}

// follow drains what is pending and then reads new entries until something
// fails or ctx ends.
func (r *reader) follow(ctx context.Context, pause *backoff) error {
	// A stop must not cut a command off between Redis and us; commands have
	// timeouts of their own.
	ops := context.WithoutCancel(ctx)
	r.set.gate.wait(ctx)
	if err := r.drain(ctx, ops); err != nil {
		return err
	}
	for ctx.Err() == nil {
		r.set.gate.wait(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(r.looked) >= r.set.config.ClaimEvery {
			if err := r.look(ctx, ops); err != nil {
				return err
			}
		}
		entries, _, err := r.read(ops, ">", r.count, r.set.block)
		if err != nil {
			return err
		}
		pause.reset()
		r.created = true
		if err := r.store(ops, entries); err != nil {
			return err
		}
		r.progress.Store(time.Now().UnixMilli())
	}
	return nil
}

// read reads up to count entries from an id on: ">" for new ones, "0" for those
// pending under this name. gone are ids that are pending but deleted.
func (r *reader) read(ops context.Context, from string, count int64, block time.Duration) (entries []Entry, gone []string, err error) {
	streams, err := r.client.XReadGroup(ops, &redis.XReadGroupArgs{
		Group: keyspace.Group, Consumer: r.set.config.Consumer,
		Streams: []string{r.key, from}, Count: count, Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("XREADGROUP: %w", err)
	}
	for _, s := range streams {
		for _, m := range s.Messages {
			if m.Values == nil {
				gone = append(gone, m.ID)
				continue
			}
			entries = append(entries, newEntry(r.key, r.shard, m))
		}
	}
	if len(entries) > 0 {
		failpoint.Hit(failpoint.AfterRead)
	}
	return entries, gone, nil
}

// store hands entries to a writer, waits until they are committed, and
// acknowledges them.
func (r *reader) store(ops context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	b := &batch{entries: entries, done: make(chan stored, 1)}
	r.work <- b
	renew := time.NewTicker(r.set.config.MinIdle / 3)
	defer renew.Stop()
	for {
		select {
		case result := <-b.done:
			if result.err != nil {
				return result.err
			}
			return r.acknowledge(ops, entries, result.dead)
		case <-renew.C:
			r.renew(ops, entries)
		}
	}
}

// renew tells the other workers that entries in hand are not abandoned. While
// the database is away a batch is held for longer than MinIdle; handed from
// worker to worker its delivery counts would rise until it is given up.
//
// Fails open: entries that are claimed all the same are stored once.
func (r *reader) renew(ops context.Context, entries []Entry) {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	// JUSTID, because this must not count as a delivery.
	_ = r.client.XClaimJustID(ops, &redis.XClaimArgs{
		Stream: r.key, Group: keyspace.Group, Consumer: r.set.config.Consumer, Messages: ids,
	}).Err()
}

// createGroup creates the group at 0, never at $: entries that were appended
// while there was none must be read too.
func (r *reader) createGroup(ctx context.Context) error {
	err := r.client.XGroupCreateMkStream(context.WithoutCancel(ctx), r.key, keyspace.Group, "0").Err()
	if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return fmt.Errorf("XGROUP CREATE: %w", err)
	}
	if err == nil {
		if r.created {
			r.set.metrics.recreated.Inc()
			r.set.config.Log.Warn("the consumer group was gone and is created again: Redis may have lost its data",
				zap.String("stream", r.key))
		}
		r.set.config.GroupCreated()
	}
	r.created = true
	return nil
}
