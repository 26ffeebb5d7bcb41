package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// growth measures INIT and data_exchange while one thing grows and all the rest
// stays. The points of an axis are measured in turn in each run, on edges that
// are all up, so that what else the machine does falls on all of them.
type growth struct {
	build
	rounds
	sessions int    // the most of the axis of that name
	scratch  string // a directory for what is made
}

// axis is one thing that grows. lay makes the installation of one size; its edge
// does not run yet.
type axis struct {
	name   string
	sizes  []string
	bounds bool // its growth has a bar
	lay    func(ctx context.Context, stack *servers.Stack, size int) (*target, error)
	apart  bool // each size needs a Redis of its own
}

// growthParts are the names of the axes.
func growthParts() []string {
	var names []string
	for _, a := range (growth{}).axes() {
		names = append(names, a.name)
	}
	return names
}

func (g growth) axes() []axis {
	sessions := []int{10, 10000, g.sessions}
	flows := []int{1, 1000}
	shards := []int{1, 8, 16}
	payloads := []struct {
		size    string
		padding int
	}{{"0.2 KB", 0}, {"4 KB", 4 << 10}, {"64 KB", 64 << 10}}

	sessionSizes := make([]string, len(sessions))
	for i, n := range sessions {
		sessionSizes[i] = strconv.Itoa(n) + " sessions"
	}
	payloadSizes := make([]string, len(payloads))
	for i, p := range payloads {
		payloadSizes[i] = p.size + " of payload"
	}
	return []axis{
		{name: "sessions", bounds: true, apart: true, sizes: sessionSizes,
			lay: func(ctx context.Context, stack *servers.Stack, size int) (*target, error) {
				t, err := g.plain(ctx, stack, nil)
				if err == nil {
					t.begun = sessions[size]
				}
				return t, err
			}},
		{name: "flows", bounds: true, sizes: []string{"1 flow", "1000 flows"},
			lay: func(ctx context.Context, stack *servers.Stack, size int) (*target, error) {
				return g.withFlows(ctx, stack, flows[size])
			}},
		{name: "shards", sizes: []string{"1 shard", "8 shards", "16 shards"},
			lay: func(ctx context.Context, stack *servers.Stack, size int) (*target, error) {
				variable := "REDIS_SHARDS=" + strconv.Itoa(shards[size])
				t, err := g.plain(ctx, stack, func(o *site.Options) {
					o.EdgeEnv, o.Worker = append(o.EdgeEnv, variable), append(o.Worker, variable)
				})
				if err == nil {
					t.shards = shards[size]
				}
				return t, err
			}},
		{name: "keys", sizes: []string{"1 key", "4 keys, one in use", "4 keys, all in use"},
			lay: func(ctx context.Context, stack *servers.Stack, size int) (*target, error) {
				if size == 0 {
					return g.plain(ctx, stack, nil)
				}
				return g.withKeys(ctx, stack, size == 2)
			}},
		{name: "payload", sizes: payloadSizes,
			lay: func(ctx context.Context, stack *servers.Stack, size int) (*target, error) {
				t, err := g.plain(ctx, stack, nil)
				if err == nil {
					t.padding = payloads[size].padding
				}
				return t, err
			}},
	}
}

func (g growth) plain(ctx context.Context, stack *servers.Stack, change func(*site.Options)) (*target, error) {
	return newTarget(ctx, g.build, stack, g.cores, "", change)
}

func (g growth) withFlows(ctx context.Context, stack *servers.Stack, n int) (*target, error) {
	dir := filepath.Join(g.scratch, strconv.Itoa(n)+"-flows")
	names, err := copyFlows(filepath.Join(g.root, "examples"), dir, n)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(ctx, g.build, stack, g.cores, dir, nil)
	if err == nil {
		t.flows = names
	}
	return t, err
}

// withKeys is an account with four private keys. Requests are sealed for the
// last of them, or for each in turn.
func (g growth) withKeys(ctx context.Context, stack *servers.Stack, all bool) (*target, error) {
	dir, err := os.MkdirTemp(g.scratch, "keys-")
	if err != nil {
		return nil, err
	}
	caddyfile := filepath.Join(dir, "Caddyfile")
	t, err := g.plain(ctx, stack, func(o *site.Options) { o.Caddyfile = caddyfile })
	if err != nil {
		return nil, err
	}
	keys, err := fourKeys(g.root, caddyfile, t.Secrets)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	if all {
		t.keys = keys
	}
	return t, nil
}

func (g growth) measureAll(ctx context.Context, only selection) (measured []Axis, err error) {
	if g.scratch, err = os.MkdirTemp("", "waf-growth-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(g.scratch)) }()
	for _, a := range g.axes() {
		if !only.has(a.name) {
			continue
		}
		m, err := g.measureAxis(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("growth of %s: %w", a.name, err)
		}
		measured = append(measured, m)
	}
	return measured, nil
}

func (g growth) measureAxis(ctx context.Context, a axis) (_ Axis, err error) {
	fmt.Fprintf(g.say, "growth of %s: preparing\n", a.name)
	var stacks []*servers.Stack
	var targets []*target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.close())
		}
		for _, s := range stacks {
			err = errors.Join(err, s.Close())
		}
	}()
	for i := range a.sizes {
		if i == 0 || a.apart {
			stack, err := servers.Start(ctx, servers.Options{Durable: true, Private: true})
			if err != nil {
				return Axis{}, err
			}
			stacks = append(stacks, stack)
		}
		t, err := a.lay(ctx, stacks[len(stacks)-1], i)
		if err != nil {
			return Axis{}, err
		}
		targets = append(targets, t)
		if err := t.StartEdge(ctx); err != nil {
			return Axis{}, err
		}
		if err := t.begin(ctx); err != nil {
			return Axis{}, err
		}
		if err := g.warmUp(ctx, t); err != nil {
			return Axis{}, err
		}
	}
	var steps []block
	for _, b := range blocks {
		if b.name == "INIT" || b.name == "data_exchange" {
			steps = append(steps, b)
		}
	}
	lines, err := g.rounds.measure(ctx, targets, steps)
	if err != nil {
		return Axis{}, err
	}
	return compareSizes(a, lines), nil
}

// compareSizes divides the lines of each size by those of the first, run by run.
func compareSizes(a axis, lines [][]Line) Axis {
	result := Axis{Name: a.name}
	for i, size := range a.sizes {
		point := Point{Size: size, Lines: lines[i]}
		for j := range lines[i] {
			r := ratio(lines[i][j], lines[0][j])
			g := GrowthRatio{CPU: r.CPU.Median, PerSecond: r.PerSecond.Median, Redis: r.RedisCPU.Median}
			if a.bounds && i > 0 {
				g.Bars = []Bar{atMost("CPU ≤ 1.10", g.CPU, 1.10), atLeast("per second ≥ 0.90", g.PerSecond, 0.90)}
			}
			point.Ratio = append(point.Ratio, g)
		}
		result.Points = append(result.Points, point)
	}
	return result
}
