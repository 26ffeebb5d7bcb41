package stream

import (
	"context"
	"sync"
	"time"
)

// gate holds readers back while the database refuses what they already have in
// hand. Reading or claiming more then would only move the backlog from Redis
// into memory and raise delivery counts.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
	shut bool
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.shut, g.open = true, make(chan struct{})
	}
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		g.shut = false
		close(g.open)
	}
}

// wait returns when the gate is open or ctx ends.
func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
	}
}

// throttle lets one of many equal log lines pass in every period: when Redis is
// gone, every reader finds out at once and again and again.
type throttle struct {
	every time.Duration

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// pass says whether to log now, and how many were held back since the last.
func (t *throttle) pass() (ok bool, suppressed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.next) {
		t.suppressed++
		return false, 0
	}
	suppressed, t.suppressed, t.next = t.suppressed, 0, now.Add(t.every)
	return true, suppressed
}

// backoff doubles from its first pause to its limit.
type backoff struct {
	first, limit, next time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// wait pauses, less when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, b.first), b.limit)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
