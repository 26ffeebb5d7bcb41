package caddymodule

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/admission"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// patientSite gives its requests so much time that none ends by it in a test.
const patientSite = `
	metrics /metrics
	whatsapp_webhook /webhooks/whatsapp
	whatsapp_flow /flows/endpoint* {
		endpoint engine
		flows testdata/flows
		timeout 9s
	}`

// heldKey is a private key each of whose operations waits until the test lets it
// go on.
type heldKey struct {
	crypto.Decrypter
	begun chan string // the ciphertext
	next  chan struct{}
}

func (k heldKey) Decrypt(rand io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	k.begun <- string(ciphertext)
	<-k.next
	return k.Decrypter.Decrypt(rand, ciphertext, options)
}

// rush is a site with one slot, whose key and clock are the test's.
type rush struct {
	*site
	t       *testing.T
	key     heldKey
	clock   atomic.Int64
	names   map[string]string // of the requests under way, by ciphertext
	answers sync.WaitGroup
}

func newRush(t *testing.T) *rush {
	r := &rush{site: newSite(t), t: t, names: make(map[string]string), key: heldKey{begun: make(chan string), next: make(chan struct{})}}
	before := gate
	one := admission.New(1, func() time.Time { return time.Unix(0, r.clock.Load()) })
	gate = func() *admission.Gate { return one }
	t.Cleanup(func() { _ = caddy.Stop(); gate = before })
	r.load("", patientSite)
	app, err := caddy.ActiveContext().App(appID)
	if err != nil {
		t.Fatal(err)
	}
	key := &app.(*App).Accounts[defaultAccount].current.Load().keys[0]
	r.key.Decrypter = key.Decrypter
	key.Decrypter = r.key
	return r
}

// sends sends a request from a phone of its own, which checks that the answer is a
// reply, and waits until the request runs or stands in line.
func (r *rush) sends(name string, payload request) {
	r.t.Helper()
	e := seal(r.t, r.public, payload)
	var envelope struct {
		Key []byte `json:"encrypted_aes_key"`
	}
	if err := json.Unmarshal(e.body, &envelope); err != nil {
		r.t.Fatal(err)
	}
	r.names[string(envelope.Key)] = name
	before := gate().Stats()
	r.answers.Go(func() {
		a, err := r.try(http.MethodPost, booking, signed(e.body), e.body)
		if err != nil || a.status != http.StatusOK {
			r.t.Errorf("%s: status %d, %v; expected 200", name, a.status, err)
			return
		}
		e.open(r.t, a)
	})
	eventually(r.t, 5*time.Second, name+" runs or waits", func() bool {
		now := gate().Stats()
		return now.Running+now.Waiting == before.Running+before.Waiting+1
	})
}

// begins waits for the next operation and names its request.
func (r *rush) begins() string {
	r.t.Helper()
	select {
	case ciphertext := <-r.key.begun:
		return r.names[ciphertext]
	case <-time.After(5 * time.Second):
		r.t.Fatal("no private operation begins, expected one of those who wait")
		return ""
	}
}

var (
	aPing = request{"version": "3.0", "action": "ping"}
	anyID atomic.Int64
)

// arrival is the first step of a session of its own, too long for a ping.
func arrival() request {
	return step("INIT", "", fmt.Sprintf("user-%d-%s", anyID.Add(1), strings.Repeat("x", 100)), nil)
}

func TestPrivateOperationsRunInTurnAndPingsFirst(t *testing.T) {
	r := newRush(t)
	r.sends("first", arrival())
	order := []string{r.begins()}
	r.sends("second", arrival())
	r.sends("third", arrival())
	r.sends("ping", aPing)
	for range 3 {
		if s := gate().Stats(); s.Running != 1 {
			t.Errorf("%d operations run, expected the one there is room for", s.Running)
		}
		r.clock.Add(int64(time.Millisecond))
		r.key.next <- struct{}{}
		order = append(order, r.begins())
	}
	r.key.next <- struct{}{}
	r.answers.Wait()
	if want := []string{"first", "ping", "second", "third"}; !slices.Equal(order, want) {
		t.Errorf("the order was %v, expected %v", order, want)
	}
	if got := r.metric(`admission_admitted_total{class="ping"}`); got != 1 {
		t.Errorf("%v pings are counted, expected 1", got)
	}
	if got := r.metric("admission_wait_seconds_count"); got < 3 {
		t.Errorf("%v waits are counted, expected the three of this test", got)
	}
	if s := gate().Stats(); s.Running != 0 || s.Waiting != 0 {
		t.Errorf("%d run and %d wait at the end, expected none", s.Running, s.Waiting)
	}
}

// connection is a keep-alive connection on which a test writes bytes.
type connection struct {
	t *testing.T
	net.Conn
	reader *bufio.Reader
}

func (r *rush) connect(t *testing.T) *connection {
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &connection{t, conn, bufio.NewReader(conn)}
}

