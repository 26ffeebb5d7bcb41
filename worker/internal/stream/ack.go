package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// deadLimit bounds a dead stream. The rows in dead_entries are the record; the
// stream is for people with redis-cli.
const deadLimit = 100_000

// acknowledge takes committed entries out of the stream, and dead ones over to
// the dead stream. On an error they are still pending and come again, to this
// process to be acknowledged only, to another to be stored, which then changes
// nothing.
func (r *reader) acknowledge(ops context.Context, entries []Entry, dead []Dead) error {
	isDead := make(map[string]bool, len(dead))
	for _, d := range dead {
		isDead[d.Entry.ID] = true
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		if !isDead[e.ID] {
			ids = append(ids, e.ID)
		}
	}
	if err := r.remove(ops, ids); err != nil {
		r.committed = ids
		return err
	}
	for _, d := range dead {
		if err := r.bury(ops, d); err != nil {
			return err
		}
	}
	return nil
}

// acknowledgeCommitted makes up for an acknowledgement that failed, so that after
// Redis was away nobody stores again what is stored.
func (r *reader) acknowledgeCommitted(ops context.Context) error {
	if err := r.remove(ops, r.committed); err != nil {
		return err
	}
	r.committed = nil
	return nil
}

// remove acknowledges and deletes in one MULTI: an entry that is only
// acknowledged would stay for ever, one that is only deleted would count as lost.
func (r *reader) remove(ops context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var acked *redis.IntCmd
	_, err := r.server.TxPipelined(ops, func(p redis.Pipeliner) error {
		acked = p.XAck(ops, r.key, keyspace.Group, ids...)
		p.XDel(ops, r.key, ids...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("acknowledging: %w", err)
	}
	// Fewer means that the group was lost meanwhile or that another worker took
	// the entries over; they are stored either way.
	if short := int64(len(ids)) - acked.Val(); short > 0 {
		r.set.metrics.ackShort.Add(float64(short))
	}
	return nil
}

// bury moves one entry to the shard's dead stream with its fields as they came.
func (r *reader) bury(ops context.Context, d Dead) error {
	values := make([]any, 0, 2*len(d.Entry.Fields)+8)
	for name, value := range d.Entry.Fields {
		values = append(values, name, value)
	}
	values = append(values, "dead_stream", d.Entry.Stream, "dead_id", d.Entry.ID,
		"dead_reason", d.Reason, "dead_at", time.Now().UTC().Format(time.RFC3339))
	_, err := r.server.TxPipelined(ops, func(p redis.Pipeliner) error {
		p.XAdd(ops, &redis.XAddArgs{Stream: r.set.config.Keys.DeadEvents(r.shard), MaxLen: deadLimit, Approx: true, Values: values})
		p.XAck(ops, r.key, keyspace.Group, d.Entry.ID)
		p.XDel(ops, r.key, d.Entry.ID)
		return nil
	})
	if refused := redis.Error(nil); errors.As(err, &refused) {
		// Redis is full, say. The entry is in dead_entries already, and leaving it
		// here would keep it from being read past.
		r.set.config.Log.Warn("the dead stream refused an entry, which is in dead_entries only",
			zap.String("stream", d.Entry.Stream), zap.String("id", d.Entry.ID), zap.Error(err))
		err = r.remove(ops, []string{d.Entry.ID})
	}
	if err != nil {
		return fmt.Errorf("moving an entry to the dead stream: %w", err)
	}
	r.set.metrics.dead.Inc()
	r.set.config.Log.Error("entry moved to the dead stream: it can never be stored",
		zap.String("stream", d.Entry.Stream), zap.String("id", d.Entry.ID),
		zap.String("kind", string(d.Entry.Event.Kind)), zap.String("reason", d.Reason))
	return nil
}
