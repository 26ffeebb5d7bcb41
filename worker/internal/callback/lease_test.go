package callback

import (
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

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
	e := endpoint(t, pool, rc.URL)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET max_in_flight = 5`); err != nil {
		t.Fatal(err)
	}
	ids := dueDeliveries(t, pool, e, 150)
	start(t, pool)
	start(t, pool)
	times := make(map[string]int)
	for _, id := range ids {
		r := waitFor(t, pool, id, "delivered")
		times[r.Event.String()] = r.Attempts
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
	e := endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, e, 1)[0]
	// A worker claims and dies.
	dead := &queue{pool: pool, lease: 50 * time.Millisecond}
	claimed := dead.claimUpTo(t, 10)
	if len(claimed) != 1 {
		t.Fatalf("claimed %v", claimed)
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
	if s, err := dead.complete(t.Context(), []outcome{late}); err != nil || s.attempts != 0 {
		t.Errorf("stored %d, %v; want nothing", s.attempts, err)
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

// It is back under its name, in seconds and not after its leases: in full flight
// these hold every place that the endpoint has.
func TestAKilledWorkersDeliveriesAreSentAtOnceByItsSuccessor(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL, "max_in_flight = 5")
	ids := dueDeliveries(t, pool, e, 8)
	killed, peer := &queue{pool: pool, lease: leaseFor, worker: "one"}, &queue{pool: pool, lease: leaseFor, worker: "two"}
	if n := len(killed.claimUpTo(t, 8)); n != 4 { // half of its places
		t.Fatalf("claimed %d", n)
	}
	peers := peer.claimUpTo(t, 8)
	if len(peers) != 1 {
		t.Fatalf("a peer claimed %d, expected what the limit left", len(peers))
	}
	start(t, pool, func(c *Config) { c.Worker = "one" })
	for _, id := range ids {
		if id != peers[0].ID {
			waitFor(t, pool, id, "delivered")
		}
	}
	if r := read(t, pool, peers[0].ID); r.State != "leased" || r.Attempt != 1 {
		t.Errorf("the delivery of a worker that lives: %+v", r)
	}
}

// The commit of a claim came through and its answer did not.
func TestAClaimThatWasNeverHeardOfIsMadeAgain(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	dueDeliveries(t, pool, endpoint(t, pool, "http://127.0.0.1:1/"), 3)
	d := New(Config{Pool: pool, Worker: "one", Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	claim := func() int {
		t.Helper()
		c, err := d.claim(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(c.deliveries)
	}
	d.queue.claimUpTo(t, 2)
	if n := claim(); n != 3 {
		t.Errorf("claimed %d at the start, expected all", n)
	}
	if n := claim(); n != 0 {
		t.Errorf("claimed %d more, expected what is held to be left alone", n)
	}
	d.forget(d.holdings()[:2]...)
	d.stale = true
	if n := claim(); n != 2 {
		t.Errorf("claimed %d after a claim that failed, expected the two that are not held", n)
	}
}

// One worker lost a lease, got the delivery again, and both attempts end together.
func TestTwoResultsOfOneDeliveryInOneBatch(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	e := endpoint(t, pool, "http://127.0.0.1:1/")
	id := dueDeliveries(t, pool, e, 1)[0]
	q := &queue{pool: pool, lease: leaseFor}
	claim := func() Delivery {
		t.Helper()
		claimed := q.claimUpTo(t, 1)
		if len(claimed) != 1 {
			t.Fatalf("claimed %v", claimed)
		}
		return claimed[0]
	}
	first := claim()
	if _, err := pool.Exec(t.Context(), `UPDATE deliveries SET lease_until = now() - interval '1 s'`); err != nil {
		t.Fatal(err)
	}
	if n, err := q.sweep(t.Context(), nil); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	second := claim()
	both := []outcome{decide(quickSchedule, first, Result{Status: 500}, 0), decide(quickSchedule, second, Result{Status: 503}, 0)}
	if s, err := q.complete(t.Context(), both); s.attempts != 1 || err != nil {
		t.Errorf("stored %d, %v; want the one that holds the lease", s.attempts, err)
	}
	if r := read(t, pool, id); r.Attempts != 1 || *r.Status != 503 {
		t.Errorf("row = %+v", r)
	}
}

// The reply to a commit was lost: stored once more, nothing is counted twice.
func TestCompletingTwiceCountsAFailureOnce(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	e := endpoint(t, pool, "http://127.0.0.1:1/")
	dueDeliveries(t, pool, e, 1)
	q := &queue{pool: pool, lease: leaseFor}
	claimed := q.claimUpTo(t, 1)
	if len(claimed) != 1 {
		t.Fatalf("claimed %v", claimed)
	}
	failed := []outcome{decide(quickSchedule, claimed[0], Result{Status: 500}, 0)}
	for _, want := range []int{1, 0} {
		if s, err := q.complete(t.Context(), failed); s.attempts != want || err != nil {
			t.Errorf("stored %d, %v; want %d", s.attempts, err, want)
		}
	}
	var failures int
	if err := pool.QueryRow(t.Context(), `SELECT failures FROM callback_endpoints`).Scan(&failures); err != nil || failures != 1 {
		t.Errorf("%d failures counted (%v), want 1", failures, err)
	}
}

func TestALiveWorkersLeaseIsNotSwept(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	e := endpoint(t, pool, "http://127.0.0.1:1/")
	dueDeliveries(t, pool, e, 2)
	q := &queue{pool: pool, lease: leaseFor}
	claimed := q.claimUpTo(t, 10)
	if len(claimed) != 2 {
		t.Fatalf("claimed %v", claimed)
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
	e := endpoint(t, pool, rc.URL)
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET max_in_flight = 1`); err != nil {
		t.Fatal(err)
	}
	dueDeliveries(t, pool, e, 2)
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
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM delivery_history WHERE state = 'delivered'), (SELECT count(*) FROM deliveries WHERE state = 'due')`).
		Scan(&delivered, &due); err != nil {
		t.Fatal(err)
	}
	if delivered != 1 || due != 1 || len(rc.got()) != 1 {
		t.Errorf("%d delivered, %d due, %d requests; want 1 each", delivered, due, len(rc.got()))
	}
}

func TestAPostgresThatGoesAwayCostsNoDeliveryAndRepeatsNone(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	c := pool.Config().ConnConfig
	proxy := testkit.NewProxy(t, net.JoinHostPort(c.Host, itoa(int(c.Port))))
	proxy.Open()
	through := testkit.Pool(t, (&url.URL{Scheme: "postgres", User: url.User(c.User), Host: proxy.Address, Path: "/" + c.Database, RawQuery: "sslmode=disable"}).String())
	arrived, answer := make(chan struct{}, 10), make(chan struct{})
	rc := newReceiver(t, func(int, http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-answer })
	e := endpoint(t, pool, rc.URL)
	ids := dueDeliveries(t, pool, e, 2)
	core, logs := observer.New(zap.WarnLevel)
	start(t, through, func(c *Config) { c.Log = zap.New(core) })
	<-arrived
	<-arrived
	proxy.Cut()
	close(answer)
	testkit.Eventually(t, "the worker notices", func() bool {
		return logs.FilterMessage("cannot store attempts").Len() > 0 && logs.FilterMessage("cannot claim deliveries").Len() > 0
	})
	// Long away: the leases run out.
	if _, err := pool.Exec(t.Context(), `UPDATE deliveries SET lease_until = now() - interval '1 s'`); err != nil {
		t.Fatal(err)
	}
	late := dueDeliveries(t, pool, e, 1)
	proxy.Open()
	for _, id := range append(ids, late...) {
		waitFor(t, pool, id, "delivered")
	}
	if n := len(rc.got()); n != 3 {
		t.Errorf("%d requests for 3 deliveries", n)
	}
}
