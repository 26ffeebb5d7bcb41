package process

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	t.Run("its end and its last words are known", func(t *testing.T) {
		p := start(t, "echo out; echo err >&2; exit 3")
		err := p.Wait()
		if err == nil || !strings.Contains(err.Error(), "3") {
			t.Errorf("ended with %v, want status 3", err)
		}
		if !strings.Contains(p.Tail(), "out") || !strings.Contains(p.Tail(), "err") {
			t.Errorf("it wrote %q", p.Tail())
		}
	})
	t.Run("an orderly end is asked for first", func(t *testing.T) {
		p := start(t, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
		waitFor(t, p, "up")
		if err := p.End(syscall.SIGTERM, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.Tail(), "bye") {
			t.Errorf("it was not let finish: %q", p.Tail())
		}
	})
	t.Run("a program that does not listen is killed", func(t *testing.T) {
		p := start(t, "trap '' TERM; echo up; while :; do sleep 0.05; done")
		waitFor(t, p, "up")
		if err := p.End(syscall.SIGTERM, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if Alive(p.PID()) {
			t.Error("it is still there")
		}
	})
	t.Run("killing takes children in other groups along", func(t *testing.T) {
		p := start(t, "setsid sleep 300 & echo child $!; wait")
		waitFor(t, p, "child")
		child, err := strconv.Atoi(strings.Fields(p.Tail())[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range []int{p.PID(), child} {
			if Alive(pid) {
				t.Errorf("process %d is still there", pid)
			}
		}
		if err := p.Kill(); err != nil {
			t.Errorf("killing again: %v", err)
		}
	})
	t.Run("what it leaves behind does not keep it waiting", func(t *testing.T) {
		p := start(t, "sleep 300 & exit 0")
		select {
		case <-p.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("its end was not noticed")
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// script is a running shell script that tells when it has said something.
type script struct {
	*Process
	said chan struct{}
}

// signal is a writer that reports writes and keeps nothing.
type signal chan struct{}

func (s signal) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default: // one report that is still unread is enough
	}
	return len(p), nil
}

func start(t *testing.T, text string) script {
	t.Helper()
	said := make(chan struct{}, 1)
	cmd := exec.Command("sh", "-c", text)
	cmd.Stdout = signal(said)
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return script{p, said}
}

func waitFor(t *testing.T, s script, word string) {
	t.Helper()
	patience := time.After(5 * time.Second)
	for !strings.Contains(s.Tail(), word) {
		select {
		case <-s.said:
		case <-patience:
			t.Fatalf("it does not say %q but %q", word, s.Tail())
		}
	}
}
