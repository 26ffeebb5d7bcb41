// Command bench measures the edge and the worker on this machine, from their
// real binaries over a real Redis (append-only file on) and a real Postgres
// (fsync on): a table of every kind of request, an overload, the start and the
// memory of the edge, and the worker's way from stream to commit. With -growth
// it measures what grows with sessions, flows, shards, keys and payloads; with
// -base the edge beside that of another revision.
//
// Machines differ and are noisy. So what costs a private operation is also given
// as a multiple of B, one RSA-2048 private operation by `openssl speed` on the
// same core right before and after; and what is compared is measured in turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// options are the flags.
type options struct {
	bin, json, base string
	requests, runs  int
	connections     []int
	events          int
	delivering      delivering
	overloadSeconds float64
	starts          int
	growth          bool
	sessions        int
	only            selection
}

func main() {
	o, err := readOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func readOptions() (o options, err error) {
	var only, connections string
	flag.StringVar(&o.bin, "bin", "bin", "directory of caddy and worker")
	flag.StringVar(&o.json, "json", "", "write everything to this file as well")
	flag.StringVar(&o.base, "base", "", "build this revision and compare with it")
	flag.IntVar(&o.requests, "requests", 1000, "flow requests of each run of a line; cheap requests are more")
	flag.IntVar(&o.runs, "runs", 3, "how often each line is measured; the table shows the medians")
	flag.StringVar(&connections, "connections", "1,4,32", "numbers of connections of the table")
	flag.IntVar(&o.events, "events", 60000, "webhooks for the worker")
	flag.IntVar(&o.delivering.callbacks, "callbacks", 40000, "callbacks to deliver")
	flag.Float64Var(&o.delivering.seconds, "healthy-seconds", 10, "how long messages go to a healthy endpoint beside another one")
	flag.IntVar(&o.delivering.waiting, "waiting", 100000, "deliveries that wait for a dead endpoint meanwhile")
	flag.Float64Var(&o.overloadSeconds, "overload-seconds", 5, "how long the overload lasts")
	flag.IntVar(&o.starts, "starts", 5, "how often the edge is started to see how long that takes")
	flag.BoolVar(&o.growth, "growth", false, "measure growth instead of the table")
	flag.IntVar(&o.sessions, "sessions", 1000000, "the most sessions that growth is measured with")
	flag.StringVar(&only, "only", "", "measure only these lines and parts, with commas between them")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; -help lists them", flag.Arg(0))
	}
	if o.requests < 1 || o.runs < 1 || o.events < 1 || o.delivering.callbacks < 1 || o.delivering.waiting < 1 || !(o.delivering.seconds > 0) || o.sessions < 1 || o.starts < 1 || !(o.overloadSeconds > 0) {
		return o, errors.New("-requests, -runs, -events, -callbacks, -waiting, -healthy-seconds, -sessions, -starts and -overload-seconds must be more than nothing")
	}
	if o.growth && o.base != "" {
		return o, errors.New("-growth and -base exclude each other")
	}
	if *profiled != "" && !slices.Contains(blockNames(), *profiled) {
		return o, fmt.Errorf("-profile names %q, expected one of %s", *profiled, strings.Join(blockNames(), ","))
	}
	for text := range strings.SplitSeq(connections, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-connections is %q, expected numbers such as 1,4,32", connections)
		}
		o.connections = append(o.connections, n)
	}
	known := tableParts()
	if o.growth {
		known = growthParts()
	} else if o.base != "" {
		known = blockNames()
	}
	o.only, err = parseSelection(only, known)
	return o, err
}

func bench(ctx context.Context, o options) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	b := build{root: root, bin: o.bin}
	if b.commit, err = commitOf(ctx, b); err != nil {
		return err
	}
	report := &Report{Taken: time.Now().UTC().Truncate(time.Second)}
	if !o.growth && o.base == "" && o.only.has(partWorker) {
		if report.Worker, err = worker(ctx, b, o.events); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
	}
	if !o.growth && o.base == "" && o.only.has(partCallback) {
		if report.Callbacks, err = callbacks(ctx, b, o.delivering); err != nil {
			return fmt.Errorf("callbacks: %w", err)
		}
	}
	c, instead, err := divideCores()
	if err != nil {
		return err
	}
	if instead != "" {
		fmt.Fprintln(os.Stderr, instead)
	}
	r := rounds{runs: o.runs, unit: o.requests, connections: o.connections, cores: c, say: os.Stderr}
	if r.redisBenchmark, err = exec.LookPath("redis-benchmark"); err != nil {
		fmt.Fprintln(os.Stderr, "there is no redis-benchmark to compare webhooks with (Debian, Ubuntu: sudo apt-get install redis-tools)")
	}
	// Of its own: the fsync policy is changed between lines.
	stack, err := servers.Start(ctx, servers.Options{Durable: true, Private: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	m := measurement{Report: report, build: b, rounds: r, stack: stack, out: os.Stdout}
	switch {
	case o.growth:
		err = m.growth(ctx, o.sessions, o.only)
	case o.base != "":
		err = m.compare(ctx, o.base, o.only)
	default:
		err = m.table(ctx, o)
	}
	if err != nil {
		return err
	}
	if o.json != "" {
		err = report.write(o.json)
	}
	return err
}

// commitOf is the version that the edge says it is of.
func commitOf(ctx context.Context, b build) (string, error) {
	version, err := run(ctx, b.root, filepath.Join(b.bin, "caddy"), "version")
	if err != nil {
		return "", fmt.Errorf("%w (make build builds it)", err)
	}
	version, _, _ = strings.Cut(version, " ")
	return strings.TrimPrefix(version, "whatsapp-flows-"), nil
}
