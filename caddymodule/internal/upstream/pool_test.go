package upstream

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// private is what a user typed, and must be in no error.
const private = "Ada-Lovelace"

// counts are what the pool has told its observer.
type counts struct {
	mu      sync.Mutex
	fetched map[Result]int
	sent    int
}

func (c *counts) Fetched(_ string, result Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetched == nil {
		c.fetched = make(map[Result]int)
	}
	c.fetched[result]++
}

func (c *counts) Sent(string, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
}

func (c *counts) of(result Result) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetched[result]
}

// serve starts a service and a pool that knows it as "api".
func serve(t testing.TB, handler http.HandlerFunc) (*Pool, *counts) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return poolOf(t, server.URL+"/base/", 30*time.Second)
}

func poolOf(t testing.TB, address string, timeout time.Duration) (*Pool, *counts) {
	t.Helper()
	u, err := New("api", address, http.Header{"authorization": {"Bearer s3cret"}, "X-Tag": {"a", "b"}}, timeout, 1000)
	if err != nil {
		t.Fatal(err)
	}
	seen := new(counts)
	p := NewPool(map[string]*Upstream{"api": u}, seen)
	t.Cleanup(p.CloseIdle)
	return p, seen
}

func get(path string) flow.FetchRequest {
	return flow.FetchRequest{Upstream: "api", Method: http.MethodGet, Path: path}
}

func TestWhatAnUpstreamGets(t *testing.T) {
	type received struct {
		method, uri, body string
		header            http.Header
	}
	got := make(chan received, 1)
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Method, r.RequestURI, string(body), r.Header}
		_, _ = io.WriteString(w, `{"a":1}`)
	})
	for _, c := range []struct {
		request                 flow.FetchRequest
		uri, key, body, content string
	}{
		{get("/slots?day=1"), "/base/slots?day=1", "", "", ""},
		{get("/a%20b/"), "/base/a%20b/", "", "", ""},
		{flow.FetchRequest{Upstream: "api", Method: "POST", Path: "/book", Body: []byte(`{"x":[1]}`)}, "/base/book", "key", `{"x":[1]}`, "application/json"},
		{flow.FetchRequest{Upstream: "api", Method: "PUT", Path: "/book", Body: []byte(`1`)}, "/base/book", "key", `1`, "application/json"},
		{flow.FetchRequest{Upstream: "api", Method: "PATCH", Path: "/book", Body: []byte(`null`)}, "/base/book", "key", `null`, "application/json"},
		{flow.FetchRequest{Upstream: "api", Method: "DELETE", Path: "/book/1"}, "/base/book/1", "key", "", ""},
		{flow.FetchRequest{Upstream: "api", Method: "POST", Path: "/ring"}, "/base/ring", "key", "", ""},
	} {
		answer, err := p.Fetch(t.Context(), c.request, "key")
		if err != nil || answer.Status != 200 || string(answer.Body) != `{"a":1}` {
			t.Fatalf("%s %s: %v, %v", c.request.Method, c.request.Path, answer, err)
		}
		r := <-got
		if r.method != c.request.Method || r.uri != c.uri || r.body != c.body {
			t.Errorf("it got %s %s %q, expected %s %s %q", r.method, r.uri, r.body, c.request.Method, c.uri, c.body)
		}
		for name, want := range map[string]string{
			"Idempotency-Key": c.key, "Content-Type": c.content, "Authorization": "Bearer s3cret", "X-Tag": "a,b",
			"Accept": "application/json", "User-Agent": userAgent,
		} {
			if value := strings.Join(r.header.Values(name), ","); value != want {
				t.Errorf("%s %s: header %s is %q, expected %q", r.method, r.uri, name, value, want)
			}
		}
	}
}

func TestWhatAnUpstreamAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		header  map[string]string
		body    string
		want    string // body of the result
		result  Result
		failure string
	}{
		"an object":                    {status: 200, body: `{"a":"ü"}`, want: `{"a":"ü"}`, result: OK},
		"a list with a line end":       {status: 201, body: "[1]\n", want: "[1]\n", result: OK},
		"nothing":                      {status: 204, result: OK},
		"nothing with 200":             {status: 200, result: OK},
		"JSON under another type":      {status: 200, header: map[string]string{"Content-Type": "text/plain"}, body: `[]`, want: `[]`, result: OK},
		"not found, as JSON":           {status: 404, body: `{"code":7}`, want: `{"code":7}`, result: Status},
		"not found, as a page":         {status: 404, body: `<html>`, result: Status},
		"an error page that is large":  {status: 500, body: strings.Repeat("x", 2000), result: Status},
		"a page":                       {status: 200, body: "<html>" + private, result: Failed, failure: "its answer is not JSON"},
		"two values":                   {status: 200, body: `{} {}`, result: Failed, failure: "its answer is not JSON"},
		"half of one":                  {status: 200, body: `{"a":`, result: Failed, failure: "its answer is not JSON"},
		"no UTF-8":                     {status: 200, body: "\"\xff\"", result: Failed, failure: "its answer is not JSON"},
		"just small enough":            {status: 200, body: `"` + strings.Repeat("x", 998) + `"`, want: `"` + strings.Repeat("x", 998) + `"`, result: OK},
		"too large":                    {status: 200, body: `"` + strings.Repeat("x", 999) + `"`, result: Failed, failure: "its answer is over 1000 B: raise max_body"},
		"a redirect":                   {status: 302, header: map[string]string{"Location": "/elsewhere"}, result: Failed, failure: "status 302, and redirects are not followed"},
		"an encoding nobody asked for": {status: 200, header: map[string]string{"Content-Encoding": "br"}, body: `{}`, result: Failed, failure: "Content-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			p, seen := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				for field, value := range c.header {
					w.Header().Set(field, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			answer, err := p.Fetch(t.Context(), get("/orders/"+private), "")
			if c.failure == "" && (err != nil || answer.Status != c.status || string(answer.Body) != c.want) {
				t.Errorf("got %d %s, %v", answer.Status, answer.Body, err)
			}
			if c.failure != "" {
				expectFailure(t, err, c.result, c.failure)
			}
			if calls.Load() != 1 || seen.of(c.result) != 1 || seen.sent != 1 {
				t.Errorf("%d calls, counted %v", calls.Load(), seen.fetched)
			}
		})
	}
}

func expectFailure(t *testing.T, err error, result Result, reason string) {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %v, expected an upstream's", err)
	}
	if failure.Result != result || !strings.HasPrefix(err.Error(), "upstream "+failure.Upstream+": ") || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %q (%s), expected %q (%s)", err, failure.Result, reason, result)
	}
	for _, hidden := range []string{private, "s3cret"} {
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("the error holds what it must not: %v", err)
		}
	}
}

func TestACompressedAnswerIsBoundedUncompressed(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		_, _ = io.WriteString(zipped, `"`+strings.Repeat("x", map[string]int{"/base/bomb": 1 << 20}[r.URL.Path])+`"`)
		_ = zipped.Close()
	})
	if answer, err := p.Fetch(t.Context(), get("/small"), ""); err != nil || string(answer.Body) != `""` {
		t.Errorf("got %s, %v", answer.Body, err)
	}
	_, err := p.Fetch(t.Context(), get("/bomb"), "")
	expectFailure(t, err, Failed, "its answer is over")
}

func TestWhatIsNotSent(t *testing.T) {
	p, seen := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	for name, c := range map[string]struct {
		request flow.FetchRequest
		want    string
	}{
		"an unknown upstream": {flow.FetchRequest{Upstream: "other", Method: "GET", Path: "/"}, "the configuration has no upstream of this name"},
		"another method":      {flow.FetchRequest{Upstream: "api", Method: "CONNECT", Path: "/"}, `the method is "CONNECT"`},
		"a GET with a body":   {flow.FetchRequest{Upstream: "api", Method: "GET", Path: "/", Body: []byte("1")}, "a GET has no body"},
		"a way out":           {get("/../" + private), "the path holds a segment . or .."},
	} {
		_, err := p.Fetch(t.Context(), c.request, "")
		t.Run(name, func(t *testing.T) { expectFailure(t, err, Invalid, c.want) })
	}
	if seen.of(Invalid) != 4 || seen.sent != 0 {
		t.Errorf("counted %v, %d sent", seen.fetched, seen.sent)
	}
}
