//go:build !linux

package testkit

import "syscall"

// child keeps Ctrl-C in a terminal from a program.
func child() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
