// Package site runs one whole installation on this machine from the real
// binaries: bin/caddy with the repository's Caddyfile, bin/worker, and a
// receiver of callbacks. The demo, the end-to-end tests and the benchmarks play
// on it.
package site

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// Options say where things are.
type Options struct {
	Root    string // the repository
	Bin     string // the directory of caddy and worker
	Servers *servers.Stack
	// Caddyfile is the edge's configuration; empty is the repository's own.
	Caddyfile string
	TLS       bool     // serve https://localhost by Caddy's internal authority; else plain http
	Logs      bool     // write what edge and worker print to EdgeLog and WorkerLog
	EdgeEnv   []string // more of the edge's environment
	EdgeCPUs  []int    // the numbers of the CPUs that the edge is kept on; any when empty
	Worker    []string // more of the worker's
}

// Site is one installation. Its own database and its own prefix in Redis keep it
// apart from others on the same servers.
type Site struct {
	Secrets     Secrets
	Receiver    *Receiver
	DatabaseURL string
	RedisURL    string
	Prefix      string // of the Redis keys
	EdgeURL     string
	WorkerURL   string
	Admin       string // address of Caddy's admin endpoint
	Edge        *process.Process
	Worker      *process.Process

	o        Options
	dir      string
	database string
	edgePort string
	http     *http.Client
	logs     []*os.File
}

// patience is how long a program may take to answer after its start.
const patience = 30 * time.Second

// New prepares an installation; nothing of it runs yet but the receiver.
func New(ctx context.Context, o Options) (s *Site, err error) {
	s = &Site{o: o, RedisURL: o.Servers.RedisURL}
	if s.dir, err = os.MkdirTemp("", "waf-site-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Secrets, err = WriteSecrets(filepath.Join(s.dir, "secrets")); err != nil {
		return s, err
	}
	if s.Receiver, err = NewReceiver(s.Secrets.CallbackSecret); err != nil {
		return s, err
	}
	name := "waf_site_" + strings.ToLower(rand.Text()[:10])
	s.Prefix = name + ":"
	if s.DatabaseURL, err = createDatabase(ctx, o.Servers.DatabaseURL, name); err != nil {
		return s, fmt.Errorf("creating a database of its own on the given server: %w", err)
	}
	s.database = name
	ports := make([]string, 4)
	for i := range ports {
		port, err := servers.FreePort()
		if err != nil {
			return s, err
		}
		ports[i] = strconv.Itoa(port)
	}
	s.edgePort = ports[0]
	s.Admin = "127.0.0.1:" + ports[1]
	s.WorkerURL = "http://127.0.0.1:" + ports[2]
	s.EdgeURL = "http://127.0.0.1:" + s.edgePort
	// The port of the scheme that is not served must be free too, and another.
	unused := "HTTPS_PORT=" + ports[3]
	if o.TLS {
		s.EdgeURL = "https://localhost:" + s.edgePort
		unused = "HTTP_PORT=" + ports[3]
	}
	s.o.EdgeEnv = append(s.o.EdgeEnv, unused)
	return s, nil
}

// StartEdge runs bin/caddy with its Caddyfile and returns when it serves.
func (s *Site) StartEdge(ctx context.Context) error {
	if err := s.LaunchEdge(); err != nil {
		return err
	}
	return s.waitFor(ctx, s.Edge, "the edge", s.edgeServes)
}

// LaunchEdge is StartEdge without the waiting.
func (s *Site) LaunchEdge() error {
	caddyfile := cmp.Or(s.o.Caddyfile, filepath.Join(s.o.Root, "Caddyfile"))
	cmd := s.EdgeCommand("run", "--config", caddyfile, "--adapter", "caddyfile")
	if err := s.logTo(cmd, s.EdgeLog()); err != nil {
		return err
	}
	started, err := process.Start(cmd, s.o.EdgeCPUs...)
	if err == nil {
		s.Edge = started
	}
	return err
}

// EdgeCommand is bin/caddy with the environment of this installation.
func (s *Site) EdgeCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.o.Bin, "caddy"), args...)
	cmd.Dir = s.dir
	address, port := s.EdgeURL, "HTTP_PORT="+s.edgePort
	if s.o.TLS {
		address, port = "localhost", "HTTPS_PORT="+s.edgePort
	}
	cmd.Env = append(baseEnv(s.dir),
		"SITE_ADDRESS="+address, "SITE_BIND=127.0.0.1", port, "CADDY_ADMIN="+s.Admin,
		"REDIS_URL="+s.RedisURL, "REDIS_PREFIX="+s.Prefix,
		"WORKER_ADDR="+strings.TrimPrefix(s.WorkerURL, "http://"))
	cmd.Env = append(append(cmd.Env, s.Secrets.EdgeEnv()...), s.o.EdgeEnv...)
	return cmd
}

// edgeServes asks for the webhook's handshake without a token: the refusal comes
// from our handler.
func (s *Site) edgeServes(ctx context.Context) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.EdgeURL+"/webhooks/whatsapp", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		return fmt.Errorf("a handshake without a token got status %d, want 403", response.StatusCode)
	}
	return nil
}

