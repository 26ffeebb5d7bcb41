package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// ordinaryUser is the user that servers run as when this process is root: they
// refuse root, or should. Nil when this process is not root.
func ordinaryUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
		if errUID == nil && errGID == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}, nil
		}
	}
	return nil, errors.New("this is root, and neither a user postgres nor a user nobody exists to run the servers as: run this as an ordinary user")
}

// home makes the directory of one server, owned by its user. It is not under
// TMPDIR when that user could not get there, as below a home directory of root.
func home(pattern string, owner *syscall.Credential) (string, error) {
	base := os.TempDir()
	if owner != nil && !reachable(base) {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, pattern)
	if err != nil {
		return "", err
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// reachable says whether any user may pass through dir and all above it.
func reachable(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// command runs as owner, from dir, with nothing in its environment that could
// lead it to somebody's server.
func command(owner *syscall.Credential, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	return cmd
}

// given are the ports that this process has handed out: none twice, although
// its new owner may not have bound it yet.
var given sync.Map

// FreePort is a TCP port of 127.0.0.1 on which nothing listens now. It lies
// below the range that kernels take the ports of outgoing connections from, one
// of which could otherwise have it by the time its new owner binds it.
func FreePort() (int, error) {
	const first, count = 20000, 12768 // up to 32767
	var lastErr error
	for range 200 {
		port := first + rand.IntN(count)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			lastErr = err
			continue
		}
		l.Close()
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d: %w", first, first+count-1, lastErr)
}
