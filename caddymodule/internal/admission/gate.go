// Package admission keeps a server that is asked for more than it can do at the
// speed of one that is not.
//
// Every request to the flow endpoint costs one private RSA operation, which is
// most of its CPU time. A Gate lets as many of them run at once as there are
// processors: more would only slow each other down, and everything else too. Those
// who come while all slots are taken wait in a line that is as long as can be
// served within the time they may wait; who comes later is turned away at once,
// before anything was spent on it. So at twice the capacity half of the users get
// their answer as fast as ever, where without a gate all of them would get it
// after WhatsApp has given up.
//
// The line is first in, first out. Last in, first out is known to serve more when
// a line has grown longer than its users' patience. This one never does: by the
// time its last is served, nobody has given up, and nobody was overtaken.
//
// Budget bounds the memory of request bodies in the same spirit.
package admission

import (
	"context"
	"sync"
	"time"
)

// Class is what kind of request waits.
type Class uint8

const (
	// Ping is WhatsApp's health check of an endpoint. There are few, they cost
	// nothing but the private operation, and one that fails counts against the
	// availability of the flow. It waits for pings, and for at most as many
	// others.
	Ping Class = iota
	// Other is every other request.
	Other

	classes
)

// Gate lets a limited number of operations run at once. It is safe for concurrent
// use and starts no goroutine.
type Gate struct {
	now func() time.Time

	mu       sync.Mutex
	line     line
	admitted [classes]uint64
	refused  [classes]uint64

	waiters sync.Pool
}

// New makes a Gate of at least one slot. The clock must not go back.
func New(slots int, now func() time.Time) *Gate {
	return &Gate{
		now: now, line: newLine(max(slots, 1)),
		waiters: sync.Pool{New: func() any { return &waiter{answer: make(chan bool, 1)} }},
	}
}

// Full says that Enter would refuse a newcomer at this moment, and counts that as
// a refusal: for those who can be turned away before they have cost anything.
func (g *Gate) Full(class Class, within time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	full := g.line.full(class, within, g.now())
	if full {
		g.refused[class]++
	}
	return full
}

// Enter takes a slot, and says how long it waited for it. It is false when there
// would be none within the given time: as a rule at once, and otherwise when that
// time is over or ctx ends. After true, Leave must be called once.
func (g *Gate) Enter(ctx context.Context, class Class, within time.Duration) (waited time.Duration, ok bool) {
	g.mu.Lock()
	now := g.now()
	if g.line.enter(now) {
		g.admitted[class]++
		g.mu.Unlock()
		return 0, true
	}
	if g.line.full(class, within, now) {
		g.refused[class]++
		g.mu.Unlock()
		return 0, false
	}
	w := g.waiters.Get().(*waiter)
	w.class, w.within = class, within
	g.line.join(w, now)
	g.mu.Unlock()

	select {
	case ok = <-w.answer:
		waited = w.waited
	case <-ctx.Done():
		waited, ok = g.quit(w)
	}
	g.waiters.Put(w)
	return waited, ok
}

// quit takes out a waiter whose time is over. A slot that it was given at the same
// moment is its own: the caller finds out about ctx by itself.
func (g *Gate) quit(w *waiter) (waited time.Duration, ok bool) {
	g.mu.Lock()
	if g.line.quit(w) {
		g.refused[w.class]++
		g.mu.Unlock()
		return 0, false
	}
	g.mu.Unlock()
	ok = <-w.answer
	return w.waited, ok
}

// Leave gives a slot back, to the next in line if there is one.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := g.line.leave(g.now()); w != nil; {
		next := w.next // w is its owner's again once it is woken
		w.next = nil
		if w.granted {
			g.admitted[w.class]++
		} else {
			g.refused[w.class]++
		}
		w.answer <- w.granted
		w = next
	}
}

// Stats are the numbers of a Gate at one moment, and since it was made.
type Stats struct {
	Slots, Running    int
	Waiting           int
	Admitted, Refused [classes]uint64 // by Class
}

// Stats reads the numbers.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{
		Slots: g.line.slots, Running: g.line.running,
		Waiting:  g.line.waiting[Ping].length + g.line.waiting[Other].length,
		Admitted: g.admitted, Refused: g.refused,
	}
}
