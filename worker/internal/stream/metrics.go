package stream

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	lag           *prometheus.GaugeVec
	oldestPending *prometheus.GaugeVec
	lost          prometheus.Counter
	recreated     prometheus.Counter
	dead          prometheus.Counter
	ackShort      prometheus.Counter
	readErrors    prometheus.Counter
	writeErrors   prometheus.Counter
	claimed       prometheus.Counter
	removed       prometheus.Counter
	batch         prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	const prefix = "whatsapp_flows_worker_"
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	return &metrics{
		lag: f.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "stream_lag_entries",
			Help: "Entries in the stream: what is committed is deleted, so this is the backlog."}, []string{"stream"}),
		oldestPending: f.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "stream_oldest_pending_seconds",
			Help: "How long no worker has held the pending entry that was left longest; 0 while none was left for as long as it takes to be taken over."}, []string{"stream"}),
		lost:      counter("stream_entries_lost_total", "Pending entries that were deleted from the stream before they were stored. Alert above 0."),
		recreated: counter("stream_group_recreated_total", "Consumer groups that had to be created again while running. Alert above 0."),
		dead:      counter("stream_entries_dead_total", "Entries moved to a dead stream because they can never be stored."),
		ackShort:  counter("stream_ack_short_total", "Stored entries that Redis no longer knew when they were acknowledged."),
		readErrors: counter("stream_read_errors_total",
			"Failed reads, claims and acknowledgements; each is followed by another try."),
		writeErrors: counter("batch_write_errors_total", "Transactions that failed and were tried again."),
		claimed:     counter("stream_entries_claimed_total", "Entries taken over from a worker that left them pending."),
		removed: counter("stream_consumers_removed_total",
			"Consumers removed from their group: no pending entries and not heard of for a day."),
		batch: f.NewHistogram(prometheus.HistogramOpts{Name: prefix + "batch_rows",
			Help: "Entries in one transaction.", Buckets: []float64{1, 4, 16, 64, 128, 256, 512, 1024, 2048}}),
	}
}
