package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

// startPatience is how long a server may take to answer after its start. A
// Postgres that was killed replays its log first.
const startPatience = 60 * time.Second

// stopPatience is how long an orderly stop may take before it becomes a kill.
const stopPatience = 20 * time.Second

// postgres is a private Postgres run from installed binaries.
type postgres struct {
	bin     string
	dir     string // data in dir/data, the unix socket in dir
	port    int
	durable bool
	owner   *syscall.Credential
	process *process.Process
}

func newPostgres(bin string, durable bool) (*postgres, error) {
	owner, err := ordinaryUser()
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := home("waf-postgres-", owner)
	if err != nil {
		return nil, err
	}
	p := &postgres{bin: bin, dir: dir, port: port, durable: durable, owner: owner}
	if err := p.initialise(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

// initialise makes an empty cluster in which any local user is the superuser:
// it listens on the loopback interface only and lives as long as a test run.
func (p *postgres) initialise() error {
	initdb := command(p.owner, p.dir, filepath.Join(p.bin, "initdb"),
		"-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) url() string { return postgresURL(p.port) }

func postgresURL(port int) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
}

func (p *postgres) start(ctx context.Context) error {
	args := append([]string{"-D", p.data(), "-p", strconv.Itoa(p.port)}, postgresSettings(p.durable)...)
	args = append(args, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+p.socketDir())
	started, err := process.Start(command(p.owner, p.dir, filepath.Join(p.bin, "postgres"), args...))
	if err != nil {
		return err
	}
	p.process = started
	if err := waitUntil(ctx, started, func(ctx context.Context) error { return pingPostgres(ctx, p.url()) }); err != nil {
		return fmt.Errorf("postgres on port %d: %w", p.port, err)
	}
	return nil
}

// socketDir is the directory of the unix socket: none when its path would be
// longer than the kernel allows (108 bytes with the socket's name).
func (p *postgres) socketDir() string {
	if len(p.dir) > 80 {
		return ""
	}
	return p.dir
}

// postgresSettings are those that do not depend on where the server runs.
func postgresSettings(durable bool) []string {
	settings := []string{"-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_min_messages=warning"}
	if !durable {
		settings = append(settings, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	return settings
}

func pingPostgres(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(conn.Ping(ctx), conn.Close(ctx))
}

// stop asks for Postgres's fast shutdown: sessions end, and a checkpoint puts
// everything on disk.
func (p *postgres) stop() error {
	if p.process == nil {
		return nil
	}
	return p.process.End(syscall.SIGINT, stopPatience)
}

func (p *postgres) kill() error {
	if p.process == nil {
		return nil
	}
	return p.process.Kill()
}

func (p *postgres) empty() error {
	if err := os.RemoveAll(p.data()); err != nil {
		return err
	}
	return p.initialise()
}

func (p *postgres) remove() error { return os.RemoveAll(p.dir) }

func (p *postgres) pids() []int {
	if p.process == nil {
		return nil
	}
	return append(p.process.Children(), p.process.PID())
}

// waitUntil calls ping until it succeeds, the process ends, or time is up.
func waitUntil(ctx context.Context, p *process.Process, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		err := ping(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended at once:\n%s", p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w\n%s", err, p.Tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
