//go:build !linux

package load

import (
	"context"
	"time"
)

// alarm wakes its one user up at a moment.
type alarm struct{ ctx context.Context }

func newAlarm(ctx context.Context) (*alarm, error) { return &alarm{ctx}, nil }

// sleep returns after d, at once when that is nothing or the alarm's ctx has
// ended.
func (a *alarm) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-a.ctx.Done():
	case <-time.After(d):
	}
}

func (a *alarm) close() {}
