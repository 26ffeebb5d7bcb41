package callback

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestAFinishedDeliveryMovesToTheHistoryWhole(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	e := endpoint(t, pool, "http://127.0.0.1:1/", `name = 'shop', max_attempts = 1`)
	ids := dueDeliveries(t, pool, e, 2)
	exec(t, pool, `UPDATE deliveries SET account = 'a', flow = 'survey', ordering_key = 'k', traceparent = 'tp', replay = true, subject_position = 7,
		created_at = '2026-11-23T12:00:00Z', event_at = '2026-11-22T12:00:00Z'`)
	exec(t, pool, `CREATE TABLE before AS SELECT * FROM deliveries`)
	claimed := q.claimUpTo(t, 1)
	q.finish(t, Result{Status: 200, Tries: 1}, claimed...)
	claimed = append(claimed, q.claimUpTo(t, 1)...)
	q.finish(t, Result{Status: 500, Tries: 1}, claimed[1])
	if n := count(t, pool, `SELECT count(*) FROM delivery_history h JOIN before b USING (id, account, endpoint_id, event_type, event_id, event_at,
		subject_id, subject_at, subject_position, flow, ordering_key, traceparent, replay, created_at)
		WHERE h.endpoint_name = 'shop' AND h.attempt = 1 AND h.body IS NOT NULL AND h.finished_at > now() - interval '1 min'`); n != len(ids) {
		t.Errorf("%d of %d moved whole", n, len(ids))
	}
	if n := count(t, pool, `SELECT count(*) FROM delivery_history WHERE state = 'delivered' AND last_status = 200 AND last_error IS NULL
		OR state = 'dead' AND last_status = 500 AND last_error LIKE '%500%'`); n != 2 {
		t.Errorf("%d of 2 rows say how they ended", n)
	}
	if n := count(t, pool, `SELECT count(*) FROM deliveries`); n != 0 {
		t.Errorf("%d are open", n)
	}
}

func TestAnAttemptIsTraced(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	const parent, child = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
	var mu sync.Mutex
	var sent, from string
	var status int
	rc := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		sent = r.Header.Get("traceparent")
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	id := dueDeliveries(t, pool, endpoint(t, pool, rc.URL), 1)[0]
	exec(t, pool, `UPDATE deliveries SET traceparent = $1`, parent)
	start(t, pool, func(c *Config) {
		c.Trace = func(ctx context.Context, d Delivery) (context.Context, string, func(Result)) {
			mu.Lock()
			defer mu.Unlock()
			from = d.Traceparent
			return ctx, child, func(r Result) { mu.Lock(); status = r.Status; mu.Unlock() }
		}
	})
	waitFor(t, pool, id, "delivered")
	mu.Lock()
	defer mu.Unlock()
	if sent != child || from != parent || status != http.StatusNoContent {
		t.Errorf("sent %q, from %q, ended with %d", sent, from, status)
	}
}
