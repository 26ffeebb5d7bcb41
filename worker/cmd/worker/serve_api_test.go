package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// ask sends a request to the API of a running worker.
func (s *serving) ask(t *testing.T, method, path, token string, body any) (int, map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if len(content) > 0 {
		if err := json.Unmarshal(content, &answer); err != nil {
			t.Fatalf("%s %s: %s", method, path, content)
		}
	}
	return resp.StatusCode, answer
}

func TestAShortTokenOfTheAPIIsAWarning(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 2)
	s := serve(t, map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2",
		"API_TOKEN": "a-token-of-the-test,the-token",
	})
	s.waitReady(t)
	testkit.Eventually(t, "it warns", func() bool { return strings.Contains(s.stderr.String(), "may be guessed") })
	if code, _ := s.ask(t, http.MethodGet, "/api/flows", "the-token", nil); code != 200 {
		t.Errorf("/api/flows = %d", code)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	log := s.stderr.String()
	if strings.Count(log, "may be guessed") != 1 || !strings.Contains(log, `"token":"API_TOKEN 2"`) || strings.Contains(log, "the-token") {
		t.Errorf("the log is %s", log)
	}
}

func TestAFlowGoesFromTheAPIToTheEdges(t *testing.T) {
	client, keys, prefix := testkit.Redis(t, 2)
	const token = "a-token-of-the-test"
	s := serve(t, map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2", "API_TOKEN": token,
	})
	s.waitReady(t)
	document, err := os.ReadFile(filepath.Join("..", "..", "internal", "api", "testdata", "flow.json"))
	if err != nil {
		t.Fatal(err)
	}
	published := func(what, field, want string) {
		t.Helper()
		began := time.Now()
		testkit.Eventually(t, what, func() bool {
			got, err := client.HGet(t.Context(), keys.Index(), field).Result()
			if want == "" {
				return err == nil && len(got) == 64
			}
			return err == nil && got == want
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: after %s", what, took)
		}
	}
	for _, step := range []struct {
		name, method, path string
		body               any
		code               int
		field, want        string
	}{
		{"created", "POST", "/api/flows", map[string]string{"name": "a", "flowJson": string(document)}, 201, "default/a", ""},
		{"inactive", "PATCH", "/api/flows/a", map[string]string{"status": "inactive"}, 200, "default/a", keyspace.Tombstone},
		{"active again", "PATCH", "/api/flows/a", map[string]string{"status": "active"}, 200, "default/a", ""},
		{"renamed", "PATCH", "/api/flows/a", map[string]string{"name": "b"}, 200, "default/b", ""},
		{"under its former name", "GET", "/api/flows/b", nil, 200, "default/a", keyspace.Tombstone},
		{"deleted", "DELETE", "/api/flows/b", nil, 204, "default/b", keyspace.Tombstone},
	} {
		if code, answer := s.ask(t, step.method, step.path, token, step.body); code != step.code {
			t.Fatalf("%s: %d %v", step.name, code, answer)
		}
		published(step.name, step.field, step.want)
	}
	if code, _ := s.ask(t, "GET", "/api/flows", "another-token", nil); code != 401 {
		t.Errorf("a wrong token: %d", code)
	}
	if code, spec := s.get("/openapi.json"); code != 200 || spec["openapi"] == nil {
		t.Errorf("/openapi.json: %d", code)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := s.stderr.String(); strings.Contains(log, token) || !strings.Contains(log, "changed through the API") {
		t.Errorf("the log holds the token, or no change:\n%s", log)
	}
}

// The pools share how they connect, and not what happens when a connection dies.
func TestConnectionsOfTheAPIAreItsOwn(t *testing.T) {
	pool, err := store.Open(t.Context(), testkit.EmptyDatabaseURL(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	own := apiConfig(pool)
	if own.ShouldPing != nil || own.PingTimeout <= 0 {
		t.Error("a connection of the API that does not answer would reset the writers' pool, or be waited for without end")
	}
	params := own.ConnConfig.RuntimeParams
	if own.MaxConns != apiConnections || params["statement_timeout"] != apiStatement || params["application_name"] == "" {
		t.Errorf("%d connections with %v", own.MaxConns, params)
	}
	if _, set := params["enable_seqscan"]; set {
		t.Error("the API is kept from reading tables whole, as the writers are")
	}
	if _, set := pool.Config().ConnConfig.RuntimeParams["statement_timeout"]; set {
		t.Error("the writers have the API's limit")
	}
}
