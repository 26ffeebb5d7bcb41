package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitEnd waits until a process, which need not be a child, has ended, and says
// whether it did within the time.
func AwaitEnd(pid int, within time.Duration) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return !Alive(pid)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(within)
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// dieWithParent has the kernel kill the program when the thread that starts it
// ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// pinThread keeps the calling thread, and the program that it starts, on the
// CPUs with these numbers; no number changes nothing.
func pinThread(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pinning to the CPUs %v: %w", cpus, err)
	}
	return nil
}

// childrenOf returns the children of a process.
func childrenOf(parent int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var children []int
	for _, stat := range stats {
		if _, ppid, ok := readStat(stat); ok && ppid == parent {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil {
				children = append(children, pid)
			}
		}
	}
	return children
}

func isZombie(pid int) bool {
	state, _, ok := readStat("/proc/" + strconv.Itoa(pid) + "/stat")
	return ok && (state == "Z" || state == "X")
}

// readStat reads "pid (name) state ppid …"; the name may hold anything.
func readStat(path string) (state string, ppid int, ok bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", 0, false
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 2 {
		return "", 0, false
	}
	ppid, err = strconv.Atoi(string(fields[1]))
	return string(fields[0]), ppid, err == nil
}
