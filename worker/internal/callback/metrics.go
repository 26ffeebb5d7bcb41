package callback

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	namespace = "whatsapp_flows_worker"
	// gaugesEvery is how often the gauges are read from the database; a scrape
	// reads none.
	gaugesEvery = 15 * time.Second
	// countUpTo bounds what counting open deliveries may cost.
	countUpTo = 100_000
)

// metrics of deliveries and endpoints. No label holds a URL.
type metrics struct {
	attempts    *prometheus.CounterVec
	seconds     prometheus.Histogram
	open        *prometheus.GaugeVec
	oldestDue   *prometheus.GaugeVec
	breaker     *prometheus.GaugeVec
	expired     prometheus.Counter
	lost        prometheus.Counter
	connections *prometheus.CounterVec
	inFlight    prometheus.Gauge
	finished    *prometheus.CounterVec
	replays     prometheus.Counter
	disabled    prometheus.Counter
	lag         prometheus.Histogram
	claims      prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "delivery_attempts_total",
			Help: "Attempts to deliver a callback, by what came of them.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "delivery_seconds",
			Help:    "Time of one attempt.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "deliveries_open",
			Help: "Deliveries not finished, by state; counted to 100000 every 15 s.",
		}, []string{"state"}),
		oldestDue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "delivery_oldest_due_seconds",
			Help: "How long the oldest due delivery has been waiting past its time, by the status of its endpoint.",
		}, []string{"status"}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "endpoint_breaker_state",
			Help: "State of an endpoint: 0 closed, 1 probing, 2 paused, 3 disabled, 4 paused by the operator; one that is off has none.",
		}, []string{"endpoint"}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "lease_expired_total",
			Help: "Deliveries whose worker died, or never heard that it had them, and which were made due again.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "lease_lost_total",
			Help: "Attempts of this worker whose result came after their lease was lost.",
		}),
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "http_connections_total",
			Help: "Connections to receivers used, new or reused.",
		}, []string{"connection"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "deliveries_in_flight",
			Help: "Deliveries this worker holds.",
		}),
	}
	m.finished = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "deliveries_finished_total",
		Help: "Deliveries that ended, by state; cancelled ones had nothing left to tell of.",
	}, []string{"state"})
	m.disabled = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "endpoints_disabled_total",
		Help: "Endpoints disabled by 410 Gone or by failures for too long.",
	})
	m.lag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "delivery_lag_seconds",
		Help:    "Time from when a delivery was due to its first attempt, replays left out.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200},
	})
	m.claims = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "delivery_claim_seconds",
		Help:    "Time of one look for due deliveries.",
		Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 5},
	})
	m.replays = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "replays_total",
		Help: "Deliveries sent once more because somebody asked for it.",
	})
	for _, state := range []string{stateDelivered, stateDead, stateCancelled} {
		m.finished.WithLabelValues(state) // from 0, so that the first one is an increase
	}
	registry.MustRegister(m.finished, m.replays, m.disabled, m.lag, m.claims)
	registry.MustRegister(m.attempts, m.seconds, m.open, m.oldestDue, m.breaker, m.expired, m.lost, m.connections, m.inFlight)
	return m
}

func (m *metrics) connection(reused bool) {
	if reused {
		m.connections.WithLabelValues("reused").Inc()
	} else {
		m.connections.WithLabelValues("new").Inc()
	}
}

func (m *metrics) attempt(r Result) {
	m.attempts.WithLabelValues(r.Outcome()).Inc()
	m.seconds.Observe(r.Took.Seconds())
}

func (m *metrics) claimed(c claimed, took time.Duration) {
	m.claims.Observe(took.Seconds())
	m.finished.WithLabelValues(stateCancelled).Add(float64(len(c.gone)))
	for i := range c.deliveries {
		if d := &c.deliveries[i]; d.Attempt == 1 && !d.Replay {
			m.lag.Observe(d.late.Seconds())
		}
		if d := &c.deliveries[i]; d.Replay && d.Attempt == d.Base+1 {
			m.replays.Inc()
		}
	}
}

// refresh reads the gauges. Every source is an index: the partial ones of open
// deliveries, or the few endpoints.
func (m *metrics) refresh(ctx context.Context, pool *pgxpool.Pool) error {
	var due, leased int64
	oldest := map[string]*float64{"active": new(float64), "paused": new(float64), "disabled": new(float64)}
	const open = `
		WITH late AS (
			SELECT e.status, extract(epoch FROM now() - min(first.run_at))::float8 AS by
			FROM callback_endpoints e CROSS JOIN (VALUES (false), (true)) AS r (replay) CROSS JOIN LATERAL (
				SELECT run_at FROM deliveries d WHERE d.endpoint_id = e.id AND d.replay = r.replay AND d.state = 'due' ORDER BY run_at LIMIT 1) first
			WHERE e.status <> 'off' AND first.run_at <= now() GROUP BY e.status)
		SELECT (SELECT count(*) FROM (SELECT FROM deliveries WHERE state = 'due' LIMIT $1) d),
			(SELECT count(*) FROM (SELECT FROM deliveries WHERE state = 'leased' LIMIT $1) l),
			coalesce((SELECT by FROM late WHERE status = 'active'), 0),
			coalesce((SELECT by FROM late WHERE status = 'paused'), 0),
			coalesce((SELECT by FROM late WHERE status = 'disabled'), 0)`
	if err := pool.QueryRow(ctx, open, countUpTo).Scan(&due, &leased, oldest["active"], oldest["paused"], oldest["disabled"]); err != nil {
		return err
	}
	m.open.WithLabelValues("due").Set(float64(due))
	m.open.WithLabelValues("leased").Set(float64(leased))
	for status, seconds := range oldest {
		m.oldestDue.WithLabelValues(status).Set(*seconds)
	}

	const endpoints = `
		SELECT id, CASE WHEN status = 'disabled' THEN 3 WHEN status = 'paused' THEN 4
			WHEN paused_until > now() THEN 2 WHEN failures >= $1 THEN 1 ELSE 0 END
		FROM callback_endpoints WHERE status <> 'off'`
	rows, err := pool.Query(ctx, endpoints, breakerAfter)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var state int
	m.breaker.Reset()
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		m.breaker.WithLabelValues(id.String()).Set(float64(state))
		return nil
	})
	return err
}
