package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// service is an upstream that notes what it is asked.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	calls []served
	hook  atomic.Pointer[func(w http.ResponseWriter, r *http.Request)]
}

type served struct{ method, uri, body, key string }

// newService answers `{}`, unless answers says otherwise.
func newService(t testing.TB) *service {
	t.Helper()
	s := new(service)
	s.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) })
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.calls = append(s.calls, served{r.Method, r.RequestURI, string(body), r.Header.Get("Idempotency-Key")})
		s.mu.Unlock()
		(*s.hook.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) answers(hook func(w http.ResponseWriter, r *http.Request)) { s.hook.Store(&hook) }

func (s *service) served() []served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]served(nil), s.calls...)
}

// global is the app with the service as upstream "api".
func (s *service) global(options string) string {
	return "\n\twhatsapp_flows {\n\t\tupstream api " + s.URL + " {\n" + options + "\n\t\t}\n\t}"
}

// loadTestWith is loadTest with a global block.
func (s *site) loadTestWith(global, body string) *site {
	s.t.Helper()
	config := bytes.ReplaceAll(s.adapt(global, bodyWithEngine(body)), []byte(`"name":"engine"`), []byte(`"name":"test"`))
	if err := caddy.Load(config, true); err != nil {
		s.t.Fatalf("loading: %v", err)
	}
	return s
}

func bookFetch(body string) flow.FetchRequest {
	return flow.FetchRequest{Name: "book", Upstream: "api", Method: http.MethodPost, Path: "/book", Body: json.RawMessage(body)}
}

// moved has another request move the session, once, while the first is answered.
func moved(s **site) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			(*s).want(booking, step("data_exchange", "ROOM", "tok", request{"room": "9"}), "CONFIRM")
		})
	}
}

func TestABookingIsMadeOnceThoughTheEngineRunsTwice(t *testing.T) {
	api := newService(t)
	var s *site
	meanwhile := moved(&s)
	var runs atomic.Int32
	engineWith(func(ctx context.Context, turn *Turn) error {
		if turn.Request.Screen != "NAME" {
			return nil
		}
		// As randomID() would have it, each run asks for something else.
		body := `{"run":` + string('0'+rune(runs.Add(1))) + `}`
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if answer, err := turn.Fetch.Fetch(ctx, bookFetch(body)); err != nil || answer.Status != 200 {
					t.Errorf("got %v, %v", answer, err)
				}
			})
		}
		both.Wait()
		meanwhile()
		return nil
	})
	s = newSite(t).loadTestWith(api.global(""), countedSite)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	calls := api.served()
	if runs.Load() != 2 || len(calls) != 1 || calls[0].body != `{"run":1}` || len(calls[0].key) != 64 {
		t.Errorf("the engine ran %d times, the service was asked %v", runs.Load(), calls)
	}
}

func TestABookingThatFailedIsNotTriedAgainBehindTheUsersBack(t *testing.T) {
	api := newService(t)
	api.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	var s *site
	meanwhile := moved(&s)
	var statuses []int
	engineWith(func(ctx context.Context, turn *Turn) error {
		if turn.Request.Screen == "NAME" {
			answer, _ := turn.Fetch.Fetch(ctx, bookFetch(`{}`))
			statuses = append(statuses, answer.Status)
			meanwhile()
		}
		return nil
	})
	s = newSite(t).loadTestWith(api.global(""), countedSite)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	if len(api.served()) != 1 || len(statuses) != 2 || statuses[1] != http.StatusBadGateway {
		t.Errorf("asked %v, statuses %v", api.served(), statuses)
	}
}

func TestTheSameStepAsksWithTheSameIdempotencyKey(t *testing.T) {
	api := newService(t)
	fail := new(atomic.Bool)
	engineWith(func(ctx context.Context, turn *Turn) error {
		if turn.Request.Screen == "" {
			return nil
		}
		for _, name := range []string{"book", "notify"} {
			r := bookFetch(`{}`)
			r.Name = name
			if _, err := turn.Fetch.Fetch(ctx, r); err != nil {
				return err
			}
		}
		if fail.Load() {
			return errTest // the user gets the fallback and presses the button again
		}
		return nil
	})
	s := newSite(t).loadTestWith(api.global(""), countedSite)
	fail.Store(true)
	ask := func(name string) (book, notify string) {
		t.Helper()
		before := len(api.served())
		if a, _ := s.post(booking, step("data_exchange", "NAME", "tok", request{"name": name})); a.status != http.StatusOK {
			t.Fatalf("status %d", a.status)
		}
		calls := api.served()[before:]
		if len(calls) != 2 {
			t.Fatalf("asked %v", calls)
		}
		return calls[0].key, calls[1].key
	}
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	book1, notify1 := ask("Ada")
	book2, notify2 := ask("Ada")
	if book1 == "" || book1 != book2 || notify1 != notify2 || book1 == notify1 {
		t.Errorf("keys %s %s, then %s %s", book1, notify1, book2, notify2)
	}
	other, _ := ask("Grace")
	if other == book1 {
		t.Error("another answer of the user has the same key")
	}
}

