package callback

import (
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func itoa(n int) string { return strconv.Itoa(n) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func localSender(t *testing.T) *Sender {
	s := NewSender(SenderConfig{AllowNetworks: loopback, MaxInFlight: 4})
	t.Cleanup(s.Close)
	return s
}

func post(t *testing.T, s *Sender, url string, timeout time.Duration) Result {
	return s.Send(t.Context(), Request{ID: "d-1", URL: url, Secrets: []string{NewSecret()}, Body: []byte(`{}`), Timeout: timeout})
}

func TestWhatAReceiverGets(t *testing.T) {
	secret := NewSecret()
	body := []byte(`{"event_type":"flow_completed"}`)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || !bytes.Equal(got, body) || r.ContentLength != int64(len(body)) {
			t.Errorf("%s %q, length %d", r.Method, got, r.ContentLength)
		}
		if v := r.Header.Get("Content-Type"); v != "application/json" {
			t.Errorf("Content-Type = %q", v)
		}
		if v := r.Header.Get("User-Agent"); !strings.HasPrefix(v, "WhatsApp-Flow-Server/1.0") {
			t.Errorf("User-Agent = %q", v)
		}
		if v := r.Header.Get("Accept-Encoding"); v != "" {
			t.Errorf("Accept-Encoding = %q", v)
		}
		if v := r.Header.Get("webhook-id"); v != "d-1" {
			t.Errorf("webhook-id = %q", v)
		}
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = verifier.Verify(got, r.Header)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	defer receiver.Close()
	result := localSender(t).Send(t.Context(), Request{ID: "d-1", URL: receiver.URL, Secrets: []string{secret}, Body: body, Timeout: 5 * time.Second})
	if !result.Delivered() || result.Tries != 1 || result.Err != nil {
		t.Errorf("result = %+v", result)
	}
}

func TestReceiversThatMisbehave(t *testing.T) {
	const timeout = 400 * time.Millisecond
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	for _, c := range []struct {
		name    string
		handle  http.HandlerFunc
		status  int
		class   string
		minBody int
		maxBody int
	}{
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the redirect was followed")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 307, "http_3xx", 0, 1000},
		{"no answer at all", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, 0, "timeout", 0, 0},
		{"a status and then one byte at a time", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		}, 200, "delivered", 1, 100},
		{"a body without end", func(w http.ResponseWriter, r *http.Request) {
			block := make([]byte, 64<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, 500, "http_5xx", keptBody, keptBody},
		{"a gzip bomb is kept as it came", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}, 200, "delivered", 1000, keptBody},
		{"headers without end", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
		}, 0, "connection", 0, 0},
		{"the connection is cut before an answer", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, 0, "connection", 0, 0},
		{"the connection is cut after the status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("abc"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 200, "delivered", 3, 3},
		{"429 with a Retry-After of a day is not waited for", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 429, "http_429", 0, 0},
		{"410", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, 410, "gone", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests atomic.Int32
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				// net/http notices that the client is gone only once the body is read.
				_, _ = io.Copy(io.Discard, r.Body)
				if c.status == 500 {
					w.WriteHeader(500)
				}
				c.handle(w, r)
			}))
			defer receiver.Close()
			started := time.Now()
			result := post(t, localSender(t), receiver.URL+"/hook", timeout)
			if result.Status != c.status || result.Outcome() != c.class {
				t.Errorf("status %d, class %s, err %v; want %d, %s", result.Status, result.Outcome(), result.Err, c.status, c.class)
			}
			if n := len(result.Body); n < c.minBody || n > c.maxBody {
				t.Errorf("%d bytes kept, want %d to %d", n, c.minBody, c.maxBody)
			}
			if took := time.Since(started); took > timeout+2*time.Second {
				t.Errorf("took %s", took)
			}
			if requests.Load() != 1 || result.Tries != 1 {
				t.Errorf("%d requests, %d tries: what may have reached the receiver must not be repeated", requests.Load(), result.Tries)
			}
		})
	}
}

