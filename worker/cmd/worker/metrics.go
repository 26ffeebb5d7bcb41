package main

import (
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolMetrics are the counters that the pool of Postgres connections keeps
// anyway; nothing is asked of the database.
type poolMetrics struct{ pool *atomic.Pointer[pgxpool.Pool] }

var (
	poolOpen = prometheus.NewDesc("whatsapp_flows_worker_postgres_connections",
		"Connections to Postgres, by whether they are in use.", []string{"state"}, nil)
	poolWaits = prometheus.NewDesc("whatsapp_flows_worker_postgres_pool_waits_total",
		"Times a connection had to be waited for.", nil, nil)
	poolWaited = prometheus.NewDesc("whatsapp_flows_worker_postgres_pool_wait_seconds_total",
		"Time spent waiting for a connection.", nil, nil)
)

// Describe implements prometheus.Collector.
func (poolMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- poolOpen
	ch <- poolWaits
	ch <- poolWaited
}

// Collect implements prometheus.Collector.
func (m poolMetrics) Collect(ch chan<- prometheus.Metric) {
	pool := m.pool.Load()
	if pool == nil {
		return
	}
	s := pool.Stat()
	ch <- prometheus.MustNewConstMetric(poolOpen, prometheus.GaugeValue, float64(s.AcquiredConns()), "used")
	ch <- prometheus.MustNewConstMetric(poolOpen, prometheus.GaugeValue, float64(s.IdleConns()), "idle")
	ch <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(s.EmptyAcquireCount()))
	ch <- prometheus.MustNewConstMetric(poolWaited, prometheus.CounterValue, s.EmptyAcquireWaitTime().Seconds())
}

// readiness is what /readyz says of the worker itself, for those who watch
// metrics only. It asks neither Postgres nor Redis.
func (w *worker) readiness() []prometheus.Collector {
	started := time.Now()
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "whatsapp_flows_worker_readers_progress_seconds",
			Help: "How long ago the reader that is furthest behind last had an answer from Redis and nothing left to store; from the start on until then."},
			func() float64 {
				last := w.progress()
				if last.IsZero() {
					last = started
				}
				return time.Since(last).Seconds()
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "whatsapp_flows_worker_parts_down",
			Help: "Parts of the worker that have died and wait to be started again."},
			func() float64 { return float64(len(w.group.Failing())) }),
	}
}
