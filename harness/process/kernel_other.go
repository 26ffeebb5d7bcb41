//go:build !linux

package process

import "syscall"

// Elsewhere than on Linux a killed harness leaves its servers behind, and a
// killed Postgres takes a moment until its backends notice.

func dieWithParent(*syscall.SysProcAttr) {}

func childrenOf(int) []int { return nil }

func isZombie(int) bool { return false }
