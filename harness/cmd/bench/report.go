package main

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"time"
)

// Report is everything that a run of bench has found out; -json writes it.
// Names say their units: us are microseconds, mb are 2^20 bytes. A part that was
// not asked for is absent.
type Report struct {
	Taken     time.Time  `json:"taken"`
	Machine   Machine    `json:"machine"`
	Edge      Edge       `json:"edge"`
	Base      *Edge      `json:"base,omitempty"`  // of bench-compare: what Edge is compared with
	Lines     []Line     `json:"lines,omitempty"` // of the table
	BaseLines []Line     `json:"base_lines,omitempty"`
	Start     *Start     `json:"start,omitempty"`  // of the process, and its memory
	Memory    *Memory    `json:"memory,omitempty"` // after all lines
	Overload  *Overload  `json:"overload,omitempty"`
	Worker    []*Worker  `json:"worker,omitempty"`
	Callbacks *Callbacks `json:"callbacks,omitempty"`
	Growth    []Axis     `json:"growth,omitempty"`
	Ratios    []Ratio    `json:"ratios,omitempty"` // of bench-compare
}

// Machine is what the figures were measured on and with.
type Machine struct {
	CPU      string `json:"cpu"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
	OpenSSL  string `json:"openssl"` // of the command that B is measured with
	Redis    string `json:"redis"`
	Postgres string `json:"postgres"`
	EdgeCPU  []int  `json:"edge_cpus"`  // the processors of the edge; empty when nothing is pinned
	OtherCPU []int  `json:"other_cpus"` // those of the generator, Redis and Postgres
}

// Edge is the program under test.
type Edge struct {
	Commit  string `json:"commit"`
	Backend string `json:"private_key_backend"` // libcrypto or crypto/rsa, as the edge says
	Version string `json:"private_key_backend_version,omitempty"`
}

// Line is one kind of request over so many connections.
type Line struct {
	Name        string  `json:"name"`
	Connections int     `json:"connections"`
	Fsync       string  `json:"appendfsync"`
	Requests    int     `json:"requests"` // of each run
	Runs        []Run   `json:"runs"`
	Median      Figures `json:"median"` // each figure by itself, as in Min and Max
	Min         Figures `json:"min"`
	Max         Figures `json:"max"`
	Bars        []Bar   `json:"bars,omitempty"` // of Median
}

// Run is a Line measured once.
type Run = Figures

// Figures are what is measured of a line.
type Figures struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"` // as the client sees it, like the next three
	P95       float64 `json:"p95_us"`
	P99       float64 `json:"p99_us"`
	Longest   float64 `json:"max_us"`
	CPU       float64 `json:"cpu_us"`           // of the edge per request, user and system, by the kernel's account
	B         float64 `json:"b_us"`             // one RSA-2048 private operation of OpenSSL, measured around the block of this line
	TimesB    float64 `json:"cpu_in_b"`         // CPU ÷ B
	RedisCPU  float64 `json:"redis_cpu_us"`     // of Redis per request, by its own account
	Generator float64 `json:"generator_cpu_us"` // of this program per request, judging included
	RSS       float64 `json:"rss_mb"`           // of the edge right after the line
	// XAdd is redis-benchmark's rate of XADD with a body as long and as many
	// connections, right after the line; webhooks only.
	XAdd      float64 `json:"redis_benchmark_xadd_per_second,omitempty"`
	TimesXAdd float64 `json:"per_second_in_xadd,omitempty"` // PerSecond ÷ XAdd
}

func (f *Figures) all() []*float64 {
	return []*float64{&f.PerSecond, &f.P50, &f.P95, &f.P99, &f.Longest, &f.CPU, &f.B, &f.TimesB, &f.RedisCPU, &f.Generator, &f.RSS, &f.XAdd, &f.TimesXAdd}
}

// summarise takes each figure of several runs by itself.
func summarise(runs []Run) (middle, least, most Figures) {
	for i := range middle.all() {
		values := make([]float64, len(runs))
		for j := range runs {
			values[j] = *runs[j].all()[i]
		}
		slices.Sort(values)
		*middle.all()[i], *least.all()[i], *most.all()[i] = median(values), values[0], values[len(values)-1]
	}
	return middle, least, most
}

