package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// The commands of docs/simulate.md, as they stand there, against the real edge;
// and the recording in it is what the first of them prints.
func TestSimulateGuide(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	dir, temp := checkout(t), t.TempDir()
	key := s.publicKeyFile(t)
	guide := string(readFile(t, "docs/simulate.md"))
	commands := indented(guide)
	if len(commands) < 12 {
		t.Fatalf("docs/simulate.md has %d lines of commands", len(commands))
	}
	script := []string{"set -euo pipefail"}
	recorded := filepath.Join(temp, "recorded.txt")
	for _, command := range commands {
		command = strings.ReplaceAll(command, "/tmp/", temp+"/")
		if strings.HasPrefix(command, "printf") {
			command += " | tee " + recorded
		}
		script = append(script, command)
	}
	run := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
	run.Dir = dir
	run.Env = append(os.Environ(), s.EdgeCommand().Env...)
	run.Env = append(run.Env, "HOME="+os.Getenv("HOME"), "SITE="+s.EdgeURL, "KEY="+key, "API_TOKEN="+s.Secrets.APIToken)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v; the last command is the one that failed:\n%s", err, out)
	}
	if strings.Contains(string(out), s.Secrets.AppSecret) {
		t.Error("the app secret was printed")
	}
	printed, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`wamid\.[A-Z0-9]+`).ReplaceAllString(string(printed), "wamid.")
	if want := between(t, guide, "```text\n", "```"); got != want {
		t.Errorf("the recording in docs/simulate.md is another than what is printed:\n%s", got)
	}
	// Two copies of one webhook are one answer.
	s.readAll(t)
	var rows int
	err = s.Query(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT count(*) FROM flow_responses WHERE flow_token = 'docs-1'`).Scan(&rows)
	})
	if err != nil || rows != 1 {
		t.Errorf("%d answers are stored of the flow token docs-1, want 1 (%v)", rows, err)
	}
}

// The exit codes of the command itself.
func TestSimulateExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no flow":         {nil, 2, "expected one FLOW"},
		"an unknown flag": {[]string{filepath.Join(root, "examples", "survey"), "--speed", "9"}, 2, "unknown flag: --speed"},
		"no endpoint":     {[]string{filepath.Join(root, "examples", "survey")}, 2, "no --endpoint"},
		"help":            {[]string{"--help"}, 0, "Exit codes"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(built, "caddy"), append([]string{"whatsapp-flows", "simulate"}, c.args...)...)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("exit code %d (%v), want %d and %q:\n%s", code, err, c.code, c.says, out)
			}
		})
	}
}

// What a load says of the time that answers take agrees with the histogram that
// the edge keeps of the same requests, at a rate and at as many as go.
func TestALoadAgreesWithTheEdgesHistogram(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	key := s.publicKeyFile(t)
	// Nobody else asks the edge meanwhile: start is done with it, and the worker
	// does not.
	for name, args := range map[string][]string{
		"at a rate":        {"--users", "20", "--rate", "100", "--duration", "4s"},
		"as many as go":    {"--users", "4", "--duration", "3s"},
		"conversations":    {"--users", "8", "--duration", "3s", "--script", filepath.Join(root, "examples", "csat-feedback", "conversation.yaml")},
		"more than can go": {"--users", "2", "--rate", "5000", "--duration", "2s"},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.flowSeconds(t)
			args := append([]string{"whatsapp-flows", "simulate", filepath.Join(root, "examples", "csat-feedback"), "--endpoint", s.EdgeURL + "/flows/endpoint/csat-feedback", "--public-key", key, "--json"}, args...)
			cmd := s.EdgeCommand(args...)
			var said bytes.Buffer
			cmd.Stderr = &said
			out, errRun := cmd.Output()
			var l struct {
				measured
				Errors map[string]any
			}
			if err := json.Unmarshal(out, &l); err != nil || l.Requests == 0 {
				t.Fatalf("%v, %v: %s\n%s", errRun, err, out, said.String())
			}
			// A machine that has more to do than it can may have the edge answer
			// 503. Both have seen that too; anything else is a fault.
			delete(l.Errors, phone.KeyUnexpectedStatus)
			if len(l.Errors) > 0 {
				t.Fatalf("%v: %s", errRun, out)
			}
			// The edge counts a request when its answer is on the way.
			eventually(t, 5*time.Second, "the edge has counted every request", func(context.Context) error {
				if n := s.flowSeconds(t).minus(before).count(); n < float64(l.Requests) {
					return fmt.Errorf("%.0f of %d", n, l.Requests)
				}
				return nil
			})
			h := s.flowSeconds(t).minus(before)
			if err := disagree(l.measured, h); err != nil {
				t.Errorf("%v\nthe load: %s\nthe edge: at most %v seconds: %v, together %.3f s", err, out, h.bounds, h.below, h.sum)
			}
			t.Logf("%d requests: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, mean %.2f ms; mean of the edge %.2f ms",
				l.Requests, l.Milliseconds.P50, l.Milliseconds.P95, l.Milliseconds.P99, l.Milliseconds.Mean, h.sum/h.count()*1000)
		})
	}
}

func (s installation) flowSeconds(t *testing.T) histogram {
	t.Helper()
	metrics, err := s.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := readHistogram(metrics, "caddy_whatsapp_flows_request_duration_seconds")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// publicKeyFile is the key that would be uploaded to Meta.
func (s installation) publicKeyFile(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&s.Secrets.PrivateKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "flow.pub")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

// The operator rotates the key while a load runs: no conversation fails, neither
// of those who have the old key nor of those who come with the new one.
//
// Beside no other test, as TestKeysAndSecretsAreRotatedUnderLoad.
func TestAKeyIsRotatedUnderTheLoadOfSimulate(t *testing.T) {
	dir := t.TempDir()
	s := start(t, site.Options{EdgeEnv: []string{"PRIVATE_KEYS_DIR=" + dir}})
	run := func(key string, args ...string) *exec.Cmd {
		example := filepath.Join(root, "examples", "csat-feedback")
		return s.EdgeCommand(append([]string{"whatsapp-flows", "simulate", example, "--endpoint", s.EdgeURL + "/flows/endpoint/csat-feedback", "--public-key", key,
			"--script", filepath.Join(example, "conversation.yaml"), "--webhook", s.EdgeURL + "/webhooks/whatsapp", "--users", "2", "--rate", "20"}, args...)...)
	}
	load := run(s.publicKeyFile(t), "--duration", "8s")
	var out bytes.Buffer
	load.Stdout = &out
	progress, err := load.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(progress)
	for lines.Scan() && !strings.Contains(lines.Text(), " requests ") {
	}
	s.mustKeys(t, "rotate", "--no-register", "--again", "--overlap", "0s")
	der, err := x509.MarshalPKIXPublicKey(newestPublic(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "new.pub")
	if err := os.WriteFile(fresh, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(fresh, "--duration", "1s").CombinedOutput(); err != nil || !bytes.Contains(out, []byte(", 0 broken off by an error")) {
		t.Errorf("with the new key: %v\n%s", err, out)
	}
	for lines.Scan() {
	}
	if err := load.Wait(); err != nil || !strings.Contains(out.String(), ", 0 broken off by an error") || !strings.Contains(out.String(), "errors         none") {
		t.Errorf("with the old key: %v\n%s", err, out.String())
	}
}
