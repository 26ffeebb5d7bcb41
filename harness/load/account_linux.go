package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the CPU time that the process pid has used since its start, user and
// system, of all its threads, also of those that have ended: its CPU clock in
// the kernel, in nanoseconds (clock_getcpuclockid(3)). The processes it started
// are not in it.
func CPU(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED: of a process, by the scheduler's account
	var now unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|scheduler, &now); err != nil {
		return 0, fmt.Errorf("asking for the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(now.Nano()), nil
}

// Memory is the resident set of the process pid in bytes, now and at its highest
// since the start (VmRSS and VmHWM in /proc/pid/status).
func Memory(pid int) (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	if now, err = kilobytes(status, "VmRSS:"); err != nil {
		return 0, 0, err
	}
	peak, err = kilobytes(status, "VmHWM:")
	return now, peak, err
}

// kilobytes reads the line "VmRSS:	  123 kB" of a status, in bytes.
func kilobytes(status []byte, name string) (int64, error) {
	_, line, found := bytes.Cut(status, []byte("\n"+name))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	fields := bytes.Fields(line)
	if !found || len(fields) != 2 || string(fields[1]) != "kB" {
		return 0, fmt.Errorf("the line %s of the process's status is %q, expected a number of kB", name, line)
	}
	n, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return n << 10, err
}
