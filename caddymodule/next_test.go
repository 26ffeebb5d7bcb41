package caddymodule

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// app is an application behind `endpoint next`.
type app struct {
	*httptest.Server
	mu       sync.Mutex
	answer   http.HandlerFunc
	requests []*http.Request
	bodies   [][]byte
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := new(app)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.requests, a.bodies = append(a.requests, r), append(a.bodies, body)
		answer := a.answer
		a.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *app) says(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.requests, a.bodies = answer, nil, nil
}

func (a *app) saysJSON(reply string) {
	a.says(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, reply) })
}

func (a *app) got() ([]*http.Request, [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests, a.bodies
}

func (a *app) site() string {
	return `
	encode gzip
	handle /flows/* {
		whatsapp_flow {
			flow book
			timeout 400ms
			max_body 64KiB
			fallback_message "Try later."
		}
		reverse_proxy ` + strings.TrimPrefix(a.URL, "http://") + ` {
			header_up X-Screen {http.whatsapp_flow.screen}
		}
	}
	handle_errors {
		header X-Error {http.error.status_code}
		respond "error page {http.request.body} {http.request.header.Idempotency-Key}"
	}`
}

const book = "/flows/book"

func TestNextGetsThePlaintext(t *testing.T) {
	a := newApp(t)
	s := newSite(t).load("", a.site())
	a.says(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Set-Cookie", "session=1")
		header.Set("ETag", `"x"`)
		header.Set("X-App", "yes")
		_, _ = io.WriteString(w, `{"version":"3.0","screen":"ONE","data":{"hello":"`+privateAnswer+`"}}`)
	})
	r := step("data_exchange", "START", privateToken, request{"name": privateAnswer})
	e := seal(t, s.public, r)
	header := signed(e.body)
	header["Accept-Encoding"] = "gzip"
	got := s.do(http.MethodPost, book, header, e.body)
	reply := e.open(t, got)
	if got.status != 200 || reply["screen"] != "ONE" || reply["data"].(map[string]any)["hello"] != privateAnswer {
		t.Fatalf("status %d, %v", got.status, reply)
	}
	for _, name := range []string{"Set-Cookie", "Etag", "X-App", "Content-Encoding"} {
		if value := got.header.Get(name); value != "" {
			t.Errorf("the header %s: %s of the application came through", name, value)
		}
	}
	if length := got.header.Get("Content-Length"); length != strconv.Itoa(len(got.body)) {
		t.Errorf("Content-Length is %q, the body %d bytes", length, len(got.body))
	}

	requests, bodies := a.got()
	if len(requests) != 1 {
		t.Fatalf("the application was asked %d times", len(requests))
	}
	want, _ := json.Marshal(r)
	if string(bodies[0]) != string(want) {
		t.Errorf("the application got %d bytes that are not Meta's plaintext", len(bodies[0]))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": strconv.Itoa(len(want)),
		"X-Screen": "START", "X-Hub-Signature-256": "",
	} {
		if got := requests[0].Header.Get(name); got != want {
			t.Errorf("the application got %s: %q, expected %q", name, got, want)
		}
	}
	if len(requests[0].Header.Get("Idempotency-Key")) != 64 {
		t.Errorf("Idempotency-Key is %q", requests[0].Header.Get("Idempotency-Key"))
	}

	// The same step in another envelope: the application is not asked again.
	s.want(book, r, "ONE")
	if requests, _ := a.got(); len(requests) != 1 {
		t.Errorf("the application was asked %d times", len(requests))
	}
}

func TestAnswersOfTheProtocolAreNoErrors(t *testing.T) {
	a := newApp(t)
	s := newSite(t).load("", a.site())
	e := seal(t, s.public, step("INIT", "", "tok", nil))
	for want, body := range map[int][]byte{400: []byte("{}"), 432: e.body} {
		header := signed(body)
		if want == 432 {
			header = signed(nil)
		}
		if got := s.do(http.MethodPost, book, header, body); got.status != want || len(got.body) != 0 || got.header.Get("X-Error") != "" {
			t.Errorf("status %d, expected %d, %d bytes: handle_errors must not see it", got.status, want, len(got.body))
		}
	}
}

func TestTheIdempotencyKeyIsThatOfTheStep(t *testing.T) {
	a := newApp(t)
	s := newSite(t).load("", a.site())
	fail := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	key := func(r request) string {
		a.says(fail)
		s.send(book, r)
		requests, _ := a.got()
		if len(requests) != 1 {
			t.Fatalf("the application was asked %d times", len(requests))
		}
		return requests[0].Header.Get("Idempotency-Key")
	}
	first := key(step("data_exchange", "A", "tok", request{"n": "1"}))
	if again := key(step("data_exchange", "A", "tok", request{"n": "1"})); again != first {
		t.Error("a retry of the same step has another key")
	}
	for name, r := range map[string]request{
		"another answer": step("data_exchange", "A", "tok", request{"n": "2"}),
		"another token":  step("data_exchange", "A", "tok2", request{"n": "1"}),
		"another screen": step("data_exchange", "B", "tok", request{"n": "1"}),
	} {
		if key(r) == first {
			t.Errorf("%s has the same key", name)
		}
	}
}

