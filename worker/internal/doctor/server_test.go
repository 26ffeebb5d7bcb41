package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	workerdoctor "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// postgres is a server of a test's own, of the same binaries and user as that of
// DATABASE_URL, which must be on this machine.
type postgres struct {
	t    *testing.T
	bin  string
	dir  string
	user *syscall.Credential // nil: this process's
	port string
	url  string
	ends func()
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	var pid int
	if err := testkit.Pool(t, testkit.EmptyDatabaseURL(t)).QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	process := "/proc/" + strconv.Itoa(pid)
	program, err := os.Readlink(process + "/exe")
	if err != nil {
		t.Fatalf("the server of DATABASE_URL is not on this machine: %v", err)
	}
	info, err := os.Stat(process)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	dir, err := os.MkdirTemp("", "waf-doctor-postgres-") // which its user can enter, other than t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{t: t, bin: filepath.Dir(program), dir: dir, port: port, url: "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"}
	if of := info.Sys().(*syscall.Stat_t); int(of.Uid) != os.Getuid() {
		p.user = &syscall.Credential{Uid: of.Uid, Gid: of.Gid}
		if err := os.Chown(dir, int(of.Uid), int(of.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	p.run("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	return p
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) command(program string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(p.bin, program), args...)
	command.Dir = p.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.user, Setpgid: true}
	return command
}

func (p *postgres) run(program string, args ...string) {
	p.t.Helper()
	if out, err := p.command(program, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v: %s", program, err, out)
	}
}

// start starts it, stopping it before if it runs, and returns when it answers.
func (p *postgres) start(settings ...string) {
	p.t.Helper()
	p.stop()
	args := []string{"-D", p.data(), "-p", p.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	server := p.command("postgres", args...)
	if err := server.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan bool)
	go func() { _ = server.Wait(); close(ended) }()
	p.ends = func() {
		_ = server.Process.Signal(syscall.SIGINT) // what is under way is broken off
		<-ended
	}
	p.t.Cleanup(p.stop)
	testkit.Eventually(p.t, "Postgres answers", func() bool {
		conn, err := pgx.Connect(context.Background(), p.url)
		if err != nil {
			return false
		}
		return errors.Join(conn.Ping(context.Background()), conn.Close(context.Background())) == nil
	})
}

func (p *postgres) stop() {
	if p.ends != nil {
		p.ends()
		p.ends = nil
	}
}

// What only a server of one's own can be.
func TestEachFaultOfAPostgresServerIsFoundAndNoOther(t *testing.T) {
	p := newPostgres(t)
	p.start("fsync=on")
	pool, err := store.Open(t.Context(), p.url, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = store.Migrate(t.Context(), pool, zap.NewNop())
	pool.Close()
	if err != nil {
		t.Fatal(err)
	}
	examine := func(t *testing.T, want map[string]string) {
		t.Helper()
		check := workerdoctor.Postgres{URL: p.url, Now: time.Now, Room: func(string) (uint64, uint64, error) { return 50 << 30, 100 << 30, nil }}
		proof.Compare(t, doctor.Examine(t.Context(), check.Check()), want)
	}
	for _, c := range []struct {
		name     string
		settings []string
		breaks   func(*testing.T)
		want     map[string]string
	}{
		{"nothing", nil, nil, map[string]string{workerdoctor.Durability: "ok fsync on, full_page_writes on, synchronous_commit on"}},
		{"it does not wait for the disk", []string{"fsync=off"}, nil, map[string]string{workerdoctor.Durability: "fail fsync off"}},
		{"commits are not waited for", []string{"synchronous_commit=off"}, nil, map[string]string{workerdoctor.Durability: "warn synchronous_commit off"}},
		{"hardly a connection is left", []string{"max_connections=10", "superuser_reserved_connections=2"}, func(t *testing.T) { hold(t, p.url, 7) },
			map[string]string{workerdoctor.Connections: "warn of 8 used"}},
		{"no connection is left", []string{"max_connections=3", "superuser_reserved_connections=0", "max_wal_senders=0"}, func(t *testing.T) { hold(t, p.url, 3) },
			map[string]string{workerdoctor.Reachable: "fail too many clients"}},
		{"a standby", nil, func(t *testing.T) {
			p.stop()
			signal := filepath.Join(p.data(), "standby.signal")
			if err := os.WriteFile(signal, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if p.user != nil {
				if err := os.Chown(signal, int(p.user.Uid), int(p.user.Gid)); err != nil {
					t.Fatal(err)
				}
			}
			p.start()
		}, map[string]string{workerdoctor.Writable: "fail a standby"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.start(c.settings...)
			if c.breaks != nil {
				c.breaks(t)
			}
			examine(t, c.want)
		})
	}
}

// hold keeps connections. Those that ended a moment ago may still count.
func hold(t *testing.T, url string, connections int) {
	t.Helper()
	for n := range connections {
		testkit.Eventually(t, fmt.Sprintf("connection %d is open", n+1), func() bool {
			conn, err := pgx.Connect(context.Background(), url)
			if err == nil {
				t.Cleanup(func() { _ = conn.Close(context.Background()) })
			}
			return err == nil
		})
	}
}
