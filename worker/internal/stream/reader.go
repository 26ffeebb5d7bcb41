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
	set     *Readers
	shard   int
	key     string
	count   int64 // entries in one read, at most
	backlog int64 // entries in hand, at most
	client  redis.UniversalClient
	work    chan<- *batch

	// server is the client of the one server that has the stream now, in a
	// cluster that of a node. A cluster's own client sends a command again when
	// its reply was lost: of an XREADGROUP that hides the entries of the first
	// reply in the pending list.
	server redis.UniversalClient

	progress  atomic.Int64     // Unix ms of the last answer after which nothing was left in hand
	created   bool             // the group has existed while this process ran
	looked    time.Time        // last look for entries that others left pending
	cursor    string           // where that look goes on
	swept     time.Time        // last look for consumers that are gone
	size      int              // bytes of an entry, as of the last reads
	committed []string         // ids that are stored and could not be acknowledged
	charged   map[string]int64 // counts of pending entries before this process raised them; see trial
}

// run reads until ctx ends. After every error it begins again with the entries
// that are pending under its own name: a reply that was lost on its way has left
// them there.
func (r *reader) run(ctx context.Context) {
	pause := backoff{first: 100 * time.Millisecond, limit: 250 * time.Millisecond}
	r.swept = time.Now().Add(min(firstSweep, r.set.config.SweepEvery) - r.set.config.SweepEvery)
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
		if cluster, ok := r.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx) // the slot may have moved, or its node be gone
		}
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
	if err := r.locate(ops); err != nil {
		return err
	}
	if err := r.acknowledgeCommitted(ops); err != nil {
		return err
	}
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
		entries, err := r.read(ops)
		if err != nil {
			return err
		}
		pause.reset()
		r.created = true
		if err := r.store(ops, entries, nil); err != nil {
			return err
		}
		r.progress.Store(time.Now().UnixMilli())
	}
	return nil
}

// locate finds the server that has the stream.
func (r *reader) locate(ops context.Context) error {
	r.server = r.client
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		node, err := cluster.MasterForKey(ops, r.key)
		if err != nil {
			return fmt.Errorf("asking the cluster where the stream is: %w", err)
		}
		r.server = node
	}
	return nil
}

// read reads new entries: what there is, and of a backlog so many that a
// transaction pays, read by read so that large ones are met early.
func (r *reader) read(ops context.Context) ([]Entry, error) {
	var entries []Entry
	for weight, block := 0, r.set.block; ; block = -1 {
		limit := r.batchLimit()
		more, err := r.readOnce(ops, limit, block)
		if err != nil {
			return nil, err // what was read is pending
		}
		entries, weight = append(entries, more...), weight+weigh(more)
		if int64(len(more)) < limit || int64(len(entries)) >= r.backlog || weight >= maxBytes/2 {
			break
		}
	}
	if len(entries) > 0 {
		failpoint.Hit(failpoint.AfterRead)
	}
	return entries, nil
}

// readOnce waits for entries at most block; not at all if it is negative.
func (r *reader) readOnce(ops context.Context, limit int64, block time.Duration) ([]Entry, error) {
	streams, err := r.server.XReadGroup(ops, &redis.XReadGroupArgs{
		Group: keyspace.Group, Consumer: r.set.config.Consumer,
		Streams: []string{r.key, ">"}, Count: limit, Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("XREADGROUP: %w", err)
	}
	var entries []Entry
	for _, s := range streams {
		for _, m := range s.Messages {
			entries = append(entries, newEntry(r.key, r.shard, m))
		}
	}
	return entries, nil
}

// batchLimit is how many entries of the size of the last ones are about as much
// as one transaction takes. Edges keep large ones out of the stream that is read
// by the many; others who write to it may not.
func (r *reader) batchLimit() int64 {
	if r.size*int(r.count) <= maxBytes {
		return r.count
	}
	return max(int64(maxBytes/r.size), 1)
}

// store hands entries to a writer, waits until they are committed, and
// acknowledges them.
func (r *reader) store(ops context.Context, entries []Entry, trial *trial) error {
	if len(entries) == 0 {
		return nil
	}
	b := &batch{entries: entries, weight: weigh(entries), trial: trial, done: make(chan stored, 1)}
	r.size = b.weight / len(entries)
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
	_ = r.server.XClaimJustID(ops, &redis.XClaimArgs{
		Stream: r.key, Group: keyspace.Group, Consumer: r.set.config.Consumer, Messages: ids,
	}).Err()
}

// createGroup creates the group at 0, never at $: entries that were appended
// while there was none must be read too.
func (r *reader) createGroup(ctx context.Context) error {
	err := r.server.XGroupCreateMkStream(context.WithoutCancel(ctx), r.key, keyspace.Group, "0").Err()
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
