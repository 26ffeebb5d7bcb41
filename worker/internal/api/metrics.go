package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func (a *api) newMetrics(r prometheus.Registerer) *metrics {
	const prefix = "whatsapp_flows_worker_api_"
	f := promauto.With(r)
	labels := []string{"route", "method", "status"}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "waiting",
		Help: "Requests that wait for their turn to send, or to have checked, a large flow."},
		func() float64 { return float64(a.large.waiting.Load() + a.checks.waiting.Load()) })
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: prefix + "requests_total",
			Help: `Requests to the API, by the pattern of their path; "none" is a path that there is not.`}, labels),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_seconds",
			Help:    "Time from the head of a request to the end of its answer.",
			Buckets: []float64{.005, .025, .1, .25, 1, 2.5, 10, 60, 600}}, labels),
	}
}

// methods are those with a label of their own: a client may make up others.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// count adds a request that was answered. A status of 0 is an answer that was
// broken off.
func (m *metrics) count(pattern string, r *http.Request, status int, began time.Time) {
	_, route, _ := strings.Cut(pattern, " ")
	if route == "" {
		route = "none"
	}
	method := r.Method
	if !slices.Contains(methods, method) {
		method = "other"
	}
	class := strconv.Itoa(status/100) + "xx"
	if status == 0 {
		class = "broken_off"
	}
	m.requests.WithLabelValues(route, method, class).Inc()
	m.seconds.WithLabelValues(route, method, class).Observe(time.Since(began).Seconds())
}
