package publiccheck_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret      = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	verifyToken = "correct-horse"
)

var keys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var both [2]*rsa.PrivateKey
	for i := range both {
		both[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return both
})

// edge is a site with endpoint and webhook as they should be, and what stands
// before it.
type edge struct {
	key      *rsa.PrivateKey
	secret   string
	verify   string
	before   func(http.Handler) http.Handler // a proxy
	pong     string
	status   int  // of the answer to a ping, when not 200
	clear    bool // bodies are not sealed
	unsigned bool // signatures are not looked at
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	verifier, err := hubsignature.New([]byte(e.secret))
	if err != nil {
		panic(err)
	}
	_, signed := verifier.Verify(r.Header.Get("X-Hub-Signature-256"), body)
	signed = signed || e.unsigned
	switch {
	case r.URL.Path == "/webhooks/whatsapp" && r.Method == http.MethodGet:
		if q := r.URL.Query(); q.Get("hub.verify_token") == e.verify || e.verify == "" {
			_, _ = io.WriteString(w, q.Get("hub.challenge"))
			return
		}
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/webhooks/whatsapp" && !signed:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/webhooks/whatsapp":
	case r.URL.Path != "/flows/endpoint/book":
		w.WriteHeader(http.StatusNotFound)
	case !signed:
		w.WriteHeader(432)
	default:
		e.answer(w, body)
	}
}

func (e *edge) answer(w http.ResponseWriter, body []byte) {
	envelope, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, sealer, err := envelope.Open(e.key)
	if err != nil {
		w.WriteHeader(421)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if e.status != 0 {
		w.WriteHeader(e.status)
	}
	if e.clear {
		_, _ = io.WriteString(w, e.pong)
		return
	}
	_, _ = w.Write(sealer.Seal([]byte(e.pong)))
}

// anew reads the JSON of a body and writes it again, as some firewalls and
// functions do.
func anew(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var value map[string]any
		if json.NewDecoder(r.Body).Decode(&value) == nil {
			var text bytes.Buffer
			encoder := json.NewEncoder(&text)
			encoder.SetEscapeHTML(false)
			_ = encoder.Encode(value)
			body := bytes.TrimSpace(text.Bytes())
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		next.ServeHTTP(w, r)
	})
}

// refusing answers every POST itself.
func refusing(status int, header map[string]string, body string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			for name, value := range header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
}

// adding puts something behind each answer to the endpoint.
func adding(text string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.URL.Path != "/webhooks/whatsapp" {
				_, _ = io.WriteString(w, text)
			}
		})
	}
}

// clock is a time that only tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

const page = "<!DOCTYPE html><html><head><title>Attention Required!</title></head></html>"

