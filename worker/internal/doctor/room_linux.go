package doctor

import "syscall"

// Room tells the free and the whole room of the disk that dir is on.
func Room(dir string) (free, all uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	block := uint64(s.Bsize) //nolint:gosec // never negative
	return s.Bavail * block, s.Blocks * block, nil
}
