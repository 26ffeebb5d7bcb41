// Package demo shows the project at work: a whole installation on this machine,
// and one conversation on it as WhatsApp would have it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// flowName is the example flow that is played.
const flowName = "csat-feedback"

// Place says where things are.
type Place struct {
	Root string // the repository
	Bin  string // the directory of caddy and worker
}

func (p Place) examples() string { return filepath.Join(p.Root, "examples") }

// withSite brings an installation up with the example flow, calls use, and
// takes it down again. The context of use ends when the edge or the worker does.
func withSite(ctx context.Context, place Place, out io.Writer, use func(context.Context, *site.Site) error) (err error) {
	for _, name := range []string{"caddy", "worker"} {
		if _, err := os.Stat(filepath.Join(place.Bin, name)); err != nil {
			return fmt.Errorf("%s is not in %s: run make build in the repository's root first", name, place.Bin)
		}
	}
	began := time.Now()
	stack, err := servers.Start(ctx, servers.Options{Durable: true, Say: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()

	s, err := site.New(ctx, site.Options{Root: place.Root, Bin: place.Bin, Servers: stack, TLS: true, Logs: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.StartWorker(ctx); err != nil {
		return err
	}
	if err := s.StartEdge(ctx); err != nil {
		return err
	}
	loaded, err := loadFlow(ctx, place, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Everything runs, after %s:\n\n", seconds(time.Since(began)))
	fmt.Fprintf(out, "  Postgres  %s\n", origin(stack.Postgres))
	fmt.Fprintf(out, "  Redis     %s\n", origin(stack.Redis))
	fmt.Fprintf(out, "  edge      %s (bin/caddy with Caddyfile; certificate by Caddy's own authority)\n", s.EdgeURL)
	fmt.Fprintf(out, "  worker    %s (bin/worker serve)\n", s.WorkerURL)
	fmt.Fprintf(out, "  receiver  %s (takes the callbacks, verifies their signatures)\n", s.Receiver.URL())
	for _, line := range strings.Split(strings.TrimSpace(loaded), "\n") {
		fmt.Fprintf(out, "  flows     %s\n", line)
	}
	fmt.Fprintln(out)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for name, p := range map[string]*process.Process{"the edge": s.Edge, "the worker": s.Worker} {
		go func() {
			select {
			case <-p.Done():
				cancel(fmt.Errorf("%s has ended by itself (%v)", name, p.Wait()))
			case <-ctx.Done():
			}
		}()
	}
	if err := use(ctx, s); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		if errors.Is(err, context.Canceled) {
			return err // Ctrl-C: the logs explain nothing
		}
		return fmt.Errorf("%w\n\nThe end of the edge's log:\n%s\nThe end of the worker's log:\n%s", err, lastLines(s.Edge.Tail()), lastLines(s.Worker.Tail()))
	}
	return nil
}

// loadFlow publishes the one flow that is played; what the other examples ask of
// upstreams would be in vain here.
func loadFlow(ctx context.Context, place Place, s *site.Site) (printed string, err error) {
	dir, err := os.MkdirTemp("", "waf-demo-flow-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Symlink(filepath.Join(place.examples(), flowName), filepath.Join(dir, flowName)); err != nil {
		return "", err
	}
	return s.LoadFlows(ctx, dir)
}

func origin(private *servers.Server) string {
	if private == nil {
		return "as given by its URL, in a space of its own that is removed at the end"
	}
	return private.URL() + " (private)"
}

func lastLines(log string) string {
	const most = 15
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n") + "\n"
}

// seconds and milliseconds are durations as a person reads them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
