// Package servers brings up the Postgres and the Redis that the tests, the demo
// and the benchmarks run against, and takes them down again.
//
// Each of the two comes from the first of these that is there:
//
//  1. DATABASE_URL or REDIS_URL, when set: used as it is, never stopped;
//  2. binaries on this machine, installed with Debian's apt-get when missing,
//     root and possible: a private server on a free port of 127.0.0.1 with its
//     data in a directory of its own;
//  3. a Docker engine that answers: a private container;
//  4. otherwise Start fails with one sentence that says what to install.
//
// Nobody's server on a default port is ever touched. Everything started here is
// stopped and removed by Stack.Close, and dies with this process when it is
// killed.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Options say what kind of servers are wanted. The zero value is right for unit
// tests.
type Options struct {
	// Durable has Postgres wait for the disk (fsync) as in production. Off, a
	// private Postgres is faster and survives the death of its processes, but
	// not that of the machine. Redis always writes its append-only file at
	// every write: that costs little and is what the project promises about.
	Durable bool

	// Private ignores DATABASE_URL and REDIS_URL: tests that kill their servers
	// must not be pointed at somebody else's.
	Private bool

	// Redis is how the private Redis is built. Other than Single needs Private
	// and installed binaries.
	Redis Topology

	// NoInstall never calls apt-get.
	NoInstall bool

	// Say receives one line for each thing a person should know about, such as
	// what is about to be installed. Nil means os.Stderr.
	Say io.Writer
}

// Stack is one Postgres and one Redis.
type Stack struct {
	// DatabaseURL has the rights to create databases, on a private server those
	// of the superuser.
	DatabaseURL string
	RedisURL    string

	// Postgres and Redis control the private servers. Nil for one that was
	// given by its URL.
	Postgres *Server
	Redis    *Server

	// Redises control the servers of a Redis that is built of several; Redis is
	// nil then.
	Redises *Redises
}

// OwnRedis says that Redis lives and dies with the stack.
func (s *Stack) OwnRedis() bool { return s.Redis != nil || s.Redises != nil }

// Start brings both servers up and returns when both answer. When it fails,
// what it had started is stopped.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if o.Say == nil {
		o.Say = os.Stderr
	}
	s := &Stack{}
	if !o.Private {
		s.DatabaseURL, s.RedisURL = os.Getenv("DATABASE_URL"), os.Getenv("REDIS_URL")
	}
	if s.DatabaseURL != "" && s.RedisURL != "" {
		return s, nil
	}
	source, err := chooseSource(ctx, o, s.DatabaseURL == "", s.RedisURL == "")
	if err != nil {
		return nil, err
	}
	if s.DatabaseURL == "" {
		if s.Postgres, err = startServer(ctx, func() (instance, error) { return source.postgres(o.Durable) }); err != nil {
			return nil, fmt.Errorf("starting a private Postgres: %w", err)
		}
		s.DatabaseURL = s.Postgres.URL()
	}
	if s.RedisURL == "" && o.Redis != Single {
		if s.Redises, err = startTopology(ctx, o.Redis); err != nil {
			return nil, errors.Join(fmt.Errorf("starting a private Redis (%s): %w", o.Redis, err), s.Close())
		}
		s.RedisURL = s.Redises.URL()
	}
	if s.RedisURL == "" {
		if s.Redis, err = startServer(ctx, source.redis); err != nil {
			return nil, errors.Join(fmt.Errorf("starting a private Redis: %w", err), s.Close())
		}
		s.RedisURL = s.Redis.URL()
	}
	return s, nil
}

// Env is the environment of a process that is to use the stack, to be appended
// to os.Environ().
func (s *Stack) Env() []string {
	return []string{"DATABASE_URL=" + s.DatabaseURL, "REDIS_URL=" + s.RedisURL}
}

// Close stops the private servers and removes their data. It may be called more
// than once.
func (s *Stack) Close() error {
	var errs []error
	for _, server := range []*Server{s.Redis, s.Postgres} {
		if server != nil {
			errs = append(errs, server.close())
		}
	}
	if s.Redises != nil {
		errs = append(errs, s.Redises.close())
	}
	return errors.Join(errs...)
}

// Server is one private server, which tests may kill and bring back.
type Server struct {
	mu       sync.Mutex
	instance instance
	running  bool
}

// instance is a server of one kind from one source.
type instance interface {
	url() string
	start(ctx context.Context) error // returns when the server answers
	stop() error                     // orderly: what was acknowledged is on disk
	kill() error                     // as a crash: SIGKILL to every process of it
	empty() error                    // forget all data; only while it is not running
	remove() error                   // forget that it ever was; only while it is not running
	pids() []int                     // of its processes on this machine; none of a container
}

// startServer makes an instance and starts it, a few times: the free port that
// it chose may be taken by the time the server binds it.
func startServer(ctx context.Context, make func() (instance, error)) (*Server, error) {
	var lastErr error
	for range 3 {
		made, err := make()
		if err != nil {
			return nil, err
		}
		if err = made.start(ctx); err == nil {
			return &Server{instance: made, running: true}, nil
		}
		lastErr = errors.Join(err, made.kill(), made.remove())
		if ctx.Err() != nil {
			break
		}
	}
	return nil, lastErr
}

// URL is the server's address, the same after a restart.
func (s *Server) URL() string { return s.instance.url() }

// Stop ends the server in an orderly way and keeps its data.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil
	}
	s.running = false
	return s.instance.stop()
}

// Kill ends every process of the server with SIGKILL and keeps its data.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	return s.instance.kill()
}

// Restart starts the server on its old port with its old data, stopping it
// before if it runs, and returns when it answers.
func (s *Server) Restart(ctx context.Context) error { return s.restart(ctx, false) }

// RestartEmpty is Restart without the old data, as after the loss of the disk.
func (s *Server) RestartEmpty(ctx context.Context) error { return s.restart(ctx, true) }

func (s *Server) restart(ctx context.Context, empty bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.running = false
		if err := s.instance.stop(); err != nil {
			return err
		}
	}
	if empty {
		if err := s.instance.empty(); err != nil {
			return err
		}
	}
	if err := s.instance.start(ctx); err != nil {
		return errors.Join(err, s.instance.kill())
	}
	s.running = true
	return nil
}

// close kills rather than stops: the data goes with the server.
func (s *Server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	return errors.Join(s.instance.kill(), s.instance.remove())
}
