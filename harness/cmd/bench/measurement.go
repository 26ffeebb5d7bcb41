package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// measurement is one run of bench, on servers of its own.
type measurement struct {
	*Report
	build
	rounds
	stack *servers.Stack
	out   io.Writer
}

// table measures one edge by all that o.only picks.
func (m measurement) table(ctx context.Context, o options) (err error) {
	t, err := newTarget(ctx, m.build, m.stack, m.cores, "", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if o.only.has(partStart) {
		if m.Start, err = starts(ctx, t, o.starts); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	} else if err = t.StartEdge(ctx); err != nil {
		return err
	}
	if err := m.introduce(ctx, t); err != nil {
		return err
	}
	if m.Start != nil {
		m.Start.print(m.out)
	}
	if err := m.warmUp(ctx, t); err != nil {
		return err
	}
	if picked := o.only.blocks(); len(picked) > 0 {
		lines, err := m.measure(ctx, []*target{t}, picked)
		if err != nil {
			return err
		}
		m.judge(lines[0], picked)
		m.Lines = lines[0]
		printLines(m.out, m.Lines)
	}
	if o.only.has(partMemory) {
		if m.Memory, err = peak(t); err != nil {
			return err
		}
		m.Memory.print(m.out)
	}
	if o.only.has(partOverload) {
		if m.Overload, err = overload(ctx, t, m.unit, o.overloadSeconds); err != nil {
			return fmt.Errorf("overload: %w", err)
		}
		m.Overload.print(m.out)
	}
	printWorkers(m.out, m.Worker)
	if m.Callbacks != nil {
		m.Callbacks.print(m.out)
	}
	return nil
}

// compare measures the edge and that of another revision in turns.
func (m measurement) compare(ctx context.Context, revision string, only selection) (err error) {
	fmt.Fprintf(m.say, "building %s\n", revision)
	base, remove, err := checkOut(ctx, m.root, revision)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var targets []*target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.close())
		}
	}()
	for _, b := range []build{base, m.build} {
		t, err := newTarget(ctx, b, m.stack, m.cores, "", nil)
		if err != nil {
			return fmt.Errorf("edge %s: %w", b.commit, err)
		}
		targets = append(targets, t)
		if err = t.StartEdge(ctx); err == nil {
			err = m.warmUp(ctx, t)
		}
		if err != nil {
			return fmt.Errorf("edge %s: %w", b.commit, err)
		}
	}
	described, err := targets[0].describe(ctx, base)
	if err != nil {
		return err
	}
	m.Base = &described
	if err := m.introduce(ctx, targets[1]); err != nil {
		return err
	}
	picked := only.blocks()
	lines, err := m.measure(ctx, targets, picked)
	if err != nil {
		return err
	}
	m.BaseLines, m.Lines = lines[0], lines[1]
	m.judge(m.Lines, picked)
	for i := range m.Lines {
		m.Ratios = append(m.Ratios, ratio(m.Lines[i], m.BaseLines[i]))
	}
	printLines(m.out, m.Lines)
	printRatios(m.out, m.Ratios)
	return nil
}

// growth measures what happens to one line when something else grows.
func (m measurement) growth(ctx context.Context, sessions int, only selection) error {
	t, err := newTarget(ctx, m.build, m.stack, m.cores, "", nil)
	if err != nil {
		return err
	}
	if err = t.StartEdge(ctx); err == nil {
		err = m.introduce(ctx, t)
	}
	if err = errors.Join(err, t.close()); err != nil {
		return err
	}
	r := m.rounds
	r.connections = []int{4}
	if m.Growth, err = (growth{build: m.build, rounds: r, sessions: sessions}).measureAll(ctx, only); err != nil {
		return err
	}
	printGrowth(m.out, m.Growth)
	return nil
}

// introduce prints what is measured, by the running edge's own words, and on
// what.
func (m measurement) introduce(ctx context.Context, t *target) (err error) {
	if m.Machine, err = describeMachine(ctx, t, m.build, m.cores); err != nil {
		return err
	}
	if m.Edge, err = t.describe(ctx, m.build); err != nil {
		return err
	}
	m.printHeader(m.out, m.cores, m.runs)
	return nil
}

// judge sets the bars of the lines of the edge under test.
func (m measurement) judge(lines []Line, measured []block) {
	for i := range lines {
		if bars := measured[i/len(m.connections)].bars; bars != nil {
			lines[i].Bars = bars(&lines[i], m.Edge.Backend == "libcrypto")
		}
	}
}
