package main

import (
	"context"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

// yardstick measures B, the CPU time of one private operation, on the edge's
// core: a processor's speed is not the same from one minute to the next.
type yardstick struct {
	cpus []int
	last time.Duration // of right now; 0 when something was done since
}

// around runs do and is the mean of B right before and right after it. Of two
// calls in a row, the first one's after is the second one's before.
func (y *yardstick) around(ctx context.Context, do func() error) (b time.Duration, err error) {
	before := y.last
	y.last = 0
	if before == 0 {
		if before, err = load.OpenSSLSign(ctx, y.cpus...); err != nil {
			return 0, err
		}
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := load.OpenSSLSign(ctx, y.cpus...)
	y.last = after
	return (before + after) / 2, err
}
