package api

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// docs/api.md is tried, not believed: its commands run one after the other,
// down to the heading of the records, which have commands of their own.
func TestTheGuidesCommandsWork(t *testing.T) {
	t.Parallel()
	s := serve(t)
	text, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	guide, _, _ := strings.Cut(string(text), "\n## Records")
	dir, script := t.TempDir()+"/", []string{"set -euo pipefail"}
	for line := range strings.Lines(guide) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			command = strings.ReplaceAll(strings.TrimSpace(command), "/tmp/", dir)
			script = append(script, "echo '"+strings.ReplaceAll(command, "'", `'\''`)+"' >&2", command)
		}
	}
	if len(script) < 20 {
		t.Fatalf("the guide has %d commands", len(script)/2)
	}
	c := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
	c.Dir = "../../.."
	c.Env = append(os.Environ(), "SITE="+s.url, "API_TOKEN="+rootToken)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v; the last command is the one that failed:\n%s", err, out)
	}
	if names, _ := s.get("/api/flows").page(); names != nil {
		t.Errorf("after the guide there is %v", names)
	}
}