// send posts without opening the answer, which may be an error page.
func (s *site) send(path string, payload any) answer {
	s.t.Helper()
	e := seal(s.t, s.public, payload)
	return s.do(http.MethodPost, path, signed(e.body), e.body)
}

func TestWhatAnApplicationMayGetWrong(t *testing.T) {
	a := newApp(t)
	s := newSite(t).load("", a.site())
	for name, c := range map[string]struct {
		status int
		answer http.HandlerFunc
	}{
		"status 500":    {502, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		"status 204":    {502, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		"status 201":    {502, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }},
		"a redirection": {502, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }},
		"over the limit": {502, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"screen":"A","data":{"x":"%s"}}`, strings.Repeat("x", 100<<10))
		}},
		"an encoding nobody asked for": {502, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "xx")
		}},
		"it breaks off": {502, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"screen":`)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		"427 with a message": {427, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(427)
			_, _ = io.WriteString(w, `{"error_msg":"gone"}`)
		}},
		"427 without": {427, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(427) }},
		"gzip, which reverse_proxy undoes": {200, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"screen":"A","data":{}}`)
			_ = z.Close()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			token := "tok " + name
			a.saysJSON(`{"screen":"A","data":{"x":"1"}}`)
			s.want(book, step("INIT", "", token, nil), "A")
			a.says(c.answer)
			r := step("data_exchange", "A", token, request{"name": privateAnswer})
			e := seal(t, s.public, r)
			got := s.do(http.MethodPost, book, signed(e.body), e.body)
			if got.status != c.status {
				t.Fatalf("status %d, expected %d", got.status, c.status)
			}
			switch got.status {
			case 427:
				want := defaultTokenExpired
				if name == "427 with a message" {
					want = "gone"
				}
				if reply := e.open(t, got); reply["error_msg"] != want {
					t.Errorf("reply %v", reply)
				}
			case 502:
				page := string(got.body)
				if got.header.Get("X-Error") != "502" || !strings.HasPrefix(page, "error page") {
					t.Errorf("handle_errors did not run: %q", page)
				}
				if strings.Contains(page, privateAnswer) || strings.Contains(page, "data_exchange") {
					t.Error("the error page shows the plaintext")
				}
				if len(page) < 300 || !strings.Contains(page, "encrypted_flow_data") {
					t.Errorf("the error page does not see the original request: %q", page)
				}
			}
			// The user tries again and the application is well again.
			a.saysJSON(`{"screen":"B","data":{}}`)
			start := time.Now()
			if got.status == 502 {
				s.want(book, r, "B")
				if took := time.Since(start); took > 300*time.Millisecond {
					t.Errorf("the next try took %s", took)
				}
			}
		})
	}
	s.t = t
}

func TestASlowApplicationGetsTheFallback(t *testing.T) {
	a := newApp(t)
	s := newSite(t).load("", a.site())
	a.saysJSON(`{"screen":"A","data":{"x":"1"}}`)
	s.want(book, step("INIT", "", "tok", nil), "A")
	a.says(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	start := time.Now()
	data := s.want(book, step("data_exchange", "A", "tok", request{"y": "2"}), "A")
	if data["error_message"] != "Try later." || data["x"] != "1" {
		t.Errorf("data %v", data)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := newSite(t).load("", `
	handle /flows/* {
		whatsapp_flow {
			flow book
		}
	}`)
	if a := s.send(book, step("INIT", "", "tok", nil)); a.status != 502 || len(a.body) != 0 {
		t.Errorf("status %d, %d bytes", a.status, len(a.body))
	}
	if a, _ := s.post(book, request{"action": "ping"}); a.status != 200 {
		t.Errorf("ping: status %d", a.status)
	}
}

func TestRespondIsAnApplicationToo(t *testing.T) {
	s := newSite(t).load("", `
	handle /flows/* {
		whatsapp_flow {
			flow book
		}
		respond `+"`{\"screen\":\"HELLO\",\"data\":{\"a\":\"b\"}}`"+`
	}`)
	if data := s.want(book, step("INIT", "", "unused", nil), "HELLO"); data["a"] != "b" {
		t.Errorf("data %v", data)
	}
}

func TestPlaceholdersOfTheBodySeeThePlaintext(t *testing.T) {
	s := newSite(t).load("", `
	handle /flows/* {
		whatsapp_flow {
			flow book
		}
		respond `+"`{\"screen\":\"ECHO\",\"data\":{\"got\":{http.request.body},\"action\":\"{http.whatsapp_flow.action}\"}}`"+`
	}`)
	data := s.want(book, step("data_exchange", "A", "unused", request{"name": "x"}), "ECHO")
	got, _ := data["got"].(map[string]any)
	if got["screen"] != "A" || data["action"] != "data_exchange" {
		t.Errorf("data %v", data)
	}
}
