package callback

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// finish ends claimed deliveries with one result.
func (q *queue) finish(t testing.TB, r Result, claimed ...Delivery) {
	t.Helper()
	var done []outcome
	for _, d := range claimed {
		done = append(done, decide(quickSchedule, d, r, 0))
	}
	if s, err := q.complete(t.Context(), done); err != nil || s.attempts != len(done) {
		t.Fatalf("%d of %d attempts stored, %v", s.attempts, len(done), err)
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyActiveEndpointsAreClaimedFrom(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	for set, want := range map[string]int{
		`status = 'active'`:                                1,
		`status = 'paused'`:                                0,
		`status = 'disabled'`:                              0,
		`status = 'off'`:                                   0,
		`paused_until = now() + interval '1 min'`:          0,
		`paused_until = now() - interval '1 s'`:            1,
		`status = 'paused', paused_until = '-infinity'`:    0,
		`rate_limit = 5, rate_tokens = 0, rate_at = now()`: 0,
		`max_in_flight = 0`:                                0,
	} {
		e := endpoint(t, pool, "http://127.0.0.1:1/", set)
		dueDeliveries(t, pool, e, 1)
		if got := len(q.claimUpTo(t, 10)); got != want {
			t.Errorf("%s: %d claimed, want %d", set, got, want)
		}
		exec(t, pool, `DELETE FROM deliveries`)
		exec(t, pool, `DELETE FROM callback_endpoints`)
	}
}

func TestPausedByTheOperatorItWaitsAndGoesOn(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL, `status = 'paused'`)
	other := endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, e, 1)[0]
	start(t, pool)
	waitFor(t, pool, dueDeliveries(t, pool, other, 1)[0], "delivered")
	if r := read(t, pool, id); r.State != stateDue || r.Attempt != 0 {
		t.Errorf("row = %+v", r)
	}
	change(t, pool, e, `status = 'active'`)
	waitFor(t, pool, id, "delivered")
}

func TestReplaysComeAfterWhatIsLiveAndTakeAQuarterAtMost(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	e := endpoint(t, pool, "http://127.0.0.1:1/", `max_in_flight = 8`)
	replays := dueDeliveries(t, pool, e, 20)
	exec(t, pool, `UPDATE deliveries SET replay = true, run_at = run_at - interval '1 hour'`)
	dueDeliveries(t, pool, e, 7)
	count := func(claimed []Delivery) (live, old int) {
		for _, d := range claimed {
			if d.Replay {
				old++
			} else {
				live++
			}
		}
		return live, old
	}
	first := q.claimUpTo(t, 100)
	if live, old := count(first); live != 7 || old != 1 {
		t.Errorf("%d live and %d replays claimed, want 7 and 1: what is live goes first", live, old)
	}
	if more := q.claimUpTo(t, 100); len(more) != 0 {
		t.Errorf("%d more, the endpoint is full", len(more))
	}
	q.finish(t, Result{Status: 200}, first...)
	second := q.claimUpTo(t, 100)
	if live, old := count(second); live != 0 || old != 2 {
		t.Errorf("%d live and %d replays, want 2 of 8 places", live, old)
	}
	if third := q.claimUpTo(t, 100); len(third) != 0 {
		t.Errorf("%d more replays beside 2", len(third))
	}
	// The event of a replay is the one it always was, and its attempts go on.
	exec(t, pool, `UPDATE deliveries SET state = 'due', lease_id = NULL, attempt = 4, attempt_base = 4, run_at = now() WHERE id = $1`, replays[len(replays)-1])
	exec(t, pool, `DELETE FROM deliveries WHERE id <> $1`, replays[len(replays)-1])
	d := q.claimUpTo(t, 1)[0]
	if d.Attempt != 5 || decide(quickSchedule, d, Result{Status: 500}, 0).state != stateDue {
		t.Errorf("attempt %d: a replay starts its schedule over", d.Attempt)
	}
	d.Attempt = 4 + len(quickSchedule)
	if decide(quickSchedule, d, Result{Status: 500}, 0).state != stateDead {
		t.Error("a replay ends like any other")
	}
}

func TestARateHoldsAcrossTwoWorkers(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	const rate = 40
	e := endpoint(t, pool, rc.URL, `rate_limit = 40`)
	dueDeliveries(t, pool, e, 400)
	started := time.Now()
	_, stopFirst := start(t, pool)
	_, stopSecond := start(t, pool)
	testkit.Eventually(t, "60 were sent", func() bool { return len(rc.got()) >= 60 })
	stopFirst()
	stopSecond()
	// What one second brings at most was in the bucket, and has come since.
	allowed := int(rate*time.Since(started).Seconds()) + rate + 1
	if n := len(rc.got()); n > allowed {
		t.Errorf("%d requests in %s, %d a second allow %d", n, time.Since(started), rate, allowed)
	}
	slow := endpoint(t, pool, rc.URL, `rate_limit = 0.001`)
	exec(t, pool, `DELETE FROM deliveries`)
	dueDeliveries(t, pool, slow, 3)
	exec(t, pool, `UPDATE callback_endpoints SET rate_tokens = 1 WHERE id = $1`, slow)
	q := &queue{pool: pool, lease: leaseFor}
	if n := len(q.claimUpTo(t, 10)) + len(q.claimUpTo(t, 10)); n != 1 {
		t.Errorf("%d claimed, want 1 a quarter of an hour", n)
	}
}

