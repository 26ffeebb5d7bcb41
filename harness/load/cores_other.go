//go:build !linux

package load

import "errors"

var errNoPinning = errors.New("processes are pinned to CPUs on Linux only; nothing is pinned")

// PinSelf fails: see errNoPinning.
func PinSelf(...int) error { return errNoPinning }

// Pin fails: see errNoPinning.
func Pin(int, ...int) error { return errNoPinning }

// Cores fails: see errNoPinning.
func Cores() (server int, others []int, err error) { return 0, nil, errNoPinning }
