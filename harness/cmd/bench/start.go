package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

const (
	startBar = 0.5 // seconds to the first 200
	restBar  = 60  // MB
	peakBar  = 120 // MB

	// restPause is how long after its first answer an edge is left alone before
	// its memory is looked at.
	restPause = time.Second
)

// starts takes the edge up and down so many times. The last one stays up.
func starts(ctx context.Context, t *target, times int) (*Start, error) {
	s := &Start{}
	for i := range times {
		if i > 0 {
			if err := t.Edge.End(syscall.SIGTERM, 30*time.Second); err != nil {
				return nil, err
			}
		}
		took, err := firstAnswer(ctx, t)
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(restPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		rest, _, err := load.Memory(t.Edge.PID())
		if err != nil {
			return nil, err
		}
		s.Seconds, s.RestMB = append(s.Seconds, took.Seconds()), append(s.RestMB, mb(rest))
	}
	s.Bars = []Bar{
		atMost(fmt.Sprintf("≤ %g s", startBar), median(s.Seconds), startBar),
		atMost(fmt.Sprintf("≤ %d MB", restBar), median(s.RestMB), restBar),
	}
	return s, nil
}

// firstAnswer starts the edge and is the time until it has answered a ping.
func firstAnswer(ctx context.Context, t *target) (time.Duration, error) {
	calls, err := pings(ctx, t, 1)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	start := time.Now()
	if err := t.LaunchEdge(); err != nil {
		return 0, err
	}
	for {
		err := t.answerAll(ctx, calls, 1)
		if err == nil {
			return time.Since(start), nil
		}
		if died := t.Died(); died != nil {
			return 0, died
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(fmt.Errorf("the edge answers no ping: %w", err), ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// peak is what the edge took at most since its start.
func peak(t *target) (*Memory, error) {
	_, highest, err := load.Memory(t.Edge.PID())
	if err != nil {
		return nil, err
	}
	m := &Memory{PeakMB: mb(highest)}
	m.Bars = []Bar{atMost(fmt.Sprintf("≤ %d MB", peakBar), m.PeakMB, peakBar)}
	return m, nil
}
