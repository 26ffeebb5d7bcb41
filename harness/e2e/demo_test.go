package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The demonstration is part of what is promised: that it works, that it says
// what is wrong when something is, and that it leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	harness := filepath.Join(t.TempDir(), "harness")
	build := exec.Command("go", "build", "-o", harness, "./harness/cmd/harness")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// prepare is a harness command whose temporary files are all in one place.
	prepare := func(t *testing.T, bin, command string) (*exec.Cmd, *output, string) {
		temp, err := os.MkdirTemp("/tmp", "waf-demo-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(temp) })
		if err := os.Chmod(temp, 0o777); err != nil {
			t.Fatal(err)
		}
		out := &output{}
		cmd := exec.Command(harness, command)
		cmd.Dir = root
		cmd.Stdout, cmd.Stderr = out, out
		cmd.Env = append(os.Environ(), "TMPDIR="+temp, "BIN="+bin, "DATABASE_URL=", "REDIS_URL=")
		return cmd, out, temp
	}

	t.Run("demo", func(t *testing.T) {
		cmd, out, temp := prepare(t, built, "demo")
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		sameDemo(t, out.String())
		wantNothingLeft(t, temp)
	})
	t.Run("run, until Ctrl-C", func(t *testing.T) {
		cmd, out, temp := prepare(t, built, "run")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "it shows its URLs", func(context.Context) error {
			if !strings.Contains(out.String(), "Ctrl-C stops everything") {
				return errors.New(out.String())
			}
			return nil
		})
		// Another shell, with what the file env says, is one for the documents.
		_, rest, _ := strings.Cut(out.String(), "\n  . ")
		env, _, _ := strings.Cut(rest, ";")
		play := exec.CommandContext(t.Context(), "bash", "-euc", `. "$0"; exec "$1" whatsapp-flows simulate examples/csat-feedback \
			--endpoint $EDGE_URL/flows/endpoint/csat-feedback --public-key $KEY --script examples/csat-feedback/conversation.yaml`, env, filepath.Join(built, "caddy"))
		play.Dir = root
		if said, err := play.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		wantNothingLeft(t, temp)
	})
	t.Run("a worker that dies is named, with its last words", func(t *testing.T) {
		bin := t.TempDir()
		if err := os.Symlink(filepath.Join(built, "caddy"), filepath.Join(bin, "caddy")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "worker"), []byte("#!/bin/sh\necho alas; exit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd, out, temp := prepare(t, bin, "demo")
		if err := cmd.Run(); err == nil {
			t.Errorf("status 0:\n%s", out)
		}
		if !strings.Contains(out.String(), "the worker ended at once") || !strings.Contains(out.String(), "alas") {
			t.Errorf("it does not say why:\n%s", out)
		}
		wantNothingLeft(t, temp)
	})
}

// output is a buffer that may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wantNothingLeft looks for processes that work in a directory, and for files.
func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		cmdline, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(process, "environ"))
		if strings.Contains(string(cmdline)+string(environ), dir) {
			t.Errorf("still running: %s", bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("still there: %s", entry.Name())
	}
}
