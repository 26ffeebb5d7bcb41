package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// disk is a file system in memory that holds the tables of a scene, and is soon
// full.
type disk struct{ dir string }

const diskSize = "256m"

// smallDisk mounts one and has the scene's database create its tables there. It
// must be called before a worker starts.
func (s *Scene) smallDisk(ctx context.Context) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may mount a file system")
	}
	dir := filepath.Join(s.dir, "disk")
	if err := os.Chmod(s.dir, 0o711); err != nil { // Postgres runs as another user
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskSize+",mode=0777"); err != nil {
		return nil, fmt.Errorf("mounting a file system: %w", err)
	}
	// Postgres, which ends later, may have files open there.
	s.Defer(func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) })
	place := filepath.Join(dir, "tables")
	if err := os.Mkdir(place, 0o700); err != nil {
		return nil, err
	}
	var data string
	if err := s.db.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return nil, err
	}
	info, err := os.Stat(data)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("the owner of Postgres' data cannot be told")
	}
	if err := os.Chown(place, int(stat.Uid), int(stat.Gid)); err != nil {
		return nil, err
	}
	conn, err := s.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"CREATE TABLESPACE small LOCATION '" + place + "'",
		"ALTER DATABASE " + pgx.Identifier{conn.Config().Database}.Sanitize() + " SET default_tablespace = 'small'",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("%s: %w", sql, err)
		}
	}
	return &disk{dir}, nil
}

// fill takes all that is left.
func (d *disk) fill() error {
	file, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer file.Close()
	chunk := make([]byte, 1<<20)
	for {
		if _, err := file.Write(chunk); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return nil
			}
			return err
		}
	}
}

func (d *disk) free() error { return os.Remove(d.filler()) }

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }
