package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// migrated is the environment of commands on a database of the test's own.
func migrated(t *testing.T) (map[string]string, *pgxpool.Pool) {
	t.Helper()
	env := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t)}
	must(t, env, "migrate", "up")
	return env, testkit.Pool(t, env["DATABASE_URL"])
}

// refused runs a command that must fail with one clean sentence.
func refused(t *testing.T, env map[string]string, want string, args ...string) {
	t.Helper()
	code, stdout, stderr := execute(t, env, args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "geheim") {
		t.Errorf("%v: exit code %d, %q, %q; want 1 and %q", args, code, stdout, stderr, want)
	}
}

func TestCallbackEndpointsByCommand(t *testing.T) {
	env, pool := migrated(t)
	secret := must(t, env, "callbacks", "add", "crm", "https://crm.example.com/hook", "--events", "flow.*,message.received",
		"--header", "X-Team: geheim", "--basic", "ann:geheim", "--schedule", "0s,5s,2m", "--rate-limit", "2.5", "--ordered")
	if !strings.HasPrefix(secret, "whsec_") || strings.Count(secret, "\n") != 1 {
		t.Fatalf("secret = %q", secret)
	}
	must(t, env, "callbacks", "add", "raw", "https://example.com/raw", "--events", "webhook.received", "--account", "*")
	list := must(t, env, "callbacks", "list")
	for _, want := range []string{"ACCOUNT", "crm", "flow.*,message.received", "raw", "active"} {
		if !strings.Contains(list, want) {
			t.Errorf("list without %s:\n%s", want, list)
		}
	}
	var view callbackView
	show := func(name string) callbackView {
		t.Helper()
		out := must(t, env, "callbacks", "show", name, "--json")
		view = callbackView{}
		if err := json.Unmarshal([]byte(out), &view); err != nil || strings.Contains(out, "geheim") || strings.Contains(out, "whsec_") {
			t.Fatalf("%v: %s", err, out)
		}
		return view
	}
	if v := show("crm"); fmt.Sprintf("%v %v %v %v %v %v %v", v.Schedule, v.MaxAttempts, v.RateLimit, v.Ordered, v.AuthType, v.HeaderNames, v.Payload) != "[0 5 120] 3 2.5 true basic [X-Team] event" {
		t.Errorf("%+v", v)
	}
	if v := show("raw"); v.Payload != "raw" || v.Account != "*" {
		t.Errorf("%+v", v)
	}
	if out := must(t, env, "callbacks", "set", "crm", "--no-headers", "--bearer", "geheim", "--no-ordered", "--schedule", "", "--flows", "csat,survey"); out != "changed crm\n" {
		t.Errorf("set: %q", out)
	}
	if v := show("crm"); v.Schedule != nil || v.MaxAttempts != 10 || v.AuthType != "bearer" || len(v.HeaderNames) != 0 || v.Ordered || fmt.Sprint(v.Flows) != "[csat survey]" {
		t.Errorf("%+v", v)
	}
	if out := must(t, env, "callbacks", "set", "crm", "--flows", "csat,survey"); out != "crm is as it was\n" {
		t.Errorf("set to what it was: %q", out)
	}
	second := must(t, env, "callbacks", "rotate-secret", "crm", "--overlap", "7d")
	if out := must(t, env, "callbacks", "secret", "crm"); out != second+secret {
		t.Errorf("secrets %q", out)
	}
	must(t, env, "callbacks", "pause", "crm", "--reason", "moving")
	if v := show("crm"); v.Status != "paused" || *v.StatusReason != "moving" {
		t.Errorf("%+v", v)
	}
	if out := must(t, env, "callbacks", "show", "crm"); !strings.Contains(out, "paused since") || strings.Contains(out, "geheim") {
		t.Errorf("show: %s", out)
	}
	must(t, env, "callbacks", "resume", "crm")
	if v := show("crm"); v.Status != "active" {
		t.Errorf("%+v", v)
	}
	if out := must(t, env, "callbacks", "remove", "crm"); !strings.Contains(out, "removed crm; 0 deliveries") {
		t.Errorf("remove: %s", out)
	}
	for want, args := range map[string][]string{
		"there is no callback endpoint \"crm\"":    {"show", "crm"},
		"`worker callbacks set NAME`":              {"add", "raw", "https://example.com", "--account", "*"},
		"CALLBACK_ALLOW_CIDRS":                     {"add", "a", "http://127.0.0.1/geheim"},
		"put them into auth":                       {"add", "a", "https://a:geheim@example.com"},
		"expected a URL such as":                   {"add", "a", ""},
		"no event type is called":                  {"add", "a", "https://example.com", "--events", "flow.complete"},
		"--schedule holds":                         {"add", "a", "https://example.com", "--schedule", "0s,soon"},
		"--header is not NAME: VALUE":              {"add", "a", "https://example.com", "--header", "geheim"},
		"exclude each other":                       {"add", "a", "https://example.com", "--bearer", "x", "--basic", "a:b"},
		"timeoutMs is 60000":                       {"add", "a", "https://example.com", "--timeout", "60s"},
		"--account is":                             {"add", "a", "https://example.com", "--account", "a/b"},
		"whsec_":                                   {"add", "a", "https://example.com", "--secret", "geheim"},
		"belongs to CALLBACK_WEBHOOK_URL":          {"add", "env", "https://example.com", "--account", "*"},
		"--overlap is":                             {"rotate-secret", "raw", "--overlap", "99d"},
		"expected seed, event or raw":              {"set", "raw", "--payload", "xml"},
		"expected \"<name>\"":                      {"pause"},
		"there is no callback endpoint \"nobody\"": {"test", "nobody"},
	} {
		refused(t, env, want, append([]string{"callbacks"}, args...)...)
	}
	// The environment's own.
	env["CALLBACK_SECRET"] = strings.TrimSpace(secret)
	if out := must(t, env, "callbacks", "secret"); out != secret {
		t.Errorf("secret of the environment: %q", out)
	}
	refused(t, env, "CALLBACK_SECRET", "callbacks", "rotate-secret", "env")
	refused(t, env, "CALLBACK_WEBHOOK_URL", "callbacks", "remove", "env")
	refused(t, env, "CALLBACK_WEBHOOK_URL", "callbacks", "test", "env")
	refused(t, env, "CALLBACK_TIMEOUT", "callbacks", "set", "env", "--timeout", "1s")
	must(t, env, "callbacks", "set", "env", "--description", "ours", "--schedule", "0s,1s")
	var rows int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM callback_endpoints").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d endpoints, %v", rows, err)
	}
}