func TestASlowUpstreamLeavesTimeForAnAnswer(t *testing.T) {
	api := newService(t)
	api.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	engineWith(func(ctx context.Context, turn *Turn) error {
		if turn.Request.Screen == "NAME" {
			for range 3 { // one after the other
				_, err := turn.Fetch.Fetch(ctx, flow.FetchRequest{Upstream: "api", Method: http.MethodPost, Path: "/"})
				if err == nil {
					t.Error("it answered")
				}
			}
		}
		return nil
	})
	s := newSite(t).loadTestWith(api.global("\t\t\ttimeout 9s"), `
	whatsapp_flow /flows/endpoint* {
		endpoint test
		flows testdata/flows
		timeout 1s
	}`)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	start := time.Now()
	// No fallback: the screen that the rules lead to, with what they make of it.
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s of a budget of 1s", took)
	}
	if claims, err := s.redis.Keys(context.Background(), s.prefix+"*claim*").Result(); err != nil || len(claims) != 0 {
		t.Errorf("claims are held: %v, %v", claims, err)
	}
}

func TestAFetchInFlightOutlivesItsConfiguration(t *testing.T) {
	api := newService(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	api.answers(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(arrived); <-release })
		_, _ = io.WriteString(w, `{}`)
	})
	engineWith(func(ctx context.Context, turn *Turn) error {
		for _, path := range []string{"/during", "/after"} { // the second begins when the configuration is gone
			if _, err := turn.Fetch.Fetch(ctx, flow.FetchRequest{Upstream: "api", Method: http.MethodGet, Path: path}); err != nil {
				return err
			}
		}
		return nil
	})
	s := newSite(t).loadTestWith(api.global(""), countedSite)
	e := seal(t, s.public, step("INIT", "", "tok", nil))
	answered := make(chan answer)
	go func() {
		a, _ := s.try(http.MethodPost, booking, signed(e.body), e.body)
		answered <- a
	}()
	<-arrived
	s.loadTestWith("", countedSite) // it knows no upstream at all
	close(release)
	if a := <-answered; a.status != http.StatusOK || e.open(t, a)["data"].(map[string]any)["error_message"] != nil {
		t.Errorf("status %d", a.status)
	}
}

// metric is the value of one of our series; 0 when there is none yet.
func (s *site) metric(series string) float64 {
	s.t.Helper()
	for line := range strings.Lines(string(s.do(http.MethodGet, "/metrics", nil, nil).body)) {
		if rest, ok := strings.CutPrefix(line, "caddy_whatsapp_flows_"+series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

func TestAFailedFetchIsLoggedOnceAMinuteAndCounted(t *testing.T) {
	api := newService(t)
	api.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, privateAnswer)
	})
	engineWith(func(ctx context.Context, turn *Turn) error {
		for _, r := range []flow.FetchRequest{
			{Name: "order", Upstream: "api", Method: http.MethodGet, Path: "/orders/" + strings.ReplaceAll(privateAnswer, " ", "-")},
			{Name: "order", Upstream: "api", Method: http.MethodGet, Path: "/orders/" + privateAnswer},
			{Name: "gone", Upstream: "gone", Method: http.MethodGet, Path: "/" + privateAnswer},
		} {
			_, _ = turn.Fetch.Fetch(ctx, r)
		}
		return nil
	})
	failedFetches.last = nil
	s := newSite(t).loadTestWith(api.global("\t\t\theader Authorization "+testSecret), countedSite+"\n\tmetrics /metrics")
	const status, unknown, sent = `fetches_total{result="status",upstream="api"}`, `fetches_total{result="invalid",upstream="_unknown"}`,
		`upstream_request_duration_seconds_count{upstream="api"}`
	before := map[string]float64{}
	for _, series := range []string{status, unknown, sent} {
		before[series] = s.metric(series)
	}
	const requests = 5
	for range requests {
		s.want(booking, step("data_exchange", "NAME", "unused", request{"name": privateAnswer}), "ROOM")
	}
	for series, was := range before {
		if got := s.metric(series) - was; got != requests {
			t.Errorf("%s has grown by %v, expected %d", series, got, requests)
		}
	}
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"a fetch failed"`) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines, expected 3: %s", len(lines), lines)
	}
	for i, want := range []string{`"status":500`, `"error":"upstream api: the path holds a character that must be encoded`, `"error":"upstream gone: the configuration has no upstream of this name"`} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], `"flow":"booking"`) {
			t.Errorf("line %d is %s, expected %s", i+1, lines[i], want)
		}
	}
	if strings.Contains(string(log), strings.ReplaceAll(privateAnswer, " ", "-")) {
		t.Error("the log holds the path of a fetch")
	}
}
