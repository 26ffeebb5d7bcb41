package callback

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// BenchmarkBesideADeadEndpoint sends b.N deliveries to a healthy endpoint, one
// every 10 ms, and reports how long each takes from its row to its receiver:
// alone, and beside an endpoint with 100 000 deliveries waiting that refuses
// connections or never answers, and whose breaker is closed again as soon as it
// opens, so that it is as much in the way as it can be.
func BenchmarkBesideADeadEndpoint(b *testing.B) {
	hang := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	b.Cleanup(func() { close(hang); hanging.Close() })
	for _, c := range []struct{ name, dead string }{
		{"alone", ""},
		{"one that refuses", "http://127.0.0.1:1/"},
		{"one that hangs", hanging.URL},
	} {
		b.Run(c.name, func(b *testing.B) {
			pool := testkit.Database(b)
			var mu sync.Mutex
			sent := make(map[string]time.Time)
			var took []time.Duration
			healthy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(sent[r.Header.Get("webhook-id")]))
			}))
			defer healthy.Close()
			e := endpoint(b, pool, healthy.URL)
			if c.dead != "" {
				dead := endpoint(b, pool, c.dead, `max_attempts = 1000, timeout_ms = 1000`)
				dueDeliveries(b, pool, dead, 1)
				exec(b, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
					SELECT gen_random_uuid(), endpoint_id, event_type, gen_random_uuid(), now(), subject_id, subject_at
					FROM deliveries, generate_series(1, 100000)`)
			}
			exec(b, pool, `ANALYZE`)
			d := New(Config{Pool: pool, Log: zap.NewNop(), Registry: prometheus.NewRegistry(), AllowNetworks: loopback})
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = d.Run(ctx) }()
			defer func() { stop(); <-done }()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			b.ResetTimer()
			for n := range b.N {
				<-tick.C
				if n%5 == 0 {
					exec(b, pool, `UPDATE callback_endpoints SET failures = 0, paused_until = NULL WHERE failures > 0`)
				}
				response, event := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
				exec(b, pool, `INSERT INTO flow_responses (id, source, response_data, answered_at) VALUES ($1, 'nfm_reply', '{}', now())`, response)
				mu.Lock()
				sent[event.String()] = time.Now()
				mu.Unlock()
				exec(b, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
					VALUES (gen_random_uuid(), $1, 'flow.completed', $2, now(), $3, now())`, e, event, response)
				d.Nudge()
			}
			testkit.Eventually(b, "all arrived", func() bool { mu.Lock(); defer mu.Unlock(); return len(took) == b.N })
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
