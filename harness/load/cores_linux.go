package load

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PinSelf keeps this process, all of its threads and the programs it starts from
// now on, on the CPUs with these numbers, and tells the Go runtime how many it
// has now.
func PinSelf(cpus ...int) error {
	if err := Pin(os.Getpid(), cpus...); err != nil {
		return err
	}
	runtime.SetDefaultGOMAXPROCS()
	return nil
}

// Pin keeps the process pid, all of its threads and the programs it starts from
// now on, on the CPUs with these numbers. A Go program that runs already goes on
// with as many threads as before: one that is to count its CPUs must be started
// on them (process.Start).
func Pin(pid int, cpus ...int) error {
	if len(cpus) == 0 {
		return fmt.Errorf("pinning process %d to no CPU, expected at least one", pid)
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	// A thread made meanwhile is pinned as its maker was: look until a look
	// finds nothing new.
	pinned := make(map[int]bool)
	for {
		before := len(pinned)
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("pinning process %d: %w", pid, err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil || pinned[tid] {
				continue
			}
			// ESRCH: it has ended since.
			if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pinning thread %d of process %d to the CPUs %v: %w", tid, pid, cpus, err)
			}
			pinned[tid] = true
		}
		if len(pinned) == before {
			return nil
		}
	}
}

// Cores divides the CPUs that this process may use between a server under test
// and everything else: one for the server, for the others those that are no
// hyper-threads of its core. It is asked before anything is pinned. An error says that there is only one; then nothing
// is to be pinned.
func Cores() (server int, others []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, nil, fmt.Errorf("asking for the CPUs of this process: %w", err)
	}
	var all []int
	for cpu := 0; len(all) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	if len(all) < 2 {
		return 0, nil, fmt.Errorf("this process has one CPU (number %d): the server and those who ask it share it, nothing is pinned", all[0])
	}
	server = all[0]
	core := coreOf(server)
	for _, cpu := range all[1:] {
		if other := coreOf(cpu); other == "" || other != core {
			others = append(others, cpu)
		}
	}
	if len(others) == 0 {
		return 0, nil, fmt.Errorf("the CPUs %v are hyper-threads of one core: the server and those who ask it share it, nothing is pinned", all)
	}
	return server, others, nil
}

// coreOf names the core of a CPU by its hyper-threads, such as "0,4"; empty when
// the kernel does not say.
func coreOf(cpu int) string {
	siblings, err := os.ReadFile(filepath.Join("/sys/devices/system/cpu", "cpu"+strconv.Itoa(cpu), "topology/thread_siblings_list"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(siblings))
}
