//go:build !linux

package chaos

import (
	"context"
	"errors"
)

type disk struct{}

func (*Scene) smallDisk(context.Context) (*disk, error) {
	return nil, errors.New("a small file system is mounted on Linux only")
}

func (*disk) fill() error { return nil }
func (*disk) free() error { return nil }
