package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// receiver is a real HTTP server that keeps what it was sent.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
	open     map[string]int // requests being answered, by webhook-id
	overlaps int            // requests that came while another of the same id was open
}

type received struct {
	id   string
	body string
	at   time.Time
}

// newReceiver answers the n-th request (from 1) with what answer says.
func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	rc := &receiver{open: make(map[string]int)}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := r.Header.Get("webhook-id")
		rc.mu.Lock()
		rc.requests = append(rc.requests, received{id, string(body), time.Now()})
		n := len(rc.requests)
		if rc.open[id]++; rc.open[id] > 1 {
			rc.overlaps++
		}
		rc.mu.Unlock()
		defer func() {
			rc.mu.Lock()
			defer rc.mu.Unlock()
			rc.open[id]--
		}()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) got() []received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]received(nil), rc.requests...)
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

var quickSchedule = []time.Duration{0, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}

func endpoint(t *testing.T, pool *pgxpool.Pool, url string) {
	t.Helper()
	if err := Ensure(t.Context(), pool, Environment{URL: url, Timeout: 5 * time.Second, MaxAttempts: 10}); err != nil {
		t.Fatal(err)
	}
}

// due stores answers with a delivery each and returns the ids of these.
func dueDeliveries(t *testing.T, pool *pgxpool.Pool, n int) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	for range n {
		response, delivery := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
		_, err := pool.Exec(t.Context(), `
			WITH r AS (INSERT INTO flow_responses (id, source, flow_token, phone_number, response_data, answered_at)
				VALUES ($1, 'nfm_reply', 'token-geheim', '5511999999999', '{"score": 9}', now()))
			INSERT INTO deliveries (id, endpoint_id, event_type, response_id)
			SELECT $2, id, 'flow_completed', $1 FROM callback_endpoints WHERE name = 'env'`, response, delivery)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, delivery)
	}
	return ids
}

type option func(*Config)

// start runs a deliverer until stop is called, or t ends.
func start(t *testing.T, pool *pgxpool.Pool, options ...option) (d *Deliverer, stop func()) {
	t.Helper()
	c := Config{Pool: pool, Log: zap.NewNop(), Registry: prometheus.NewRegistry(), AllowNetworks: loopback,
		Poll: 5 * time.Millisecond, Schedule: quickSchedule}
	for _, o := range options {
		o(&c)
	}
	d = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return d, stop
}

type row struct {
	State    string
	Attempt  int
	Body     []byte
	Status   *int
	Error    *string
	Attempts int
	Wait     float64 // seconds until run_at
}

func read(t *testing.T, pool *pgxpool.Pool, id uuid.UUID) row {
	t.Helper()
	var r row
	err := pool.QueryRow(context.Background(), `
		SELECT state, attempt, body, last_status, last_error, (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id),
			extract(epoch FROM run_at - now())::float8
		FROM deliveries d WHERE id = $1`, id).Scan(&r.State, &r.Attempt, &r.Body, &r.Status, &r.Error, &r.Attempts, &r.Wait)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func waitFor(t *testing.T, pool *pgxpool.Pool, id uuid.UUID, state string) row {
	t.Helper()
	testkit.Eventually(t, "the delivery is "+state, func() bool { return read(t, pool, id).State == state })
	return read(t, pool, id)
}

func TestAnAnswerIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, 1)[0]
	core, logs := observer.New(zap.DebugLevel)
	_, stop := start(t, pool, func(c *Config) { c.Log = zap.New(core) })
	r := waitFor(t, pool, id, "delivered")
	stop()
	got := rc.got()
	if len(got) != 1 || got[0].id != id.String() {
		t.Fatalf("requests = %v", got)
	}
	if got[0].body != string(r.Body) || r.Attempt != 1 || r.Attempts != 1 || *r.Status != 200 || r.Error != nil {
		t.Errorf("row = %+v, body received %s", r, got[0].body)
	}
	var body map[string]any
	if err := json.Unmarshal(r.Body, &body); err != nil || body["flow_token"] != "token-geheim" {
		t.Errorf("body = %s", r.Body)
	}
	lines := logs.FilterMessage("delivery attempted").All()
	if len(lines) != 1 {
		t.Fatalf("%d log lines, want 1", len(lines))
	}
	line, _ := json.Marshal(lines[0].ContextMap())
	for _, secret := range []string{"token-geheim", "5511999999999", "whsec_", "score"} {
		if bytes.Contains(line, []byte(secret)) {
			t.Errorf("the log line holds %s: %s", secret, line)
		}
	}
}