// StartWorker runs bin/worker serve and returns when it is ready.
func (s *Site) StartWorker(ctx context.Context) error {
	if err := s.LaunchWorker(); err != nil {
		return err
	}
	return s.waitFor(ctx, s.Worker, "the worker", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.WorkerURL+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz has status %d", response.StatusCode)
		}
		return nil
	})
}

// LaunchWorker is StartWorker without the waiting, with more environment.
func (s *Site) LaunchWorker(env ...string) error {
	cmd := s.WorkerCommand("serve")
	cmd.Env = append(cmd.Env, env...)
	if err := s.logTo(cmd, s.WorkerLog()); err != nil {
		return err
	}
	started, err := process.Start(cmd)
	if err == nil {
		s.Worker = started
	}
	return err
}

// WorkerCommand is bin/worker with the environment of this installation.
func (s *Site) WorkerCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.o.Bin, "worker"), args...)
	cmd.Dir = s.dir
	cmd.Env = append(baseEnv(s.dir),
		"DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL, "REDIS_PREFIX="+s.Prefix,
		"LISTEN_ADDR="+strings.TrimPrefix(s.WorkerURL, "http://"), "WORKER_NAME=site",
		"CALLBACK_WEBHOOK_URL="+s.Receiver.URL(), "CALLBACK_ALLOW_CIDRS=127.0.0.0/8")
	cmd.Env = append(append(cmd.Env, s.Secrets.WorkerEnv()...), s.o.Worker...)
	return cmd
}

// LoadFlows publishes every flow of dir by `worker flows load`.
func (s *Site) LoadFlows(ctx context.Context, dir string) (string, error) {
	cmd := s.WorkerCommand("flows", "load", dir)
	started, err := process.Start(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-started.Done():
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), started.Kill())
	}
	if err := started.Wait(); err != nil {
		return "", fmt.Errorf("worker flows load %s: %w: %s", dir, err, started.Tail())
	}
	return started.Tail(), nil
}

// baseEnv keeps both programs away from what else is on this machine, but not from
// how they are to use it.
func baseEnv(dir string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "OPENSSL_ia32cap"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// waitFor calls ready until it succeeds, the program ends, or time is up.
func (s *Site) waitFor(ctx context.Context, p *process.Process, name string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 3*time.Second)
		err := ready(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended at once:\n%s", name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w\n%s", name, err, p.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Client is an HTTP client that trusts nobody but this edge's own certificate
// authority.
func (s *Site) Client() (*http.Client, error) {
	if s.http != nil {
		return s.http, nil
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{}).DialContext,
		ForceAttemptHTTP2: true,
	}
	if s.o.TLS {
		root, err := os.ReadFile(s.RootCertificate())
		if err != nil {
			return nil, fmt.Errorf("the edge has no certificate authority yet: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(root) {
			return nil, fmt.Errorf("%s holds no certificate", s.RootCertificate())
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	s.http = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	return s.http, nil
}

// RootCertificate is the file of Caddy's internal certificate authority.
func (s *Site) RootCertificate() string {
	return filepath.Join(s.dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
}

// Died says what happened if the edge or the worker has ended by itself.
func (s *Site) Died() error {
	for name, p := range map[string]*process.Process{"the edge": s.Edge, "the worker": s.Worker} {
		if p == nil {
			continue
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s has ended (%v); the end of its log:\n%s", name, p.Wait(), p.Tail())
		default:
		}
	}
	return nil
}

// Close stops everything, orderly at first, and removes what it left.
func (s *Site) Close() error {
	var errs []error
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	for _, p := range []*process.Process{s.Edge, s.Worker} {
		if p != nil {
			errs = append(errs, p.End(syscall.SIGTERM, patience), p.Kill())
		}
	}
	for _, log := range s.logs {
		errs = append(errs, log.Close())
	}
	if s.Receiver != nil {
		errs = append(errs, s.Receiver.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.o.Servers.Postgres == nil && s.database != "" { // a given server goes on living
		errs = append(errs, dropDatabase(ctx, s.o.Servers.DatabaseURL, s.database))
	}
	if !s.o.Servers.OwnRedis() && s.Prefix != "" {
		errs = append(errs, dropKeys(ctx, s.RedisURL, s.Prefix))
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// Query runs do on a connection to the installation's database.
func (s *Site) Query(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// WriteEnv writes a shell file that gives commands typed by hand the environment
// of this installation, and returns its path.
func (s *Site) WriteEnv() (string, error) {
	path := filepath.Join(s.dir, "env")
	var b strings.Builder
	// What the documents ask of a shell besides; and doctor finds Caddy's own
	// authority where Caddy has it.
	of := []string{"EDGE_URL=" + s.EdgeURL, "KEY=" + s.Secrets.path(filePublicKey)}
	if ca := s.RootCertificate(); strings.HasPrefix(s.EdgeURL, "https:") {
		of = append(of, "SSL_CERT_FILE="+ca) // the phone trusts it, beside the system's directory
	}
	for _, variable := range slices.Concat(s.EdgeCommand().Env, s.WorkerCommand().Env, of) {
		name, value, _ := strings.Cut(variable, "=")
		if name == "PATH" || name == "HOME" || name == "XDG_CONFIG_HOME" {
			continue
		}
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}
