package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

// These tests run the real binary and watch the servers that it starts from
// outside, by their data directories in a temporary directory of their own.

func TestEverythingStartedIsStopped(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "harness")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cases := []struct {
		name       string
		signal     syscall.Signal // 0: the command ends by itself
		dirsRemain bool
	}{
		{"when the command ends", 0, false},
		{"on Ctrl-C", syscall.SIGINT, false},
		{"on SIGTERM", syscall.SIGTERM, false},
		{"when the harness itself is killed", syscall.SIGKILL, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			temp, err := os.MkdirTemp("/tmp", "waf-harness-test-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(temp) })
			if err := os.Chmod(temp, 0o777); err != nil {
				t.Fatal(err)
			}
			script := "echo up; exec sleep 300"
			if c.signal == 0 {
				script = "echo up; sleep 300 & exit 3"
			}
			cmd := exec.Command(binary, "exec", "--", "sh", "-c", script)
			cmd.Env = append(os.Environ(), "TMPDIR="+temp, "DATABASE_URL=", "REDIS_URL=")
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
				t.Fatalf("the command printed %q (%v), want up", line, err)
			}
			if c.signal != 0 {
				if len(processesNaming(t, temp)) < 1 {
					t.Fatal("no server runs in the temporary directory: this test watches the wrong place")
				}
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			err = cmd.Wait()
			if c.signal == 0 && cmd.ProcessState.ExitCode() != 3 {
				t.Errorf("exit %v, want the command's own status 3", err)
			}
			// Those that end may have started others meanwhile.
			deadline := time.Now().Add(10 * time.Second)
			for left := processesNaming(t, temp); len(left) > 0; left = processesNaming(t, temp) {
				for pid, command := range left {
					if !process.AwaitEnd(pid, time.Until(deadline)) {
						t.Fatalf("still running: %s", command)
					}
				}
			}
			dirs, _ := filepath.Glob(filepath.Join(temp, "waf-*"))
			if !c.dirsRemain && len(dirs) > 0 {
				t.Errorf("left behind: %q", dirs)
			}
		})
	}
}

// processesNaming returns the command lines, by process id, of processes that
// work in dir or have it in their environment or arguments.
func processesNaming(t *testing.T, dir string) map[int]string {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, command := range commands {
		folder := filepath.Dir(command)
		cmdline, _ := os.ReadFile(command)
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		cwd, _ := os.Readlink(filepath.Join(folder, "cwd"))
		if strings.Contains(string(cmdline)+string(environ)+cwd, dir) {
			pid, err := strconv.Atoi(filepath.Base(folder))
			if err != nil {
				t.Fatal(err)
			}
			found[pid] = strings.ReplaceAll(string(cmdline), "\x00", " ")
		}
	}
	return found
}
