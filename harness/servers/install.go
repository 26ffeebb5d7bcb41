package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	policyFile  = "/usr/sbin/policy-rc.d"
	clusterFile = "/etc/postgresql-common/createcluster.conf"

	// savedSuffix marks a file that was set aside for the time of an install.
	savedSuffix = ".before-caddy-whatsapp-flows"
	// emptySuffix marks that there was no file to set aside.
	emptySuffix = ".absent-before-caddy-whatsapp-flows"
)

// noStart is a policy-rc.d that refuses every start of a service. 101 is
// "action forbidden by policy" (/usr/share/doc/init-system-helpers).
const noStart = "#!/bin/sh\n# Here while caddy-whatsapp-flows installs packages; what was here before comes back.\nexit 101\n"

// CanInstall says whether this process may install packages: as root on Debian
// or what is made of it.
func CanInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// Install puts Debian's packages on this machine without creating a database
// cluster and without starting a service. It says first what it will do.
func Install(ctx context.Context, packages []string, say io.Writer) (err error) {
	fmt.Fprintf(say, "Not on this machine: %s. Installing with apt-get; no database cluster is created, and no service starts, neither now nor at boot.\n",
		strings.Join(packages, ", "))
	healed := errors.Join(putBack(policyFile), putBack(clusterFile)) // an earlier install was killed
	if healed != nil {
		return healed
	}
	if err := setAside(policyFile, []byte(noStart), 0o755); err != nil {
		return fmt.Errorf("forbidding service starts during the install: %w", err)
	}
	defer func() { err = errors.Join(err, putBack(policyFile)) }()

	if slices.Contains(packages, "postgresql") {
		// This package brings the file that says whether installing a server
		// creates a cluster, so it comes first and alone.
		if err := apt(ctx, say, "postgresql-common"); err != nil {
			return err
		}
		conf, err := os.ReadFile(clusterFile)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := setAside(clusterFile, append(conf, "\ncreate_main_cluster = false\n"...), 0o644); err != nil {
			return fmt.Errorf("forbidding a database cluster during the install: %w", err)
		}
		defer func() { err = errors.Join(err, putBack(clusterFile)) }()
	}
	if err := apt(ctx, say, packages...); err != nil {
		return err
	}
	if slices.Contains(packages, "redis-server") {
		// Its package enables the service for the next boot.
		if out, err := exec.Command("update-rc.d", "redis-server", "disable").CombinedOutput(); err != nil {
			fmt.Fprintf(say, "redis-server could not be disabled (%v: %s): it would start at the next boot.\n", err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// apt installs packages, after a refresh of the package lists if it fails
// without.
func apt(ctx context.Context, say io.Writer, packages ...string) error {
	args := append([]string{"install", "--yes", "--quiet", "--no-install-recommends"}, packages...)
	out, err := aptGet(ctx, args...)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(say, "Refreshing the package lists (apt-get update).")
		if out, err = aptGet(ctx, "update", "--quiet"); err == nil {
			out, err = aptGet(ctx, args...)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("installing %s: %w", strings.Join(packages, ", "), ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("apt-get could not install %s: %w\n%s", strings.Join(packages, ", "), err, lastLines(out, 8))
	}
	return nil
}

// aptGet runs apt-get out of reach of the terminal's Ctrl-C: interrupted in the
// middle of dpkg it would leave half a package. When ctx ends it is asked to
// stop, which it does between two steps, and is waited for.
func aptGet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// setAside puts content in the place of a file, which putBack brings back as it
// was: the old file is renamed, so its owner, mode and times stay; a marker
// stands for one that was not there.
func setAside(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		if err := os.Rename(path, path+savedSuffix); err != nil {
			return err
		}
	} else if err := os.WriteFile(path+emptySuffix, nil, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return errors.Join(err, putBack(path))
	}
	return os.Chmod(path, mode)
}

// putBack undoes setAside, also one of an earlier run that was killed. It does
// nothing when there is nothing to undo.
func putBack(path string) error {
	if _, err := os.Lstat(path + savedSuffix); err == nil {
		return os.Rename(path+savedSuffix, path)
	}
	if _, err := os.Lstat(path + emptySuffix); err == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.Remove(path + emptySuffix)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