// Each case breaks one thing; every finding that is not named stays fine.
func TestEachFaultOfASiteIsFoundAndNoOther(t *testing.T) {
	for _, c := range []struct {
		name        string
		breaks      func(*edge, *publiccheck.Config, *clock)
		certificate tls.Certificate   // instead of a good one
		want        map[string]string // finding → what its evidence holds; "skip" when it is skipped
		warning     bool              // the finding is no failure
	}{
		{name: "nothing"},
		{name: "the edge has another app secret", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.secret = "00000000000000000000000000000000" },
			want: map[string]string{publiccheck.RoundTrip: "432", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "the edge has another private key", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.key = keys()[1] },
			want: map[string]string{publiccheck.RoundTrip: "421", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "a proxy writes JSON anew", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.before = anew },
			want: map[string]string{publiccheck.Bytes: `escaped slashes (\/)`, publiccheck.Latency: "432"}},
		{name: "a firewall with a page", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusForbidden, map[string]string{"Server": "cloudflare", "Cf-Ray": "8f"}, page)
		}, want: map[string]string{publiccheck.RoundTrip: "403 from Cloudflare, with an HTML page", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip", publiccheck.Post: "403 from Cloudflare"}},
		{name: "a firewall with a riddle and status 200", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusOK, map[string]string{"X-Iinfo": "1"}, page)
		}, want: map[string]string{publiccheck.RoundTrip: "200 from Imperva", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip", publiccheck.Post: "200 to a forged signature"}},
		{name: "a rate limit", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusTooManyRequests, map[string]string{"Server": "AkamaiGHost"}, "")
		}, want: map[string]string{publiccheck.RoundTrip: "429 from Akamai", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip", publiccheck.Post: "429 from Akamai"}},
		{name: "a proxy without an edge behind it", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusBadGateway, map[string]string{"Server": "nginx"}, "bad gateway")
		}, want: map[string]string{publiccheck.RoundTrip: "502 from nginx", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip", publiccheck.Post: "502 from nginx"}},
		{name: "a redirect", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusMovedPermanently, map[string]string{"Location": "https://www.example.com/"}, "")
		}, want: map[string]string{publiccheck.RoundTrip: "301 to https://www.example.com/", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip", publiccheck.Post: "301"}},
		{name: "a 427 in clear text", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.status, e.clear, e.pong = 427, true, `{"error_msg":"gone"}`
		},
			want: map[string]string{publiccheck.RoundTrip: "427 with a body in clear text", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "a 427 to a health check", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.status, e.pong = 427, `{"error_msg":"gone"}` },
			want: map[string]string{publiccheck.RoundTrip: "427 to a health check", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "an answer in clear text", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.clear = true },
			want: map[string]string{publiccheck.RoundTrip: "not base64", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "a line end behind each answer", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.before = adding("\n") },
			want: map[string]string{publiccheck.RoundTrip: "line ends", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "another answer to a health check", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.pong = `{"status":"ok"}` },
			want: map[string]string{publiccheck.RoundTrip: "but not", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "no such flow", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) {
			c.Endpoint = strings.Replace(c.Endpoint, "book", "bock", 1)
		},
			want: map[string]string{publiccheck.RoundTrip: "404", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "signatures are not looked at", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.unsigned = true },
			want: map[string]string{publiccheck.Signature: "200 to a forged signature", publiccheck.Post: "200 to a forged signature"}},
		{name: "slower than Meta's alert", warning: true, breaks: func(e *edge, _ *publiccheck.Config, c *clock) { e.before = slow(c, 1500*time.Millisecond) },
			want: map[string]string{publiccheck.Latency: "slowest 1.5s"}},
		{name: "far slower", breaks: func(e *edge, _ *publiccheck.Config, c *clock) { e.before = slow(c, 6*time.Second) },
			want: map[string]string{publiccheck.Latency: "median 6s"}},
		{name: "another verify token", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.verify = "another-horse" },
			want: map[string]string{publiccheck.Handshake: "403: the edge has another verify token"}},
		{name: "any verify token", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.verify = "" },
			want: map[string]string{publiccheck.WrongToken: "any verify token is taken"}},
		{name: "no such webhook", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Webhook += "s" },
			want: map[string]string{publiccheck.Handshake: "404", publiccheck.Post: "404"}},
		{name: "a clock that is two minutes off", breaks: func(_ *edge, _ *publiccheck.Config, c *clock) { c.pass(2 * time.Minute) },
			want: map[string]string{"clock: against the public URL": "ahead of it"}},
		{name: "a certificate that is about to end", warning: true, certificate: certificate(t, time.Now().Add(-80*24*time.Hour), time.Now().Add(10*24*time.Hour), "localhost"),
			want: map[string]string{publiccheck.TLS: "9 days left"}},
		{name: "an expired certificate", certificate: certificate(t, time.Now().Add(-90*24*time.Hour), time.Now().Add(-24*time.Hour), "localhost"),
			want: map[string]string{publiccheck.TLS: "expired at", publiccheck.RoundTrip: "skip", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip",
				publiccheck.Handshake: "expired at", publiccheck.WrongToken: "skip", publiccheck.Post: "skip"}},
		{name: "a certificate of another name", certificate: certificate(t, time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), "www.example.com"),
			want: map[string]string{publiccheck.TLS: "is for www.example.com, not for localhost", publiccheck.RoundTrip: "skip", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip",
				publiccheck.Handshake: "is for www.example.com", publiccheck.WrongToken: "skip", publiccheck.Post: "skip"}},
		{name: "an authority nobody knows", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.HTTP = plainClient(t, x509.NewCertPool()) },
			want: map[string]string{publiccheck.TLS: "no public authority", publiccheck.RoundTrip: "skip", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip",
				publiccheck.Handshake: "no public authority", publiccheck.WrongToken: "skip", publiccheck.Post: "skip"}},
		{name: "no TLS", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) {
			server := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(server.Close)
			c.Endpoint = "https" + strings.TrimPrefix(server.URL, "http") + "/flows/endpoint/book"
		}, want: map[string]string{publiccheck.TLS: "speaks no TLS", publiccheck.RoundTrip: "skip", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
		{name: "nobody there", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Endpoint = "https://127.0.0.1:1/flows/endpoint/book" },
			want: map[string]string{publiccheck.TLS: "connection refused", publiccheck.RoundTrip: "skip", publiccheck.Bytes: "skip", publiccheck.Signature: "skip", publiccheck.Latency: "skip"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &edge{key: keys()[0], secret: secret, verify: verifyToken, pong: `{"data":{"status":"active"}}`}
			now := &clock{at: time.Now()}
			config := publiccheck.Config{Now: now.now, PublicKey: &keys()[0].PublicKey, AppSecrets: [][]byte{[]byte(secret)}, VerifyToken: verifyToken}
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var h http.Handler = e
				if e.before != nil {
					h = e.before(e)
				}
				h.ServeHTTP(w, r)
			})
			if c.certificate.Leaf == nil {
				c.certificate = certificate(t, time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), "localhost")
			}
			start(t, &config, handler, c.certificate)
			if c.breaks != nil {
				c.breaks(e, &config, now)
			}
			report := doctor.Examine(t.Context(), publiccheck.Checks(config)...)
			compare(t, report, c.want, c.warning)
		})
	}
}

