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
	"go.uber.org/zap"

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
