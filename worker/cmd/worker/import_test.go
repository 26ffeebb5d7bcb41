package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func exampleFlow(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../examples/csat-feedback/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// held is a transaction that keeps others from writing a table.
func held(t *testing.T, pool *pgxpool.Pool, sql string) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SET LOCAL idle_in_transaction_session_timeout = 0", sql} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// killed starts an import as a process of its own and kills it once it is held up
// by a lock, which is then let go. there says that it is, in SQL; empty: it waits.
func killed(t *testing.T, pool *pgxpool.Pool, url, application, lock, there string) {
	t.Helper()
	release := held(t, pool, lock)
	program := exec.CommandContext(t.Context(), os.Args[0], "import", "seed")
	program.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+url+"&application_name="+application)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	if there == "" {
		there = "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '" + application + "' AND wait_event_type = 'Lock')"
	}
	is := func(condition string) func() bool {
		return func() (is bool) { return pool.QueryRow(t.Context(), "SELECT "+condition).Scan(&is) == nil && is }
	}
	testkit.Eventually(t, "the import waits for "+lock, is(there))
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err == nil {
		t.Fatal("the import was not killed")
	}
	release()
	testkit.Eventually(t, "its connections are gone", is("NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '"+application+"')"))
}

// Wherever it is killed, the next import ends as if nothing had happened.
func TestAnImportThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	const users = 450 // three portions
	document := exampleFlow(t)
	url, whole := testkit.SeedDatabaseURL(t, document, users), testkit.SeedDatabaseURL(t, document, users)
	if code, _, stderr := execute(t, map[string]string{"DATABASE_URL": whole}, "import", "seed"); code != 0 {
		t.Fatal(stderr)
	}
	pool := testkit.Pool(t, url)
	before := testkit.Contents(t, pool)
	for _, c := range []struct{ application, lock, there string }{
		{"before-the-move", "LOCK TABLE flow_responses IN ACCESS SHARE MODE", ""},
		{"in-the-move", "CREATE SCHEMA seed", ""},
		{"before-the-migrations", "SELECT pg_advisory_xact_lock(4097083626)", "to_regclass('seed.flows') IS NOT NULL"}, // goose's own lock
	} {
		killed(t, pool, url, c.application, c.lock, c.there)
		after := testkit.Contents(t, pool)
		if c.there != "" {
			for table, content := range before {
				if moved := strings.Replace(table, "public.", "seed.", 1); after[moved] != content {
					t.Errorf("%s: %s is %q, expected %q", c.application, moved, after[moved], content)
				}
			}
		} else if !maps.Equal(before, after) {
			t.Errorf("%s: %v became %v", c.application, before, after)
		}
	}
	if _, err := store.Up(t.Context(), pool); err != nil { // a worker was started in between
		t.Fatal(err)
	}
	for _, c := range []struct{ application, lock string }{
		{"1-flows", "LOCK TABLE flows IN SHARE MODE"},
		{"2-sessions", "LOCK TABLE flow_sessions IN SHARE MODE"},
		{"3-some-sessions", "INSERT INTO flow_sessions (id, flow, token_hash, flow_token, version, attempt, status, started_at, last_activity_at) VALUES ('5e550000-0000-4000-8000-000000000300', 'x', 'x', 'x', 1, 1, 'active', now(), now())"},
		{"4-answers", "LOCK TABLE contacts IN SHARE MODE"},
		{"5-some-answers", "INSERT INTO event_keys (kind, dedup) VALUES ('message', 'wamid.300')"},
		{"6-webhooks", "LOCK TABLE webhook_events IN SHARE MODE"},
		{"7-some-webhooks", "INSERT INTO event_keys (kind, dedup) VALUES ('webhook', 'seed:e7e00000-0000-4000-8000-000000000300')"},
		{"8-what-they-sent", "INSERT INTO seed.callbacks VALUES ('a2500000-0000-4000-8000-000000000444', 'e7e00000-0000-4000-8000-000000000444', 'default', true, true, false)"},
	} {
		killed(t, pool, url, c.application, c.lock, "")
	}
	if stored := all(t, pool, "SELECT count(*) FROM webhook_events"); stored != "(400)" {
		t.Errorf("after the last kill %s webhooks are stored, expected two portions", stored)
	}
	code, stdout, stderr := execute(t, map[string]string{"DATABASE_URL": url}, "import", "seed")
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	if !regexp.MustCompile(`webhook_events +450 +50 +400 +0`).MatchString(stdout) {
		t.Errorf("report: %s", stdout)
	}
	sameRows(t, pool, testkit.Pool(t, whole))
}