// head writes the head of a signed request with a body.
func (c *connection) head(body []byte, more string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: %s\r\n%s\r\n\r\n",
		booking, hubsignature.Sign([]byte(testSecret), body), more); err != nil {
		c.t.Fatal(err)
	}
}

// reads reads the next answer, an interim one included.
func (c *connection) reads() answer {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, body}
}

func TestUnderOverload(t *testing.T) {
	r := newRush(t)
	r.sends("the one that runs", arrival())
	r.begins()
	r.sends("a ping in line", aPing)
	// Nothing has ended for long: whoever comes now could not be served in time.
	r.clock.Add(int64(longestWait * 3 / 4))
	shed := func() float64 { return r.metric(`refused_total{account="default",reason="overloaded"}`) }
	already := shed()
	long := seal(t, r.public, arrival())

	t.Run("a request is refused before its body is read", func(t *testing.T) {
		c := r.connect(t)
		c.head(long.body, fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d", len(long.body)))
		if a := c.reads(); a.status != http.StatusServiceUnavailable || len(a.body) != 0 {
			t.Errorf("status %d and %d bytes, expected 503 and no body; 100 would ask for the request's", a.status, len(a.body))
		}
	})
	t.Run("its connection can be used again", func(t *testing.T) {
		c := r.connect(t)
		for range 3 {
			c.head(long.body, fmt.Sprintf("Content-Length: %d", len(long.body)))
			_, _ = c.Write(long.body)
			if a := c.reads(); a.status != http.StatusServiceUnavailable {
				t.Errorf("status %d, expected 503", a.status)
			}
		}
	})
	t.Run("a request of unknown length is refused when it is read", func(t *testing.T) {
		c := r.connect(t)
		c.head(long.body, "Transfer-Encoding: chunked")
		_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(long.body), long.body)
		if a := c.reads(); a.status != http.StatusServiceUnavailable {
			t.Errorf("status %d, expected 503", a.status)
		}
	})
	t.Run("a wrong signature is told first where the body is read", func(t *testing.T) {
		ping := seal(t, r.public, aPing)
		if a := r.do(http.MethodPost, booking, map[string]string{"X-Hub-Signature-256": "sha256=" + strings.Repeat("0", 64)}, ping.body); a.status != statusBadSignature {
			t.Errorf("status %d, expected 432", a.status)
		}
	})
	t.Run("webhooks are taken", func(t *testing.T) {
		if a := webhook(r.site, `{"n":1}`); a.status != http.StatusOK {
			t.Errorf("status %d, expected 200", a.status)
		}
	})
	t.Run("the refusals are counted and logged once", func(t *testing.T) {
		if got := shed() - already; got != 5 {
			t.Errorf("%v refusals are counted, expected 5", got)
		}
		if got := r.metric(`requests_total{account="default",action="unknown",flow="_other",outcome="shed"}`); got < 5 {
			t.Errorf("%v requests have the outcome shed, expected 5", got)
		}
	})

	t.Run("whoever was in line is served", func(t *testing.T) {
		r.key.next <- struct{}{}
		if name := r.begins(); name != "a ping in line" {
			t.Errorf("next is %q, expected the ping", name)
		}
		r.key.next <- struct{}{}
		r.answers.Wait()
	})
	t.Run("and whoever comes after", func(t *testing.T) {
		r.sends("a newcomer", arrival())
		r.begins()
		r.key.next <- struct{}{}
		r.answers.Wait()
	})
}

func TestBodiesHaveBoundedMemory(t *testing.T) {
	s := newSite(t)
	before := bodies
	bodies = admission.NewBudget(64 << 10)
	t.Cleanup(func() { _ = caddy.Stop(); bodies = before })
	s.load("", patientSite)
	refused := func() float64 { return s.metric(`refused_total{account="default",reason="memory"}`) }
	already := refused()

	large := bytes.Repeat([]byte("x"), 200<<10)
	for name, c := range map[string]struct {
		path   string
		body   []byte
		status int
	}{
		"a large flow request has no room":         {booking, large, 503},
		"a large webhook has no room":              {"/webhooks/whatsapp", large, 503},
		"a webhook that fits":                      {"/webhooks/whatsapp", large[:60<<10], 200},
		"a flow request that fits, and is none":    {booking, large[:60<<10], 400},
		"a small one never counts, and is none":    {booking, large[:smallBody], 400},
		"over max_body it is too large, as always": {booking, make([]byte, 11<<20), 413},
	} {
		t.Run(name, func(t *testing.T) {
			header := signed(c.body)
			header["Expect"] = "100-continue"
			if a := s.do(http.MethodPost, c.path, header, c.body); a.status != c.status {
				t.Errorf("status %d, expected %d", a.status, c.status)
			}
		})
	}
	if got := refused() - already; got != 1 {
		t.Errorf("%v are counted as refused for memory, expected 1", got)
	}
	eventually(t, 5*time.Second, "all bodies are given back", func() bool { return bodies.Taken() == 0 })
}

