package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// found is a report for programs.
type found struct {
	Status   string
	Findings []struct{ Name, Status, Evidence string }
}

func (f found) of(status string) (names []string) {
	for _, one := range f.Findings {
		if one.Status == status {
			names = append(names, one.Name+": "+one.Evidence)
		}
	}
	return names
}

// The commands of docs/doctor.md, as they stand there, at an installation in
// order: https, keys that this project made, a worker, a published flow.
func TestDocumentedDoctorCommands(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	keys := t.TempDir()
	s := install(t, site.Options{TLS: true, EdgeEnv: []string{"PRIVATE_KEYS_DIR=" + keys, "PRIVATE_KEY_FILE=", "PASSPHRASE_FILE="}})
	s.mustKeys(t, "convert", filepath.Join(s.Secrets.Dir, "flow.pem"), "--passphrase-file", filepath.Join(s.Secrets.Dir, "flow.pass"), "--dir", keys)
	inParallel(t, func() error { return s.StartEdge(t.Context()) }, func() error { return s.StartWorker(t.Context()) })
	if _, err := s.LoadFlows(t.Context(), filepath.Join(root, "examples")); err != nil {
		t.Fatal(err)
	}
	// With a token of its own: a flow that is opened without one is a warning.
	eventually(t, 10*time.Second, "the edge serves the flow", func(ctx context.Context) error {
		_, err := s.phone(t, rand.Text()).Init(ctx)
		return err
	})

	text := string(readFile(t, "docs/doctor.md"))
	commands := indented(text)
	if len(commands) < 5 {
		t.Fatalf("docs/doctor.md has %d commands", len(commands))
	}
	script := []string{"set -euo pipefail", "export EDGE_URL=" + s.EdgeURL}
	script = append(script, commands...)
	run := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
	run.Dir = dir
	run.Env = append(append(os.Environ(), s.EdgeCommand().Env...), s.WorkerCommand().Env...)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v; the last command is the one that failed:\n%s", err, out)
	}
	for _, secret := range []string{s.Secrets.AppSecret, s.Secrets.VerifyToken, s.Secrets.APIToken, s.Secrets.CallbackSecret} {
		if strings.Contains(string(out), secret) {
			t.Error("a secret is printed")
		}
	}
	for file, least := range map[string]int{"edge.json": 20, "worker.json": 20} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		var report found
		if err := json.Unmarshal(text, &report); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, text)
		}
		if report.Status != "ok" || len(report.of("ok")) < least {
			t.Errorf("%s: %s; %q %q; not looked at: %q", file, report.Status, report.of("fail"), report.of("warn"), report.of("skipped"))
		}
	}

	// What is broken ends in the exit codes that the page promises.
	broken := s.EdgeCommand("whatsapp-flows", "doctor", "--config", filepath.Join(root, "Caddyfile"), "--flow", "no-such-flow")
	said, err := broken.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(said), "FAIL  public URL: round trip: 404") {
		t.Errorf("%v\n%s", err, said)
	}
	warned := s.EdgeCommand("whatsapp-flows", "doctor", "--config", filepath.Join(root, "Caddyfile"))
	warned.Env = append(warned.Env, "META_APP_SECRET_FILE=", "META_APP_SECRET="+s.Secrets.AppSecret+",short-secret")
	said, err = warned.Output()
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(said), "WARN  account: secrets") {
		t.Errorf("%v\n%s", err, said)
	}
	worker := s.WorkerCommand("doctor")
	worker.Env = append(worker.Env, "CALLBACK_SECRET_FILE=", "CALLBACK_SECRET=changeme")
	said, err = worker.CombinedOutput()
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(said), "FAIL  configuration: CALLBACK_SECRET still holds the placeholder") {
		t.Errorf("%v\n%s", err, said)
	}
}