// sameRows compares what two imports of the same rows made, but for the ids of
// contacts and the times of storing.
func sameRows(t *testing.T, a, b *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`SELECT id, name, status, version, created_at FROM flows ORDER BY id`,
		`SELECT flow_id, version, definition FROM flow_versions ORDER BY 1, 2`,
		`SELECT * FROM flow_sessions ORDER BY id`,
		`SELECT id, wamid, session_id, flow, token_hash, response_data::text, webhook_event_id, answered_at, received_at, phone_number FROM flow_responses ORDER BY id`,
		`SELECT * FROM webhook_events ORDER BY id`,
		`SELECT event_id, position, kind, wamid, at FROM webhook_messages ORDER BY 1, 2`,
		`SELECT account, kind, dedup FROM event_keys ORDER BY 1, 2, 3`,
		`SELECT phone_number, name, first_seen_at, last_seen_at FROM contacts ORDER BY 1`,
		`SELECT response_id, webhook_id, delivered, found FROM seed.callbacks ORDER BY 1, 2`,
		`SELECT id, outcome = 'not mapped', target FROM seed.imported ORDER BY 1`,
	} {
		if one, other := all(t, a, sql), all(t, b, sql); one != other {
			t.Errorf("%s:\n%.500s\n%.500s", sql, one, other)
		}
	}
}

func all(t *testing.T, pool *pgxpool.Pool, sql string) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT q::text FROM ("+sql+") q")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestAWorkerServesWhatWasImported(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 2)
	url := testkit.SeedDatabaseURL(t, exampleFlow(t), 3)
	if _, err := testkit.Pool(t, url).Exec(t.Context(), "UPDATE webhook_events SET callback_sent = false WHERE id = 'e7e00000-0000-4000-8000-000000000003'"); err != nil {
		t.Fatal(err)
	}
	callbacks := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		callbacks <- string(body)
	}))
	t.Cleanup(receiver.Close)
	const token = "a-token-of-the-test"
	env := map[string]string{"CALLBACK_WEBHOOK_URL": receiver.URL, "CALLBACK_ALLOW_CIDRS": "127.0.0.0/8", "DATABASE_URL": url, "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2", "API_TOKEN": token, "RETENTION_EVENTS_DAYS": "0"}
	if code, _, stderr := execute(t, env, "migrate", "up"); code != 1 || !strings.Contains(stderr, "`worker import seed` moves them aside") {
		t.Errorf("migrating a database of whatsapp-flows-server: %d %s", code, stderr)
	}
	code, stdout, stderr := execute(t, env, "import", "seed", "--json", "--deliver-pending")
	var report struct {
		Tables []struct {
			Name      string
			TakenOver int
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || len(report.Tables) != 4 || report.Tables[2].TakenOver != 3 {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	s := serve(t, env)
	s.waitReady(t)
	status, body := s.ask(t, "GET", "/api/responses?flow=csat-feedback&phone=16505550002", token, nil)
	data, _ := body["data"].([]any)
	if status != 200 || len(data) != 1 {
		t.Fatalf("%d %v", status, body)
	}
	answer, _ := data[0].(map[string]any)
	said, _ := answer["responseData"].(map[string]any)
	if answer["id"] != "a2500000-0000-4000-8000-000000000002" || answer["wamid"] != "wamid.2" || said["comment"] != "Answer 2" ||
		answer["flowId"] != "f10f0000-0000-4000-8000-000000000001" || answer["answeredAt"] != "2026-02-01T10:02:30.000Z" || answer["flowVersion"] != 1.0 {
		t.Errorf("%v", answer)
	}
	if status, body = s.ask(t, "GET", "/api/flows/csat-feedback", token, nil); status != 200 {
		t.Errorf("%d %v", status, body)
	}
	if status, body = s.ask(t, "GET", "/api/sessions/5e550000-0000-4000-8000-000000000001", token, nil); status != 200 {
		t.Errorf("%d %v", status, body)
	}
	if status, body = s.ask(t, "GET", "/api/webhook-events/e7e00000-0000-4000-8000-000000000001", token, nil); status != 200 {
		t.Errorf("%d %v", status, body)
	}
	// The one that had not been delivered, under the id that its receiver knows.
	if body := <-callbacks; !strings.Contains(body, `"flow_id":"f10f0000-0000-4000-8000-000000000001"`) || !strings.Contains(body, "Answer 3") {
		t.Errorf("delivered: %s", body)
	}
	testkit.Eventually(t, "nothing is left to deliver", func() bool {
		_, body := s.ask(t, "GET", "/api/deliveries", token, nil)
		data, _ := body["data"].([]any)
		one, _ := data[0].(map[string]any)
		return len(data) == 1 && one["state"] == "delivered"
	})
	if len(callbacks) > 0 {
		t.Errorf("and delivered: %s", <-callbacks)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
}

func TestImportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t)}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing to import", nil, 1, "there are no tables of whatsapp-flows-server"},
		{"a URL that is none", []string{"--from", "mysql://u:geheim@h/x"}, 1, "--from does not say where Postgres is"},
		{"a database that is away", []string{"--from", "postgres://u:geheim@127.0.0.1:1/x"}, 1, "the database of --from: connecting to Postgres"},
		{"no URL typed", []string{"--from", "-"}, 1, "is empty"},
		{"a strange account", []string{"--account", "a/b"}, 1, "--account is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := execute(t, env, append([]string{"import", "seed"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "geheim") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d %q, want %d %q", code, stderr, c.code, c.want)
			}
		})
	}

	url := testkit.SeedDatabaseURL(t, exampleFlow(t), 1)
	if _, err := testkit.Pool(t, url).Exec(t.Context(), `UPDATE webhook_events SET signature_valid = false`); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := typed(t, env, url+"\n", "import", "seed", "--from", "-")
	if code != 2 || !strings.Contains(stderr, "1 rows could not be mapped") || !strings.Contains(stdout, "not mapped: e7e00000-0000-4000-8000-000000000001: its signature was not found valid") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}

