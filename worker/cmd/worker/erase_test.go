package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// typed runs a command with a standard input.
func typed(t *testing.T, env map[string]string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := newCommand(t.Context(), env)
	c.process.stdin = strings.NewReader(stdin)
	code = run(c.process, args)
	return code, c.stdout.String(), c.stderr.String()
}

func TestEraseShowsAsksAndErases(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 16)
	database := testkit.EmptyDatabaseURL(t)
	env := map[string]string{"DATABASE_URL": database, "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix}
	must(t, env, "migrate", "up")
	pool := testkit.Pool(t, database)
	add := func() {
		t.Helper()
		if _, err := pool.Exec(t.Context(), "INSERT INTO contacts (id, phone_number, user_id) VALUES ($1, '16505551234', 'US.ADA')", uuid.New()); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (n int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM contacts").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	add()

	code, stdout, stderr := typed(t, env, "", "erase", "--phone", "16505551234", "--dry-run")
	if code != 0 || !strings.Contains(stdout, "would be erased") || stderr != "" || left() != 1 {
		t.Fatalf("dry run: %d, %s, %s", code, stdout, stderr)
	}
	code, stdout, stderr = typed(t, env, "16505551234\nno\n", "erase", "--phone=-")
	if code != 1 || !strings.Contains(stderr, "nothing was erased") || stdout != "" || left() != 1 {
		t.Fatalf("without yes: %d, %s, %s", code, stdout, stderr)
	}
	code, stdout, stderr = typed(t, env, "16505551234\nyes\n", "erase", "--phone", "-")
	if code != 0 || !strings.Contains(stderr, "would be erased") || !strings.Contains(stdout, "what remains") || left() != 0 {
		t.Fatalf("with yes: %d, %s, %s", code, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, "16505551234") {
		t.Errorf("the person is named: %s %s", stdout, stderr)
	}
	add()
	code, stdout, stderr = typed(t, env, "", "erase", "--user-id", "US.ADA", "--yes", "--json")
	var report struct{ Erased map[string]int }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || report.Erased["contacts"] != 1 || left() != 0 {
		t.Fatalf("as JSON: %d, %s, %s, %v", code, stdout, stderr, err)
	}
}

func TestEraseThatCannotBeDoneSaysWhy(t *testing.T) {
	nowhere := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": "redis://127.0.0.1:1"}
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"nobody":          {"", nil, "--phone"},
		"two people":      {"", []string{"--phone", "geheim", "--user-id", "geheim"}, "can't be used together"},
		"nothing typed":   {"\n", []string{"--token", "-"}, "is empty"},
		"no number":       {"", []string{"--phone", "geheim", "--yes"}, "expected one with its country code"},
		"Redis is away":   {"", []string{"--user-id", "geheim", "--yes"}, "nothing was erased yet"},
		"strange account": {"", []string{"--user-id", "geheim", "--account", "a/b"}, "--account is"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := typed(t, nowhere, c.stdin, append([]string{"erase"}, c.args...)...)
			if code != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "geheim") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d: %q, want %q", code, stderr, c.want)
			}
		})
	}
}
