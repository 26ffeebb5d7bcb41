package e2e

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/play"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// TestREADMEFlows runs the commands of the README's chapter on flows, those that
// check an installation, and those of examples/README.md, as they stand there.
func TestREADMEFlows(t *testing.T) {
	t.Parallel()
	const load = "bin/worker flows load examples"
	readme := string(readFile(t, "README.md"))
	if !slices.Contains(indented(readme), load) {
		t.Fatalf("the README no longer says %s", load)
	}
	s := install(t, site.Options{})
	inParallel(t, func() error { return s.StartEdge(t.Context()) }, func() error { return s.StartWorker(t.Context()) })
	dir, temp := checkout(t), t.TempDir()+"/"
	for name, commands := range map[string][]string{
		"README.md": slices.Concat([]string{load}, indented(between(t, readme, "\n## Flows\n", "\n## ")),
			indented(between(t, readme, "\nCheck that it runs", "\nIn Meta's settings"))),
		"examples/README.md": indented(string(readFile(t, "examples/README.md"))),
	} {
		if len(commands) < 3 {
			t.Fatalf("%s has %d commands, expected those that validate, play and load", name, len(commands))
		}
		script := []string{"set -euo pipefail"}
		for _, command := range commands {
			command = strings.ReplaceAll(command, "/tmp/", temp)
			script = append(script, "echo '"+strings.ReplaceAll(command, "'", `'\''`)+"'", command)
		}
		run := exec.Command("bash", "-c", strings.Join(script, "\n"))
		run.Dir = dir
		run.Env = append(os.Environ(), s.WorkerCommand().Env...)
		// API_TOKEN is there for curl; beside the file it would be an error.
		run.Env = append(run.Env, "HOME="+os.Getenv("HOME"), "SITE="+s.EdgeURL, "API_TOKEN="+s.Secrets.APIToken, "API_TOKEN_FILE=")
		out, err := run.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v; the last command is the one that failed:\n%s", name, err, out)
		}
		if strings.Contains(string(out), `"success":false`) {
			t.Errorf("%s: the API refused something:\n%s", name, out)
		}
	}
	t.Run("a flow whose upstream the Caddyfile lacks says so to its user", func(t *testing.T) {
		example, err := play.Open(filepath.Join(root, "examples", "order-status"))
		if err != nil {
			t.Fatal(err)
		}
		user := s.phoneFor(example.Definition, rand.Text())
		user.Send = s.Transport(example.Name)
		reply, err := user.Exchange(t.Context(), "ORDER", map[string]any{"order": "A10042"})
		if err != nil {
			t.Fatal(err)
		}
		if reply.Screen != "ORDER" || !strings.Contains(reply.ErrorMessage, "does not answer") {
			t.Errorf("it shows %s, want ORDER and a message", reply.Plaintext)
		}
	})
}

// checkout is a directory that looks like the repository's root after make build.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{"bin": built}
	for _, entry := range entries {
		if name := entry.Name(); name != "bin" {
			targets[name] = filepath.Join(root, name)
		}
	}
	for name, target := range targets {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// indented are the lines of a text that stand four spaces in and outside of
// fences: commands.
func indented(text string) []string {
	var lines []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if command, found := strings.CutPrefix(strings.TrimRight(line, "\n"), "    "); found && !fenced {
			lines = append(lines, command)
		}
	}
	return lines
}

// The logic that the README shows is of a flow with three screens.
func TestREADMELogic(t *testing.T) {
	t.Parallel()
	logic := between(t, between(t, string(readFile(t, "README.md")), "\n## Flows\n", "\n## "), "```yaml\n", "```")
	screen := func(id, data, input, payload string) string {
		return `{"id": "` + id + `", "title": "T", "terminal": ` + map[bool]string{true: "false", false: "true"}[id == "BUDGET"] + `, "data": {` + data + `},
			"layout": {"type": "SingleColumnLayout", "children": [` + input + `
			{"type": "Footer", "label": "Go", "on-click-action": {"name": "data_exchange", "payload": {` + payload + `}}}]}}`
	}
	const input = `{"type": "TextInput", "name": "budget", "label": "Budget", "input-type": "number", "error-message": "${data.budget_error}"},`
	definition, err := flow.Load([]byte(`{"version": "7.3", "data_api_version": "4.0", "routing_model": {"BUDGET": ["CALL", "OFFER"], "CALL": [], "OFFER": []}, "screens": [`+
		screen("BUDGET", `"budget_error": {"type": "string", "__example__": ""}`, input, `"budget": "${form.budget}"`)+","+
		screen("CALL", `"greeting": {"type": "string", "__example__": ""}`, "", "")+","+
		screen("OFFER", `"text": {"type": "string", "__example__": ""}`, "", "")+`]}`), []byte(logic))
	if err != nil {
		t.Fatal(err)
	}
	if got := definition.Upstreams(); !slices.Equal(got, []string{"crm"}) {
		t.Errorf("it asks %v, want crm", got)
	}
}

// Every link of a document to another file of this repository, or to a heading
// of its own, leads somewhere.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "examples", "README.md"))
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchors := regexp.MustCompile(`[^a-z0-9 _-]`)
	links := 0
	for _, document := range documents {
		content, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		var anchors []string
		for _, found := range heading.FindAllStringSubmatch(string(content), -1) {
			anchors = append(anchors, strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
		}
		for _, found := range link.FindAllStringSubmatch(string(content), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			if target == "" {
				if !slices.Contains(anchors, anchor) {
					t.Errorf("%s: %s: there is no such heading", document, found[1])
				}
			} else if _, err := os.Stat(filepath.Join(filepath.Dir(document), target)); err != nil {
				t.Errorf("%s: %s: %v", document, found[1], err)
			}
		}
	}
	if links < 5 {
		t.Errorf("%d links in %d documents: this looks at the wrong thing", links, len(documents))
	}
}
