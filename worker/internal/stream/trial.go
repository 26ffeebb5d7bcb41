package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// An entry that is found pending may be what ended the process before. What
// counts against it is Redis' delivery count, which therefore must rise by
// nothing but a process that ended while storing it: replies that were lost,
// takeovers and restarts are nobody's fault. So pending entries are read
// without being delivered again; just before they are stored their count is
// raised, and it is put back as soon as that try has ended in any way but with
// the process.
//
//	count 1  read once: stored together, as ever
//	      2  a process ended while it was stored: with a few others
//	      3… again: by itself
//	      6  three times by itself: given up
//
// From 2 on nothing else is stored meanwhile, by any writer, so that no entry
// is charged with the death of its neighbour.
const (
	fewAfter   = 2
	aloneAfter = 3
	deadAfter  = 6

	few = 8 // suspects stored together
)

var errKiller = errors.New("storing it ended the process " + strconv.Itoa(deadAfter-aloneAfter) +
	" times while nothing else was being stored")

// errUncounted is the fate of a batch whose trial could not be written down.
var errUncounted = errors.New("counting a try to store pending entries failed")

// trial is the count of entries that were found pending. All of a batch have
// the same.
type trial struct {
	reader *reader
	ids    []string
	count  int64
	alone  bool
}

// attempt stores once. Tries of suspects exclude all others.
func (r *Readers) attempt(ctx context.Context, group []*batch, entries []Entry) ([]Dead, error) {
	if group[0].alone() {
		r.suspects.Lock()
		defer r.suspects.Unlock()
	} else {
		r.suspects.RLock()
		defer r.suspects.RUnlock()
	}
	// Whatever happens to ctx, a count that was raised is put back.
	ops := context.WithoutCancel(ctx)
	for i, b := range group {
		if err := b.trial.begin(ops); err != nil {
			ended(ops, group[:i+1])
			return nil, fmt.Errorf("%w: %w", errUncounted, err)
		}
	}
	dead, err := r.config.Write(ctx, entries)
	if err != nil {
		ended(ops, group)
	}
	return dead, err
}

func ended(ops context.Context, group []*batch) {
	for _, b := range group {
		b.trial.end(ops)
	}
}

// begin charges the entries with one more end of the process.
func (t *trial) begin(ops context.Context) error {
	if t == nil {
		return nil
	}
	if t.reader.charged == nil {
		t.reader.charged = make(map[string]int64)
	}
	for _, id := range t.ids { // first: also what fails may have been done
		t.reader.charged[id] = t.count
	}
	return t.set(ops, t.count+1)
}

// end takes the charge back: the process is still there.
//
// Fails open: the reader knows what it could not take back, so a process adds
// one at most.
func (t *trial) end(ops context.Context) {
	if t == nil || t.set(ops, t.count) != nil {
		return
	}
	for _, id := range t.ids {
		delete(t.reader.charged, id)
	}
}

// counted is how often a process ended while a pending entry was stored, plus
// one. Redis says so, except where this very process raised the count and could
// not put it back.
func (r *reader) counted(p redis.XPendingExt) int64 {
	count := max(p.RetryCount, 1)
	if before, ok := r.charged[p.ID]; ok && count == before+1 {
		return before
	}
	return count
}

// set also says that the entries are this consumer's, as renew does.
func (t *trial) set(ops context.Context, count int64) error {
	args := []any{"XCLAIM", t.reader.key, keyspace.Group, t.reader.set.config.Consumer, 0}
	for _, id := range t.ids {
		args = append(args, id)
	}
	args = append(args, "RETRYCOUNT", count, "JUSTID")
	if err := t.reader.server.Do(ops, args...).Err(); err != nil {
		return fmt.Errorf("XCLAIM: %w", err)
	}
	return nil
}

// onTrial is the beginning of a list of pending entries that is stored together,
// at most limit of them.
func (r *reader) onTrial(pending []redis.XPendingExt, limit int64) *trial {
	t := &trial{reader: r, count: r.counted(pending[0])}
	switch {
	case t.count >= aloneAfter:
		t.alone, limit = true, 1
	case t.count >= fewAfter:
		t.alone, limit = true, min(few, limit)
	}
	for _, p := range pending {
		if int64(len(t.ids)) == limit || r.counted(p) != t.count {
			break
		}
		t.ids = append(t.ids, p.ID)
	}
	return t
}