// compare holds for every table: what is named is found, and nothing else.
func compare(t *testing.T, report doctor.Report, want map[string]string, warning bool) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range report.Findings {
		seen[f.Name] = true
		evidence, named := want[f.Name]
		is := doctor.OK
		switch {
		case evidence == "skip":
			is = doctor.Skipped
		case named && warning:
			is = doctor.Warn
		case named:
			is = doctor.Fail
		}
		if f.Status != is || evidence != "skip" && !strings.Contains(f.Evidence, evidence) {
			t.Errorf("%+v, want %s with %q", f, is, evidence)
		}
		if (f.Status == doctor.Fail || f.Status == doctor.Warn) && (f.Meaning == "" || f.Fix == "") {
			t.Errorf("%+v has no meaning or fix", f)
		}
		if text := f.Evidence + f.Meaning + f.Fix; strings.Contains(text, secret) || strings.Contains(text, verifyToken) {
			t.Errorf("%+v shows a secret", f)
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("nothing is said of %s", name)
		}
	}
}

func slow(c *clock, d time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.pass(d)
			// An answer of now, by the clock of whoever asks.
			w.Header().Set("Date", c.now().UTC().Format(http.TimeFormat))
			next.ServeHTTP(w, r)
		})
	}
}

// certificate is one of an authority of its own, with it as root.
func certificate(t *testing.T, from, until time.Time, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{name}, Subject: pkix.Name{CommonName: name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// start serves a handler by https on localhost and fills the URLs and the client
// of config.
func start(t *testing.T, config *publiccheck.Config, handler http.Handler, c tls.Certificate) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	base := "https://localhost:" + port
	config.Endpoint, config.Webhook = base+"/flows/endpoint/book", base+"/webhooks/whatsapp"
	pool := x509.NewCertPool()
	pool.AddCert(c.Leaf)
	config.HTTP = plainClient(t, pool)
}

func plainClient(t *testing.T, pool *x509.CertPool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
