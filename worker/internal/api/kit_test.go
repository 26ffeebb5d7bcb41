package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tokens of the tests.
const (
	rootToken   = "root-token-of-every-account"
	shopToken   = "admin-token-of-the-shop"
	readerToken = "read-token-of-every-account"
	twoToken    = "admin-token-of-two-accounts"
)

// served is an API on a database of the test's own.
type served struct {
	t       *testing.T
	url     string
	pool    *pgxpool.Pool
	log     *observer.ObservedLogs
	changed atomic.Int32 // calls of Config.Changed
	token   string       // of the requests from now on; empty: none
	client  *http.Client
	api     *api
}

// serve starts an API; change may alter its settings.
func serve(t *testing.T, change ...func(*Config)) *served {
	t.Helper()
	core, log := observer.New(zapcore.DebugLevel)
	s := &served{t: t, pool: testkit.Database(t), log: log, token: rootToken}
	c := Config{
		Pool: s.pool, Log: zap.New(core), Version: "test", Changed: func() { s.changed.Add(1) },
		Tokens: []settings.APIToken{
			{Name: "API_TOKEN 1", Secret: rootToken, Admin: true},
			{Name: "API_TOKENS line 1", Secret: shopToken, Admin: true, Accounts: []string{"shop"}},
			{Name: "API_TOKENS line 2", Secret: readerToken},
			{Name: "API_TOKENS line 3", Secret: twoToken, Admin: true, Accounts: []string{"shop", "bank"}},
		},
	}
	for _, f := range change {
		f(&c)
	}
	s.api = newAPI(c)
	server := httptest.NewServer(s.api.outer())
	s.url, s.client = server.URL, server.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(server.Close)
	return s
}

// response is what came back.
type response struct {
	t      *testing.T
	what   string
	code   int
	header http.Header
	body   []byte
}

// send sends a request. body is nil, a string that is sent as it is, or a value
// that is sent as JSON. headers are pairs.
func (s *served) send(method, path string, body any, headers ...string) *response {
	s.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	if content != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	got := &response{t: s.t, what: method + " " + path, code: resp.StatusCode, header: resp.Header}
	if got.body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return got
}

func (s *served) get(path string, headers ...string) *response {
	s.t.Helper()
	return s.send("GET", path, nil, headers...)
}

// as returns s with another token.
func (s *served) as(token string) *served {
	other := &served{t: s.t, url: s.url, pool: s.pool, log: s.log, token: token, client: s.client, api: s.api}
	return other
}

// is checks the status.
func (r *response) is(code int) *response {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("%s: %d, want %d: %.2000s", r.what, r.code, code, r.body)
	}
	return r
}

// failed checks the status and the error envelope; words must be in its message.
func (r *response) failed(status int, code string, words ...string) *response {
	r.t.Helper()
	var got struct {
		Success *bool
		Error   struct {
			Message, Code string
		}
		Timestamp string
	}
	r.is(status).read(&got)
	if got.Success == nil || *got.Success || got.Error.Code != code || got.Timestamp == "" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		r.t.Errorf("%s: %s, want the code %s", r.what, r.body, code)
	}
	for _, w := range words {
		if !strings.Contains(got.Error.Message, w) {
			r.t.Errorf("%s: message %q, want %q in it", r.what, got.Error.Message, w)
		}
	}
	return r
}

// read reads the whole body.
func (r *response) read(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.what, err, r.body)
	}
}

// data reads what is in the envelope of a success.
func (r *response) data(v any) {
	r.t.Helper()
	var got struct {
		Success   bool
		Data      json.RawMessage
		Timestamp string
	}
	if r.read(&got); !got.Success || got.Timestamp == "" {
		r.t.Fatalf("%s: no envelope: %s", r.what, r.body)
	}
	if err := json.Unmarshal(got.Data, v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.what, err, got.Data)
	}
}

// recorded is a request that is given to a handler without a server.
type recorded struct {
	request  *http.Request
	recorder *httptest.ResponseRecorder
}

func newRecorded(t *testing.T, method, path string, body any) recorded {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(raw))
	r.Header.Set("Authorization", "Bearer "+rootToken)
	r.Header.Set("Content-Type", "application/json")
	if body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return recorded{r, httptest.NewRecorder()}
}