func TestFailuresFollowTheScheduleUntilDead(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, status(500))
	endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, 1)[0]
	start(t, pool)
	r := waitFor(t, pool, id, "dead")
	got := rc.got()
	if len(got) != len(quickSchedule) || r.Attempts != len(quickSchedule) || *r.Status != 500 {
		t.Errorf("%d requests, row %+v", len(got), r)
	}
	for _, g := range got {
		if g != (received{id.String(), got[0].body, g.at}) {
			t.Error("the attempts differ: webhook-id and body must stay")
		}
	}
}

func TestTheNextAttemptIsAtTheScheduledTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer    func(int, http.ResponseWriter, *http.Request)
		from, to  float64 // seconds
		pausesEnd bool
	}{
		"by the schedule": {status(500), 4 * 60, 6 * 60, false},
		"by Retry-After": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(503)
		}, 7190, 7200, true},
		"by a Retry-After that is too long": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "864000")
			w.WriteHeader(429)
		}, 6*3600 - 10, 6 * 3600, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, rc := testkit.Database(t), newReceiver(t, c.answer)
			endpoint(t, pool, rc.URL)
			id := dueDeliveries(t, pool, 1)[0]
			start(t, pool, func(c *Config) { c.Schedule = []time.Duration{0, 5 * time.Minute, time.Hour} })
			testkit.Eventually(t, "the attempt is stored", func() bool { return read(t, pool, id).Attempts == 1 })
			r := read(t, pool, id)
			if r.State != "due" || r.Wait < c.from-5 || r.Wait > c.to {
				t.Errorf("row = %+v, want due in %g to %g s", r, c.from, c.to)
			}
			var paused bool
			if err := pool.QueryRow(t.Context(), `SELECT coalesce(paused_until > now(), false) FROM callback_endpoints`).Scan(&paused); err != nil {
				t.Fatal(err)
			}
			if paused != c.pausesEnd {
				t.Errorf("endpoint paused: %t, want %t", paused, c.pausesEnd)
			}
		})
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

