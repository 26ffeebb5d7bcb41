package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream/failpoint"
)

// drain stores what is pending under this consumer's name: entries of a reply
// that was lost, of a process that was killed, or claimed from another.
func (r *reader) drain(ctx, ops context.Context) error {
	for ctx.Err() == nil {
		limit := r.batchLimit()
		pending, err := r.server.XPendingExt(ops, &redis.XPendingExtArgs{
			Stream: r.key, Group: keyspace.Group, Start: "-", End: "+", Count: limit, Consumer: r.set.config.Consumer,
		}).Result()
		if err != nil {
			return fmt.Errorf("XPENDING: %w", err)
		}
		if len(pending) == 0 {
			r.charged = nil
			r.progress.Store(time.Now().UnixMilli())
			return nil
		}
		trial := r.onTrial(pending, limit)
		entries, gone, err := r.reread(ops, trial.ids)
		if err != nil {
			return err
		}
		if err := r.lostPending(ops, gone); err != nil {
			return err
		}
		if trial.count >= deadAfter {
			trial = nil // its record is stored, which ends no process
			for i := range entries {
				if entries[i].Problem == nil {
					entries[i].Problem = errKiller
				}
			}
		}
		if err := r.store(ops, entries, trial); err != nil {
			return err
		}
	}
	return nil
}

// reread reads entries by their ids, which XREADGROUP would count as another
// delivery. gone are those that were deleted.
func (r *reader) reread(ops context.Context, ids []string) (entries []Entry, gone []string, err error) {
	replies := make([]*redis.XMessageSliceCmd, len(ids))
	_, err = r.server.Pipelined(ops, func(p redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.XRange(ops, r.key, id, id)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("XRANGE: %w", err)
	}
	for i, reply := range replies {
		messages := reply.Val()
		if len(messages) == 0 {
			gone = append(gone, ids[i])
			continue
		}
		entries = append(entries, newEntry(r.key, r.shard, messages[0]))
	}
	if len(entries) > 0 {
		failpoint.Hit(failpoint.AfterRead)
	}
	return entries, gone, nil
}

// lostPending takes pending entries that were deleted off the list, and reports
// those that were still on it. What is stored is acknowledged and deleted in one
// step, so the others were stored by a worker of the same name meanwhile.
//
// When the reply of XACK is lost, they are not reported here: the numbers of
// their edges have a gap, which is.
func (r *reader) lostPending(ops context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	replies := make([]*redis.IntCmd, len(ids))
	_, err := r.server.Pipelined(ops, func(p redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.XAck(ops, r.key, keyspace.Group, id)
		}
		return nil
	})
	var lost []string
	for i, reply := range replies {
		if reply.Val() == 1 {
			lost = append(lost, ids[i])
		}
	}
	r.lost(lost)
	if err != nil {
		return fmt.Errorf("XACK: %w", err)
	}
	return nil
}

// lost reports entries that somebody deleted before they were stored.
func (r *reader) lost(ids []string) {
	if len(ids) == 0 {
		return
	}
	r.set.metrics.lost.Add(float64(len(ids)))
	r.set.config.Log.Error("entries were deleted from the stream before they were stored: "+
		"never trim or delete from these streams",
		zap.String("stream", r.key), zap.Int("entries", len(ids)), zap.String("ids", clip(ids)))
}

func clip(ids []string) string {
	const limit = 20
	if len(ids) > limit {
		return strings.Join(ids[:limit], " ") + " …"
	}
	return strings.Join(ids, " ")
}

// look takes over what other consumers left pending for MinIdle. JUSTID, because
// claiming must not count as a delivery.
func (r *reader) look(ctx, ops context.Context) error {
	if r.cursor == "" {
		r.cursor = "0-0"
	}
	claimed := 0
	for range 10 { // the cursor is kept: a longer list goes on next time
		reply, err := r.server.Do(ops, "XAUTOCLAIM", r.key, keyspace.Group, r.set.config.Consumer,
			r.set.config.MinIdle.Milliseconds(), r.cursor, "COUNT", 100, "JUSTID").Slice()
		if err != nil {
			return fmt.Errorf("XAUTOCLAIM: %w", err)
		}
		if len(reply) < 2 {
			return fmt.Errorf("XAUTOCLAIM: %d elements came, expected 3", len(reply))
		}
		r.cursor, _ = reply[0].(string)
		ids, _ := reply[1].([]any)
		claimed += len(ids)
		if len(reply) > 2 { // since Redis 7.0
			deleted, _ := reply[2].([]any)
			gone := make([]string, 0, len(deleted))
			for _, id := range deleted {
				gone = append(gone, fmt.Sprint(id))
			}
			r.lost(gone)
		}
		if r.cursor == "0-0" || r.cursor == "" {
			break
		}
	}
	r.looked = time.Now()
	if err := r.sweep(ops); err != nil {
		return err
	}
	if claimed == 0 {
		return nil
	}
	r.set.metrics.claimed.Add(float64(claimed))
	r.set.config.Log.Info("took over entries that another worker left pending",
		zap.String("stream", r.key), zap.Int("entries", claimed))
	return r.drain(ctx, ops)
}
