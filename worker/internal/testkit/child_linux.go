package testkit

import "syscall"

// child has a program killed when the thread that started it ends, and keeps
// Ctrl-C in a terminal from it.
func child() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
