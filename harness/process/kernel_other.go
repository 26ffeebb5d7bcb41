//go:build !linux

package process

import (
	"errors"
	"syscall"
	"time"
)

// Elsewhere than on Linux a killed harness leaves its servers behind, and a
// killed Postgres takes a moment until its backends notice.

func dieWithParent(*syscall.SysProcAttr) {}

func pinThread(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	return errors.New("programs are pinned to CPUs on Linux only")
}

func childrenOf(int) []int { return nil }

func isZombie(int) bool { return false }

// AwaitEnd looks again and again: there is no one event for it here.
func AwaitEnd(pid int, within time.Duration) bool {
	for end := time.Now().Add(within); Alive(pid); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