func TestTwoWorkersNeverDeliverTheSameAtTheSameTime(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	var inFlight, most int
	var mu sync.Mutex
	rc := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		inFlight++
		most = max(most, inFlight)
		mu.Unlock()
		defer func() { mu.Lock(); inFlight--; mu.Unlock() }()
		if n%7 == 0 {
			w.WriteHeader(500)
		}
	})
	endpoint(t, pool, rc.URL)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET max_in_flight = 5`); err != nil {
		t.Fatal(err)
	}
	ids := dueDeliveries(t, pool, 150)
	start(t, pool)
	start(t, pool)
	times := make(map[string]int)
	for _, id := range ids {
		testkit.Eventually(t, "all are finished", func() bool { return read(t, pool, id).State == "delivered" })
		times[id.String()] = read(t, pool, id).Attempts
	}
	for _, g := range rc.got() {
		times[g.id]--
	}
	for id, n := range times {
		if n != 0 {
			t.Errorf("%s: %d more attempts stored than requests received", id, n)
		}
	}
	if rc.overlaps > 0 {
		t.Errorf("%d requests overlapped", rc.overlaps)
	}
	if most > 5 {
		t.Errorf("%d requests at once, the endpoint allows 5", most)
	}
}

func TestACrashedWorkersDeliveryIsSentAgainWithTheSameBody(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, 1)[0]
	// A worker claims and dies.
	dead := &queue{pool: pool, lease: 50 * time.Millisecond}
	claimed, err := dead.claim(t.Context(), 10)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE flow_responses SET phone_number = '1', flow_token = 'other'`); err != nil {
		t.Fatal(err)
	}
	other := &queue{pool: pool, lease: leaseFor}
	testkit.Eventually(t, "the lease runs out", func() bool {
		n, err := other.sweep(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	start(t, pool)
	r := waitFor(t, pool, id, "delivered")
	if got := rc.got(); len(got) != 1 || got[0].body != string(claimed[0].Body) {
		t.Errorf("requests = %v, frozen body %s", got, claimed[0].Body)
	}
	if r.Attempt != 2 || r.Attempts != 1 {
		t.Errorf("row = %+v, want two attempts begun and one stored", r)
	}
	// The dead worker wakes up: its result, its heartbeat and its release find
	// nothing of theirs.
	late := decide(quickSchedule, claimed[0], Result{Status: 500}, 0)
	if n, err := dead.complete(t.Context(), []outcome{late}); err != nil || n != 0 {
		t.Errorf("stored %d, %v; want nothing", n, err)
	}
	if lost, err := dead.renew(t.Context(), claimed); err != nil || len(lost) != 1 {
		t.Errorf("lost %v, %v", lost, err)
	}
	if err := dead.release(t.Context(), claimed); err != nil {
		t.Error(err)
	}
	if after := read(t, pool, id); after.State != "delivered" || after.Attempts != 1 {
		t.Errorf("row = %+v", after)
	}
}

func TestALiveWorkersLeaseIsNotSwept(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	endpoint(t, pool, "http://127.0.0.1:1/")
	dueDeliveries(t, pool, 2)
	q := &queue{pool: pool, lease: leaseFor}
	claimed, err := q.claim(t.Context(), 10)
	if err != nil || len(claimed) != 2 {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	if n, err := q.sweep(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	// The database was away for longer than the lease: the worker that holds
	// the first keeps it.
	if _, err := pool.Exec(t.Context(), `UPDATE deliveries SET lease_until = now() - interval '1 s'`); err != nil {
		t.Fatal(err)
	}
	if n, err := q.sweep(t.Context(), claimed[:1]); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want the one that nobody holds", n, err)
	}
	if lost, err := q.renew(t.Context(), claimed); err != nil || len(lost) != 1 || lost[0].ID != claimed[1].ID {
		t.Errorf("lost %v, %v", lost, err)
	}
	// Given back, the attempt does not count.
	if err := q.release(t.Context(), claimed[:1]); err != nil {
		t.Fatal(err)
	}
	if r := read(t, pool, claimed[0].ID); r.State != "due" || r.Attempt != 0 {
		t.Errorf("row = %+v", r)
	}
}

func TestStoppingFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	arrived, answer := make(chan struct{}, 10), make(chan struct{})
	rc := newReceiver(t, func(int, http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-answer })
	endpoint(t, pool, rc.URL)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET max_in_flight = 1`); err != nil {
		t.Fatal(err)
	}
	dueDeliveries(t, pool, 2)
	_, stop := start(t, pool)
	<-arrived
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	select {
	case <-stopped:
		t.Error("it stopped with an attempt in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	<-stopped
	var delivered, due int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'due') FROM deliveries`).
		Scan(&delivered, &due); err != nil {
		t.Fatal(err)
	}
	if delivered != 1 || due != 1 || len(rc.got()) != 1 {
		t.Errorf("%d delivered, %d due, %d requests; want 1 each", delivered, due, len(rc.got()))
	}
}

func TestADeadEndpointDoesNotHoldUpAHealthyOne(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	hang := make(chan struct{})
	slow := newReceiver(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) })
	fast := newReceiver(t, nil)
	endpoint(t, pool, slow.URL)
	dueDeliveries(t, pool, 200)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET name = 'slow'`); err != nil {
		t.Fatal(err)
	}
	endpoint(t, pool, fast.URL)
	ids := dueDeliveries(t, pool, 20)
	start(t, pool, func(c *Config) { c.InFlight = 64 })
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
}

func TestANudgeDeliversAtOnce(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	endpoint(t, pool, rc.URL)
	d, _ := start(t, pool, func(c *Config) { c.Poll = time.Hour })
	id := dueDeliveries(t, pool, 1)[0]
	d.Nudge()
	waitFor(t, pool, id, "delivered")
}

func TestMetricsNameNoURL(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, status(500))
	endpoint(t, pool, rc.URL+"/geheim")
	dueDeliveries(t, pool, 3)
	registry := prometheus.NewRegistry()
	d, _ := start(t, pool, func(c *Config) { c.Registry = registry; c.Schedule = []time.Duration{0, time.Hour} })
	testkit.Eventually(t, "the attempts were made", func() bool { return len(rc.got()) == 3 })
	if err := d.metrics.refresh(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
		if s := f.String(); strings.Contains(s, "geheim") || strings.Contains(s, "127.0.0.1") {
			t.Errorf("%s holds the URL", f.GetName())
		}
	}
	all := strings.Join(names, " ")
	for _, want := range []string{"deliveries_open", "delivery_oldest_due_seconds", "delivery_attempts_total", "delivery_seconds", "endpoint_breaker_state", "lease_expired_total", "http_connections_total"} {
		if !strings.Contains(all, namespace+"_"+want) {
			t.Errorf("no metric %s", want)
		}
	}
}
