package ingest

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commitSeconds prometheus.Histogram
	stored        *prometheus.CounterVec
	duplicates    *prometheus.CounterVec
	answers       *prometheus.CounterVec
	seqLost       prometheus.Counter
	gaps          prometheus.Gauge
	defaultRows   *prometheus.GaugeVec
	dropped       *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	const prefix = "whatsapp_flows_worker_"
	f := promauto.With(r)
	return &metrics{
		commitSeconds: f.NewHistogram(prometheus.HistogramOpts{Name: prefix + "batch_commit_seconds",
			Help:    "Time from the begin of a transaction to its commit.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}}),
		stored: f.NewCounterVec(prometheus.CounterOpts{Name: prefix + "events_stored_total",
			Help: "Entries, messages and statuses stored for the first time."}, []string{"kind"}),
		duplicates: f.NewCounterVec(prometheus.CounterOpts{Name: prefix + "events_duplicate_total",
			Help: "Entries, messages and statuses that had been stored before."}, []string{"kind"}),
		answers: f.NewCounterVec(prometheus.CounterOpts{Name: prefix + "answers_total",
			Help: "Finished flows stored, by what brought their answers."}, []string{"source"}),
		seqLost: f.NewCounter(prometheus.CounterOpts{Name: prefix + "edge_seq_lost_total",
			Help: "Entries that an edge had acknowledged and that never arrived. Alert above 0."}),
		gaps: f.NewGauge(prometheus.GaugeOpts{Name: prefix + "edge_seq_gaps",
			Help: "Writing processes of which entries are known to be lost."}),
		defaultRows: f.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "default_partition_used",
			Help: "1 if the default partition of the table holds rows that could not be moved to the partition of their day."}, []string{"table"}),
		dropped: f.NewCounterVec(prometheus.CounterOpts{Name: prefix + "partitions_dropped_total",
			Help: "Daily partitions that were older than the retention says."}, []string{"table"}),
	}
}

// count is called before the commit; a transaction that then fails is counted
// again, which these counters may.
func (m *metrics) count(g *gathered, fresh map[key]struct{}, r rows) {
	repeats := make(map[string]int, len(g.repeats))
	for kind, n := range g.repeats {
		repeats[kind] = n
	}
	stored := make(map[string]int)
	for k := range g.keys {
		if _, ok := fresh[k]; ok {
			stored[k.kind]++
		} else {
			repeats[k.kind]++
		}
	}
	for kind, n := range stored {
		m.stored.WithLabelValues(kind).Add(float64(n))
	}
	for kind, n := range repeats {
		m.duplicates.WithLabelValues(kind).Add(float64(n))
	}
	for _, a := range r.answers {
		m.answers.WithLabelValues(a.source).Inc()
	}
}
