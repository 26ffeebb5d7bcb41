package caddymodule

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// children finds the children of metric vectors by their labels without
// allocating, which WithLabelValues does at each call. Labels are bounded, and
// no child is ever deleted, so what was found once is kept.
type children[L comparable, M any] struct {
	of func(labels L) M

	mu    sync.Mutex
	known atomic.Pointer[map[L]M] // replaced as a whole
}

func (c *children[L, M]) get(labels L) M {
	if known := c.known.Load(); known != nil {
		if child, ok := (*known)[labels]; ok {
			return child
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[L]M)
	if known := c.known.Load(); known != nil {
		maps.Copy(next, *known)
	}
	next[labels] = c.of(labels)
	c.known.Store(&next)
	return next[labels]
}

// pair are the values of two labels, in the order of the vector.
type pair [2]string

// byPair are the children of a counter with two labels.
func byPair(vec *prometheus.CounterVec) *children[pair, prometheus.Counter] {
	return &children[pair, prometheus.Counter]{of: func(l pair) prometheus.Counter { return vec.WithLabelValues(l[0], l[1]) }}
}

var (
	refused  = byPair(refusedTotal)
	webhooks = byPair(webhooksTotal)
)

// exchangeLabels are those of requestsTotal and requestSeconds.
type exchangeLabels struct{ account, flow, action, outcome string }

type exchangeMetrics struct {
	total   prometheus.Counter
	seconds prometheus.Observer
}

var exchanges = children[exchangeLabels, exchangeMetrics]{of: func(l exchangeLabels) exchangeMetrics {
	return exchangeMetrics{
		total:   requestsTotal.WithLabelValues(l.account, l.flow, l.action, l.outcome),
		seconds: requestSeconds.WithLabelValues(l.account, l.action),
	}
}}
