package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// doctorProof is of what stands in doctor.go; the checks are proven where they are.
var doctorProof doctortest.Proof

// reportOf reads a report for programs.
func reportOf(t *testing.T, text string) (report doctor.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	doctorProof.Saw(report)
	return report
}

// Settings that cannot be read leave the rest to be looked at.
func TestDoctorWithSettingsThatAreWrong(t *testing.T) {
	code, stdout, _ := execute(t, map[string]string{"REDIS_URL": "geheim", "META_ACCESS_TOKEN": metaToken, "PUBLIC_KEY": "none"}, "doctor", "--format", "json")
	report := reportOf(t, stdout)
	for name, want := range map[string]string{
		"configuration": "fail", "configuration: API": "skipped", "redis: reachable": "skipped", "postgres: reachable": "skipped", "meta: token": "fail PUBLIC_KEY",
	} {
		status, evidence, _ := strings.Cut(want, " ")
		if f := report.Find(name); string(f.Status) != status || !strings.Contains(f.Evidence, evidence) || f.Evidence == "" {
			t.Errorf("%+v, want %s", f, want)
		}
	}
	if code != 2 || strings.Contains(stdout, "geheim") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
}

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
	report := reportOf(t, stdout)
	got := map[string]string{}
	for _, f := range report.Findings {
		got[f.Name] = string(f.Status)
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

// What a text tells people to run, and the variables it tells them to set, are
// there.
func TestEveryCommandThatDoctorNamesExists(t *testing.T) {
	files := []string{"doctor.go", "../../internal/doctor/*.go", "../../../shared/doctor/*.go", "../../../shared/doctor/*/*.go", "../../../caddymodule/doctor*.go"}
	commandsOf, err := doctortest.Commands(files...)
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&commands{}, kong.Name("worker"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for at, texts := range commandsOf {
		for _, text := range texts {
			words := strings.Fields(text)
			if words[0] != "worker" {
				continue
			}
			seen++
			node := parser.Model.Node
			for _, word := range words[1:] {
				next := slices.IndexFunc(node.Children, func(child *kong.Node) bool { return child.Name == word })
				switch {
				case next >= 0:
					node = node.Children[next]
				case strings.HasPrefix(word, "--"):
					if !slices.ContainsFunc(node.AllFlags(false), func(all []*kong.Flag) bool {
						return slices.ContainsFunc(all, func(f *kong.Flag) bool { return "--"+f.Name == word })
					}) {
						t.Errorf("%s: `%s` has no %s", at, text, word)
					}
				case word != strings.ToUpper(word):
					t.Errorf("%s: there is no `%s`", at, text)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands are named", seen)
	}

	sites, err := doctortest.Sites(files...)
	if err != nil {
		t.Fatal(err)
	}
	sources := sourcesOf(t, "../../internal/settings/*.go", "../../../caddymodule/*.go", "../../../shared/doctor/metacheck/environment.go")
	variable := regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)+\b`)
	for _, site := range sites {
		for _, name := range variable.FindAllString(site.Fix, -1) {
			if !strings.Contains(sources, `"`+name+`"`) && !strings.Contains(sources, `"`+strings.TrimSuffix(name, "_FILE")+`"`) {
				t.Errorf("%s: nothing reads the variable %s", site, name)
			}
		}
	}
}

// sourcesOf is the text of files, tests left out.
func sourcesOf(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

func TestDoctorRefusesWhatIsNoOption(t *testing.T) {
	for _, args := range [][]string{{"--format", "xml"}, {"--url", "flows.example.com"}} {
		if code, _, stderr := execute(t, nil, append([]string{"doctor"}, args...)...); code != 1 || stderr == "" {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}
