package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func init() {
	caddy.RegisterModule(new(testEndpoint))
}

// testEndpoint is an endpoint of another module, as a user may write one.
type testEndpoint struct{}

func (*testEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: endpointNamespace + ".test", New: func() caddy.Module { return new(testEndpoint) }}
}

// testAnswer is what the test endpoint does; a test sets it before it loads.
var testAnswer atomic.Pointer[func(context.Context, *Turn) ([]byte, error)]
var testPure atomic.Bool

func (*testEndpoint) Answer(ctx context.Context, turn *Turn) ([]byte, error) {
	return (*testAnswer.Load())(ctx, turn)
}
func (*testEndpoint) Pure() bool            { return testPure.Load() }
func (*testEndpoint) NeedsDefinition() bool { return true }

var errTest = errors.New("the endpoint fails")

// engineWith counts the runs of the engine, after hook.
func engineWith(hook func(context.Context, *Turn) error) *atomic.Int32 {
	runs := new(atomic.Int32)
	answer := func(ctx context.Context, turn *Turn) ([]byte, error) {
		runs.Add(1)
		if hook != nil {
			if err := hook(ctx, turn); err != nil {
				return nil, err
			}
		}
		reply, err := flow.Answer(ctx, turn.Definition, turn.Session, turn.Request, flow.Env{Now: time.Now(), Fetch: turn.Fetch})
		return reply.JSON(), err
	}
	testAnswer.Store(&answer)
	testPure.Store(true)
	return runs
}

const countedSite = `
	whatsapp_flow /flows/endpoint* {
		endpoint test
		flows testdata/flows
		retry_window 10s
		timeout 2s
	}`

// A test endpoint has no Caddyfile form: it is set in the JSON.
func (s *site) loadTest(body string) *site {
	s.t.Helper()
	config := bytes.ReplaceAll(s.adapt("", bodyWithEngine(body)), []byte(`"name":"engine"`), []byte(`"name":"test"`))
	if err := caddy.Load(config, true); err != nil {
		s.t.Fatalf("loading: %v", err)
	}
	return s
}

func bodyWithEngine(body string) string {
	return string(bytes.ReplaceAll([]byte(body), []byte("endpoint test"), []byte("endpoint engine")))
}

func TestTheSameEnvelopeTwiceGetsTheSameBytes(t *testing.T) {
	runs := engineWith(nil)
	s := newSite(t).loadTest(countedSite)
	for name, r := range map[string]request{
		"with a session":        step("INIT", "", "tok", nil),
		"stateless":             step("data_exchange", "NAME", "unused", request{"name": "x"}),
		"with a dead token":     step("INIT", "", "wf1.a.b", nil),
		"a ping":                {"action": "ping"},
		"an error notification": step("INIT", "", "tok", request{"error": "payload-schema-error"}),
	} {
		t.Run(name, func(t *testing.T) {
			runs.Store(0)
			e := seal(t, s.public, r)
			first := s.do(http.MethodPost, booking, signed(e.body), e.body)
			second := s.do(http.MethodPost, booking, signed(e.body), e.body)
			if len(first.body) == 0 || first.status != second.status || !bytes.Equal(first.body, second.body) {
				t.Errorf("%d and %d, %d and %d bytes", first.status, second.status, len(first.body), len(second.body))
			}
			if runs.Load() > 1 {
				t.Errorf("answered %d times", runs.Load())
			}
		})
	}
}

func TestAnEnvelopePostedToAnotherFlowGetsTheSameBytes(t *testing.T) {
	s := newSite(t).load("", `
	handle /one {
		whatsapp_flow {
			flow one
		}
		respond `+"`{\"screen\":\"ONE\",\"data\":{}}`"+`
	}
	handle /two {
		whatsapp_flow {
			flow two
		}
		respond `+"`{\"screen\":\"TWO\",\"data\":{}}`"+`
	}`)
	for range 8 { // the sessions of both flows are in different shards, or not
		e := seal(t, s.public, step("INIT", "", rand.Text(), nil))
		first := s.do(http.MethodPost, "/one", signed(e.body), e.body)
		second := s.do(http.MethodPost, "/two", signed(e.body), e.body)
		if !bytes.Equal(first.body, second.body) {
			t.Fatal("one key and vector sealed two texts")
		}
	}
}

