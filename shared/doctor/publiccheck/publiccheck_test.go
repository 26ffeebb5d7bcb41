package publiccheck_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

var proof = doctortest.Proof{Secrets: []string{secret, verifyToken}}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(proof.Exit(code, "*.go")) }))
}

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

	unsignedStatus int              // of what is not signed, when not 432
	wrongStatus    int              // of a wrong verify token, when not 403
	verifyAnswer   http.HandlerFunc // of handshakes
	noCertificate  atomic.Bool
}

const public = "flows.example.com"

// at moves the URLs to another host.
func at(c *publiccheck.Config, scheme, host string) {
	c.Endpoint, c.Webhook = scheme+"://"+host+"/flows/endpoint/book", scheme+"://"+host+"/webhooks/whatsapp"
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
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
	case r.URL.Path == "/webhooks/whatsapp" && r.Method == http.MethodGet && e.verifyAnswer != nil:
		e.verifyAnswer(w, r)
	case r.URL.Path == "/webhooks/whatsapp" && r.Method == http.MethodGet:
		if q := r.URL.Query(); q.Get("hub.verify_token") == e.verify || e.verify == "" {
			_, _ = io.WriteString(w, q.Get("hub.challenge"))
			return
		}
		w.WriteHeader(cmp.Or(e.wrongStatus, http.StatusForbidden))
	case r.URL.Path == "/webhooks/whatsapp" && !signed:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/webhooks/whatsapp":
	case r.URL.Path != "/flows/endpoint/book":
		w.WriteHeader(http.StatusNotFound)
	case !signed:
		w.WriteHeader(cmp.Or(e.unsignedStatus, 432))
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
		want        map[string]string // finding → status, a space, and what its evidence holds
	}{
		{name: "nothing"},
		{name: "the edge has another app secret", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.secret = "00000000000000000000000000000000" },
			want: alone("fail 432", nil)},
		{name: "the edge has another private key", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.key = keys()[1] },
			want: alone("fail 421", nil)},
		{name: "a proxy writes JSON anew", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.before = anew },
			want: map[string]string{publiccheck.Bytes: `fail escaped slashes (\/)`, publiccheck.Latency: "fail 432"}},
		{name: "a firewall with a page", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusForbidden, map[string]string{"Server": "cloudflare", "Cf-Ray": "8f"}, page)
		}, want: alone("fail 403 from Cloudflare, with an HTML page", map[string]string{publiccheck.Post: "fail 403 from Cloudflare"})},
		{name: "a firewall with a riddle and status 200", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusOK, map[string]string{"X-Iinfo": "1"}, page)
		}, want: alone("fail 200 from Imperva", map[string]string{publiccheck.Post: "fail 200 to a forged signature"})},
		{name: "a rate limit", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusTooManyRequests, map[string]string{"Server": "AkamaiGHost"}, "")
		}, want: alone("fail 429 from Akamai", map[string]string{publiccheck.Post: "fail 429 from Akamai"})},
		{name: "a proxy without an edge behind it", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusBadGateway, map[string]string{"Server": "nginx"}, "bad gateway")
		}, want: alone("fail 502 from nginx", map[string]string{publiccheck.Post: "fail 502 from nginx"})},
		{name: "a redirect", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusMovedPermanently, map[string]string{"Location": "https://www.example.com/"}, "")
		}, want: alone("fail 301 to https://www.example.com/", map[string]string{publiccheck.Post: "fail 301"})},
		{name: "a 427 in clear text", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.status, e.clear, e.pong = 427, true, `{"error_msg":"gone"}`
		},
			want: alone("fail 427 with a body in clear text", nil)},
		{name: "a 427 to a health check", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.status, e.pong = 427, `{"error_msg":"gone"}` },
			want: alone("fail 427 to a health check", nil)},
		{name: "an answer in clear text", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.clear = true },
			want: alone("fail not base64", nil)},
		{name: "a line end behind each answer", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.before = adding("\n") },
			want: alone("fail line ends", nil)},
		{name: "another answer to a health check", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.pong = `{"status":"ok"}` },
			want: alone("fail but not", nil)},
		{name: "no such flow", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) {
			c.Endpoint = strings.Replace(c.Endpoint, "book", "bock", 1)
		},
			want: alone("fail 404", nil)},
		{name: "signatures are not looked at", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.unsigned = true },
			want: map[string]string{publiccheck.Signature: "fail 200 to a forged signature", publiccheck.Post: "fail 200 to a forged signature"}},
		{name: "slower than Meta's alert", breaks: func(e *edge, _ *publiccheck.Config, c *clock) { e.before = slow(c, 1500*time.Millisecond) },
			want: map[string]string{publiccheck.Latency: "warn slowest 1.5s"}},
		{name: "far slower", breaks: func(e *edge, _ *publiccheck.Config, c *clock) { e.before = slow(c, 6*time.Second) },
			want: map[string]string{publiccheck.Latency: "fail median 6s"}},
		{name: "another verify token", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.verify = "another-horse" },
			want: map[string]string{publiccheck.Handshake: "fail 403: the edge has another verify token"}},
		{name: "any verify token", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.verify = "" },
			want: map[string]string{publiccheck.WrongToken: "fail any verify token is taken"}},
		{name: "no such webhook", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Webhook += "s" },
			want: map[string]string{publiccheck.Handshake: "fail 404", publiccheck.WrongToken: "skipped ", publiccheck.Post: "fail 404"}},
		{name: "a clock that is two minutes off", breaks: func(_ *edge, _ *publiccheck.Config, c *clock) { c.pass(2 * time.Minute) },
			want: map[string]string{"clock: against the public URL": "fail ahead of it"}},
		{name: "a certificate that is about to end", certificate: certificate(t, time.Now().Add(-80*24*time.Hour), time.Now().Add(10*24*time.Hour), "localhost"),
			want: map[string]string{publiccheck.TLS: "warn 9 days left"}},
		{name: "an expired certificate", certificate: certificate(t, time.Now().Add(-90*24*time.Hour), time.Now().Add(-24*time.Hour), "localhost"),
			want: unreached("expired at")},
		{name: "a certificate of another name", certificate: certificate(t, time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), "www.example.com"),
			want: unreached("is for www.example.com, not for localhost")},
		{name: "an authority nobody knows", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.HTTP = plainClient(t, x509.NewCertPool()) },
			want: unreached("no public authority")},
		{name: "no TLS", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) {
			server := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(server.Close)
			c.Endpoint = "https" + strings.TrimPrefix(server.URL, "http") + "/flows/endpoint/book"
		}, want: alone("skipped ", map[string]string{publiccheck.TLS: "fail speaks no TLS"})},
		{name: "nobody there", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Endpoint = "https://127.0.0.1:1/flows/endpoint/book" },
			want: alone("skipped ", map[string]string{publiccheck.TLS: "fail connection refused"})},
		{name: "a proxy without an edge behind it, with a page", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusBadGateway, map[string]string{"Server": "nginx", "Content-Type": "text/html"}, "<html><head><title>502 Bad Gateway</title></head></html>")
		}, want: alone("fail 502 from nginx (text/html", map[string]string{publiccheck.Post: "fail 502 from nginx (text/html"})},
		{name: "a network that does not reach the site", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(521, map[string]string{"Server": "cloudflare", "Content-Type": "text/html"}, page)
		}, want: alone("fail 521 from Cloudflare (text/html", map[string]string{publiccheck.Post: "fail 521 from Cloudflare"})},
		{name: "a riddle with 503", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusServiceUnavailable, map[string]string{"Server": "cloudflare"}, page)
		}, want: alone("fail 503 from Cloudflare, with an HTML page", map[string]string{publiccheck.Post: "fail 503 from Cloudflare, with an HTML page"})},
		{name: "too many requests for the edge", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusServiceUnavailable, nil, "")
		},
			want: alone("fail 503", map[string]string{publiccheck.Post: "fail 503"})},
		{name: "what fails", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusInternalServerError, nil, "panic")
		},
			want: alone("fail 500", map[string]string{publiccheck.Post: "fail 500"})},
		{name: "what takes no such request", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.before = refusing(http.StatusMethodNotAllowed, nil, "")
		},
			want: alone("fail 405", map[string]string{publiccheck.Post: "fail 405"})},
		{name: "something else refuses what is not signed", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.unsignedStatus = http.StatusUnauthorized },
			want: map[string]string{publiccheck.Signature: "warn 401 to a forged signature"}},
		{name: "something else takes handshakes", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.wrongStatus = http.StatusNotFound },
			want: map[string]string{publiccheck.WrongToken: "warn 404, expected 403"}},
		{name: "a firewall before handshakes", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.verifyAnswer = answer(http.StatusForbidden, page) },
			want: map[string]string{publiccheck.Handshake: "fail with an HTML page", publiccheck.WrongToken: "skipped "}},
		{name: "handshakes are refused by something else", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.verifyAnswer = answer(http.StatusForbidden, `{"error":"denied"}`)
		}, want: map[string]string{publiccheck.Handshake: "fail status 403", publiccheck.WrongToken: "skipped "}},
		{name: "the challenge is not alone", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.verifyAnswer = answer(http.StatusOK, `{"challenge":1}`)
		},
			want: map[string]string{publiccheck.Handshake: "fail 200, but the body is not the challenge alone", publiccheck.WrongToken: "skipped "}},
		{name: "handshakes are sent elsewhere", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) {
			e.verifyAnswer = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://www.example.com/?"+r.URL.RawQuery, http.StatusFound)
			}
		}, want: map[string]string{publiccheck.Handshake: "fail 302 to https://www.example.com/", publiccheck.WrongToken: "skipped "}},
		{name: "no intermediate certificate", certificate: issued(t, leafOnly), want: unreached("no intermediate certificate: its chain ends at Test intermediate")},
		{name: "a whole chain", certificate: issued(t, wholeChain)},
		{name: "an intermediate certificate that is about to end", certificate: issued(t, wholeChain|briefIntermediate),
			want: map[string]string{publiccheck.TLS: "warn when that of Test intermediate in its chain ends"}},
		{name: "a certificate of tomorrow", certificate: certificate(t, time.Now().Add(24*time.Hour), time.Now().Add(90*24*time.Hour), "localhost"),
			want: unreached("is valid only from")},
		{name: "a certificate for something else", certificate: issued(t, wholeChain|forClients), want: unreached("the certificate does not hold")},
		{name: "no certificate for the name", breaks: func(e *edge, _ *publiccheck.Config, _ *clock) { e.noCertificate.Store(true) },
			want: unreached("the TLS handshake fails")},
		{name: "an authority of the trial's own", certificate: certificate(t, time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), public),
			breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { at(c, "https", public); c.PrivateCA = true },
			want:   map[string]string{publiccheck.TLS: "warn trusted because of a given authority"}},
		{name: "plain http over the internet", breaks: func(e *edge, c *publiccheck.Config, _ *clock) {
			server := httptest.NewServer(e)
			t.Cleanup(server.Close)
			c.HTTP = &http.Client{Transport: to(t, server.Listener.Addr().String(), nil)}
			at(c, "http", public)
		}, want: map[string]string{publiccheck.TLS: "fail plain http", publiccheck.Handshake: "skipped verify token", publiccheck.WrongToken: "skipped ", publiccheck.Post: "skipped "}},
		{name: "plain http on this machine", breaks: func(e *edge, c *publiccheck.Config, _ *clock) {
			server := httptest.NewServer(e)
			t.Cleanup(server.Close)
			c.Endpoint, c.Webhook = server.URL+"/flows/endpoint/book", server.URL+"/webhooks/whatsapp"
		}, want: map[string]string{publiccheck.TLS: "skipped plain http on this machine"}},
		{name: "a name that nobody knows", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) {
			c.HTTP = failing(&net.DNSError{Err: "no such host", Name: public, IsNotFound: true})
		}, want: unreached("the name is not found")},
		{name: "a connection that breaks", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.HTTP = failing(io.ErrUnexpectedEOF) },
			want: unreached("unexpected EOF")},
		{name: "a URL that is none", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Endpoint = "flows" },
			want: alone("skipped ", map[string]string{publiccheck.TLS: "fail the URL is none"})},
		{name: "nothing to ask", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.Endpoint, c.Webhook = "", "" },
			want: nothing("no URL")},
		{name: "no key", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.PublicKey = nil },
			want: alone("skipped no public key", map[string]string{publiccheck.TLS: "skipped no public key"})},
		{name: "no secrets", breaks: func(_ *edge, c *publiccheck.Config, _ *clock) { c.AppSecrets, c.VerifyToken = nil, "" },
			want: nothing("no ")},
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
			start(t, &config, handler, c.certificate, &e.noCertificate)
			if c.breaks != nil {
				c.breaks(e, &config, now)
			}
			report := doctor.Examine(t.Context(), publiccheck.Checks(config)...)
			proof.Compare(t, report, c.want)
		})
	}
}

