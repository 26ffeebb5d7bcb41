package api

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The commands of docs/api.md under the heading of the records, on records that
// are there.
func TestTheGuidesCommandsOnRecordsWork(t *testing.T) {
	c := people(t)
	text, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	setup, guide, _ := strings.Cut(string(text), "\n## Records")
	guide, _, _ = strings.Cut(guide, "\n## ")
	dir, script := t.TempDir()+"/", []string{"set -euo pipefail"}
	for line := range strings.Lines(setup) {
		if command, ok := strings.CutPrefix(line, "    export "); ok {
			script = append(script, "export "+strings.TrimSpace(command))
		}
	}
	for line := range strings.Lines(guide) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			script = append(script, strings.ReplaceAll(strings.TrimSpace(command), "/tmp/", dir))
		}
	}
	if len(script) < 10 {
		t.Fatalf("the guide has %d lines of commands", len(script))
	}
	command := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
	command.Env = append(os.Environ(), "SITE="+c.url, "API_TOKEN="+readerToken) // reading is enough
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s\n%s", err, out, strings.Join(script, "\n"))
	}
	scores, err := os.ReadFile(dir + "scores.csv")
	if err != nil || !strings.Contains(string(scores), ",5,Very glad,") {
		t.Errorf("the exported table: %v\n%s", err, scores)
	}
}
