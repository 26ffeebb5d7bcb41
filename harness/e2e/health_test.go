package e2e

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/presence"
)

// edgeInHealth is one edge in the worker's /health.
type edgeInHealth struct {
	ID                string
	Version           string
	PrivateKeyBackend string `json:"private_key_backend"`
	Started           time.Time
	SeenSecondsAgo    int `json:"seen_seconds_ago"`
}

// edges asks the worker itself, which is there when no edge is. The worker is
// healthy whatever the edges do.
func (s installation) edges(ctx context.Context) ([]edgeInHealth, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.WorkerURL+"/health", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var health struct {
		Status string
		Edges  []edgeInHealth
	}
	if err := json.NewDecoder(response.Body).Decode(&health); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || health.Status != "healthy" || health.Edges == nil {
		return nil, fmt.Errorf("status %d, %s, edges %v; want 200, healthy and a list", response.StatusCode, health.Status, health.Edges)
	}
	return health.Edges, nil
}

// wantEdges waits until so many edges are listed.
func (s installation) wantEdges(t *testing.T, n int, when string) []edgeInHealth {
	t.Helper()
	var listed []edgeInHealth
	eventually(t, 15*time.Second, when, func(ctx context.Context) (err error) {
		if listed, err = s.edges(ctx); err == nil && len(listed) != n {
			err = fmt.Errorf("%d edges are listed, want %d: %v", len(listed), n, listed)
		}
		return err
	})
	return listed
}

// builtWithLibcrypto reads it from the binary.
func builtWithLibcrypto(t *testing.T, path string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cgo, tag bool
	for _, setting := range info.Settings {
		cgo = cgo || setting.Key == "CGO_ENABLED" && setting.Value == "1"
		tag = tag || setting.Key == "-tags" && slices.Contains(strings.Split(setting.Value, ","), "libcrypto")
	}
	return cgo && tag
}

func TestHealthListsTheEdges(t *testing.T) {
	t.Parallel()
	s := install(t, site.Options{})
	if err := s.StartWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantEdges(t, 0, "no edge was started yet")

	if err := s.StartEdge(t.Context()); err != nil {
		t.Fatal(err)
	}
	edge := s.wantEdges(t, 1, "an edge was started")[0]
	backend := regexp.MustCompile(`^crypto/rsa$`)
	if builtWithLibcrypto(t, filepath.Join(built, "caddy")) {
		backend = regexp.MustCompile(`^libcrypto \(OpenSSL [0-9]+\.[0-9]+\.[0-9]+.*\)$`)
	}
	if !backend.MatchString(edge.PrivateKeyBackend) {
		t.Errorf("private_key_backend is %q, want %s as bin/caddy was built", edge.PrivateKeyBackend, backend)
	}
	if edge.ID == "" || edge.Version == "" || time.Since(edge.Started) > time.Minute || edge.SeenSecondsAgo > 15 {
		t.Errorf("listed as %+v", edge)
	}

	t.Run("the guide's commands", func(t *testing.T) { healthCommands(t, s, edge) })

	if err := s.Edge.End(syscall.SIGTERM, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	s.wantEdges(t, 0, "the edge was stopped")

	// One that is killed stays until it has not been seen for a minute, and has
	// another id when it starts again.
	for n := range 2 {
		if err := s.StartEdge(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wantEdges(t, n+1, "an edge was started again")
		if err := s.Edge.Kill(); err != nil {
			t.Fatal(err)
		}
		s.wantEdges(t, n+1, "the edge was killed a moment ago")
	}
	s.age(t, time.Minute)
	s.wantEdges(t, 0, "the edges were killed a minute ago")
}

// age has the edges announced themselves earlier than they did.
func (s installation) age(t *testing.T, by time.Duration) {
	t.Helper()
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	key := keyspace.New(s.Prefix, 0).Edges()
	all, err := client.HGetAll(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	for id, value := range all {
		edge, err := presence.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		edge.Seen -= by.Milliseconds()
		older, err := json.Marshal(edge)
		if err == nil {
			err = client.HSet(t.Context(), key, id, older).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// healthCommands runs what docs/api.md says under the heading of /health.
func healthCommands(t *testing.T, s installation, edge edgeInHealth) {
	_, section, found := strings.Cut(string(readFile(t, "docs/api.md")), "\n## Health\n")
	if !found {
		t.Fatal("docs/api.md has no section on /health")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var printed []string
	for line := range strings.Lines(section) {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		bash := exec.CommandContext(t.Context(), "bash", "-c", "set -euo pipefail\n"+command)
		bash.Env = append(os.Environ(), "SITE="+s.EdgeURL, "REDIS_URL="+s.RedisURL, "REDIS_PREFIX="+s.Prefix)
		out, err := bash.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s%s", err, command, out)
		}
		printed = append(printed, string(out))
	}
	if len(printed) != 2 {
		t.Fatalf("the guide has %d commands, expected /health and redis-cli", len(printed))
	}
	if !strings.Contains(printed[0], edge.ID+"\t"+edge.Version+"\t"+edge.PrivateKeyBackend+"\t") {
		t.Errorf("/health printed %q, want the edge %+v", printed[0], edge)
	}
	if !strings.Contains(printed[1], edge.ID) || !strings.Contains(printed[1], fmt.Sprintf(`"pid":%d`, s.Edge.PID())) {
		t.Errorf("redis-cli printed %q, want the edge %s with its process id %d", printed[1], edge.ID, s.Edge.PID())
	}
}
