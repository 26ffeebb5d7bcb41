package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Delivery counts. An entry that was read twice and is still pending may be what
// ends the process: from then on entries are stored one by one, so that its
// neighbours get away. After deadAfter deliveries, the last of them alone, it is
// given up. Errors of the database do not come here: such a batch is written
// again without being read again.
const (
	suspectAfter = 2
	deadAfter    = 5
)

var errKiller = errors.New("delivered " + strconv.Itoa(deadAfter) + " times, the last times alone, and never stored: " +
	"storing it seems to end the process")

// drain stores what is pending under this consumer's name: entries of a reply
// that was lost, of a process that was killed, or claimed from another.
func (r *reader) drain(ctx, ops context.Context) error {
	for ctx.Err() == nil {
		pending, err := r.client.XPendingExt(ops, &redis.XPendingExtArgs{
			Stream: r.key, Group: keyspace.Group, Start: "-", End: "+", Count: r.count, Consumer: r.set.config.Consumer,
		}).Result()
		if err != nil {
			return fmt.Errorf("XPENDING: %w", err)
		}
		if len(pending) == 0 {
			r.progress.Store(time.Now().UnixMilli())
			return nil
		}
		count := r.count
		for _, p := range pending {
			if p.RetryCount >= suspectAfter {
				count = 1
			}
		}
		// Reading counts as a delivery, so an entry that is given up is not read
		// again: only the first can be next.
		if first := pending[0]; first.RetryCount >= deadAfter {
			if err := r.giveUp(ops, first.ID); err != nil {
				return err
			}
			continue
		}
		entries, gone, err := r.read(ops, "0", count, -1)
		if err != nil {
			return err
		}
		if err := r.lost(ops, gone, true); err != nil {
			return err
		}
		if err := r.store(ops, entries); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) giveUp(ops context.Context, id string) error {
	messages, err := r.client.XRange(ops, r.key, id, id).Result()
	if err != nil {
		return fmt.Errorf("XRANGE: %w", err)
	}
	if len(messages) == 0 {
		return r.lost(ops, []string{id}, true)
	}
	entry := newEntry(r.key, r.shard, messages[0])
	if entry.Problem == nil {
		entry.Problem = errKiller
	}
	return r.store(ops, []Entry{entry})
}

// lost reports entries that somebody deleted before they were stored.
func (r *reader) lost(ops context.Context, ids []string, pending bool) error {
	if len(ids) == 0 {
		return nil
	}
	r.set.metrics.lost.Add(float64(len(ids)))
	r.set.config.Log.Error("entries were deleted from the stream before they were stored: "+
		"never trim or delete from these streams",
		zap.String("stream", r.key), zap.Int("entries", len(ids)), zap.String("ids", clip(ids)))
	if !pending {
		return nil
	}
	if err := r.client.XAck(ops, r.key, keyspace.Group, ids...).Err(); err != nil {
		return fmt.Errorf("XACK: %w", err)
	}
	return nil
}

func clip(ids []string) string {
	const limit = 20
	if len(ids) > limit {
		return strings.Join(ids[:limit], " ") + " …"
	}
	return strings.Join(ids, " ")
}

// look takes over what other consumers left pending for MinIdle. JUSTID, because claiming must not count as a delivery.
func (r *reader) look(ctx, ops context.Context) error {
	if r.cursor == "" {
		r.cursor = "0-0"
	}
	claimed := 0
	for range 10 { // the cursor is kept: a longer list goes on next time
		reply, err := r.client.Do(ops, "XAUTOCLAIM", r.key, keyspace.Group, r.set.config.Consumer,
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
			if err := r.lost(ops, gone, false); err != nil {
				return err
			}
		}
		if r.cursor == "0-0" || r.cursor == "" {
			break
		}
	}
	r.looked = time.Now()
	if claimed == 0 {
		return nil
	}
	r.set.metrics.claimed.Add(float64(claimed))
	r.set.config.Log.Info("took over entries that another worker left pending",
		zap.String("stream", r.key), zap.Int("entries", claimed))
	return r.drain(ctx, ops)
}
