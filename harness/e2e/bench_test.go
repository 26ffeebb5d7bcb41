package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// benchReport is what this test reads of what bench writes.
type benchReport struct {
	Edge struct {
		Backend string `json:"private_key_backend"`
	} `json:"edge"`
	Lines []benchLine `json:"lines"`
	Start struct {
		Seconds []float64 `json:"seconds_to_first_200"`
		RestMB  []float64 `json:"rss_at_rest_mb"`
	} `json:"start"`
	Overload struct {
		Requests int `json:"requests"`
		Answered int `json:"answered"`
		Late     int `json:"late"`
		Refused  int `json:"refused"`
		Failed   int `json:"failed"`
		Pings    int `json:"pings"`
	} `json:"overload"`
	Worker []struct {
		PerSecond float64 `json:"per_second"`
	} `json:"worker"`
	Callbacks struct {
		PerSecond float64 `json:"per_second"`
		Beside    []struct {
			P99 float64 `json:"p99_us"`
		} `json:"beside"`
	} `json:"callbacks"`
	Growth []struct {
		Name   string `json:"name"`
		Points []struct {
			Size   string      `json:"size"`
			Lines  []benchLine `json:"lines"`
			Ratios []struct {
				CPU float64 `json:"cpu"`
			} `json:"ratios"`
		} `json:"points"`
	} `json:"growth"`
}

type benchLine struct {
	Name        string         `json:"name"`
	Connections int            `json:"connections"`
	Fsync       string         `json:"appendfsync"`
	Runs        []benchFigures `json:"runs"`
	Median      benchFigures   `json:"median"`
	Bars        []struct {
		What string `json:"what"`
	} `json:"bars"`
}

type benchFigures struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	CPU       float64 `json:"cpu_us"`
	B         float64 `json:"b_us"`
	RSS       float64 `json:"rss_mb"`
	XAdd      float64 `json:"redis_benchmark_xadd_per_second"`
}

func buildBench(t *testing.T) string {
	t.Helper()
	bench := filepath.Join(t.TempDir(), "bench")
	build := exec.Command("go", "build", "-o", bench, "./harness/cmd/bench")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bench
}