// A page of handle_errors may read the rest of a body that was refused.
func TestWhatAnErrorPageReadsIsNotCounted(t *testing.T) {
	s := newSite(t)
	before := bodies
	bodies = admission.NewBudget(maxBodies)
	t.Cleanup(func() { _ = caddy.Stop(); bodies = before })
	s.load("", `
	whatsapp_flow /flows/endpoint* {
		endpoint engine
		flows testdata/flows
		max_body 1000
	}
	handle_errors {
		respond "{http.request.body}" 413
	}`)
	body := bytes.Repeat([]byte("x"), 10*smallBody)
	if a := s.do(http.MethodPost, booking, signed(body), body); a.status != 413 || len(a.body) != len(body) {
		t.Errorf("status %d with %d bytes, expected the error page to return the whole body with a 413", a.status, len(a.body))
	}
	if bodies.Taken() != 0 {
		t.Errorf("%d bytes are taken with no request under way", bodies.Taken())
	}
}

// watchedKey calls before each of its operations.
type watchedKey struct {
	crypto.Decrypter
	before func()
}

func (k watchedKey) Decrypt(rand io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	k.before()
	return k.Decrypter.Decrypt(rand, ciphertext, options)
}

// An operation never gives its processor back before its end. So who comes
// meanwhile must be let in the line before the next begins: in the scheduler's own
// queue nobody counts it, and nobody is refused.
func TestWhoIsDueStandsInTheLineBeforeAnOperationBegins(t *testing.T) {
	h, s := bareHandler(t, "engine")
	before := gate
	one := admission.New(1, time.Now)
	gate = func() *admission.Gate { return one }
	t.Cleanup(func() { gate = before })
	var seen []int
	key := &h.only.current.Load().keys[0]
	key.Decrypter = watchedKey{key.Decrypter, func() { seen = append(seen, one.Stats().Waiting) }}
	ping := seal(t, s.public, request{"version": "3.0", "action": "ping"}).body

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const users = 20
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(ping))
			r.Header.Set(signatureHeader, signed(ping)[signatureHeader])
			w := httptest.NewRecorder()
			if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusOK {
				t.Errorf("status %d, %v", w.Code, err)
			}
		})
	}
	all.Wait()
	if len(seen) != users || slices.Max(seen) < users/2 {
		t.Errorf("%d users at once: beside each operation %d waited, expected most of them beside the first", users, seen)
	}
}

func TestWhatIsTakenForAPing(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ping bool
	}{
		"WhatsApp's ping":            {`{"version":"3.0","action":"ping"}`, true},
		"a ping with spaces":         {"{\n  \"version\": \"3.0\",\n  \"action\": \"ping\"\n}", true},
		"INIT without a token":       {`{"action":"INIT","flow_token":"unused","screen":"","data":{},"version":"3.0"}`, false},
		"INIT with a token":          {`{"action":"INIT","flow_token":"0d4c9d6e-7d52-4a0c-8f9f-5f0c8a3b3b1e","version":"3.0"}`, false},
		"the shortest data_exchange": {`{"action":"data_exchange","flow_token":"unused","screen":"A","data":{},"version":"3.0"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if ping := len(c.text) <= pingText; ping != c.ping {
				t.Errorf("%d bytes are taken for a ping: %v, expected %v", len(c.text), ping, c.ping)
			}
		})
	}
	// Such a ping is never refused by its announced length.
	s := newSite(t)
	body := seal(t, s.public, []byte(strings.Repeat(" ", pingText))).body
	if escaped := bytes.ReplaceAll(body, []byte("/"), []byte(`\/`)); len(escaped) > pingBody {
		t.Errorf("the longest ping comes to %d bytes, expected at most %d", len(escaped), pingBody)
	}
	if reasons := slices.Sorted(maps.Keys(hints)); !slices.Contains(reasons, reasonOverloaded) || !slices.Contains(reasons, reasonMemory) {
		t.Errorf("there is no hint for a refusal under overload among %v", reasons)
	}
}

// BenchmarkRefusalUnderOverload is what the handler itself spends on a request that
// it turns away by its announced length.
func BenchmarkRefusalUnderOverload(b *testing.B) {
	h, public := benchHandler(b, "")
	var clock atomic.Int64
	before, full := gate, admission.New(1, func() time.Time { return time.Unix(0, clock.Load()) })
	gate = func() *admission.Gate { return full }
	defer func() { gate = before }()
	full.Enter(b.Context(), admission.Other, longestWait)
	defer full.Leave()
	clock.Add(int64(longestWait))
	e := seal(b, public, arrival())
	signature := signed(e.body)[signatureHeader]
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(e.body))
		r.Header.Set(signatureHeader, signature)
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusServiceUnavailable {
			b.Fatalf("status %d, %v; expected 503", w.Code, err)
		}
	}
}
