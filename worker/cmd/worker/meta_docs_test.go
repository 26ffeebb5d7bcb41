package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Every command of docs/meta.md, as it stands there, against a Meta of our own.
func TestTheCommandsOfTheMetaManualWork(t *testing.T) {
	s, env := metaSite(t)
	root := filepath.Join("..", "..", "..")
	manual, err := os.ReadFile(filepath.Join(root, "docs", "meta.md"))
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir() + "/"
	for name, text := range map[string]string{"meta_token": metaToken, "app_secret": "app-geheim", "verify_token": "verify-geheim", "token_secret": "geheim"} {
		if err := os.WriteFile(temp+name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", temp+"worker", ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script := []string{"set -euo pipefail"}
	fenced := false
	for line := range strings.Lines(string(manual)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		command, found := strings.CutPrefix(line, "    ")
		if !found || fenced {
			continue
		}
		script = append(script, strings.NewReplacer("/tmp/", temp, "/run/secrets/", temp, "bin/worker", temp+"worker").Replace(strings.TrimSpace(command)))
	}
	if len(script) < 20 {
		t.Fatalf("the manual has %d commands", len(script)-1)
	}
	c := exec.CommandContext(t.Context(), "bash", "-xc", strings.Join(script, "\n"))
	c.Dir = root
	c.Env = append(os.Environ(), "META_GRAPH_URL="+env["META_GRAPH_URL"])
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v; the last command is the one that failed:\n%s", err, out)
	}
	if strings.Contains(string(out), "geheim") {
		t.Errorf("a secret is printed:\n%s", out)
	}
	if s.FlowNamed("survey").Status != graph.Published || s.FlowNamed("lead-form").Status != graph.Published || len(s.Messages()) != 2 || len(s.Subscriptions(metaApp)) != 1 {
		t.Errorf("Meta has %+v, %d messages\n%s", s.FlowNamed("survey"), len(s.Messages()), out)
	}
}

// The manual names every flag, and no flag that there is not.
func TestTheMetaManualNamesEveryFlag(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "meta.md"))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	for _, command := range []string{"flows push", "flows pull", "flows diff", "flows publish", "flows deprecate", "subscribe", "send", "numbers", "health"} {
		help := must(t, nil, append(append([]string{"meta"}, strings.Fields(command)...), "--help")...)
		for _, name := range flag.FindAllString(help, -1) {
			flags[name] = true
		}
	}
	for _, name := range flag.FindAllString(string(manual), -1) {
		if !flags[name] {
			t.Errorf("docs/meta.md has %s, which no command has", name)
		}
	}
	for _, name := range []string{"--help", "--header", "--footer"} { // they say all themselves
		delete(flags, name)
	}
	for name := range flags {
		if !strings.Contains(string(manual), name) {
			t.Errorf("docs/meta.md does not name %s", name)
		}
	}
}
