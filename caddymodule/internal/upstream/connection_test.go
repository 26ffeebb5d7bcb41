package upstream

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func TestAFetchEndsInTime(t *testing.T) {
	hang := make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow-body") {
			_, _ = io.WriteString(w, `{"a":`)
			w.(http.Flusher).Flush()
		}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	for name, c := range map[string]struct {
		path            string
		upstream, asked time.Duration
		budget, least   time.Duration
		most            time.Duration
		cache           time.Duration
		reason          string
	}{
		"by the upstream's timeout":           {path: "/", upstream: 50 * time.Millisecond, budget: time.Minute, least: 50 * time.Millisecond, most: 10 * time.Second, reason: "no answer within 50ms"},
		"by the flow's":                       {path: "/", upstream: time.Minute, asked: 50 * time.Millisecond, budget: time.Minute, least: 50 * time.Millisecond, most: 10 * time.Second, reason: "no answer within 50ms"},
		"by the flow's, cached":               {path: "/", cache: time.Minute, upstream: 2 * time.Second, asked: 50 * time.Millisecond, budget: time.Minute, least: 50 * time.Millisecond, most: 1500 * time.Millisecond, reason: "no answer within 50ms"},
		"by what is left, with some to spare": {path: "/", upstream: time.Minute, budget: 2 * time.Second, least: 1700 * time.Millisecond, most: 2 * time.Second, reason: "no answer within"},
		"while the body comes":                {path: "/slow-body", upstream: 50 * time.Millisecond, budget: time.Minute, least: 50 * time.Millisecond, most: 10 * time.Second, reason: "no answer within 50ms"},
		"at once when none is left":           {path: "/", upstream: time.Minute, budget: -1, most: 10 * time.Second, reason: "no time was left to ask it"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(handler))
			t.Cleanup(server.Close)
			p, seen := poolOf(t, server.URL, c.upstream)
			ctx, cancel := context.WithTimeout(t.Context(), c.budget)
			defer cancel()
			start := time.Now()
			request := get(c.path)
			request.Timeout, request.Cache = c.asked, c.cache
			_, err := p.Fetch(ctx, request, "")
			took := time.Since(start)
			expectFailure(t, err, Timeout, c.reason)
			if took < c.least || took > c.most {
				t.Errorf("it took %s, expected %s to %s", took, c.least, c.most)
			}
			if seen.of(Timeout) != 1 {
				t.Errorf("counted %v", seen.fetched)
			}
		})
	}
	close(hang)
}

// listen answers raw connections, one after the other.
func listen(t *testing.T, serve func(n int, conn net.Conn, r *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(n, conn, bufio.NewReader(conn))
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); running.Wait() })
	return "http://" + listener.Addr().String()
}

func TestBrokenConnections(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	_ = closed.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	answers := func(raw string) string {
		return listen(t, func(_ int, conn net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = io.WriteString(conn, raw)
			}
		})
	}
	for name, c := range map[string]struct{ address, want string }{
		"nobody listens":                       {nobody, "connection refused"},
		"a name that does not exist":           {"http://calendar.invalid", "lookup calendar.invalid"},
		"a certificate nobody vouches for":     {secure.URL, "failed to verify certificate"},
		"plain HTTP where TLS is expected":     {strings.Replace(plain.URL, "http:", "https:", 1), "it speaks plain HTTP: write http:// in its URL"},
		"it hangs up":                          {answers(""), "it broke off its answer"},
		"it hangs up in the middle of a body":  {answers("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1"), "it broke off its answer"},
		"it talks something else":              {answers("220 " + private + " ESMTP\r\n"), "what it sent is no answer of HTTP"},
		"a header line that is no header line": {answers("HTTP/1.1 200 OK\r\n" + private + "\r\n\r\n"), "what it sent is no answer of HTTP"},
		"a header without end":                 {answers("HTTP/1.1 200 OK\r\nX: " + strings.Repeat(private, 10_000) + "\r\n\r\n"), "what it sent is no answer of HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := poolOf(t, c.address, 5*time.Second)
			_, err := p.Fetch(t.Context(), get("/"+private), "")
			expectFailure(t, err, Failed, c.want)
		})
	}
}

// A server that closes a connection instead of answering may have done what it
// was asked. A GET is sent again on another connection, nothing else is.
func TestOnlyAGetIsSentAgain(t *testing.T) {
	for method, want := range map[string]int32{"GET": 2, "POST": 1, "PUT": 1, "PATCH": 1, "DELETE": 1} {
		t.Run(method, func(t *testing.T) {
			var sent atomic.Int32
			address := listen(t, func(n int, conn net.Conn, r *bufio.Reader) {
				for range 2 {
					request, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, request.Body)
					if request.URL.Path == "/effect" {
						if sent.Add(1); n == 1 {
							return // without an answer
						}
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
				}
			})
			p, _ := poolOf(t, address, 5*time.Second)
			if _, err := p.Fetch(t.Context(), get("/first"), ""); err != nil {
				t.Fatal(err) // the connection is now in the pool
			}
			request := flow.FetchRequest{Upstream: "api", Method: method, Path: "/effect"}
			if method == "POST" || method == "PUT" {
				request.Body = []byte(`{}`)
			}
			_, err := p.Fetch(t.Context(), request, "key")
			if (err == nil) != (want == 2) || sent.Load() != want {
				t.Errorf("sent %d times, expected %d; %v", sent.Load(), want, err)
			}
		})
	}
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `"`+r.Proto+" "+r.Header.Get("Idempotency-Key")+`"`)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	p, _ := poolOf(t, server.URL, 5*time.Second)
	p.client.Transport.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	answer, err := p.Fetch(t.Context(), flow.FetchRequest{Upstream: "api", Method: "POST", Path: "/"}, "key")
	if err != nil || string(answer.Body) != `"HTTP/2.0 key"` {
		t.Errorf("got %s, %v", answer.Body, err)
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	for _, variable := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(variable, "http://127.0.0.1:1")
	}
	p, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `1`) })
	if p.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would be asked for")
	}
	if _, err := p.Fetch(t.Context(), get("/"), ""); err != nil {
		t.Error(err)
	}
}