func TestTheSameRequestInAFreshEnvelopeRunsOnce(t *testing.T) {
	runs := engineWith(nil)
	s := newSite(t).loadTest(countedSite)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	runs.Store(0)
	r := step("data_exchange", "NAME", "tok", request{"name": privateAnswer})
	s.want(booking, r, "ROOM")
	s.want(booking, r, "ROOM")
	if runs.Load() != 1 {
		t.Errorf("answered %d times", runs.Load())
	}
	if n := len(s.events()); n != 2 {
		t.Errorf("%d events, expected 2", n)
	}
}

func TestTheSameRequestAtTheSameMomentRunsOnce(t *testing.T) {
	const together = 8
	arrived := make(chan struct{}, together)
	release := make(chan struct{})
	runs := engineWith(func(context.Context, *Turn) error {
		arrived <- struct{}{}
		<-release
		return nil
	})
	s := newSite(t).loadTest(countedSite)
	r := step("INIT", "", "tok", nil)
	replies := make(chan string, together)
	var all sync.WaitGroup
	for range together {
		e := seal(t, s.public, r)
		all.Go(func() {
			a, err := s.try(http.MethodPost, booking, signed(e.body), e.body)
			if err != nil || a.status != http.StatusOK {
				replies <- "failed"
				return
			}
			screen, _ := e.open(t, a)["screen"].(string)
			replies <- screen
		})
	}
	<-arrived
	close(release)
	all.Wait()
	for range together {
		if screen := <-replies; screen != "NAME" {
			t.Errorf("a request got %q", screen)
		}
	}
	if runs.Load() != 1 {
		t.Errorf("answered %d times", runs.Load())
	}
}

func TestADeliberateRepeatRunsAgain(t *testing.T) {
	runs := engineWith(nil)
	s := newSite(t).loadTest(`
	whatsapp_flow /flows/endpoint* {
		endpoint test
		flows testdata/flows
		retry_window 100ms
	}
	whatsapp_flow /a/* {
		endpoint test
		flows testdata/flows
		retry_window 0
	}`)
	r := step("INIT", "", "tok", nil)
	s.want(booking, r, "NAME")
	eventually(t, 5*time.Second, "the request runs again after the window", func() bool {
		s.want(booking, r, "NAME")
		return runs.Load() >= 2
	})
	runs.Store(0)
	s.want("/a/default"+booking, r, "NAME")
	s.want("/a/default"+booking, r, "NAME")
	if runs.Load() != 2 {
		t.Errorf("without a window it ran %d times", runs.Load())
	}
	// Another step in between ends the window at once.
	s.load("", engineSite)
	before := len(s.events())
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	s.want(booking, step("BACK", "ROOM", "tok", nil), "NAME")
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	s.want(booking, step("BACK", "ROOM", "tok", nil), "NAME")
	if ran := len(s.events()) - before; ran != 4 {
		t.Errorf("%d of 4 steps ran", ran)
	}
}

func TestTwoUsersWithTheTokenUnusedNeverMeet(t *testing.T) {
	s := newSite(t).load("", engineSite)
	s.want(booking, step("data_exchange", "NAME", "unused", request{"name": "one"}), "ROOM")
	data := s.want(booking, step("data_exchange", "ROOM", "unused", request{"room": "2"}), "CONFIRM")
	if data["name"] == "one" {
		t.Fatal("the second user sees the first user's name")
	}
	for _, e := range s.events() {
		if st, err := event.DecodeStep(e.Body); err != nil || e.Kind != event.KindStatelessStep || st.Token != "" || st.Version != 0 {
			t.Errorf("event of kind %s: %+v", e.Kind, st)
		}
	}
	keys, err := s.redis.Keys(context.Background(), s.prefix+"*session*").Result()
	if err != nil || len(keys) != 0 {
		t.Errorf("sessions %v, %v", keys, err)
	}
}

func TestARequestThatLosesTheRaceRunsOnTheNewerSession(t *testing.T) {
	for name, pure := range map[string]bool{"engine: runs once more": true, "next: is not asked again": false} {
		t.Run(name, func(t *testing.T) {
			var s *site
			var once sync.Once
			runs := engineWith(func(_ context.Context, turn *Turn) error {
				if turn.Request.Screen == "NAME" {
					once.Do(func() { // another request gets in between
						s.want(booking, step("data_exchange", "ROOM", "tok", request{"room": "9"}), "CONFIRM")
					})
				}
				return nil
			})
			testPure.Store(pure)
			s = newSite(t).loadTest(countedSite)
			s.want(booking, step("INIT", "", "tok", nil), "NAME")
			s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
			want := int32(3)
			if pure {
				want = 4
			}
			if runs.Load() != want {
				t.Errorf("answered %d times, expected %d", runs.Load(), want)
			}
			versions := map[int64]bool{}
			for _, e := range s.events() {
				st, _ := event.DecodeStep(e.Body)
				versions[st.Version] = true
			}
			if len(versions) != 3 || !versions[3] {
				t.Errorf("versions %v", versions)
			}
		})
	}
}

func TestFallbacks(t *testing.T) {
	for name, c := range map[string]struct {
		hook   func(context.Context, *Turn) error
		status int
	}{
		"the endpoint fails":                   {func(context.Context, *Turn) error { return errTest }, 200},
		"the budget is exhausted":              {func(ctx context.Context, _ *Turn) error { <-ctx.Done(); return ctx.Err() }, 200},
		"the token is dead":                    {func(context.Context, *Turn) error { return &DeadTokenError{Message: "gone"} }, 427},
		"the site itself fails":                {func(context.Context, *Turn) error { return caddyhttp.Error(502, errTest) }, 502},
		"the token is dead, without a message": {func(context.Context, *Turn) error { return &DeadTokenError{} }, 427},
	} {
		t.Run(name, func(t *testing.T) {
			fail := new(atomic.Bool)
			engineWith(func(ctx context.Context, turn *Turn) error {
				if fail.Load() {
					return c.hook(ctx, turn)
				}
				return nil
			})
			s := newSite(t).loadTest(`
	whatsapp_flow /flows/endpoint* {
		endpoint test
		flows testdata/flows
		timeout 300ms
		fallback_message "Try later."
	}`)
			s.want(booking, step("INIT", "", "tok", nil), "NAME")
			fail.Store(true)
			r := step("data_exchange", "NAME", "tok", request{"name": "x"})
			e := seal(t, s.public, r)
			a := s.do(http.MethodPost, booking, signed(e.body), e.body)
			if a.status != c.status {
				t.Fatalf("status %d, expected %d", a.status, c.status)
			}
			if c.status == 200 {
				reply := e.open(t, a)
				if reply["screen"] != "NAME" || reply["data"].(map[string]any)["error_message"] != "Try later." {
					t.Errorf("fallback %v", reply)
				}
				if again := s.do(http.MethodPost, booking, signed(e.body), e.body); !bytes.Equal(again.body, a.body) {
					t.Error("the same envelope got other bytes")
				}
			}
			// Nothing is remembered as a step: the user's next try runs, at once.
			fail.Store(false)
			start := time.Now()
			s.want(booking, r, "ROOM")
			if took := time.Since(start); took > 200*time.Millisecond {
				t.Errorf("the next try took %s: the claim was not given back", took)
			}
		})
	}
}

func TestAReplyThePhoneWouldRefuseIsNotSent(t *testing.T) {
	engineWith(nil)
	s := newSite(t).loadTest(countedSite)
	for name, reply := range map[string]string{
		"no JSON":           `hello`,
		"an unknown screen": `{"screen":"NOPE","data":{}}`,
		"no edge":           `{"screen":"CONFIRM","data":{"name":"a","room":"b"}}`,
		"a wrong type":      `{"screen":"ROOM","data":{"name":7}}`,
		"null":              `{"screen":"ROOM","data":{"name":null}}`,
		"no data":           `{"screen":"ROOM"}`,
	} {
		t.Run(name, func(t *testing.T) {
			said := func(context.Context, *Turn) ([]byte, error) { return []byte(reply), nil }
			testAnswer.Store(&said)
			data := s.want(booking, step("data_exchange", "NAME", "tok "+name, request{"name": "x"}), "NAME")
			if data["error_message"] != defaultFallback {
				t.Errorf("data %v", data)
			}
		})
	}
}
