package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// builds are workers built for what bin/worker cannot do, each once, when a row
// first needs it.
type builds struct {
	root string

	mu  sync.Mutex
	dir string
	bin map[string]string // by variant: its directory
}

// failpoints is the directory of a worker that stops where WORKER_FAILPOINT says.
func (b *builds) failpoints(ctx context.Context) (string, error) {
	return b.worker(ctx, "failpoints", "-tags", "failpoints")
}

func (b *builds) worker(ctx context.Context, variant string, args ...string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if dir, ok := b.bin[variant]; ok {
		return dir, nil
	}
	if err := b.prepare(); err != nil {
		return "", err
	}
	dir := filepath.Join(b.dir, variant)
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-trimpath", "-buildvcs=false"}, args...),
		"-o", filepath.Join(dir, "worker"), "./worker/cmd/worker")...)
	build.Dir = b.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building a worker with %v: %w: %s", args, err, out)
	}
	b.bin[variant] = dir
	return dir, nil
}

func (b *builds) prepare() (err error) {
	if b.dir != "" {
		return nil
	}
	b.bin = make(map[string]string)
	b.dir, err = os.MkdirTemp("", "waf-chaos-bin-")
	return err
}

func (b *builds) close() {
	if b.dir != "" {
		os.RemoveAll(b.dir) // what is left is the system's to clean up
	}
}