func TestARefusedConnectionIsTriedOnceMore(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String() + "/hook?token=geheim"
	listener.Close() //nolint:errcheck // the port is to be free
	result := post(t, localSender(t), url, 5*time.Second)
	if result.Tries != 2 || result.Status != 0 || result.Outcome() != "connection" {
		t.Errorf("tries %d, status %d, class %s", result.Tries, result.Status, result.Outcome())
	}
	if p := result.Problem(); strings.Contains(p, "geheim") || strings.Contains(p, "/hook") || p == "" {
		t.Errorf("problem = %q", p)
	}
}

func TestAnUntrustedCertificateIsNotTriedAgain(t *testing.T) {
	receiver := httptest.NewUnstartedServer(http.NotFoundHandler())
	receiver.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports our refusal
	receiver.StartTLS()
	defer receiver.Close()
	result := post(t, localSender(t), receiver.URL, 5*time.Second)
	if result.Tries != 1 || result.Outcome() != "certificate" {
		t.Errorf("tries %d, class %s, err %v", result.Tries, result.Outcome(), result.Err)
	}
}

func TestOneReceiversFailureKeepsTheConnectionsOfOthers(t *testing.T) {
	healthy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer healthy.Close()
	var opened, reused atomic.Int32
	s := NewSender(SenderConfig{AllowNetworks: loopback, MaxInFlight: 4, Connections: func(again bool) {
		if again {
			reused.Add(1)
		} else {
			opened.Add(1)
		}
	}})
	defer s.Close()
	for range 5 {
		if r := post(t, s, healthy.URL, 5*time.Second); !r.Delivered() {
			t.Fatalf("result = %+v", r)
		}
		post(t, s, "http://127.0.0.1:1/", 5*time.Second)
	}
	if opened.Load() != 1 || reused.Load() != 4 {
		t.Errorf("%d connections opened and %d reused, want 1 and 4", opened.Load(), reused.Load())
	}
}

func TestPrivateAddressesAreRefusedWithoutAConnection(t *testing.T) {
	s := NewSender(SenderConfig{MaxInFlight: 1})
	defer s.Close()
	for _, url := range []string{"http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]:1/", "http://169.254.169.254/latest/meta-data"} {
		result := post(t, s, url, 2*time.Second)
		if result.Outcome() != "forbidden_address" || result.Tries != 1 {
			t.Errorf("%s: class %s, tries %d, err %v", url, result.Outcome(), result.Tries, result.Err)
		}
	}
}

// What comes back may be our own request: no error repeats it.
func TestNoErrorQuotesWhatTheReceiverSent(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
	}{
		"our request, echoed":                    {"POST /hook/geheim HTTP/1.1\r\n\r\n", 0},
		"a header that is none":                  {"HTTP/1.1 200 OK\r\ngeheim\r\n\r\n", 0},
		"a redirect to something that no URL is": {"HTTP/1.1 302 Found\r\nLocation: http://[geheim\r\nContent-Length: 0\r\n\r\n", 302},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close() //nolint:errcheck // the test is over
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close() //nolint:errcheck // answered
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte(c.answer))
			}()
			result := post(t, localSender(t), "http://"+listener.Addr().String()+"/hook/geheim", 5*time.Second)
			if p := result.Problem(); result.Status != c.status || p == "" || strings.Contains(p, "geheim") {
				t.Errorf("status %d, problem %q", result.Status, p)
			}
		})
	}
}

// CALLBACK_TIMEOUT may be longer than any timeout of the transport would be.
func TestOnlyTheTimeoutOfTheAttemptBoundsTheWaitForAnAnswer(t *testing.T) {
	if limit := localSender(t).transport.ResponseHeaderTimeout; limit != 0 && limit < LongestTimeout {
		t.Errorf("an answer is waited for %s only, CALLBACK_TIMEOUT may be %s", limit, LongestTimeout)
	}
}