// alone adds to what is wanted that the round trip fails, and that what comes
// behind it is not looked at then.
func alone(roundTrip string, want map[string]string) map[string]string {
	all := map[string]string{publiccheck.RoundTrip: roundTrip, publiccheck.Bytes: "skipped ", publiccheck.Signature: "skipped ", publiccheck.Latency: "skipped "}
	maps.Copy(all, want)
	return all
}

// unreached is what is wanted when neither URL answers.
func unreached(evidence string) map[string]string {
	return alone("skipped ", map[string]string{publiccheck.TLS: "fail " + evidence, publiccheck.Handshake: "fail " + evidence, publiccheck.WrongToken: "skipped ", publiccheck.Post: "skipped "})
}

// nothing is what is wanted when there is nothing to ask.
func nothing(reason string) map[string]string {
	all := map[string]string{}
	for _, name := range []string{publiccheck.TLS, publiccheck.RoundTrip, publiccheck.Bytes, publiccheck.Signature, publiccheck.Latency, publiccheck.Handshake, publiccheck.WrongToken, publiccheck.Post} {
		all[name] = "skipped " + reason
	}
	return all
}

// A site that says nothing takes as long as the phone waits, and no longer.
func TestASiteThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		config := publiccheck.Config{HTTP: &http.Client{Transport: silent}, Now: time.Now, PublicKey: &keys()[0].PublicKey, AppSecrets: [][]byte{[]byte(secret)}, VerifyToken: verifyToken}
		at(&config, "https", public)
		proof.Compare(t, doctor.Examine(t.Context(), publiccheck.Checks(config)...), unreached("no answer within 10s"))
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func failing(err error) *http.Client {
	return &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })}
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

// kinds of certificates that an authority issues.
type kind int

const (
	leafOnly kind = 0
	// wholeChain is sent with the intermediate certificate.
	wholeChain kind = 1 << (iota - 1)
	briefIntermediate
	forClients // not for servers
)

// issued is a certificate for localhost of an authority's intermediate one. Its
// Leaf is the authority's, which is what clients trust.
func issued(t *testing.T, of kind) tls.Certificate {
	t.Helper()
	now := time.Now()
	far, near := now.Add(90*24*time.Hour), now.Add(10*24*time.Hour)
	root, rootKey := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Test root"}, NotAfter: far, IsCA: true}, nil, nil)
	until := far
	if of&briefIntermediate != 0 {
		until = near
	}
	middle, middleKey := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Test intermediate"}, NotAfter: until, IsCA: true}, root, rootKey)
	use := x509.ExtKeyUsageServerAuth
	if of&forClients != 0 {
		use = x509.ExtKeyUsageClientAuth
	}
	leaf, key := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, NotAfter: far, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{use},
		IssuingCertificateURL: []string{"http://ca.example.com/intermediate.crt"}}, middle, middleKey)
	sent := [][]byte{leaf.Raw}
	if of&wholeChain != 0 {
		sent = append(sent, middle.Raw)
	}
	return tls.Certificate{Certificate: sent, PrivateKey: key, Leaf: root}
}

// sign makes a certificate; one without an issuer signs itself.
func sign(t *testing.T, template, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.BasicConstraintsValid = big.NewInt(1), time.Now().Add(-80*24*time.Hour), true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.IsCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

// start serves a handler by https on localhost, and as the public name, and fills
// the URLs and the client of config.
func start(t *testing.T, config *publiccheck.Config, handler http.Handler, c tls.Certificate, none *atomic.Bool) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	trusted := c.Leaf
	c.Leaf = nil // of issued it is another certificate's
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if none.Load() {
			return nil, errors.New("no certificate for this name")
		}
		return nil, nil // that of the server
	}, Certificates: []tls.Certificate{c}}
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
	pool.AddCert(trusted)
	config.HTTP = &http.Client{Transport: to(t, server.Listener.Addr().String(), pool)}
}

func plainClient(t *testing.T, pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: to(t, "", pool)}
}

// to has the public name lead to an address of this machine.
func to(t *testing.T, address string, pool *x509.CertPool) *http.Transport {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: func(ctx context.Context, network, wanted string) (net.Conn, error) {
		if strings.HasPrefix(wanted, public+":") {
			wanted = address
		}
		return new(net.Dialer).DialContext(ctx, network, wanted)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}
