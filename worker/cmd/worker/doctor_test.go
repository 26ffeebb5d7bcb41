package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// A report of everything, with a Meta whose token has every right but which
// nobody has set up.
func TestDoctorReportsAllItCanAndPrintsNoSecret(t *testing.T) {
	const token = "EAAJB0123456789abcdefghijklmnop"
	meta := graphtest.New()
	t.Cleanup(meta.Close)
	meta.AddApp("670843887433847", "Forms", "x", "y")
	meta.AddToken(token, graphtest.Token{AppID: "670843887433847"})
	meta.AddAccount("102290129340398")
	meta.AddNumber("102290129340398", graph.Number{ID: "106540352242922"})
	_, _, prefix := testkit.Redis(t, 4)
	env := map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "4",
		"API_TOKEN": "geheim-und-lang", "META_ACCESS_TOKEN": token, "META_GRAPH_URL": meta.URL(), "META_WABA_ID": "102290129340398",
	}
	code, stdout, stderr := execute(t, env, "doctor", "--format", "json", "--url", "https://flows.example.com")
	if code != 2 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var report struct {
		Status   string
		Findings []struct{ Name, Status, Evidence string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Status != "fail" {
		t.Fatalf("%v\n%s", err, stdout)
	}
	got := map[string]string{}
	for _, f := range report.Findings {
		got[f.Name] = f.Status
	}
	for name, want := range map[string]string{
		"configuration": "ok", "redis: reachable": "ok", "edges": "warn", "postgres: reachable": "ok", "postgres: migrations": "fail",
		"meta: token": "ok", "meta: account 102290129340398: webhooks": "fail", "meta: number 106540352242922: key": "fail",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, secret := range []string{token, "geheim"} {
		if strings.Contains(stdout, secret) {
			t.Errorf("the report holds %q", secret)
		}
	}
	if writes := meta.Writes(); len(writes) > 0 {
		t.Errorf("it changed something at Meta: %v", writes)
	}
}

func TestDoctorRefusesWhatIsNoOption(t *testing.T) {
	for _, args := range [][]string{{"--format", "xml"}, {"--url", "flows.example.com"}} {
		if code, _, stderr := execute(t, nil, append([]string{"doctor"}, args...)...); code != 1 || stderr == "" {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}
