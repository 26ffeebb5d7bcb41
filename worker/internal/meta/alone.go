//go:build linux || darwin || freebsd || netbsd || openbsd

package meta

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Alone keeps other processes from working on a folder of flows until release:
// two at once would each write the lock file without what the other has done.
// The kernel gives the folder back however the process ends.
func Alone(dir string) (release func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of flows: %w", err)
	}
	for {
		err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor is an int
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = folder.Close()
		return nil, fmt.Errorf("another `worker meta` is at work in %s: wait until it has ended, and try again", dir)
	}
	// Any other error is of a file system that has no such locks: it fails open,
	// for what it keeps from is rare, and pushing must be possible from there too.
	return func() { _ = folder.Close() }, nil
}
