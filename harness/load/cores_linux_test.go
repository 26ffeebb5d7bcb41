package load

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

// pinSelfAndTell pins a process with many threads and prints what came of it.
func pinSelfAndTell() {
	idle, locked := make(chan struct{}), make(chan struct{})
	for range 8 {
		go func() {
			runtime.LockOSThread() // a thread of its own
			locked <- struct{}{}
			<-idle
		}()
		<-locked
	}
	server, _, err := Cores()
	if err == nil {
		err = PinSelf(server)
	}
	threads, _ := filepath.Glob("/proc/self/task/*/status")
	fmt.Printf("error %v, GOMAXPROCS %d, all threads on %q: %v\n", err, runtime.GOMAXPROCS(0), fmt.Sprint(server), len(threads) > 8 && allOn(threads, server))
	close(idle)
}

func allOn(statuses []string, cpu int) bool {
	for _, status := range statuses {
		if got := allowed(status); got != fmt.Sprint(cpu) {
			return false
		}
	}
	return len(statuses) > 0
}

// allowed is the list of CPUs in the status of a process or thread.
func allowed(status string) string {
	raw, _ := os.ReadFile(status)
	_, line, _ := strings.Cut(string(raw), "\nCpus_allowed_list:")
	line, _, _ = strings.Cut(line, "\n")
	return strings.TrimSpace(line)
}

func twoCores(t *testing.T) (server, other int) {
	t.Helper()
	server, others, err := Cores()
	if err == nil {
		return server, others[0]
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	// On a machine with one core all that can be shown is shown with that one.
	for ; !set.IsSet(server); server++ {
	}
	return server, server
}

func TestAServerAndItsAskersGetDifferentCores(t *testing.T) {
	server, others, err := Cores()
	if err != nil {
		if !strings.Contains(err.Error(), "nothing is pinned") {
			t.Fatal(err)
		}
		return // this machine has one core, and that is said
	}
	if len(others) == 0 {
		t.Fatal("nothing is left for the others")
	}
	for _, other := range others {
		if other == server || coreOf(other) == coreOf(server) && coreOf(other) != "" {
			t.Errorf("CPU %d is on the server's core", other)
		}
	}
}

func TestPinSelfPinsEveryThreadAndIsCounted(t *testing.T) {
	server, _ := twoCores(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOAD_TEST_PIN_SELF=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, _, err := Cores(); err != nil {
		return // one core: there is nothing to pin to
	}
	want := fmt.Sprintf("error <nil>, GOMAXPROCS 1, all threads on %q: true\n", fmt.Sprint(server))
	if string(out) != want {
		t.Errorf("it says %q, want %q", out, want)
	}
}

func TestPinMovesARunningProcess(t *testing.T) {
	server, other := twoCores(t)
	running, err := process.Start(exec.Command("cat", "/dev/zero"), server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Kill() }()
	status := fmt.Sprintf("/proc/%d/status", running.PID())
	if got := allowed(status); got != fmt.Sprint(server) {
		t.Errorf("started on CPU %d it is on %s", server, got)
	}
	if err := Pin(running.PID(), other); err != nil {
		t.Fatal(err)
	}
	if got := allowed(status); got != fmt.Sprint(other) {
		t.Errorf("pinned to CPU %d it is on %s", other, got)
	}
	if err := Pin(running.PID()); err == nil {
		t.Error("pinned to no CPU")
	}
	if err := Pin(running.PID(), 1023); err == nil || !strings.Contains(err.Error(), "[1023]") {
		t.Errorf("pinned to a CPU that is not there: %v", err)
	}
}

func TestTheKernelsAccountOfAProcess(t *testing.T) {
	t.Run("one that works", func(t *testing.T) {
		busy := exec.Command("cat", "/dev/zero")
		running, err := process.Start(busy)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = running.Kill() }()
		var before, now time.Duration
		for deadline := time.Now().Add(20 * time.Second); now-before < 50*time.Millisecond; {
			if now, err = CPU(running.PID()); err != nil {
				t.Fatal(err)
			}
			if before == 0 {
				before = now
			}
			if time.Now().After(deadline) {
				t.Fatalf("a busy process used %s", now-before)
			}
		}
		resident, peak, err := Memory(running.PID())
		if err != nil || resident < 100<<10 || peak < resident {
			t.Errorf("%d bytes, at most %d so far, %v", resident, peak, err)
		}
	})
	t.Run("this one, in agreement with getrusage", func(t *testing.T) {
		var usage unix.Rusage
		for sum := 0; usage.Utime.Nano() < 50e6; sum++ {
			if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
				t.Fatal(err)
			}
		}
		got, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano()); got < used-20*time.Millisecond {
			t.Errorf("%s, but getrusage said %s before", got, used)
		}
	})
	t.Run("one that does not exist", func(t *testing.T) {
		const none = 1 << 22 // above the largest process id
		if _, err := CPU(none); err == nil {
			t.Error("it has used CPU time")
		}
		if _, _, err := Memory(none); err == nil {
			t.Error("it has memory")
		}
	})
}
