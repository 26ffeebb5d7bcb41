package main

import (
	"sync/atomic"

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
