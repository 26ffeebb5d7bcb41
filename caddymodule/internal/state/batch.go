package state

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// batchesUnderWay is how many batches of one primary may wait for their
	// answers at once. Redis takes all that has come while it wrote and synced
	// its append-only file as one lot, so up to this many callers lose nothing
	// by going alone; with one batch under way they would take turns, and four
	// get half the throughput. Above it, what waits goes together, which spares
	// both sides the system calls. docs/performance.md has the figures.
	batchesUnderWay = 4

	// Bounds of a batch. A command that is larger goes alone.
	batchCommands = 128
	batchBytes    = 1 << 20
)

// batcher sends the commands of concurrent requests to one primary, together
// where that costs no waiting: a command that finds no batch under way is sent
// at once by its own caller, and the commands that come while a batch is under
// way make up the next, which one of their callers sends. There is no
// goroutine of its own and no timer.
type batcher struct {
	// send sends a batch and fills in what became of each of its commands.
	send func(ctx context.Context, batch []*command)
	// underWay is the bound of batches under way.
	underWay int

	mu      sync.Mutex
	running int
	waiting []*command // only while running is underWay
}

// do returns once it is known what became of c. When c.ctx ends while c still
// waits, c is not sent; when it ends later, do waits for the answer all the
// same, which the timeouts of the client bound. So what c refers to belongs to
// the caller again in either case.
func (b *batcher) do(c *command) {
	if err := c.ctx.Err(); err != nil {
		c.err = &notSentError{err}
		return
	}
	b.mu.Lock()
	if b.running < b.underWay {
		b.running++
		b.mu.Unlock()
		c.alone[0] = c
		b.lead(c.ctx, c.alone[:])
		return
	}
	c.turn = make(chan []*command, 1)
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()

	var batch []*command
	select {
	case batch = <-c.turn:
	case <-c.ctx.Done():
		if b.leave(c) {
			c.err = &notSentError{c.ctx.Err()}
			return
		}
		batch = <-c.turn
	}
	if batch != nil {
		b.lead(latest(batch), batch)
	}
}

// leave takes c out of the commands that wait. It is false when c is already
// part of a batch.
func (b *batcher) leave(c *command) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, c)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return true
}

// lead sends a batch, makes the caller of one that waits lead the next, and
// tells the others of this batch.
func (b *batcher) lead(ctx context.Context, batch []*command) {
	// Also when send panics: nobody may wait for ever.
	defer func() {
		if next := b.next(); next != nil {
			next[0].turn <- next
		}
		for _, c := range batch[1:] {
			c.turn <- nil
		}
	}()
	for _, c := range batch {
		c.err = errNoAnswer
	}
	b.send(ctx, batch)
}

// next takes the next batch from those that wait, nil when there is none; then
// one batch less is under way.
func (b *batcher) next() []*command {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.running--
		return nil
	}
	n, size := 1, b.waiting[0].size
	for n < min(len(b.waiting), batchCommands) && size+b.waiting[n].size <= batchBytes {
		size += b.waiting[n].size
		n++
	}
	batch := slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	return batch
}

// latest is the context of a batch: it ends with the last of its commands'
// contexts, so that no command is cut short by another's. Only its deadline
// counts, which the client sets on the connection.
func latest(batch []*command) context.Context {
	var end time.Time
	for _, c := range batch {
		deadline, ok := c.ctx.Deadline()
		if !ok {
			return context.Background()
		}
		if deadline.After(end) {
			end = deadline
		}
	}
	return untilContext{context.Background(), end}
}

// untilContext has a deadline and no timer.
type untilContext struct {
	context.Context
	end time.Time
}

func (c untilContext) Deadline() (time.Time, bool) { return c.end, true }
