package process

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPinnedPrograms(t *testing.T) {
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	last := 0
	for cpu := range 1024 {
		if mine.IsSet(cpu) {
			last = cpu
		}
	}
	// Of a program, and of what it starts itself.
	const printCPUs = "grep Cpus_allowed_list /proc/self/status; (nproc)"

	t.Run("are on their CPUs from the start, and count them", func(t *testing.T) {
		got := outputOf(t, printCPUs, last)
		if want := fmt.Sprintf("Cpus_allowed_list:\t%d\n1\n", last); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	})
	t.Run("leave those that are started later where they were", func(t *testing.T) {
		want := outputOf(t, printCPUs)
		for range 20 {
			outputOf(t, "true", last)
			if got := outputOf(t, printCPUs); got != want {
				t.Fatalf("after a pinned program another says %q, before it said %q", got, want)
			}
		}
	})
	t.Run("are not started when there is no such CPU", func(t *testing.T) {
		p, err := Start(exec.Command("true"), 1023)
		if err == nil {
			_ = p.Wait()
			t.Fatal("started on CPU 1023")
		}
		if !strings.Contains(err.Error(), "pinning to the CPUs [1023]") {
			t.Errorf("error %v, want one of pinning", err)
		}
	})
}

func outputOf(t *testing.T, script string, cpus ...int) string {
	t.Helper()
	p, err := Start(exec.Command("sh", "-c", script), cpus...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("%v: %s", err, p.Tail())
	}
	return p.Tail()
}
