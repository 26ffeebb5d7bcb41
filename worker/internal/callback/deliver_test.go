package callback

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestAnAnswerIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, e, 1)[0]
	core, logs := observer.New(zap.DebugLevel)
	_, stop := start(t, pool, func(c *Config) { c.Log = zap.New(core) })
	r := waitFor(t, pool, id, "delivered")
	stop()
	got := rc.got()
	if len(got) != 1 || got[0].id != r.Event.String() {
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

// The first attempt panics: the process lives, the attempt counts as failed, and
// what the panic held is in no log and no row.
func TestAPanicInAnAttemptIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, e, 1)[0]
	sender := NewSender(SenderConfig{AllowNetworks: loopback, MaxInFlight: 1})
	var once sync.Once
	sender.now = func() time.Time { once.Do(func() { panic("geheim") }); return time.Now() }
	core, logs := observer.New(zap.DebugLevel)
	_, stop := start(t, pool, func(c *Config) { c.Log, c.Sender = zap.New(core), sender })
	r := waitFor(t, pool, id, "delivered")
	stop()
	if wait, ok := logs.FilterMessage("delivery attempted").All()[0].ContextMap()["next_attempt_in"].(float64); !ok || wait <= 0 || wait > 1 {
		t.Errorf("next_attempt_in = %v, want seconds as a number", wait)
	}
	if r.Attempts != 2 || len(rc.got()) != 1 {
		t.Errorf("%d requests, row %+v; want a failed attempt and a delivered one", len(rc.got()), r)
	}
	var problem string
	if err := pool.QueryRow(t.Context(), `SELECT error FROM attempts WHERE number = 1`).Scan(&problem); err != nil || problem != errPanicked.Error() {
		t.Errorf("problem = %q, %v", problem, err)
	}
	if logs.FilterMessageSnippet("panicked").Len() != 1 {
		t.Error("no log line says so")
	}
	for _, line := range logs.All() {
		if fields, _ := json.Marshal(line.ContextMap()); bytes.Contains(fields, []byte("geheim")) {
			t.Errorf("a log line holds the panic's value: %s", fields)
		}
	}
}

func TestFailuresFollowTheScheduleUntilDead(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, status(500))
	e := endpoint(t, pool, rc.URL)
	id := dueDeliveries(t, pool, e, 1)[0]
	start(t, pool)
	r := waitFor(t, pool, id, "dead")
	got := rc.got()
	if len(got) != len(quickSchedule) || r.Attempts != len(quickSchedule) || *r.Status != 500 {
		t.Errorf("%d requests, row %+v", len(got), r)
	}
	for _, g := range got {
		if g != (received{r.Event.String(), got[0].body, g.at}) {
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
		"by Retry-After, but no longer than the rest of the schedule": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(503)
		}, 3890, 3900, true},
		"by a Retry-After that is too long": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "864000")
			w.WriteHeader(429)
		}, 3890, 3900, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, rc := testkit.Database(t), newReceiver(t, c.answer)
			e := endpoint(t, pool, rc.URL)
			id := dueDeliveries(t, pool, e, 1)[0]
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

func TestANudgeDeliversAtOnce(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, nil)
	e := endpoint(t, pool, rc.URL)
	d, _ := start(t, pool, func(c *Config) { c.Poll = time.Hour })
	id := dueDeliveries(t, pool, e, 1)[0]
	d.Nudge()
	waitFor(t, pool, id, "delivered")
}

func TestMetricsNameNoURL(t *testing.T) {
	t.Parallel()
	pool, rc := testkit.Database(t), newReceiver(t, status(500))
	e := endpoint(t, pool, rc.URL+"/geheim")
	dueDeliveries(t, pool, e, 3)
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
