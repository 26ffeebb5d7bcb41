package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to its near side is typed at
// the far one.
func terminal(t *testing.T) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// echoes says whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// typing answers each question of a program on a terminal, and returns what was on
// the screen in the end.
func typing(t *testing.T, cmd *exec.Cmd, answers ...string) (screen string, err error) {
	t.Helper()
	near, far := terminal(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	var shown bytes.Buffer
	chunk := make([]byte, 1024)
	for {
		n, readErr := near.Read(chunk)
		shown.Write(chunk[:n])
		if len(answers) > 0 && strings.HasSuffix(shown.String(), ": ") {
			eventually(t, 10*time.Second, "the terminal shows nothing of what is typed", func(context.Context) error {
				if echoes(t, near) {
					return errors.New("it echoes")
				}
				return nil
			})
			if _, err := io.WriteString(near, answers[0]+"\n"); err != nil {
				t.Fatal(err)
			}
			answers = answers[1:]
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, unix.EIO) { // the far side is closed
			break
		}
		if readErr != nil {
			t.Fatal(readErr)
		}
	}
	return shown.String(), cmd.Wait()
}

func TestThePassphraseIsTypedTwiceAndNeverShown(t *testing.T) {
	t.Parallel()
	const passphrase = "typed by a person"
	dir := t.TempDir()
	caddy := func(args ...string) *exec.Cmd { return keysIn(t, dir, args...) }
	screen, err := typing(t, caddy("create", "flow.pem"), passphrase, "another one entirely")
	if err == nil || !strings.Contains(screen, "the two passphrases differ: nothing is written") {
		t.Errorf("two that differ: %v\n%s", err, screen)
	}
	screen, err = typing(t, caddy("create", "flow.pem"), passphrase, passphrase)
	if err != nil || !strings.Contains(screen, "Passphrase of the new key: ") || !strings.Contains(screen, "The same once more: ") || !strings.Contains(screen, "fingerprint") {
		t.Fatalf("%v\n%s", err, screen)
	}
	shown, err := typing(t, caddy("show", "flow.pem", "--public", "flow.pub"), passphrase)
	if err != nil || !strings.Contains(shown, "Passphrase of flow.pem: ") || !strings.Contains(shown, "pairs        yes") {
		t.Errorf("%v\n%s", err, shown)
	}
	if strings.Contains(screen+shown, passphrase) {
		t.Errorf("the passphrase is on the screen:\n%s%s", screen, shown)
	}
	shell(t, dir, "openssl pkey -in flow.pem -passin 'pass:"+passphrase+"' -noout")
}

// keysIn is `caddy whatsapp-flows keys` in a directory, without an edge.
func keysIn(t *testing.T, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "caddy"), append([]string{"whatsapp-flows", "keys"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir}
	return cmd
}

// Ctrl-C at the question leaves a terminal that shows what is typed.
func TestAnInterruptAtThePassphraseLeavesTheTerminalAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	near, far := terminal(t)
	cmd := keysIn(t, dir, "create", "flow.pem")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the passphrase is asked for", func(context.Context) error {
		if echoes(t, near) {
			return errors.New("the terminal still echoes")
		}
		return nil
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupt is no error")
	}
	if !echoes(t, near) {
		t.Error("the terminal goes on hiding what is typed")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "flow*")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
