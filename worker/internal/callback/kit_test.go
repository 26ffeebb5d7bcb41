package callback

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// receiver is a real HTTP server that keeps what it was sent.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
	open     map[string]int // requests being answered, by webhook-id
	check    func(r *http.Request, body []byte)
	overlaps int // requests that came while another of the same id was open
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
		if rc.check != nil {
			rc.check(r, body)
		}
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

// endpoint stores one and returns its id. set changes columns: "ordered = true".
func endpoint(t testing.TB, pool *pgxpool.Pool, url string, set ...string) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	if _, err := pool.Exec(t.Context(), `INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
		VALUES ($1, '*', $2, $3, $4, 5000, 10)`, id, "e-"+id.String(), url, []string{NewSecret()}); err != nil {
		t.Fatal(err)
	}
	for _, s := range set {
		change(t, pool, id, s)
	}
	return id
}

func change(t testing.TB, pool *pgxpool.Pool, endpoint uuid.UUID, set string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `UPDATE callback_endpoints SET `+set+` WHERE id = $1`, endpoint); err != nil {
		t.Fatal(err)
	}
}

// dueDeliveries stores answers with a delivery each to one endpoint and returns
// the ids of these.
func dueDeliveries(t testing.TB, pool *pgxpool.Pool, endpoint uuid.UUID, n int) []uuid.UUID {
	t.Helper()
	var responses, deliveries, events []uuid.UUID
	for range n {
		response := uuid.Must(uuid.NewV7())
		responses, deliveries = append(responses, response), append(deliveries, uuid.Must(uuid.NewV7()))
		events = append(events, eventtype.ID(eventtype.FlowCompleted, response, 0))
	}
	_, err := pool.Exec(t.Context(), `
		WITH u AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS u (response, delivery, event, n)),
		r AS (INSERT INTO flow_responses (id, source, flow_token, phone_number, response_data, answered_at)
			SELECT response, 'nfm_reply', 'token-geheim', '5511999999999', '{"score": 9}', now() FROM u)
		INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, run_at)
		SELECT delivery, $4, 'flow.completed', event, now(), response, now(), now() - make_interval(secs => 1 - n * 0.000001) FROM u`,
		responses, deliveries, events, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return deliveries
}

// claim is one of a worker with room for limit attempts.
func (q *queue) claimUpTo(t testing.TB, limit int) []Delivery {
	t.Helper()
	c, err := q.claim(t.Context(), room{free: limit})
	if err != nil {
		t.Fatal(err)
	}
	return c.deliveries
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
	Event    uuid.UUID
	Body     []byte
	Status   *int
	Error    *string
	Attempts int
	Wait     float64 // seconds until run_at
}

// read finds a delivery, open or in the history.
func read(t testing.TB, pool *pgxpool.Pool, id uuid.UUID) row {
	t.Helper()
	var r row
	err := pool.QueryRow(context.Background(), `
		SELECT state, attempt, event_id, body, last_status, last_error, (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id), wait
		FROM (SELECT id, state, attempt, event_id, body, last_status, last_error, extract(epoch FROM run_at - now())::float8 AS wait FROM deliveries
			UNION ALL SELECT id, state, attempt, event_id, body, last_status, last_error, 0 FROM delivery_history) d WHERE id = $1`, id).
		Scan(&r.State, &r.Attempt, &r.Event, &r.Body, &r.Status, &r.Error, &r.Attempts, &r.Wait)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func waitFor(t testing.TB, pool *pgxpool.Pool, id uuid.UUID, state string) row {
	t.Helper()
	testkit.Eventually(t, "the delivery is "+state, func() bool { return read(t, pool, id).State == state })
	return read(t, pool, id)
}

// count is one number that SQL says.
func count(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// verifies asks the reference library.
func verifies(secret string, h http.Header, body []byte) bool {
	verifier, err := standardwebhooks.NewWebhook(secret)
	return err == nil && verifier.Verify(body, h) == nil
}
