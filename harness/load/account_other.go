//go:build !linux

package load

import (
	"errors"
	"time"
)

var errNoAccount = errors.New("what a process uses is measured on Linux only")

// CPU fails: see errNoAccount.
func CPU(int) (time.Duration, error) { return 0, errNoAccount }

// Memory fails: see errNoAccount.
func Memory(int) (now, peak int64, err error) { return 0, 0, errNoAccount }