// median of at least one value, in any order.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Bar is what a figure should be.
type Bar struct {
	What  string  `json:"what"` // such as "≤ 1.35 B"
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

func atMost(what string, value, limit float64) Bar {
	return Bar{What: what, Value: value, Limit: limit, Met: value <= limit}
}

func atLeast(what string, value, limit float64) Bar {
	return Bar{What: what, Value: value, Limit: limit, Met: value >= limit}
}

// Start is how a process of the edge begins.
type Start struct {
	Seconds []float64 `json:"seconds_to_first_200"` // of each start, to the first answered ping
	RestMB  []float64 `json:"rss_at_rest_mb"`       // of each, one second after that
	Bars    []Bar     `json:"bars"`
}

// Memory is what the edge took at most.
type Memory struct {
	PeakMB float64 `json:"peak_rss_mb"` // the kernel's VmHWM since its start
	Bars   []Bar   `json:"bars"`
}

// Overload is an edge that is asked for more than it can do.
type Overload struct {
	Capacity  float64 `json:"capacity_per_second"` // data_exchange at 32 connections, each waiting for its answer
	Offered   float64 `json:"offered_per_second"`
	Seconds   float64 `json:"seconds"`
	Requests  int     `json:"requests"`
	Answered  int     `json:"answered"`          // status 200, decrypted and as expected, within the edge's time budget
	Late      int     `json:"late"`              // the same, but later than that
	Refused   int     `json:"refused"`           // status 503
	Failed    int     `json:"failed"`            // anything else, such as a fallback or no answer
	Failure   string  `json:"failure,omitempty"` // the first of those
	PeakMB    float64 `json:"peak_rss_mb"`       // of the edge since its start
	Goodput   float64 `json:"goodput_per_second"`
	Share     float64 `json:"goodput_in_capacity"`
	P50       float64 `json:"p50_us"` // of those answered, from when each was due
	P99       float64 `json:"p99_us"`
	Pings     int     `json:"pings"`
	PingsOK   int     `json:"pings_answered"`
	PingP99   float64 `json:"ping_p99_us"`
	CPU       float64 `json:"cpu_us"`         // of the edge per request, refused ones included
	Refusal   float64 `json:"refusal_cpu_us"` // worked out: what is left when each answer cost what it cost at capacity; 0 without refusals
	EdgeShare float64 `json:"edge_cpu_share"` // of one processor
	// OtherShare is what the generator and Redis used, likewise. Near 1 where
	// they have one processor: then they were what was too slow.
	OtherShare float64 `json:"generator_and_redis_cpu_share"`
	Bars       []Bar   `json:"bars"`
}

// Worker is the way of one kind of entries from stream to commit.
type Worker struct {
	Workload  string  `json:"workload"`
	Events    int     `json:"events"`
	PerSecond float64 `json:"per_second"`
	CPU       float64 `json:"cpu_us"` // of the worker per entry
	RSS       float64 `json:"rss_mb"`
	Bars      []Bar   `json:"bars"`
}

// Callbacks is the way from rows to receivers.
type Callbacks struct {
	Callbacks int      `json:"callbacks"`
	PerSecond float64  `json:"per_second"` // signed, answered, and stored with their attempts
	CPU       float64  `json:"cpu_us"`     // of the worker per callback
	RSS       float64  `json:"rss_mb"`
	Bars      []Bar    `json:"bars"`
	Beside    []Beside `json:"beside"`
}

// Beside is how long messages take to a healthy endpoint, from when they were to
// be appended to the stream to the callback, beside another endpoint.
type Beside struct {
	Name       string  `json:"name"` // the other endpoint
	Messages   int     `json:"messages"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Longest    float64 `json:"max_us"`
	TimesAlone float64 `json:"p99_in_alone,omitempty"` // P99 ÷ that beside nothing else
	Bars       []Bar   `json:"bars,omitempty"`
}

// Axis is one thing that may grow while all the rest stays.
type Axis struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is one size on an axis.
type Point struct {
	Size  string        `json:"size"`
	Lines []Line        `json:"lines"`
	Ratio []GrowthRatio `json:"ratios"` // one for each line, against the first point
}

// GrowthRatio compares a line with the same line of the axis's first point.
type GrowthRatio struct {
	CPU       float64 `json:"cpu"`
	PerSecond float64 `json:"per_second"`
	Redis     float64 `json:"redis_cpu"`
	Bars      []Bar   `json:"bars,omitempty"`
}

// Ratio compares a line of the edge with the same line of the base: each run
// with the base's run right before it.
type Ratio struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"`
	Fsync       string `json:"appendfsync"`
	CPU         Spread `json:"cpu"`
	PerSecond   Spread `json:"per_second"`
	P99         Spread `json:"p99"`
	RedisCPU    Spread `json:"redis_cpu"`
}

// Spread is a figure of several runs.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(values []float64) Spread {
	return Spread{Median: median(values), Min: slices.Min(values), Max: slices.Max(values)}
}

// quotient is 0 where there is nothing to divide by: JSON has no infinity.
func quotient(a, b float64) float64 {
	if q := a / b; !math.IsNaN(q) && !math.IsInf(q, 0) {
		return q
	}
	return 0
}

func (r *Report) write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }
