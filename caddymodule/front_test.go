package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// bareHandler is a flow endpoint without a server around it.
func bareHandler(t testing.TB, endpoint string) (*FlowHandler, *site) {
	t.Helper()
	s := newSite(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{appID: []byte(`{}`)}})
	if err != nil {
		t.Fatal(err)
	}
	h := &FlowHandler{EndpointRaw: fmt.Appendf(nil, `{"name":%q}`, endpoint), Flows: "testdata/flows"}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	app := h.app
	t.Cleanup(func() { _ = app.Cleanup() })
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	return h, s
}

func TestThePlaintextIsOverwrittenOnceTheReplyIsSealed(t *testing.T) {
	var plaintext []byte
	engineWith(func(_ context.Context, turn *Turn) error {
		plaintext = turn.Request.Raw
		return nil
	})
	h, s := bareHandler(t, "test")
	e := seal(t, s.public, step("data_exchange", "NAME", "tok", request{"name": privateAnswer}))
	r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(e.body))
	r.Header.Set(signatureHeader, signed(e.body)[signatureHeader])
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	if reply := e.open(t, answer{status: w.Code, body: w.Body.Bytes()}); reply["screen"] != "ROOM" {
		t.Fatalf("it answers %v, expected the screen ROOM", reply)
	}
	if len(plaintext) == 0 || !bytes.Equal(plaintext, make([]byte, len(plaintext))) {
		t.Errorf("%d bytes of plaintext are still there: %q", len(plaintext), plaintext)
	}
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) != 0 {
		t.Errorf("the body of a request that is answered reads %d bytes, %v, expected its end", len(rest), err)
	}
}

func TestWhatTheNextHandlerKeepsIsNotOverwritten(t *testing.T) {
	h, s := bareHandler(t, "next")
	var kept io.Reader
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		kept = r.Body // as a transport that still sends
		_, err := io.WriteString(w, `{"screen":"ROOM","data":{"name":"Ada"}}`)
		return err
	})
	e := seal(t, s.public, step("data_exchange", "NAME", "tok", request{"name": privateAnswer}))
	r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(e.body))
	r.Header.Set(signatureHeader, signed(e.body)[signatureHeader])
	if err := h.ServeHTTP(httptest.NewRecorder(), r, next); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(kept); !strings.Contains(string(rest), privateAnswer) {
		t.Errorf("the next handler's body reads %q", rest)
	}
}

// Bodies lie in memory that is used again. With requests of all sizes at once, each
// must be stored and answered as its own.
func TestNoRequestSeesTheBodyOfAnother(t *testing.T) {
	s := newSite(t).load("", engineSite)
	const senders, each = 8, 25
	sizes := []int{1, 700, 4 << 10, 4<<10 + 1, smallBody, smallBody + 1, 300 << 10}
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				body := []byte(strings.Repeat(fmt.Sprintf("%d/%d ", sender, i), 1+sizes[(sender+i)%len(sizes)]/4))
				if a, err := s.try(http.MethodPost, hook, signed(body), body); err != nil || a.status != http.StatusOK {
					t.Errorf("webhook: status %d, %v", a.status, err)
				}
				name := fmt.Sprintf("user %d of %d", i, sender)
				e := seal(t, s.public, step("data_exchange", "NAME", name, request{"name": name}))
				a, err := s.try(http.MethodPost, booking, signed(e.body), e.body)
				if err != nil || a.status != http.StatusOK {
					t.Errorf("flow: status %d, %v", a.status, err)
					continue
				}
				if data, _ := e.open(t, a)["data"].(map[string]any); data["name"] != name {
					t.Errorf("%s was answered %v", name, data)
				}
			}
		})
	}
	sending.Wait()
	webhooks := make(map[string]bool)
	for _, e := range s.events() {
		if e.Kind != event.KindWebhook {
			continue
		}
		first, _, _ := strings.Cut(string(e.Body), " ")
		if first == "" || strings.ReplaceAll(string(e.Body), first+" ", "") != "" {
			t.Errorf("a webhook of %d bytes that begins %q holds something else", len(e.Body), first)
		}
		webhooks[first] = true
	}
	if len(webhooks) != senders*each {
		t.Errorf("%d different webhooks are stored, expected %d", len(webhooks), senders*each)
	}
}

// What the handlers add to the server's own work, in allocations. A ping has the
// private operation too, which is counted and taken off.
func TestAllocationsOfOneRequest(t *testing.T) {
	h, s := bareHandler(t, "engine")
	ping := seal(t, s.public, request{"version": "3.0", "action": "ping"}).body
	serve := func(secret string, status int) float64 {
		r := httptest.NewRequest(http.MethodPost, booking, nil)
		r.Header.Set(signatureHeader, hubsignature.Sign([]byte(secret), ping))
		r.ContentLength = int64(len(ping))
		body := new(bytes.Reader)
		r.Body = io.NopCloser(body)
		original := r.Body
		w := &statusOnly{header: make(http.Header)}
		return fewestAllocations(func() {
			body.Reset(ping)
			r.Body = original
			if err := h.ServeHTTP(w, r, nil); err != nil || w.status != status {
				t.Fatalf("status %d, %v, expected %d", w.status, err, status)
			}
		})
	}
	private := fewestAllocations(func() {
		e, err := flowcrypto.ParseEnvelope(ping)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := h.only.current.Load().open(e); err != nil {
			t.Fatal(err)
		}
	})
	if n := serve("another secret", statusBadSignature); n > 3 {
		t.Errorf("refusing a bad signature takes %v allocations, expected at most 3", n)
	}
	if n := serve(testSecret, http.StatusOK) - private; n > 16 {
		t.Errorf("a ping takes %v allocations besides its opening, expected at most 16", n)
	}
}

// fewestAllocations of one call. The whole process is counted, and what runs in
// the background allocates too, so the fewest of several rounds are taken.
func fewestAllocations(call func()) float64 {
	fewest := testing.AllocsPerRun(5, call)
	for range 100 {
		fewest = min(fewest, testing.AllocsPerRun(5, call))
	}
	return fewest
}

// statusOnly is a response of which only the status is kept.
type statusOnly struct {
	header http.Header
	status int
}

func (*statusOnly) SetReadDeadline(time.Time) error { return nil }

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(status int)      { w.status = status }
func (w *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

func FuzzFlowName(f *testing.F) {
	rule := regexp.MustCompile(`\A[A-Za-z0-9._-]{1,128}\z`)
	for _, name := range []string{"", "booking", "a.b_c-9", "a/b", "ä", "a\n", "a b", "[", "@", "`", "{", strings.Repeat("x", 128), strings.Repeat("x", 129)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := isFlowName(name), rule.MatchString(name); got != want {
			t.Errorf("%q: %v, expected %v", name, got, want)
		}
	})
}
