package stream

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Limits of one transaction: batches of several shards are merged up to here.
// The one that passes a limit is still taken along.
const (
	maxEntries = 1024
	maxBytes   = 4 << 20
)

// backlogEntries is how many entries of a backlog a reader has in hand at once:
// a transaction has costs of its own, which with 64 entries are a tenth of it.
const backlogEntries = 256

// errAbandoned is the fate of a batch that could not be stored in time after a
// stop. Its entries stay pending under this consumer's name.
var errAbandoned = errors.New("stopped before the batch was stored")

// batch is what one reader has in hand.
type batch struct {
	entries []Entry
	weight  int         // bytes of the entries
	trial   *trial      // nil for entries that were just read for the first time
	done    chan stored // one result, always
}

// alone says that the batch may end the process, and that nothing else must be
// under way when it does.
func (b *batch) alone() bool { return b.trial != nil && b.trial.alone }

type stored struct {
	dead []Dead
	err  error
}

// write merges waiting batches and stores them until work is closed.
func (r *Readers) write(ctx context.Context, work <-chan *batch) {
	var next *batch // taken from work and not to be merged
	for {
		first := next
		if next = nil; first == nil {
			var ok bool
			if first, ok = <-work; !ok {
				return
			}
		}
		group := []*batch{first}
		entries := append([]Entry(nil), first.entries...)
		bytes := first.weight
	merge:
		for !first.alone() && len(entries) < maxEntries && bytes < maxBytes {
			select {
			case b, ok := <-work:
				if !ok {
					break merge
				}
				if b.alone() {
					next = b
					break merge
				}
				group = append(group, b)
				entries = append(entries, b.entries...)
				bytes += b.weight
			default:
				break merge
			}
		}
		taken := time.Now()
		dead, err := r.store(ctx, group, entries)
		settle(group, dead, err)
		if err == nil {
			r.metrics.batch.Observe(float64(len(entries)))
			r.config.Stored(entries, dead, taken)
		}
	}
}

func weigh(entries []Entry) int {
	n := 0
	for _, e := range entries {
		n += e.size()
	}
	return n
}

// store writes until it succeeds: no error of the database may cost an entry.
func (r *Readers) store(ctx context.Context, group []*batch, entries []Entry) ([]Dead, error) {
	pause := backoff{first: 50 * time.Millisecond, limit: 500 * time.Millisecond}
	for {
		if ctx.Err() != nil {
			return nil, errAbandoned
		}
		dead, err := r.attempt(ctx, group, entries)
		if err == nil {
			r.gate.reopen()
			return dead, nil
		}
		if errors.Is(err, errUncounted) {
			// Of Redis: its reader begins again. Nobody may have anything else in
			// hand, so that nothing would open the gate after this.
			r.gate.reopen()
			return nil, err
		}
		r.gate.close()
		r.metrics.writeErrors.Inc()
		if ok, more := r.quiet.pass(); ok {
			r.config.Log.Error("storing a batch failed, trying again: the streams keep what is not stored",
				zap.Int("entries", len(entries)), zap.Int("suppressed", more), zap.Error(err))
		}
		pause.wait(ctx)
	}
}

// settle tells each reader about its own part of a merged batch.
func settle(group []*batch, dead []Dead, err error) {
	if len(group) == 1 {
		group[0].done <- stored{dead: dead, err: err}
		return
	}
	byStream := make(map[string][]Dead)
	for _, d := range dead {
		byStream[d.Entry.Stream] = append(byStream[d.Entry.Stream], d)
	}
	for _, b := range group {
		b.done <- stored{dead: byStream[b.entries[0].Stream], err: err}
	}
}
