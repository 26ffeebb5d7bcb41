package callback

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestAClaimIsSpreadOverTheEndpoints(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for range 4 {
		dueDeliveries(t, pool, endpoint(t, pool, "http://127.0.0.1:1/"), 50)
	}
	q := &queue{pool: pool, lease: leaseFor}
	claimed := q.claimUpTo(t, 40)
	if len(claimed) != 32 {
		t.Fatalf("%d claimed, want 32: 8 places stay free", len(claimed))
	}
	share := make(map[uuid.UUID]int)
	for _, d := range claimed {
		share[d.Endpoint.ID]++
	}
	for id, n := range share {
		if n != 8 {
			t.Errorf("endpoint %s got %d of 40 places, want 8", id, n)
		}
	}
}

func Test410DisablesTheEndpointAndItsDeliveriesWait(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	rc := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
		}
	})
	watcher := newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL, `max_in_flight = 1`, `name = 'leaver'`)
	endpoint(t, pool, watcher.URL, `payload = 'event', events = '{endpoint.*}'`)
	endpoint(t, pool, "http://127.0.0.1:1/", `status = 'off', payload = 'event', events = '{*}'`)
	ids := dueDeliveries(t, pool, e, 3)
	core, logs := observer.New(zap.ErrorLevel)
	_, stop := start(t, pool, func(c *Config) { c.Log = zap.New(core) })
	testkit.Eventually(t, "the others are told", func() bool { return len(watcher.got()) == 1 })
	stop()
	if n := len(rc.got()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	for _, id := range ids {
		if r := read(t, pool, id); r.State != stateDue {
			t.Errorf("row = %+v", r)
		}
	}
	if n := count(t, pool, `SELECT count(*) FROM callback_endpoints WHERE id = $1 AND status = 'disabled' AND status_reason LIKE '%410%' AND revision = 2`, e); n != 1 {
		t.Error("the row does not say why it is disabled")
	}
	if body := watcher.got()[0].body; !strings.Contains(body, `"type":"endpoint.disabled"`) || !strings.Contains(body, `"endpoint":"leaver"`) {
		t.Errorf("the event is %s", body)
	}
	if logs.FilterMessageSnippet("endpoint disabled").Len() != 1 {
		t.Error("no log line says so")
	}
	change(t, pool, e, `status = 'active'`)
	start(t, pool)
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
}

func TestDaysOfFailuresDisableTheEndpoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set    string
		answer int
		status string
	}{
		"a failure after five days of them":     {`failing_since = now() - interval '121 hours', failures = 12`, 500, "disabled"},
		"a failure after four days of them":     {`failing_since = now() - interval '96 hours', failures = 12`, 500, "active"},
		"a success after five days of them":     {`failing_since = now() - interval '121 hours', failures = 12`, 200, "active"},
		"a second failure, five days later":     {`failing_since = now() - interval '121 hours', failures = 1`, 500, "active"},
		"an endpoint that is never disabled":    {`failing_since = now() - interval '121 hours', failures = 12, disable_after_hours = 0`, 500, "active"},
		"an endpoint that is given up sooner":   {`failing_since = now() - interval '2 hours', failures = 9, disable_after_hours = 1`, 500, "disabled"},
		"the first failure of a fresh endpoint": {`failing_since = NULL`, 500, "active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testkit.Database(t)
			e := endpoint(t, pool, "http://127.0.0.1:1/", c.set)
			dueDeliveries(t, pool, e, 1)
			q := &queue{pool: pool, lease: leaseFor}
			s, err := q.complete(t.Context(), []outcome{decide(quickSchedule, q.claimUpTo(t, 1)[0], Result{Status: c.answer}, 0)})
			if err != nil || s.attempts != 1 || len(s.disabled) == 1 != (c.status == "disabled") {
				t.Fatalf("stored %+v, %v", s, err)
			}
			want := count(t, pool, `SELECT count(*) FROM callback_endpoints WHERE status = $1 AND (failing_since IS NULL) = $2`, c.status, c.answer == 200)
			if want != 1 {
				t.Errorf("the endpoint is not %s, or its failures are not counted", c.status)
			}
		})
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
	e := endpoint(t, pool, rc.URL)
	ids := dueDeliveries(t, pool, e, 40)
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
	dueDeliveries(t, pool, endpoint(t, pool, slow.URL), 200)
	ids := dueDeliveries(t, pool, endpoint(t, pool, fast.URL), 20)
	start(t, pool, func(c *Config) { c.InFlight = 64 })
	t.Cleanup(func() { close(hang) }) // before the stop, which waits for the attempts
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
}
