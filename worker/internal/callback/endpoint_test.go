package callback

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestASecretIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	env := Environment{Timeout: time.Second, MaxAttempts: 10}
	// Asked for before the first start.
	first, err := Secrets(t.Context(), pool, env)
	if err != nil || len(first) != 1 || CheckSecret(first[0]) != nil {
		t.Fatalf("%d secrets, %v", len(first), err)
	}
	env.URL = "https://example.com/hook"
	for range 2 {
		if err := Ensure(t.Context(), pool, env); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := Secrets(t.Context(), pool, env); err != nil || !slices.Equal(again, first) {
		t.Errorf("the secret changed, %v", err)
	}
	// The operator's own take its place, and stay when they are unset.
	env.Secrets = []string{NewSecret(), NewSecret()}
	own := env.Secrets
	if err := Ensure(t.Context(), pool, env); err != nil {
		t.Fatal(err)
	}
	env.Secrets = nil
	if err := Ensure(t.Context(), pool, env); err != nil {
		t.Fatal(err)
	}
	if got, err := Secrets(t.Context(), pool, env); err != nil || !slices.Equal(got, own) {
		t.Errorf("the operator's secrets were not kept, %v", err)
	}
}

func TestTheEndpointFollowsTheEnvironment(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for _, c := range []struct {
		name     string
		before   string // SQL
		url      string
		enabled  bool
		paused   bool
		failures int
	}{
		{"without a URL there is a disabled row", `SELECT 1`, "", false, false, 0},
		{"a URL enables it", `SELECT 1`, "https://a.example/", true, false, 0},
		{"a pause outlasts a restart", `UPDATE callback_endpoints SET failures = 11, paused_until = now() + interval '1 min'`, "https://a.example/", true, true, 11},
		{"another URL starts afresh", `SELECT 1`, "https://b.example/", true, false, 0},
		{"failures that did not pause it yet are kept", `UPDATE callback_endpoints SET failures = 3`, "https://b.example/", true, false, 3},
		{"410 is forgotten at a restart", `UPDATE callback_endpoints SET failures = 1, paused_until = 'infinity'`, "https://b.example/", true, false, 0},
		{"an unset URL disables it", `SELECT 1`, "", false, false, 0},
	} {
		if _, err := pool.Exec(t.Context(), c.before); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(t.Context(), pool, Environment{URL: c.url, Timeout: time.Second, MaxAttempts: 4}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var enabled, paused bool
		var failures, rows int
		if err := pool.QueryRow(t.Context(), `SELECT enabled, paused_until IS NOT NULL, failures, (SELECT count(*) FROM callback_endpoints)
			FROM callback_endpoints WHERE account = '*' AND name = 'env'`).Scan(&enabled, &paused, &failures, &rows); err != nil {
			t.Fatal(err)
		}
		if enabled != c.enabled || paused != c.paused || failures != c.failures || rows != 1 {
			t.Errorf("%s: enabled %t, paused %t, %d failures, %d rows", c.name, enabled, paused, failures, rows)
		}
	}
}
