package callback

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// BenchmarkDeliver delivers b.N callbacks to ten local receivers' endpoints,
// from due rows to stored attempts.
func BenchmarkDeliver(b *testing.B) {
	pool := testkit.Database(b)
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	b.Cleanup(server.Close)
	const endpoints = `
		INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
		SELECT gen_random_uuid(), '*', 'e' || n, $1, ARRAY[$2::text], 5000, 10 FROM generate_series(1, 10) n`
	if _, err := pool.Exec(b.Context(), endpoints, server.URL, NewSecret()); err != nil {
		b.Fatal(err)
	}
	const due = `
		WITH r AS (INSERT INTO flow_responses (id, source, flow_token, phone_number, response_data, answered_at)
			SELECT gen_random_uuid(), 'nfm_reply', 'token', '5511999999999', '{"score": 9}', now() FROM generate_series(1, $1) RETURNING id),
		n AS (SELECT id, row_number() OVER () AS n FROM r)
		INSERT INTO deliveries (id, endpoint_id, event_type, response_id)
		SELECT gen_random_uuid(), e.id, 'flow_completed', n.id FROM n JOIN callback_endpoints e ON e.name = 'e' || (1 + n.n % 10)`
	if _, err := pool.Exec(b.Context(), due, b.N); err != nil {
		b.Fatal(err)
	}
	if _, err := pool.Exec(b.Context(), `ANALYZE`); err != nil {
		b.Fatal(err)
	}
	d := New(Config{Pool: pool, Log: zap.NewNop(), Registry: prometheus.NewRegistry(), AllowNetworks: loopback})
	done := make(chan struct{})
	b.ResetTimer()
	started := time.Now()
	go func() { defer close(done); _ = d.Run(b.Context()) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for left := 1; left > 0; <-tick.C {
		if err := pool.QueryRow(b.Context(), `SELECT count(*) FROM deliveries WHERE state <> 'delivered'`).Scan(&left); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "deliveries/s")
	if n := requests.Load(); n != int64(b.N) {
		b.Errorf("%d requests for %d deliveries", n, b.N)
	}
}
