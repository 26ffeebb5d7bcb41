package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// until calls check until it succeeds and is how long that took. It gives up
// after patience, or at once on a permanent error.
func until(ctx context.Context, patience time.Duration, what string, check func(context.Context) error) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error // that is not the end of patience itself
	for {
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		err := check(attempt)
		done()
		if err == nil {
			return time.Since(began), nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		var hopeless permanentError
		if errors.As(err, &hopeless) {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: not within %s: %w", what, time.Since(began).Round(time.Millisecond), last)
		case <-tick.C:
		}
	}
}

// permanentError ends until: waiting cannot help.
type permanentError struct{ error }

func permanent(err error) error { return permanentError{err} }

func (e permanentError) Unwrap() error { return e.error }

// pause waits for d, less when ctx ends: under load, for something to be under
// way, or for as long as a fault is to last.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