// The commands and statements of docs/import.md, as they stand there.
func TestTheImportGuideWorks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	if _, there, found := strings.Cut(guide, "\n## In the same database"); !found {
		t.Fatal("the guide has no such heading")
	} else {
		guide = there
	}
	same, rest, _ := strings.Cut(guide, "\n## From another database")
	other, _, _ := strings.Cut(rest, "\n## ")

	dir := t.TempDir()
	if err := os.Mkdir(dir+"/bin", 0o700); err != nil {
		t.Fatal(err)
	}
	program := "#!/bin/sh\n" + asProgram + "=1 exec '" + os.Args[0] + "' \"$@\"\n"
	if err := os.WriteFile(dir+"/bin/worker", []byte(program), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	commands := func(part string, atLeast int, env ...string) {
		t.Helper()
		script := []string{"set -euo pipefail"}
		for line := range strings.Lines(part) {
			if command, ok := strings.CutPrefix(line, "    "); ok {
				command = strings.ReplaceAll(strings.TrimSpace(command), "/tmp/", dir+"/")
				script = append(script, "echo '"+strings.ReplaceAll(command, "'", `'\''`)+"' >&2", command)
			}
		}
		if len(script) < 1+2*atLeast {
			t.Fatalf("%d commands, expected %d", len(script)/2, atLeast)
		}
		c := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
		c.Dir, c.Env = dir, append(os.Environ(), env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v; the last command is the one that failed:\n%s", err, out)
		}
	}
	url, old, empty := testkit.SeedDatabaseURL(t, exampleFlow(t), 2), testkit.SeedDatabaseURL(t, exampleFlow(t), 2), testkit.EmptyDatabaseURL(t)
	commands(same, 2, "DATABASE_URL="+url)
	commands(other, 4, "DATABASE_URL="+empty, "OLD_DATABASE_URL="+old)
	var report struct {
		Tables []struct{ Found, AlreadyThere int }
	}
	if text, err := os.ReadFile(dir + "/import.json"); err != nil || json.Unmarshal(text, &report) != nil || len(report.Tables) != 4 || report.Tables[3].AlreadyThere != 2 {
		t.Errorf("%v: %s", err, text)
	}

	for _, url := range []string{url, empty} {
		pool := testkit.Pool(t, url)
		blocks := strings.Split(guide, "```sql\n")[1:]
		if len(blocks) != 2 {
			t.Fatalf("%d blocks of SQL", len(blocks))
		}
		for _, block := range blocks {
			sql, _, _ := strings.Cut(block, "```")
			if _, err := pool.Exec(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if left := all(t, pool, "SELECT count(*) FROM flow_responses"); left != "(2)" {
			t.Errorf("after the schema was dropped: %s answers", left)
		}
	}
}

// The way back that docs/import.md tells of.
func TestAnImportCanBeTakenBack(t *testing.T) {
	t.Parallel()
	url := testkit.SeedDatabaseURL(t, exampleFlow(t), 2)
	env := map[string]string{"DATABASE_URL": url}
	pool := testkit.Pool(t, url)
	before := testkit.Contents(t, pool)
	if code, _, stderr := execute(t, env, "import", "seed"); code != 0 {
		t.Fatal(stderr)
	}
	for range 100 {
		if out := must(t, env, "migrate", "down", "--yes"); out == "no migration is applied\n" {
			break
		}
	}
	for _, table := range []string{"flows", "flow_sessions", "flow_responses", "webhook_events"} {
		if _, err := pool.Exec(t.Context(), "ALTER TABLE seed."+table+" SET SCHEMA public"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), "ALTER FUNCTION seed.update_updated_at_column() SET SCHEMA public"); err != nil {
		t.Fatal(err)
	}
	after := testkit.Contents(t, pool)
	for table, content := range before {
		if after[table] != content {
			t.Errorf("%s: %q became %q", table, content, after[table])
		}
	}
	if code, _, stderr := execute(t, env, "import", "seed"); code != 0 { // its ledger says what is not true any more
		t.Fatal(stderr)
	}
	if n := all(t, pool, "SELECT count(*) FROM flow_responses"); n != "(2)" {
		t.Errorf("imported again after it was taken back: %s answers", n)
	}
}
