package servers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

// redisServer is a private Redis run from an installed binary.
type redisServer struct {
	bin     string
	dir     string
	port    int
	owner   *syscall.Credential
	process *process.Process

	more     []string // arguments
	sentinel string   // its configuration, when it is a sentinel
}

func newRedis(bin string) (*redisServer, error) {
	owner, err := ordinaryUser()
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := home("waf-redis-", owner)
	if err != nil {
		return nil, err
	}
	return &redisServer{bin: bin, dir: dir, port: port, owner: owner}, nil
}

func (r *redisServer) url() string { return RedisURL(r.port) }

// RedisURL is the URL of a Redis on a port of this machine.
func RedisURL(port int) string { return fmt.Sprintf("redis://127.0.0.1:%d", port) }

// redisSettings are those that the project demands of every Redis it runs on.
var redisSettings = []string{
	"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
}

func (r *redisServer) start(ctx context.Context) error {
	args := []string{"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no"}
	if r.sentinel != "" {
		args = append(append([]string{r.sentinel}, args...), "--sentinel")
	} else {
		args = append(append(args, redisSettings...), r.more...)
	}
	started, err := process.Start(command(r.owner, r.dir, r.bin, args...))
	if err != nil {
		return err
	}
	r.process = started
	if err := waitUntil(ctx, started, func(ctx context.Context) error { return pingRedis(ctx, r.port) }); err != nil {
		return fmt.Errorf("redis-server on port %d: %w", r.port, err)
	}
	return nil
}

// pingRedis fails also while Redis still loads its append-only file.
func pingRedis(ctx context.Context, port int) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	} else {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "+PONG" {
		return fmt.Errorf("it answers a ping with %q, not +PONG", answer)
	}
	return nil
}

func (r *redisServer) stop() error {
	if r.process == nil {
		return nil
	}
	return r.process.End(syscall.SIGTERM, stopPatience)
}

func (r *redisServer) kill() error {
	if r.process == nil {
		return nil
	}
	return r.process.Kill()
}

func (r *redisServer) empty() error {
	entries, err := filepath.Glob(filepath.Join(r.dir, "*"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(entry); err != nil {
			return err
		}
	}
	return nil
}

func (r *redisServer) remove() error { return os.RemoveAll(r.dir) }

func (r *redisServer) pids() []int {
	if r.process == nil {
		return nil
	}
	return []int{r.process.PID()}
}