func TestATestEventByCommand(t *testing.T) {
	env, _ := migrated(t)
	env["CALLBACK_ALLOW_CIDRS"] = "127.0.0.0/8"
	status := http.StatusNoContent
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 || r.Header.Get("Webhook-Signature") == "" {
			t.Errorf("it got %q, %v", body, err)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	must(t, env, "callbacks", "add", "crm", receiver.URL)
	if out := must(t, env, "callbacks", "test", "crm"); !strings.Contains(out, "crm took it: 204") {
		t.Errorf("test: %s", out)
	}
	status = http.StatusBadGateway
	refused(t, env, "crm did not take it: the receiver answered 502", "callbacks", "test", "crm")
	env["CALLBACK_ALLOW_CIDRS"] = ""
	refused(t, env, "crm could not be reached: ", "callbacks", "test", "crm")
	refused(t, env, "not a public address", "callbacks", "test", "crm")
}

// dispatched stores finished and open deliveries of an endpoint crm and returns
// their ids.
func dispatched(t *testing.T, env map[string]string, pool *pgxpool.Pool, dead, due int) (ids []string) {
	t.Helper()
	must(t, env, "callbacks", "add", "crm", "https://crm.example.com")
	for i := range dead + due {
		id := uuid.Must(uuid.NewV7())
		sql := `INSERT INTO delivery_history (id, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, state, attempt, created_at, finished_at, last_status, body)
			SELECT $1, id, name, 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now(), 'dead', 10, now(), now(), 503, '{"a":1}' FROM callback_endpoints`
		if i >= dead {
			sql = `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
				SELECT $1, id, 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now() FROM callback_endpoints`
		}
		if _, err := pool.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	return ids
}

func TestDeliveriesByCommand(t *testing.T) {
	env, pool := migrated(t)
	ids := dispatched(t, env, pool, 3, 1)
	if out := must(t, env, "deliveries", "list", "--state", "dead", "--since", "24h", "--endpoint", "crm"); strings.Count(out, "flow.completed") != 3 || !strings.Contains(out, "503") {
		t.Errorf("list:\n%s", out)
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(must(t, env, "deliveries", "list", "--json")), &all); err != nil || len(all) != 4 || all[0]["id"] != ids[3] {
		t.Errorf("list --json: %v, %v", all, err)
	}
	if out := must(t, env, "deliveries", "list", "--json", "--flow", "nothing"); out != "[]\n" {
		t.Errorf("an empty list: %q", out)
	}
	if out := must(t, env, "deliveries", "show", ids[0], "--body"); !strings.Contains(out, `{"a":1}`) || !strings.Contains(out, "dead") {
		t.Errorf("show:\n%s", out)
	}
	if out := must(t, env, "deliveries", "replay", "--endpoint", "crm", "--since", "1d", "--dry-run"); out != "3 deliveries would be sent again\n" {
		t.Errorf("dry run: %q", out)
	}
	if out := must(t, env, "deliveries", "replay", ids[0]); out != ids[0]+" is sent again\n" {
		t.Errorf("one: %q", out)
	}
	if out := must(t, env, "deliveries", "replay", "--all", "--limit", "1"); !strings.HasPrefix(out, "1 deliveries are sent again, the last one at ") || !strings.Contains(out, "there are more") {
		t.Errorf("some: %q", out)
	}
	if out := must(t, env, "deliveries", "replay", "--all"); !strings.HasPrefix(out, "1 deliveries are sent again") {
		t.Errorf("all: %q", out)
	}
	if out := must(t, env, "deliveries", "replay", "--all"); out != "there is nothing to send again\n" {
		t.Errorf("once more: %q", out)
	}
	if out := must(t, env, "deliveries", "cancel", ids[3], ids[2]); strings.Count(out, "is cancelled") != 2 {
		t.Errorf("cancel: %q", out)
	}
	for want, args := range map[string][]string{
		"which deliveries?":             {"replay"},
		"ids and filters exclude":       {"replay", ids[0], "--since", "1h"},
		"is no id of a delivery":        {"replay", "7"},
		"there is no delivery":          {"show", uuid.NewString()},
		"or how long ago":               {"list", "--since", "yesterday"},
		"expected the earlier one":      {"list", "--since", "2026-01-02", "--until", "2026-01-01"},
		"--state must be one of":        {"list", "--state", "lost"},
		"--limit is 0":                  {"list", "--limit", "0"},
		"--rate is 0":                   {"replay", "--all", "--rate", "0"},
		"--event-id is":                 {"list", "--event-id", "7"},
		"unknown flag --colour":         {"list", "--colour"},
		"expected \"<id> ...\"":         {"cancel"},
		"--limit is 2000000":            {"replay", "--all", "--limit", "2000000"},
		"unexpected argument nonsense":  {"list", "nonsense"},
		"--since: \"-1h\" is no time":   {"list", "--since=-1h"},
		"is no id of a delivery, expec": {"cancel", "x"},
	} {
		refused(t, env, want, append([]string{"deliveries"}, args...)...)
	}
	if _, err := pool.Exec(t.Context(), "DELETE FROM deliveries; DELETE FROM callback_endpoints"); err != nil {
		t.Fatal(err)
	}
	refused(t, env, "its endpoint was removed", "deliveries", "replay", ids[3])
	refused(t, map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t)}, "worker migrate up", "deliveries", "list")
}

