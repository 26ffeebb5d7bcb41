package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// printHeader says what was measured, on what and how.
func (r *Report) printHeader(w io.Writer, c cores, runs int) {
	m := r.Machine
	fmt.Fprintf(w, "%s, Linux %s, %s\n%s, Redis %s, PostgreSQL %s\n", m.CPU, m.Kernel, m.Go, m.OpenSSL, m.Redis, m.Postgres)
	fmt.Fprintf(w, "edge %s\n", r.Edge)
	if r.Base != nil {
		fmt.Fprintf(w, "base %s\n", *r.Base)
	}
	fmt.Fprintf(w, "Pinned: %s.\n", c)
	fmt.Fprintf(w, `Requests are sealed and signed ahead, each under a key of its own; every answer is decrypted and checked.
Redis writes its append-only file, with the fsync policy that stands in each line; Postgres has fsync on.
Each line is the median of %d runs. CPU is the edge's per request, user and system, by the kernel's account.
B is one RSA-2048 private operation by openssl speed on the edge's CPU, the mean of right before and right after
each block of lines. The generator, whose own cost is the column load, shares its CPU with Redis.
`, runs)
	fmt.Fprintln(w)
}

func (e Edge) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s, private key by %s %s", e.Commit, e.Backend, e.Version))
}

// printLines prints the table.
func printLines(w io.Writer, lines []Line) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "what\tconns\tfsync\trequests\tper second\tp50 ms\tp95 ms\tp99 ms\tmax ms\tCPU µs\tB µs\t× B\tRedis µs\tload µs\tRSS MB\tXADD/s\t× XADD\t  bar\t")
	for _, l := range lines {
		f := l.Median
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%s\t%s\t%.1f\t%.1f\t%.0f\t%s\t%s\t  %s\t\n",
			l.Name, l.Connections, l.Fsync, l.Requests, f.PerSecond, f.P50/1000, f.P95/1000, f.P99/1000, f.Longest/1000,
			f.CPU, unlessZero("%.1f", f.B), unlessZero("%.2f", f.TimesB), f.RedisCPU, f.Generator, f.RSS,
			unlessZero("%.0f", f.XAdd), unlessZero("%.2f", f.TimesXAdd), verdicts(l.Bars))
	}
	t.Flush()
	fmt.Fprintln(w)
}

func unlessZero(format string, value float64) string {
	if value == 0 {
		return "-"
	}
	return fmt.Sprintf(format, value)
}

func verdicts(bars []Bar) string {
	said := make([]string, len(bars))
	for i, b := range bars {
		said[i] = b.What + ": missed"
		if b.Met {
			said[i] = b.What + ": met"
		}
	}
	return strings.Join(said, ", ")
}

func (s *Start) print(w io.Writer) {
	fmt.Fprintf(w, "start to first 200: %.2f s (median of %d), RSS at rest: %.0f MB   %s\n\n", median(s.Seconds), len(s.Seconds), median(s.RestMB), verdicts(s.Bars))
}

func (m *Memory) print(w io.Writer) {
	fmt.Fprintf(w, "highest RSS under all of this: %.0f MB   %s\n\n", m.PeakMB, verdicts(m.Bars))
}

func (o *Overload) print(w io.Writer) {
	fmt.Fprintf(w, `overload: %.0f requests a second for %.1f s (capacity at 32 connections: %.0f), one in %d a ping, fsync %s
  answered %.0f a second, %.0f %% of capacity; %d refused with 503, %d answered too late, %d failed; the edge used %.0f %% of a CPU, generator and Redis %.0f %%   %s
  waiting of those answered: p50 %.0f ms, p99 %.0f ms; pings: %d of %d answered, p99 %.0f ms
  a refusal costs the edge %.0f µs (what is left of its CPU when an answer costs what it costs at capacity); highest RSS %.0f MB
`, o.Offered, o.Seconds, o.Capacity, pingEvery, fsyncAlways, o.Goodput, 100*o.Share, o.Refused, o.Late, o.Failed, 100*o.EdgeShare, 100*o.OtherShare, verdicts(o.Bars),
		o.P50/1000, o.P99/1000, o.PingsOK, o.Pings, o.PingP99/1000, o.Refusal, o.PeakMB)
	if o.Failure != "" {
		fmt.Fprintf(w, "  the first that failed: %s\n", o.Failure)
	}
	fmt.Fprintln(w)
}

func printWorkers(w io.Writer, all []*Worker) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "worker, stream to commit, from streams that are full (nothing pinned, no callback endpoint):")
	for _, x := range all {
		fmt.Fprintf(w, "  %s: %.0f a second, %.0f µs CPU each, RSS %.0f MB   %s\n", x.Workload, x.PerSecond, x.CPU, x.RSS, verdicts(x.Bars))
	}
	fmt.Fprintln(w)
}

func (x *Callbacks) print(w io.Writer) {
	fmt.Fprintf(w, "callbacks, row to attempt row, signed and answered (nothing pinned): %.0f a second, %.0f µs CPU each, RSS %.0f MB   %s\n", x.PerSecond, x.CPU, x.RSS, verdicts(x.Bars))
	for _, b := range x.Beside {
		fmt.Fprintf(w, "  %d a second to a healthy endpoint beside %s: p50 %.1f ms, p99 %.1f ms, max %.1f ms   %s\n", healthyRate, b.Name, b.P50/1000, b.P99/1000, b.Longest/1000, verdicts(b.Bars))
	}
	fmt.Fprintln(w)
}

func printRatios(w io.Writer, ratios []Ratio) {
	fmt.Fprintln(w, "edge ÷ base, each run by the one beside it; the median and, in brackets, the least and the most:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "what\tconns\tfsync\tCPU\tper second\tp99\tRedis CPU\t")
	for _, r := range ratios {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", r.Name, r.Connections, r.Fsync, r.CPU, r.PerSecond, r.P99, r.RedisCPU)
	}
	t.Flush()
	fmt.Fprintln(w)
}

func (s Spread) String() string { return fmt.Sprintf("%.3f (%.3f..%.3f)", s.Median, s.Min, s.Max) }

func printGrowth(w io.Writer, axes []Axis) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "with\twhat\tper second\tp50 ms\tp99 ms\tCPU µs\t× B\tRedis µs\tRSS MB\tCPU ÷ first\tper second ÷ first\t  bar\t")
	for _, axis := range axes {
		for _, p := range axis.Points {
			for i, l := range p.Lines {
				f, ratio := l.Median, p.Ratio[i]
				fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.1f\t%.2f\t%.1f\t%.0f\t%.3f\t%.3f\t  %s\t\n",
					p.Size, l.Name, f.PerSecond, f.P50/1000, f.P99/1000, f.CPU, f.TimesB, f.RedisCPU, f.RSS, ratio.CPU, ratio.PerSecond, verdicts(ratio.Bars))
			}
		}
	}
	t.Flush()
	fmt.Fprintln(w)
}
