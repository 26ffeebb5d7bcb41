// Package e2e tests the project from outside: the real bin/caddy and bin/worker,
// built once for each run, on a Postgres and a Redis that the tests may kill.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// built is the directory of both binaries; the worker is built with the tag
// failpoints, which does nothing unless WORKER_FAILPOINT is set.
var built string

// root is the repository.
var root string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if root, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if built, err = os.MkdirTemp("", "waf-e2e-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(built)
	build := exec.Command("make", "--no-print-directory", "-C", root, "build", "BIN="+built, "WORKER_TAGS=failpoints")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "make build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// installation is one site on servers of its own.
type installation struct {
	*site.Site
	Servers *servers.Stack
}

// install prepares servers and a site; nothing of the site runs yet. What the
// edge and the worker wrote last is shown when the test fails.
func install(t *testing.T, o site.Options) installation {
	t.Helper()
	stack, err := servers.Start(t.Context(), servers.Options{Private: true, Durable: true, Say: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Root, o.Bin, o.Servers = root, built, stack
	s, err := site.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if s.Edge != nil {
				t.Logf("the end of the edge's log:\n%s", s.Edge.Tail())
			}
			if s.Worker != nil {
				t.Logf("the end of the worker's log:\n%s", s.Worker.Tail())
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return installation{s, stack}
}

// start is install with everything running and the example flow published.
func start(t *testing.T, o site.Options) installation {
	t.Helper()
	s := install(t, o)
	inParallel(t, func() error { return s.StartEdge(t.Context()) }, func() error { return s.StartWorker(t.Context()) })
	publish(t, s)
	return s
}

// publish loads the example flows and waits until the edge has them.
func publish(t *testing.T, s installation) {
	t.Helper()
	if _, err := s.LoadFlows(t.Context(), filepath.Join(root, "examples")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the edge serves the flow", func(ctx context.Context) error {
		_, err := s.phone(t, "unused").Init(ctx)
		return err
	})
}

func inParallel(t *testing.T, tasks ...func() error) {
	t.Helper()
	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	for i, task := range tasks {
		wg.Go(func() { errs[i] = task() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// eventually calls check until it succeeds or patience is over.
func eventually(t *testing.T, patience time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
