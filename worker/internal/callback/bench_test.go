package callback

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
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
	each := (b.N + 9) / 10
	for range 10 {
		dueDeliveries(b, pool, endpoint(b, pool, server.URL), each)
	}
	if _, err := pool.Exec(b.Context(), `ANALYZE`); err != nil {
		b.Fatal(err)
	}
	d := New(Config{Pool: pool, Log: zap.NewNop(), Registry: prometheus.NewRegistry(), AllowNetworks: loopback})
	done := make(chan struct{})
	b.ResetTimer()
	started, before := time.Now(), processor(b)
	go func() { defer close(done); _ = d.Run(b.Context()) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for requests.Load() < int64(10*each) {
		<-tick.C
	}
	for open := true; open; <-tick.C {
		if err := pool.QueryRow(b.Context(), `SELECT EXISTS (SELECT FROM deliveries)`).Scan(&open); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((processor(b)-before).Microseconds())/float64(10*each), "CPU-µs/delivery")
	b.ReportMetric(float64(10*each)/time.Since(started).Seconds(), "deliveries/s")
	if n := requests.Load(); n != int64(10*each) {
		b.Errorf("%d requests for %d deliveries", n, 10*each)
	}
}

// processor is the time that this process, worker and receiver, has computed:
// unlike the rate, it says something on a machine that others use too.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
