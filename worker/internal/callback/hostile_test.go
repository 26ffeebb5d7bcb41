package callback

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// talk accepts connections, reads one request from each and lets answer write
// whatever it likes. gone ends when the test does.
func talk(t *testing.T, answer func(gone context.Context, c net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				answer(gone, c)
			}
			c.Close() //nolint:errcheck // answered
		}
	}()
	t.Cleanup(func() { end(); listener.Close(); <-done }) //nolint:errcheck // the test is over
	return "http://" + listener.Addr().String()
}

// drip writes a byte every 10 ms until nobody listens.
func drip(gone context.Context, c net.Conn, text string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		b := byte('x')
		if i < len(text) {
			b = text[i]
		}
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-gone.Done():
			return
		case <-tick.C:
		}
	}
}

func TestNoReceiverCostsMoreThanItsTime(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for _, c := range []struct {
		name    string
		answer  func(gone context.Context, c net.Conn)
		status  int
		outcome string
	}{
		{"headers one byte at a time", func(gone context.Context, c net.Conn) { drip(gone, c, "HTTP/1.1 200 OK\r\nX-Slow: ") }, 0, "timeout"},
		{"a body one byte at a time", func(gone context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
			drip(gone, c, "")
		}, 200, "delivered"},
		{"a body that never ends", func(_ context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\n\r\n")
			for block := make([]byte, 1<<20); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}, 503, "http_5xx"},
		{"chunks that never end", func(_ context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for chunk := "100000\r\n" + strings.Repeat("x", 1<<20) + "\r\n"; ; {
				if _, err := io.WriteString(c, chunk); err != nil {
					return
				}
			}
		}, 200, "delivered"},
		{"headers that never end", func(_ context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, 0, "connection"},
		{"interim answers that never end", func(_ context.Context, c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"); err != nil {
					return
				}
			}
		}, 0, "connection"},
		{"the connection is reset after the headers", func(_ context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			_ = c.(*net.TCPConn).SetLinger(0)
		}, 200, "delivered"},
		{"a redirect to the metadata service", func(_ context.Context, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n")
		}, 302, "http_3xx"},
		{"silence", func(gone context.Context, c net.Conn) {
			_, _ = c.Read(make([]byte, 1)) // until the other side has enough
		}, 0, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := talk(t, c.answer)
			s := localSender(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			started := time.Now()
			result := post(t, s, url, timeout)
			if took := time.Since(started); took > timeout+time.Second {
				t.Errorf("it took %s", took)
			}
			runtime.ReadMemStats(&after)
			if result.Status != c.status || result.Outcome() != c.outcome {
				t.Errorf("status %d, %s, %v; want %d, %s", result.Status, result.Outcome(), result.Err, c.status, c.outcome)
			}
			if len(result.Body) > keptBody {
				t.Errorf("%d bytes kept", len(result.Body))
			}
			// What the receiver allocates to write is counted too.
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
				t.Errorf("%d kB were allocated", grown>>10)
			}
		})
	}
}

func TestACertificateWhoseTimeIsOverIsRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}} //nolint:gosec // a test's
	server.StartTLS()
	defer server.Close()
	trusted := x509.NewCertPool()
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trusted.AddCert(own)
	s := NewSender(SenderConfig{AllowNetworks: loopback, MaxInFlight: 1, RootCAs: trusted})
	defer s.Close()
	if r := post(t, s, server.URL, 5*time.Second); r.Outcome() != "certificate" || r.Tries != 1 || !strings.Contains(r.Problem(), "expired") {
		t.Errorf("%s after %d tries: %s", r.Outcome(), r.Tries, r.Problem())
	}
}

func TestRetryAfterOfAReceiver(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "86400": 6 * time.Hour, "soon": 0, "-1": 0, "1e3": 0, "": 0, "99999999999999999999999": 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		r := post(t, localSender(t), server.URL, 5*time.Second)
		server.Close()
		if r.Status != 429 || r.RetryAfter > want || r.RetryAfter < want-10*time.Second {
			t.Errorf("Retry-After %q: status %d, %s, want %s", value, r.Status, r.RetryAfter, want)
		}
	}
}

func TestOwnHeadersAndCredentialsAreSentAndOursStay(t *testing.T) {
	var got http.Header
	rc := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) { got = r.Header })
	secret := NewSecret()
	r := localSender(t).Send(t.Context(), Request{
		ID: "id", URL: rc.URL, Secrets: []string{secret}, Body: []byte(`{}`), Timeout: 5 * time.Second,
		Headers: map[string]string{"X-Tenant": "acme", "content-type": "text/plain", "Webhook-Id": "other"},
		Auth:    "Bearer geheim", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	if !r.Delivered() {
		t.Fatalf("result = %+v", r)
	}
	for name, want := range map[string]string{
		"X-Tenant": "acme", "Content-Type": "application/json", "Webhook-Id": "id", "Authorization": "Bearer geheim",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Hub-Signature-256": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.Get(name), want)
		}
	}
}

func TestAPingIsSignedAndLeavesNoRow(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for _, form := range []payload.Form{payload.Seed, payload.Typed, payload.Raw} {
		secret := NewSecret()
		rc := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Api-Key") != "k" || (r.Header.Get("X-Hub-Signature-256") != "") != (form == payload.Raw) {
				t.Errorf("%s: headers %v", form, r.Header)
			}
			w.WriteHeader(http.StatusAccepted)
		})
		rc.check = func(r *http.Request, body []byte) {
			if !verifies(secret, r.Header, body) {
				t.Errorf("%s: the signature does not verify", form)
			}
		}
		id := endpoint(t, pool, rc.URL, `status = 'paused', headers = '{"X-Api-Key": "k"}', secrets = '{`+secret+`}', payload = '`+string(form)+`'`)
		e, err := FindEndpoint(t.Context(), pool, id)
		if err != nil {
			t.Fatal(err)
		}
		if r := Ping(t.Context(), localSender(t), e); r.Status != http.StatusAccepted {
			t.Errorf("%s: %+v", form, r)
		}
		if want := payload.Ping(form, uuid.UUID{}, "", "", id, time.Time{})[:8]; !strings.HasPrefix(rc.got()[0].body, string(want)) {
			t.Errorf("%s: body %s", form, rc.got()[0].body)
		}
	}
	if n := count(t, pool, `SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM attempts)`); n != 0 {
		t.Errorf("%d rows", n)
	}
	if _, err := FindEndpoint(t.Context(), pool, uuid.New()); err == nil {
		t.Error("an endpoint that is not there was found")
	}
}
