package callback

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestAClaimIsSpreadOverTheEndpoints(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for range 4 {
		endpoint(t, pool, "http://127.0.0.1:1/")
		dueDeliveries(t, pool, 50)
		if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET name = id::text WHERE name = 'env'`); err != nil {
			t.Fatal(err)
		}
	}
	q := &queue{pool: pool, lease: leaseFor}
	claimed, err := q.claim(t.Context(), 40)
	if err != nil || len(claimed) != 40 {
		t.Fatalf("%d claimed, %v; want 40", len(claimed), err)
	}
	share := make(map[uuid.UUID]int)
	for _, d := range claimed {
		share[d.Endpoint.ID]++
	}
	for id, n := range share {
		if n != 10 {
			t.Errorf("endpoint %s got %d of 40, want 10", id, n)
		}
	}
}

func Test410ShutsTheEndpointAndItsDeliveriesWait(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	rc := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
		}
	})
	endpoint(t, pool, rc.URL)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET max_in_flight = 1`); err != nil {
		t.Fatal(err)
	}
	ids := dueDeliveries(t, pool, 3)
	_, stop := start(t, pool)
	testkit.Eventually(t, "the endpoint is shut", func() bool {
		var shut bool
		err := pool.QueryRow(context.Background(), `SELECT coalesce(paused_until = 'infinity', false) FROM callback_endpoints`).Scan(&shut)
		return err == nil && shut
	})
	stop()
	if n := len(rc.got()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	for _, id := range ids {
		if r := read(t, pool, id); r.State != "due" {
			t.Errorf("row = %+v", r)
		}
	}
	// Started again with the same address, it is tried again.
	endpoint(t, pool, rc.URL)
	start(t, pool)
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
}

func TestTenFailuresPauseTheEndpointAndOneProbeOpensIt(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	healthy := make(chan struct{})
	rc := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		select {
		case <-healthy:
		default:
			w.WriteHeader(500)
		}
	})
	endpoint(t, pool, rc.URL)
	ids := dueDeliveries(t, pool, 40)
	_, stop := start(t, pool, func(c *Config) { c.Schedule = []time.Duration{0, time.Millisecond, time.Hour} })
	var failures int
	var pause float64
	readBreaker := func() {
		if err := pool.QueryRow(context.Background(), `SELECT failures, coalesce(extract(epoch FROM paused_until - now()), 0)::float8 FROM callback_endpoints`).
			Scan(&failures, &pause); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the breaker opens", func() bool { readBreaker(); return pause > 0 })
	stop()
	readBreaker()
	if failures != breakerAfter || pause < 20 || pause > 30 {
		t.Errorf("failures %d, pause %g s; want %d and 30 s however many were in flight", failures, pause, breakerAfter)
	}
	// The pause is over: a single probe, which fails and doubles it.
	elapse := func() {
		if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET paused_until = now() - interval '1 s'`); err != nil {
			t.Fatal(err)
		}
	}
	elapse()
	before := len(rc.got())
	_, stop = start(t, pool)
	testkit.Eventually(t, "the probe failed", func() bool { readBreaker(); return failures == breakerAfter+1 })
	stop()
	readBreaker()
	if n := len(rc.got()) - before; n != 1 || pause < 50 || pause > 60 {
		t.Errorf("%d probes, pause %g s; want 1 and 60 s", n, pause)
	}
	elapse()
	close(healthy)
	if _, err := pool.Exec(t.Context(), `UPDATE deliveries SET run_at = now() WHERE state = 'due'`); err != nil {
		t.Fatal(err)
	}
	start(t, pool)
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
	if readBreaker(); failures != 0 || pause != 0 {
		t.Errorf("failures %d, pause %g s after recovery", failures, pause)
	}
}

func TestADeadEndpointDoesNotHoldUpAHealthyOne(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	hang := make(chan struct{})
	slow := newReceiver(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	fast := newReceiver(t, nil)
	endpoint(t, pool, slow.URL)
	dueDeliveries(t, pool, 200)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET name = 'slow'`); err != nil {
		t.Fatal(err)
	}
	endpoint(t, pool, fast.URL)
	ids := dueDeliveries(t, pool, 20)
	start(t, pool, func(c *Config) { c.InFlight = 64 })
	t.Cleanup(func() { close(hang) }) // before the stop, which waits for the attempts
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
}
