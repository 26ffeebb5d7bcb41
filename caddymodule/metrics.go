package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/upstream"
)

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "whatsapp_flows"

	// otherFlow is the flow label of a name that only a request knows, so
	// that requests cannot create labels without bound.
	otherFlow = "_other"

	// unknownAccount is the account label of a request that names none we have.
	unknownAccount = "_unknown"
)

// The counters belong to the process: they are registered anew with the
// registry of each configuration, so that a reload does not reset them.
var (
	requestsTotal = counter("requests_total",
		"Flow requests by what became of them.", "account", "flow", "action", "outcome")
	requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "request_duration_seconds",
		Help:    "Time from the first byte of a flow request to its answer. WhatsApp alerts on a p90 over 1 s and gives up at 10 s.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"account", "action"})
	refusedTotal = counter("refused_total",
		"Flow requests refused before they were understood.", "account", "reason")
	keyHitsTotal = counter("key_hits_total",
		"Envelopes opened, by private key: when the old key's count stands still, it can go.", "account", "key")
	reloadsTotal = counter("secret_reloads_total",
		"Times that secrets and keys were read anew by command, by result: ok, refused (the old ones stay).", "result")
	fallbacksTotal = counter("fallbacks_total",
		"Requests that got the fallback, or 503 where there is none, by reason.", "account", "reason")
	webhooksTotal = counter("webhooks_total",
		"Webhook requests by what became of them.", "account", "outcome")
	unknownPingsTotal = counter("unknown_flow_pings_total",
		"Health checks answered for a flow that is not known yet.", "account")
	unacknowledgedTotal = counter("unacknowledged_errors_total",
		"Error notifications that were acknowledged but could not be stored.", "account")
	fetchesTotal = counter("fetches_total",
		"Fetches of flows by upstream and result: ok, status (4xx or 5xx), timeout, error, invalid (not sent), "+
			"cached, shared (one request served several users).", "upstream", "result")
	upstreamSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "upstream_request_duration_seconds",
		Help:    "Time of the requests that were sent to an upstream, the answer's body included.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"upstream"})
)

// upstreamMetrics counts what upstreams are asked.
type upstreamMetrics struct{}

func (upstreamMetrics) Fetched(name string, result upstream.Result) {
	fetchesTotal.WithLabelValues(name, string(result)).Inc()
}

func (upstreamMetrics) Sent(name string, took time.Duration) {
	upstreamSeconds.WithLabelValues(name).Observe(took.Seconds())
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
	}, labels)
}

// registerMetrics registers everything with the registry of one configuration.
func registerMetrics(registry *prometheus.Registry, b *backend) error {
	collectors := []prometheus.Collector{
		requestsTotal, requestSeconds, refusedTotal, keyHitsTotal,
		fallbacksTotal, webhooksTotal, unknownPingsTotal, unacknowledgedTotal,
		fetchesTotal, upstreamSeconds, keyBackendInfo, reloadsTotal, heldKeys{},
		gauge("redis_up", "1 when Redis answered within the last second.", func() float64 {
			if b.up.Load() {
				return 1
			}
			return 0
		}),
		gauge("definitions_loaded", "Flow definitions this process holds, old versions included.", func() float64 {
			n := 0.0
			loaded.Range(func(any, any) bool { n++; return true })
			return n
		}),
	}
	for _, collector := range append(collectors, admissionMetrics()...) {
		if _, err := registerOrExisting(registry, collector); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// gauge is read when metrics are scraped.
func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
	}, value)
}

// registerOrExisting registers a collector, or returns the one that is already
// registered under its name.
func registerOrExisting[C prometheus.Collector](registry prometheus.Registerer, collector C) (C, error) {
	err := registry.Register(collector)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return collector, err
}
