package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/edges"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("dial tcp 10.1.2.3:5432: password=geheim")

func well() Config {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "something_total"}))
	return Config{
		Log: zap.NewNop(), Registry: registry, Version: "v1.2.3", Environment: "staging",
		Postgres: func(context.Context) error { return nil },
		Redis:    func(context.Context) error { return nil },
		Edges:    func(context.Context) ([]edges.Edge, error) { return []edges.Edge{}, nil },
		Progress: time.Now,
		Failing:  func() []lifecycle.Failure { return nil },
		Stopping: func() bool { return false },
	}
}

// ask starts a server, sends one request and returns what came.
func ask(t *testing.T, c Config, method, path string) (int, http.Header, string) {
	t.Helper()
	s, err := Listen("127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	defer s.Stop(t.Context())
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "geheim") {
		t.Errorf("the answer holds an error's text: %s", body)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestHealthAnswersLikeTheSeed(t *testing.T) {
	for _, c := range []struct {
		name                    string
		postgres, redis         error
		code                    int
		status, database, cache string
	}{
		{"all is well", nil, nil, 200, "healthy", "connected", "connected"},
		{"Postgres is away", errAway, nil, 503, "unhealthy", "disconnected", "connected"},
		{"Redis is away", nil, errAway, 503, "unhealthy", "connected", "disconnected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := well()
			config.Postgres = func(context.Context) error { return c.postgres }
			config.Redis = func(context.Context) error { return c.redis }
			code, _, body := ask(t, config, "GET", "/health")
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if code != c.code || got["status"] != c.status || got["database"] != c.database || got["redis"] != c.cache {
				t.Errorf("%d %s", code, body)
			}
			var keys []string
			for k := range got {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			if want := []string{"database", "edges", "environment", "redis", "responseTime", "status", "timestamp", "uptime", "version"}; !slices.Equal(keys, want) {
				t.Errorf("fields %v, want %v", keys, want)
			}
			if ts, _ := got["timestamp"].(string); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(ts) {
				t.Errorf("timestamp = %q", ts)
			}
			if got["environment"] != "staging" || got["version"] != "v1.2.3" {
				t.Errorf("body = %s", body)
			}
			if up, ok := got["uptime"].(float64); !ok || up < 0 || up > 60 {
				t.Errorf("uptime = %v", got["uptime"])
			}
		})
	}
}

func TestHealthNamesTheEdges(t *testing.T) {
	two := []edges.Edge{
		{ID: "a1", Version: "v1", PrivateKeyBackend: "libcrypto (OpenSSL 3.0.19)", Started: time.Date(2026, 11, 23, 9, 0, 0, 0, time.FixedZone("", 3600)), SeenAgo: 9900 * time.Millisecond},
		{ID: "b2", Version: "v2", PrivateKeyBackend: "crypto/rsa", Started: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)},
	}
	for _, c := range []struct {
		name  string
		edges []edges.Edge
		err   error
		redis error
		code  int
		want  string
	}{
		{"two run", two, nil, nil, 200, `"edges":[` +
			`{"id":"a1","version":"v1","private_key_backend":"libcrypto (OpenSSL 3.0.19)","started":"2026-11-23T08:00:00.000Z","seen_seconds_ago":9},` +
			`{"id":"b2","version":"v2","private_key_backend":"crypto/rsa","started":"2026-11-23T09:30:00.000Z","seen_seconds_ago":0}]}`},
		{"none runs, which is no illness of the worker's", []edges.Edge{}, nil, nil, 200, `"edges":[]}`},
		{"they cannot be read, for which nobody need be woken up", nil, errAway, nil, 200, `"edges":null}`},
		{"Redis is away", nil, errAway, errAway, 503, `"edges":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := well()
			config.Redis = func(context.Context) error { return c.redis }
			config.Edges = func(context.Context) ([]edges.Edge, error) { return c.edges, c.err }
			code, _, body := ask(t, config, "GET", "/health")
			if body = strings.TrimSpace(body); code != c.code || !strings.HasSuffix(body, c.want) {
				t.Errorf("%d %s, want %d and at the end %s", code, body, c.code, c.want)
			}
		})
	}
}

func TestReadyMeansProgress(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		code   int
		want   string
	}{
		{"all is well", func(*Config) {}, 200, `"status":"ready"`},
		{"nothing read yet", func(c *Config) { c.Progress = func() time.Time { return time.Time{} } }, 503, "no stream has been read yet"},
		{"progress 20 s ago", func(c *Config) { c.Progress = func() time.Time { return time.Now().Add(-20 * time.Second) } }, 200, `"readers":"ok"`},
		{"progress 40 s ago", func(c *Config) { c.Progress = func() time.Time { return time.Now().Add(-40 * time.Second) } }, 503, "no progress for 40 s"},
		{"Postgres away", func(c *Config) { c.Postgres = func(context.Context) error { return errAway } }, 503, `"postgres":"disconnected"`},
		{"Redis away", func(c *Config) { c.Redis = func(context.Context) error { return errAway } }, 503, `"redis":"disconnected"`},
		{"told to stop", func(c *Config) { c.Stopping = func() bool { return true } }, 503, `"parts":"stopping"`},
		{"a part is down", func(c *Config) {
			c.Failing = func() []lifecycle.Failure {
				return []lifecycle.Failure{{Part: "deliveries", Err: errAway}, {Part: "readers", Err: errAway}}
			}
		}, 503, "being started again: deliveries, readers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := well()
			c.change(&config)
			code, _, body := ask(t, config, "GET", "/readyz")
			if code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %d and %s", code, body, c.code, c.want)
			}
			if code, _, _ := ask(t, config, "GET", "/livez"); code != 200 {
				t.Errorf("/livez = %d", code)
			}
		})
	}
}

func TestOtherPathsGetTheSeedsErrorEnvelope(t *testing.T) {
	for _, c := range []struct {
		method, path string
		code         int
		name         string
	}{
		{"GET", "/nothing", 404, "NOT_FOUND"},
		{"POST", "/health", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/api/flows", 503, "UNAVAILABLE"}, // until Postgres is there
	} {
		code, header, body := ask(t, well(), c.method, c.path)
		var got struct {
			Success   *bool
			Error     struct{ Message, Code string }
			Timestamp time.Time
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if code != c.code || got.Success == nil || *got.Success || got.Error.Code != c.name || got.Error.Message == "" || got.Timestamp.IsZero() {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
		if ct := header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("Content-Type = %s", ct)
		}
		if c.code == 405 && header.Get("Allow") == "" {
			t.Error("no Allow")
		}
	}
}

func TestTheAPIAnswersOnceItIsMounted(t *testing.T) {
	s, err := Listen("127.0.0.1:0", well())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	s.Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "api "+r.URL.Path) }))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/api", "/api/flows", "/docs", "/docs/x.css", "/docs.json", "/openapi.json"} {
		resp, err := client.Get("http://" + s.Address() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close() //nolint:errcheck // read to its end
		if err != nil || string(body) != "api "+path {
			t.Errorf("%s: %s, %v", path, body, err)
		}
	}
}

func TestMetricsAreOfOurOwnRegistry(t *testing.T) {
	code, _, body := ask(t, well(), "GET", "/metrics")
	if code != 200 || !strings.Contains(body, "something_total 0") || strings.Contains(body, "go_goroutines") {
		t.Errorf("%d %s", code, body)
	}
}

func TestAnAddressInUseIsOneSentence(t *testing.T) {
	s, err := Listen("127.0.0.1:0", well())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	if _, err := Listen(s.Address(), well()); err == nil || !strings.HasPrefix(err.Error(), "cannot listen on "+s.Address()+": ") {
		t.Errorf("err = %v", err)
	}
}
