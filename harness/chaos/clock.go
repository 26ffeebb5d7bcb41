package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// jumping is a worker whose wall clock jumps, as one that somebody sets: it is
// compiled with a time.Now of the standard library that adds WORKER_CLOCK_JUMP
// seconds from two seconds after the process' start on. Monotonic readings go on
// as they do when a clock is set. Libraries that pretend another time to programs
// do not reach Go's, which asks the kernel itself.
func (b *builds) jumping(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const begin = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(source), begin) {
		return "", errors.New("time.Now of this release of Go does not begin as expected: its clock cannot be made to jump")
	}
	changed := strings.Replace(string(source), begin, begin+`	if mono-startNano > 2e9 {
		sec += clockJump
	}
`, 1) + `
var clockJump = func() int64 {
	value, _ := syscall.Getenv("WORKER_CLOCK_JUMP")
	n, negative := int64(0), false
	for i, c := range []byte(value) {
		if i == 0 && c == '-' {
			negative = true
			continue
		}
		n = 10*n + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n
}()
`
	changed = strings.Replace(changed, "import (\n", "import (\n\t\"syscall\"\n", 1)
	b.mu.Lock()
	err = b.prepare()
	b.mu.Unlock()
	if err != nil {
		return "", err
	}
	file, overlay := filepath.Join(b.dir, "time.go"), filepath.Join(b.dir, "overlay.json")
	instead, err := json.Marshal(map[string]any{"Replace": map[string]string{original: file}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(file, []byte(changed), 0o600), os.WriteFile(overlay, instead, 0o600)); err != nil {
		return "", err
	}
	return b.worker(ctx, "jumping", "-overlay", overlay)
}

func clockJumps(ctx context.Context, s *Scene) error {
	bin, err := s.options.builds.jumping(ctx)
	if err != nil {
		return err
	}
	// One with the right time beside it: it must not take the other's leases for
	// ones that ran out.
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	// Answers that take a while, so that there are leases when the clock jumps.
	s.Receiver.Delay(100 * time.Millisecond)
	// Signatures carry the sender's time, which is wrong by an hour here: a
	// receiver that looks at it refuses them, and one that keeps clocks must.
	s.Receiver.AnyTime()
	for _, jump := range []string{"3600", "-3600"} {
		w, err := s.Worker("jumping"+jump, "WORKER_CLOCK_JUMP="+jump)
		if err != nil {
			return err
		}
		w.bin = filepath.Join(bin, "worker")
		if err := w.Start(ctx); err != nil {
			return err
		}
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		// The jump comes two seconds after its start; what is due then is sent and
		// swept several times.
		if err := pause(ctx, 20*time.Second); err != nil {
			return err
		}
		ahead, err := w.Lines(`"time":"` + time.Now().UTC().Add(parseSeconds(jump)).Format("2006-01-02T15"))
		if err != nil {
			return err
		}
		if ahead == 0 {
			s.Miss("the clock of the worker did not jump: this row shows nothing")
		}
		expired, err := w.Metric(ctx, "lease_expired_total")
		if err != nil {
			return err
		}
		if expired > 0 {
			s.Miss("%g leases ran out before their time", expired)
		}
		if err := w.Stop(25 * time.Second); err != nil {
			return err
		}
	}
	return s.noDead(ctx)
}

func parseSeconds(text string) time.Duration {
	d, err := time.ParseDuration(text + "s")
	if err != nil {
		return 0
	}
	return d
}
