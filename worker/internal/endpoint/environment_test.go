package endpoint

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestASecretIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	env := Environment{Timeout: time.Second, MaxAttempts: 10}
	secrets := func() []string {
		t.Helper()
		all, err := EnvironmentSecrets(t.Context(), pool, env)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	start := func() {
		t.Helper()
		if err := Ensure(t.Context(), pool, env); err != nil {
			t.Fatal(err)
		}
	}
	first := secrets() // asked for before the first start
	if len(first) != 1 || callback.CheckSecret(first[0]) != nil {
		t.Fatalf("%d secrets", len(first))
	}
	env.URL = "https://example.com/hook"
	start()
	start()
	if !slices.Equal(secrets(), first) {
		t.Error("the secret changed")
	}
	// The operator's own take its place, and stay when they are unset.
	own := []string{callback.NewSecret(), callback.NewSecret()}
	env.Secrets = own
	start()
	env.Secrets = nil
	start()
	if !slices.Equal(secrets(), own) {
		t.Error("the operator's secrets were not kept")
	}
}

func TestTheEndpointFollowsTheEnvironment(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	const a, b = "https://a.example/", "https://b.example/"
	for _, c := range []struct {
		name     string
		before   string // SQL
		url      string
		status   Status
		held     bool // by the breaker
		failures int
		events   int // that it was enabled, so far
	}{
		{"without a URL it is off", `SELECT 1`, "", Off, false, 0, 0},
		{"a URL switches it on", `SELECT 1`, a, Active, false, 0, 0},
		{"the breaker's pause outlasts a restart", `UPDATE callback_endpoints SET failures = 11, failing_since = now(), paused_until = now() + interval '1 min'`, a, Active, true, 11, 0},
		{"another URL starts afresh", `SELECT 1`, b, Active, false, 0, 0},
		{"failures that did not pause it yet are kept", `UPDATE callback_endpoints SET failures = 3`, b, Active, false, 3, 0},
		{"one that was disabled is tried again", `UPDATE callback_endpoints SET status = 'disabled', status_reason = '410', failures = 1`, b, Active, false, 0, 1},
		{"the operator's pause outlasts a restart", `UPDATE callback_endpoints SET status = 'paused', status_reason = 'moving', failures = 2`, b, Paused, false, 2, 1},
		{"and another URL", `SELECT 1`, a, Paused, false, 0, 1},
		{"an unset URL switches it off", `SELECT 1`, "", Off, false, 0, 1},
		{"and a URL on again", `SELECT 1`, a, Active, false, 0, 1},
	} {
		if _, err := pool.Exec(t.Context(), c.before); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(t.Context(), pool, Environment{URL: c.url, Timeout: time.Second, MaxAttempts: 4}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		e, err := Get(t.Context(), pool, Key{Account: "*", Name: EnvironmentName})
		if err != nil {
			t.Fatal(err)
		}
		events, err := Events(t.Context(), pool, e.ID, 10)
		if err != nil {
			t.Fatal(err)
		}
		if e.Status != c.status || (e.PausedUntil != nil) != c.held || e.Failures != c.failures || len(events) != c.events || e.Payload != payload.Seed {
			t.Errorf("%s: %s, held %v, %d failures, %d events, payload %s", c.name, e.Status, e.PausedUntil, e.Failures, len(events), e.Payload)
		}
		if c.url != "" && e.URL != c.url || e.URL == "" && c.name != "without a URL it is off" {
			t.Errorf("%s: the URL is %q", c.name, e.URL)
		}
	}
}

// A start that changes nothing is no change: an ETag outlasts it.
func TestARestartIsNoChange(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	revision := func(env Environment) int64 {
		t.Helper()
		if err := Ensure(t.Context(), pool, env); err != nil {
			t.Fatal(err)
		}
		e, err := Get(t.Context(), pool, Key{Account: "*", Name: EnvironmentName})
		if err != nil {
			t.Fatal(err)
		}
		return e.Revision
	}
	env := Environment{URL: "https://a.example/", Timeout: time.Second, MaxAttempts: 4}
	first := revision(env)
	if again := revision(env); again != first {
		t.Errorf("revision %d, then %d", first, again)
	}
	env.Timeout = 2 * time.Second
	if changed := revision(env); changed == first {
		t.Error("a change has the same revision")
	}
}
