// Command chaos breaks things on purpose under a real installation, and counts:
// kills, cuts, full disks, failovers, black holes and hostile receivers, on a real
// Redis and a real Postgres with every fsync on. It prints what became of every
// event as a table and ends with status 1 if any promise was not kept.
//
//	chaos                every fault, in full
//	chaos -short         each in seconds, with few events
//	chaos -only 3,10     these faults
//	chaos -list          what there is, and what is promised
//
// Run it from the repository's root; make chaos builds what it needs.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context) (ok bool, err error) {
	var only, file string
	o := chaos.Options{Say: os.Stderr}
	flag.StringVar(&o.Bin, "bin", "bin", "directory of the worker")
	flag.StringVar(&only, "only", "", "only the faults with these numbers, with commas between them")
	flag.BoolVar(&o.Short, "short", false, "each fault in seconds, with few events")
	flag.BoolVar(&o.Long, "long", false, "the long outages too: Postgres away for ten minutes, fifty failovers, a snapshot held for ten minutes")
	flag.BoolVar(&o.Verbose, "v", false, "also what the workers last said when a promise was not kept")
	flag.StringVar(&file, "json", "", "write the verdicts to this file as well")
	list := flag.Bool("list", false, "list the faults and what is promised about each, and end")
	flag.Parse()
	if flag.NArg() > 0 {
		return false, fmt.Errorf("%q is no flag; -help lists them", flag.Arg(0))
	}
	var numbers []int
	for _, text := range strings.FieldsFunc(only, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return false, fmt.Errorf("-only is %q, expected numbers such as 3,10", only)
		}
		numbers = append(numbers, n)
	}
	faults, err := chaos.Find(numbers)
	if err != nil {
		return false, err
	}
	if *list {
		for _, f := range faults {
			fmt.Printf("%2d %s\n   %s\n", f.Number, f.Name, f.Promise)
		}
		return true, nil
	}
	if o.Root, err = os.Getwd(); err != nil {
		return false, err
	}
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(o.Bin, "worker")); err != nil {
		return false, fmt.Errorf("%w (make build-worker builds it)", err)
	}
	began := time.Now()
	verdicts := chaos.RunAll(ctx, faults, o)
	fmt.Println()
	if err := chaos.Print(os.Stdout, verdicts); err != nil {
		return false, err
	}
	if file != "" {
		if err := writeJSON(file, verdicts); err != nil {
			return false, err
		}
	}
	return summary(ctx, verdicts, time.Since(began)), nil
}

// summary says in a line how it went.
func summary(ctx context.Context, verdicts []chaos.Verdict, took time.Duration) (ok bool) {
	missed, events, lost, doubled := 0, 0, 0, 0
	for _, v := range verdicts {
		if !v.OK() {
			missed++
		}
		events, doubled = events+v.Events, doubled+v.Doubled
		if !v.Taken {
			lost += v.Lost
		}
	}
	fmt.Printf("\n%d faults, %d events, %d lost, %d doubled; %d promises were not kept (%s)\n",
		len(verdicts), events, lost, doubled, missed, took.Round(time.Second))
	if ctx.Err() != nil {
		fmt.Println("interrupted: not every fault was run")
		return false
	}
	return missed == 0
}

func writeJSON(file string, verdicts []chaos.Verdict) error {
	text, err := json.MarshalIndent(verdicts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