// The benchmarks are run seldom. This runs nearly all of their parts with next
// to no requests, so that they work when they are wanted; it looks at no figure's
// size.
func TestBench(t *testing.T) {
	t.Parallel()
	bench := buildBench(t)
	measure := func(t *testing.T, args ...string) (report benchReport) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "report.json")
		cmd := exec.Command(bench, append([]string{"-bin", built, "-json", file, "-requests", "24", "-runs", "1"}, args...)...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "DATABASE_URL=", "REDIS_URL=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		written, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &report); err != nil {
			t.Fatal(err)
		}
		if report.Edge.Backend == "" {
			t.Error("the report does not say which private operation the edge has")
		}
		return report
	}

	t.Run("the table", func(t *testing.T) {
		t.Parallel()
		// Without ping and INIT: around those, too, openssl would be waited for.
		r := measure(t, "-connections", "4", "-starts", "1", "-events", "3000", "-overload-seconds", "0.5",
			"-callbacks", "400", "-healthy-seconds", "0.5", "-waiting", "1000",
			"-only", "data_exchange,random-ciphertext,no-envelope,bad-signature,webhook,start,memory,overload,worker,callbacks")
		var lines []string
		for _, l := range r.Lines {
			wantFigures(t, l)
			lines = append(lines, l.Name+" "+l.Fsync)
		}
		want := []string{"data_exchange always", "random-ciphertext always", "no-envelope always", "bad-signature always",
			"webhook everysec", "webhook always"}
		if !slices.Equal(lines, want) {
			t.Errorf("lines %q, want %q", lines, want)
		}
		for _, l := range r.Lines {
			if l.Name == "data_exchange" && (len(l.Bars) != 2 || !(l.Median.B > 0)) {
				t.Errorf("data_exchange at 4 connections has bars %v and B %g, want one in B and one of its p99", l.Bars, l.Median.B)
			}
			if l.Name == "webhook" && !(l.Median.XAdd > 0) {
				t.Error("webhooks have nothing of redis-benchmark beside them")
			}
		}
		if len(r.Start.Seconds) == 0 || len(r.Start.RestMB) != len(r.Start.Seconds) {
			t.Errorf("starts %v, memory after them %v", r.Start.Seconds, r.Start.RestMB)
		}
		o := r.Overload
		if o.Answered == 0 || o.Pings == 0 || o.Answered+o.Late+o.Refused+o.Failed != o.Requests {
			t.Errorf("the overload does not add up: %+v", o)
		}
		for _, w := range r.Worker {
			if !(w.PerSecond > 0) {
				t.Errorf("nothing of the worker: %+v", r.Worker)
			}
		}
		if len(r.Worker) != 3 {
			t.Errorf("%d workloads of the worker, want three", len(r.Worker))
		}
		if !(r.Callbacks.PerSecond > 0) || len(r.Callbacks.Beside) != 3 {
			t.Errorf("callbacks: %+v, want a rate, and a healthy endpoint beside nothing, a refusing and a silent one", r.Callbacks)
		}
	})
	t.Run("growth", func(t *testing.T) {
		t.Parallel()
		r := measure(t, "-growth", "-only", "sessions", "-sessions", "20000")
		for _, axis := range r.Growth {
			for _, p := range axis.Points {
				for _, l := range p.Lines {
					wantFigures(t, l)
				}
				if len(p.Lines) != 2 || len(p.Ratios) != 2 {
					t.Errorf("with %s: %d lines and %d ratios, want INIT and data_exchange", p.Size, len(p.Lines), len(p.Ratios))
				}
			}
		}
		if len(r.Growth) != 1 || len(r.Growth[0].Points) != 3 {
			t.Errorf("measured %+v, want three sizes of sessions", r.Growth)
		}
	})
}

// The commands that README.md and docs/performance.md show, as make would run
// them but with few requests.
func TestDocumentedBenchCommands(t *testing.T) {
	t.Parallel()
	bench := buildBench(t)
	shown := regexp.MustCompile(`(?m)^    ((?:[A-Z_a-z0-9]+=\S+ )?)(make bench.*ARGS=.*)$`)
	found := 0
	for _, document := range []string{"README.md", "docs/performance.md"} {
		for _, command := range shown.FindAllStringSubmatch(string(readFile(t, document)), -1) {
			found++
			t.Run(command[2], func(t *testing.T) {
				t.Parallel()
				lines := strings.Split(strings.TrimSpace(shell(t, root, command[2]+" --dry-run --silent --assume-old=build")), "\n")
				run, ok := strings.CutPrefix(lines[len(lines)-1], "go run ./harness/cmd/bench ")
				if !ok {
					t.Fatalf("make would run %q", lines)
				}
				run = command[1] + "DATABASE_URL= REDIS_URL= " + bench + " " + run + " -bin " + built + " -connections 4 -runs 1"
				if strings.Contains(run, "-profile ") {
					run += " -requests 2500 -profile-seconds 1 -profile-file " + filepath.Join(t.TempDir(), "edge.prof")
				} else {
					run += " -requests 24"
				}
				shell(t, root, run)
			})
		}
	}
	if found < 5 {
		t.Errorf("%d commands with ARGS are documented, expected 5", found)
	}
}

// wantFigures refuses a line in which something was not measured.
func wantFigures(t *testing.T, l benchLine) {
	t.Helper()
	f := l.Median
	if len(l.Runs) != 1 || l.Connections != 4 || !(f.PerSecond > 0 && f.CPU > 0 && f.RSS > 0) ||
		!(0 < f.P50 && f.P50 <= f.P99 && f.P99 <= f.Max) {
		t.Errorf("line %+v is not of one run at 4 connections with all figures", l)
	}
}