func TestAWorkerKeepsPlacesForReceiversThatDoNotHang(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	held := make(map[uuid.UUID]int)
	free := 32
	for range 6 {
		dueDeliveries(t, pool, endpoint(t, pool, "http://127.0.0.1:1/"), 40)
	}
	for range 20 { // none of them ever ends
		c, err := q.claim(t.Context(), room{free: free, held: held})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range c.deliveries {
			held[d.Endpoint.ID]++
			free--
		}
	}
	if free < 2 {
		t.Errorf("%d of 32 places are left", free)
	}
	healthy := endpoint(t, pool, "http://127.0.0.1:1/")
	dueDeliveries(t, pool, healthy, 1)
	c, err := q.claim(t.Context(), room{free: free, held: held})
	if err != nil || !slices.ContainsFunc(c.deliveries, func(d Delivery) bool { return d.Endpoint.ID == healthy }) {
		t.Errorf("the seventh endpoint got no place, %v", err)
	}
}

func TestWhatItToldOfIsGone(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL)
	ids := dueDeliveries(t, pool, e, 3)
	exec(t, pool, `DELETE FROM flow_responses WHERE id = (SELECT subject_id FROM deliveries WHERE id = $1)`, ids[1])
	start(t, pool)
	waitFor(t, pool, ids[0], "delivered")
	waitFor(t, pool, ids[2], "delivered")
	if r := waitFor(t, pool, ids[1], "cancelled"); r.Attempt != 0 || r.Error == nil || *r.Error != errGone {
		t.Errorf("row = %+v", r)
	}
	if n := len(rc.got()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// Retention or an erasure took thousands: what is behind them does not wait for a
// poll after each claim.
func TestThousandsThatAreGoneHoldUpNobody(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL)
	exec(t, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, run_at)
		SELECT gen_random_uuid(), $1, 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now(), now() - interval '1 hour' FROM generate_series(1, 1000)`, e)
	id := dueDeliveries(t, pool, e, 1)[0]
	start(t, pool, func(c *Config) { c.Poll = time.Hour })
	waitFor(t, pool, id, "delivered")
	if n := count(t, pool, `SELECT count(*) FROM delivery_history WHERE state = 'cancelled'`); n != 1000 {
		t.Errorf("%d are in the history, want 1000", n)
	}
}

// Its secret was changed a moment ago: the receiver has the former one still.
func TestARawWebhookIsReadEachTimeAndCopiedNowhere(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	const meta = `{"object":"whatsapp_business_account", "entry":[]}`
	secret := NewSecret()
	rc := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if want := metaSignature(secret, []byte(meta)); r.Header.Get("X-Hub-Signature-256") != want {
			t.Errorf("X-Hub-Signature-256 = %q, want %q", r.Header.Get("X-Hub-Signature-256"), want)
		}
		if n == 1 {
			w.WriteHeader(500)
		}
	})
	e := endpoint(t, pool, rc.URL, `payload = 'raw', secrets = '{`+NewSecret()+`,`+secret+`}'`)
	hook, id := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	exec(t, pool, `INSERT INTO webhook_events (id, received_at, body) VALUES ($1, '2026-11-23T12:00:00Z', $2)`, hook, []byte(meta))
	exec(t, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		VALUES ($1, $2, 'webhook.received', gen_random_uuid(), now(), $3, '2026-11-23T12:00:00Z')`, id, e, hook)
	start(t, pool)
	if r := waitFor(t, pool, id, "delivered"); r.Body != nil || r.Attempts != 2 {
		t.Errorf("row = %+v", r)
	}
	for _, g := range rc.got() {
		if g.body != meta {
			t.Errorf("body = %s", g.body)
		}
	}
}

// A secret is rotated under load: whatever a receiver has, the current one or
// the one before it, each request verifies.
func TestEveryRequestVerifiesWhileSecretsChange(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	first, second := NewSecret(), NewSecret()
	rc := newReceiver(t, nil)
	var unverified int
	rc.check = func(r *http.Request, body []byte) {
		if !verifies(first, r.Header, body) && !verifies(second, r.Header, body) {
			unverified++
		}
	}
	e := endpoint(t, pool, rc.URL, `secrets = '{`+first+`}'`)
	ids := dueDeliveries(t, pool, e, 300)
	start(t, pool)
	testkit.Eventually(t, "some were sent", func() bool { return len(rc.got()) > 50 })
	change(t, pool, e, `secrets = '{`+second+`,`+first+`}', secret_expiries = ARRAY[NULL, now() + interval '1 day']::timestamptz[]`)
	testkit.Eventually(t, "more were sent", func() bool { return len(rc.got()) > 150 })
	change(t, pool, e, `secret_expiries[2] = now() - interval '1 s'`)
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
	if unverified > 0 {
		t.Errorf("%d requests verify with neither secret", unverified)
	}
	// The old one's time is over: nothing is signed with it any more.
	last := dueDeliveries(t, pool, e, 1)[0]
	var old bool
	rc.mu.Lock()
	rc.check = func(r *http.Request, body []byte) { old = verifies(first, r.Header, body) }
	rc.mu.Unlock()
	waitFor(t, pool, last, "delivered")
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if old {
		t.Error("a secret whose time is over still signs")
	}
}