func TestDeadEntriesByCommand(t *testing.T) {
	env, pool := migrated(t)
	client, keys, prefix := testkit.Redis(t, 2)
	env["REDIS_URL"], env["REDIS_PREFIX"], env["REDIS_SHARDS"] = testkit.RedisURL(t), prefix, "2"
	var ids []string
	for i, stream := range []string{keys.Events(0), keys.Events(1), "another"} {
		id := uuid.Must(uuid.NewV7())
		if _, err := pool.Exec(t.Context(), `INSERT INTO dead_entries (id, stream, stream_id, kind, reason, fields) VALUES ($1, $2, $3, 'step', E'no\n\x1b[31m', $4)`,
			id, stream, fmt.Sprint(i), []byte(`{"v":"MQ==","body":"/w=="}`)); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	if out := must(t, env, "dead", "list", "--kind", "step", "--since", "1h"); strings.Count(out, "\n") != 4 || strings.Contains(out, "\x1b") {
		t.Errorf("list:\n%q", out)
	}
	if out := must(t, env, "dead", "show", ids[0]); !strings.Contains(out, "field v") || !strings.Contains(out, "1 bytes that are no text") {
		t.Errorf("show:\n%s", out)
	}
	if out := must(t, env, "dead", "show", ids[0], "--json"); !strings.Contains(out, `"body": "/w=="`) {
		t.Errorf("show --json:\n%s", out)
	}
	for _, want := range []string{"is back in its stream", "is left alone"} {
		if out := must(t, env, "dead", "requeue", ids[0]); !strings.Contains(out, want) {
			t.Errorf("requeue: %s, want %s", out, want)
		}
	}
	if out := must(t, env, "dead", "requeue", "--all"); out != "1 entries are back in their streams; 1 are of streams that no worker of this installation reads: look at REDIS_PREFIX and REDIS_SHARDS\n" {
		t.Errorf("requeue --all: %q", out)
	}
	if n, err := client.XLen(t.Context(), keys.Events(0)).Result(); err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
	if out := must(t, env, "dead", "list", "--waiting"); !strings.Contains(out, ids[2]) || strings.Contains(out, ids[0]) {
		t.Errorf("waiting:\n%s", out)
	}
	refused(t, env, "REDIS_PREFIX", "dead", "requeue", ids[2])
	refused(t, env, "which entries?", "dead", "requeue")
	refused(t, env, "exclude each other", "dead", "requeue", ids[0], "--all")
	refused(t, env, "no id of a dead entry", "dead", "requeue", "7")
	refused(t, env, "there is no dead entry", "dead", "show", uuid.NewString())
	refused(t, env, "--limit is 0", "dead", "list", "--limit", "0")
	delete(env, "REDIS_URL")
	refused(t, env, "REDIS_URL", "dead", "requeue", "--all")
	env["REDIS_URL"] = "redis://127.0.0.1:1"
	if _, err := pool.Exec(t.Context(), "UPDATE dead_entries SET requeued_at = NULL"); err != nil {
		t.Fatal(err)
	}
	refused(t, env, "the entry was not taken by Redis", "dead", "requeue", ids[0])
}

func TestSecretsAreTakenFromTheStandardInput(t *testing.T) {
	env, pool := migrated(t)
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	code, out, errs := typed(t, env, secret+"\ngeheim\n", "callbacks", "add", "crm", "https://example.com", "--secret", "-", "--bearer", "-")
	if code != 0 || out != secret+"\n" {
		t.Fatalf("%d, %q, %q", code, out, errs)
	}
	if code, _, errs = typed(t, env, "ann:geheim", "callbacks", "set", "crm", "--basic", "-"); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs = typed(t, env, "", "callbacks", "set", "crm", "--bearer", "-"); code == 0 || !strings.Contains(errs, "has no line") {
		t.Errorf("%d, %q", code, errs)
	}
	const second = "whsec_AAEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	if code, out, errs = typed(t, env, second+"\r\n", "callbacks", "rotate-secret", "crm", "--secret", "-"); code != 0 || out != second+"\n" {
		t.Errorf("%d, %q, %q", code, out, errs)
	}
	var auth string
	if err := pool.QueryRow(t.Context(), "SELECT auth FROM callback_endpoints WHERE name = 'crm'").Scan(&auth); err != nil || auth != "Basic YW5uOmdlaGVpbQ==" {
		t.Errorf("auth %q, %v", auth, err)
	}
}
