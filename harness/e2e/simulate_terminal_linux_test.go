package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// screenOf runs a program on a terminal of its own and types each of lines when
// the screen ends with what it waits for. It returns the whole screen and the exit
// code.
func screenOf(t *testing.T, cmd *exec.Cmd, lines ...[2]string) (screen string, code int) {
	t.Helper()
	near, far := terminal(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // so that ^C is a signal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	var shown bytes.Buffer
	chunk := make([]byte, 4096)
	for {
		n, err := near.Read(chunk)
		shown.Write(chunk[:n])
		if len(lines) > 0 && strings.HasSuffix(shown.String(), lines[0][0]) {
			if _, err := near.WriteString(lines[0][1]); err != nil {
				t.Fatal(err)
			}
			lines = lines[1:]
		}
		if err != nil { // the program has closed its side
			break
		}
	}
	_ = cmd.Wait()
	if len(lines) > 0 {
		t.Errorf("it never showed %q", lines[0][0])
	}
	return shown.String(), cmd.ProcessState.ExitCode()
}

// At a keyboard nothing that is typed shows twice, and ^C ends the phone and a
// load at once, the load with what it has measured.
func TestSimulateAtAKeyboard(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	key := s.publicKeyFile(t)
	simulate := func(args ...string) *exec.Cmd {
		return s.EdgeCommand(append([]string{"whatsapp-flows", "simulate", filepath.Join(root, "examples", "csat-feedback"), "--endpoint", s.EdgeURL + "/flows/endpoint/csat-feedback", "--public-key", key}, args...)...)
	}
	const enter = "[ Continue ] Enter, or a line's number > "
	screen, code := screenOf(t, simulate(), [2]string{"Your rating (number) > ", "1\n"}, [2]string{enter, "\n"}, [2]string{"What is the reason? > ", "\x03"})
	if code != 1 || !strings.Contains(screen, "Your rating (number) > 1\r\n"+enter) || !strings.Contains(screen, "simulate: ") || strings.Contains(screen, "\x1b") {
		t.Errorf("exit code %d:\n%s", code, screen)
	}
	screen, code = screenOf(t, simulate("--users", "2", "--rate", "20", "--duration", "10m"), [2]string{" ms", "\x03"})
	if code != 1 || !strings.Contains(screen, "\r\x1b[K") || !strings.Contains(screen, "since due ") || !strings.Contains(screen, "conversations  ") {
		t.Errorf("exit code %d:\n%q", code, screen)
	}
}
