// Command bench measures the edge and the worker on this machine, from their
// real binaries over a real Redis (append-only file, fsync at every write) and a
// real Postgres (fsync on), and prints a table.
//
// Machines differ and are noisy. So the cost of the edge is given as a multiple
// of B, the CPU time of one RSA-2048 OAEP decryption by the same key backend in
// the same run, measured right before and after.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// row is one line of the table.
type row struct {
	name        string
	connections int
	requests    int
	took        time.Duration
	cpu         time.Duration // of the process under test, per request
	redis       time.Duration // of Redis, per request
	times       latencies
	rss         int64
	b           time.Duration // B right before and after this line; 0 where it is no measure
	bar         string
	met         bool
}

func main() {
	requests := flag.Int("requests", 1500, "flow requests per line of the table")
	events := flag.Int("events", 60000, "webhooks for the worker")
	only := flag.String("only", "", "measure the edge or the worker alone")
	flag.Parse()
	if *only == "worker" {
		*requests = 0
	} else if *only == "edge" {
		*events = 0
	} else if *only != "" {
		fmt.Fprintf(os.Stderr, "bench: -only is %q, expected edge or worker\n", *only)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *requests, *events); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, requests, events int) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	stack, err := servers.Start(ctx, servers.Options{Durable: true})
	if err != nil {
		return err
	}
	defer func() { _ = stack.Close() }()
	s, err := site.New(ctx, site.Options{
		Root: root, Bin: filepath.Join(root, "bin"), Servers: stack,
		Worker: []string{"CALLBACK_WEBHOOK_URL="}, // intake is measured, not delivery
	})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()

	var rows []row
	if events > 0 {
		r, err := intake(ctx, s, events)
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		rows = append(rows, r)
	}
	if requests > 0 {
		measured, err := edge(ctx, s, filepath.Join(root, "examples"), requests)
		if err != nil {
			return fmt.Errorf("edge: %w", err)
		}
		rows = append(measured, rows...)
	}
	printTable(rows)
	return nil
}

func printTable(rows []row) {
	fmt.Print("B is the CPU time of one RSA-2048 OAEP decryption by crypto/rsa, the mean of right before and right after each line.\n\n")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tconns\trequests\tper second\tp50\tp99\tCPU each\tB\t× B\tRedis CPU\tRSS\tbar\t")
	for _, r := range rows {
		dash := func(ok bool, s string) string {
			if !ok {
				return "-"
			}
			return s
		}
		verdict := ""
		if r.bar != "" {
			verdict = r.bar + ": missed"
			if r.met {
				verdict = r.bar + ": met"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%d MB\t%s\t\n",
			r.name, dash(r.connections > 0, fmt.Sprint(r.connections)), r.requests, float64(r.requests)/r.took.Seconds(),
			dash(len(r.times) > 0, microseconds(r.times.quantile(0.5))), dash(len(r.times) > 0, microseconds(r.times.quantile(0.99))),
			microseconds(r.cpu), dash(r.b > 0, microseconds(r.b)), dash(r.b > 0, fmt.Sprintf("%.2f", float64(r.cpu)/float64(r.b))), dash(r.redis > 0, microseconds(r.redis)), r.rss>>20, verdict)
	}
	w.Flush()
}

func microseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}
