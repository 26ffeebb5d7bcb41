package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

// rounds is how often and with how much everything is measured.
type rounds struct {
	runs        int
	unit        int // requests of a run with factor 1
	connections []int
	cores       cores
	say         io.Writer // progress

	redisBenchmark string // its path; empty when it is not installed
}

// warmUp brings the code, caches and heap of an edge to where they stay: each
// flow is used at least once.
func (r rounds) warmUp(ctx context.Context, t *target) error {
	for _, prepare := range []func(context.Context, *target, int) ([]load.Call, error){pings, exchanges, webhooks} {
		calls, err := prepare(ctx, t, max(min(r.unit, 500), len(t.flows)))
		if err != nil {
			return err
		}
		if err := t.answerAll(ctx, calls, 4); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
	}
	return nil
}

// measure takes all blocks once in each run, and all targets one after the other
// at each line, so that what a machine does in between is shared out evenly. The
// result has the lines of each target.
func (r rounds) measure(ctx context.Context, targets []*target, blocks []block) ([][]Line, error) {
	lines := make([][]Line, len(targets))
	for i := range lines {
		for _, b := range blocks {
			for _, connections := range r.connections {
				lines[i] = append(lines[i], Line{Name: b.name, Connections: connections, Fsync: b.fsync, Requests: b.requests(r.unit)})
			}
		}
	}
	for run := range r.runs {
		y := yardstick{cpus: r.cores.edge}
		for i, b := range blocks {
			fmt.Fprintf(r.say, "run %d of %d: %s\n", run+1, r.runs, b.name)
			first := i * len(r.connections)
			if err := r.block(ctx, targets, b, &y, lines, first); err != nil {
				return nil, err
			}
		}
	}
	for i := range lines {
		for j := range lines[i] {
			l := &lines[i][j]
			l.Median, l.Min, l.Max = summarise(l.Runs)
		}
	}
	return lines, nil
}

// block measures the lines of one block once and adds the figures to those of
// each target from the number first on.
func (r rounds) block(ctx context.Context, targets []*target, b block, y *yardstick, lines [][]Line, first int) error {
	measured := make([][]Run, len(targets))
	all := func() error {
		for _, connections := range r.connections {
			for i, t := range targets {
				figures, err := r.once(ctx, t, b, connections)
				if err != nil {
					return fmt.Errorf("%s at %d connections: %w", b.name, connections, err)
				}
				measured[i] = append(measured[i], figures)
			}
		}
		return nil
	}
	var operation time.Duration // B
	var err error
	if b.opens {
		operation, err = y.around(ctx, all)
	} else {
		y.last, err = 0, all()
	}
	if err != nil {
		return err
	}
	for i := range targets {
		for c, figures := range measured[i] {
			figures.B = us(operation)
			figures.TimesB = quotient(figures.CPU, figures.B)
			line := &lines[i][first+c]
			line.Runs = append(line.Runs, figures)
		}
	}
	return nil
}

// once measures one line once.
func (r rounds) once(ctx context.Context, t *target, b block, connections int) (Run, error) {
	n := b.requests(r.unit)
	calls, err := b.prepare(ctx, t, n)
	if err != nil {
		return Run{}, fmt.Errorf("preparing: %w", err)
	}
	if err := t.settle(ctx, b.fsync); err != nil {
		return Run{}, err
	}
	finish := profile(ctx, t.Site, b.name)
	figures, err := t.measure(ctx, calls, connections)
	if err = errors.Join(err, finish()); err != nil || !b.beside || r.redisBenchmark == "" {
		return figures, err
	}
	figures.XAdd, err = r.appendRate(ctx, t, connections, n, len(finishedForm(0, "")))
	figures.TimesXAdd = quotient(figures.PerSecond, figures.XAdd)
	return figures, err
}
