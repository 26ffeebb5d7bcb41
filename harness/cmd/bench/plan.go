package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

// Fsync policies of Redis's append-only file.
const (
	fsyncAlways   = "always"
	fsyncEverySec = "everysec"
)

// block is one kind of request, measured over several numbers of connections.
type block struct {
	name    string
	prepare func(ctx context.Context, t *target, n int) ([]load.Call, error)
	factor  int    // requests of a run for one of -requests: cheap ones need more
	fsync   string // Redis's policy meanwhile
	opens   bool   // costs a private operation: B is measured around it
	beside  bool   // run redis-benchmark right after each line
	bars    func(l *Line, libcrypto bool) []Bar
}

func (b block) requests(unit int) int { return max(1, b.factor*unit) }

// blocks are the lines of the table; each at all numbers of connections.
var blocks = []block{
	{name: "ping", prepare: pings, factor: 1, fsync: fsyncAlways, opens: true, bars: pingBars},
	{name: "INIT", prepare: inits, factor: 1, fsync: fsyncAlways, opens: true},
	{name: "data_exchange", prepare: exchanges, factor: 1, fsync: fsyncAlways, opens: true, bars: exchangeBars},
	{name: "random-ciphertext", prepare: randomCiphertexts, factor: 1, fsync: fsyncAlways, opens: true},
	{name: "no-envelope", prepare: noEnvelopes, factor: 8, fsync: fsyncAlways},
	{name: "bad-signature", prepare: forgeries, factor: 8, fsync: fsyncAlways, bars: forgeryBars},
	{name: "webhook", prepare: webhooks, factor: 8, fsync: fsyncEverySec, beside: true, bars: webhookBars},
	{name: "webhook", prepare: webhooks, factor: 8, fsync: fsyncAlways, beside: true, bars: webhookBars},
}

// Parts of a run beside the blocks.
const (
	partStart    = "start"
	partMemory   = "memory"
	partOverload = "overload"
	partWorker   = "worker"
	partCallback = "callbacks"
)

func tableParts() []string {
	return append(blockNames(), partStart, partMemory, partOverload, partWorker, partCallback)
}

func blockNames() []string {
	var names []string
	for _, b := range blocks {
		if !slices.Contains(names, b.name) {
			names = append(names, b.name)
		}
	}
	return names
}

// selection are the lines and parts that -only picks; none picks all.
type selection []string

func parseSelection(only string, known []string) (selection, error) {
	if only == "" {
		return nil, nil
	}
	picked := selection(strings.Split(only, ","))
	for _, name := range picked {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-only names %q, expected some of %s, with commas between them", name, strings.Join(known, ","))
		}
	}
	return picked, nil
}

func (s selection) has(name string) bool { return len(s) == 0 || slices.Contains(s, name) }

func (s selection) blocks() []block {
	var picked []block
	for _, b := range blocks {
		if s.has(b.name) {
			picked = append(picked, b)
		}
	}
	return picked
}

// The bars. Those in B, and of waiting, depend on which private operation the
// edge has.

func pingBars(l *Line, libcrypto bool) []Bar {
	return []Bar{timesB(l, libcrypto, 1.20, 1.90)}
}

func exchangeBars(l *Line, libcrypto bool) []Bar {
	bars := []Bar{timesB(l, libcrypto, 1.35, 2.05)}
	if l.Connections == 4 {
		limit := 12.0
		if libcrypto {
			limit = 7
		}
		bars = append(bars, atMost(fmt.Sprintf("p99 ≤ %.0f ms", limit), l.Median.P99/1000, limit))
	}
	return bars
}

func timesB(l *Line, libcrypto bool, with, without float64) Bar {
	limit := without
	if libcrypto {
		limit = with
	}
	return atMost(fmt.Sprintf("≤ %.2f B", limit), l.Median.TimesB, limit)
}

func forgeryBars(l *Line, _ bool) []Bar {
	return []Bar{atMost("≤ 45 µs", l.Median.CPU, 45)}
}

func webhookBars(l *Line, _ bool) []Bar {
	switch {
	case l.Fsync == fsyncAlways && l.Connections > 1 && l.Median.XAdd > 0:
		return []Bar{atLeast("≥ 0.7 × XADD", l.Median.TimesXAdd, 0.7)}
	case l.Fsync == fsyncEverySec && l.Connections == 4:
		return []Bar{atLeast("≥ 10 000/s", l.Median.PerSecond, 10000)}
	case l.Fsync == fsyncEverySec && l.Connections == 32:
		return []Bar{atLeast("≥ 20 000/s", l.Median.PerSecond, 20000)}
	}
	return nil
}
