package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func TestOnlyPicksByName(t *testing.T) {
	for _, c := range []struct {
		name, only string
		blocks     []string
		memory, ok bool
	}{
		{"nothing said is everything", "", []string{"ping", "INIT", "data_exchange", "random-ciphertext", "no-envelope", "bad-signature", "webhook", "webhook"}, true, true},
		{"one line", "data_exchange", []string{"data_exchange"}, false, true},
		{"a line under both fsync policies, and a part", "webhook,memory", []string{"webhook", "webhook"}, true, true},
		{"a name that is none", "pings", nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			picked, err := parseSelection(c.only, tableParts())
			if (err == nil) != c.ok {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			var names []string
			for _, b := range picked.blocks() {
				names = append(names, b.name)
			}
			if !slices.Equal(names, c.blocks) || picked.has(partMemory) != c.memory {
				t.Errorf("picked %q, memory %v", names, picked.has(partMemory))
			}
		})
	}
}

func TestEachFigureOfSeveralRunsIsTakenByItself(t *testing.T) {
	middle, least, most := summarise([]Run{{CPU: 3, P99: 10}, {CPU: 1, P99: 30}, {CPU: 2, P99: 20}})
	if middle.CPU != 2 || middle.P99 != 20 || least.CPU != 1 || least.P99 != 10 || most.CPU != 3 || most.P99 != 30 {
		t.Errorf("median %+v, least %+v, most %+v", middle, least, most)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("the median of four is %g", got)
	}
}

func TestRatiosAreOfRunsSideBySide(t *testing.T) {
	// The machine is half as fast in the second run, for both.
	edge := Line{Runs: []Run{{CPU: 90, PerSecond: 1000}, {CPU: 180, PerSecond: 500}}}
	base := Line{Runs: []Run{{CPU: 100, PerSecond: 900}, {CPU: 200, PerSecond: 450}}}
	r := ratio(edge, base)
	if want := (Spread{Median: 0.9, Min: 0.9, Max: 0.9}); r.CPU != want {
		t.Errorf("CPU %v, want %v", r.CPU, want)
	}
	if r.PerSecond.Min != r.PerSecond.Max {
		t.Errorf("per second %v, want the same of both runs", r.PerSecond)
	}
	if r.P99 != (Spread{}) {
		t.Errorf("p99 %v of nothing measured, want zeros", r.P99)
	}
}

func TestBarsFollowThePrivateOperation(t *testing.T) {
	line := func(connections int, timesB, p99 float64) *Line {
		return &Line{Connections: connections, Median: Figures{TimesB: timesB, P99: p99}}
	}
	for _, c := range []struct {
		name      string
		line      *Line
		libcrypto bool
		want      string
	}{
		{"libcrypto, within both", line(4, 1.3, 6900), true, "≤ 1.35 B: met, p99 ≤ 7 ms: met"},
		{"libcrypto, over both", line(4, 1.36, 7100), true, "≤ 1.35 B: missed, p99 ≤ 7 ms: missed"},
		{"crypto/rsa, the same", line(4, 1.36, 7100), false, "≤ 2.05 B: met, p99 ≤ 12 ms: met"},
		{"other connections have no p99", line(32, 1.2, 90000), true, "≤ 1.35 B: met"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := verdicts(exchangeBars(c.line, c.libcrypto)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAnOverloadIsCounted(t *testing.T) {
	calls := []load.Call{{Class: classPing}, {Class: classExchange}, {Class: classExchange}, {Class: classExchange}, {Class: classPing}}
	wrong := errors.New("the answer opens, but is not the expected one")
	a := account{cpu: 2600 * time.Microsecond, Result: load.Result{Took: time.Second, Answers: []load.Answer{
		{Status: http.StatusOK, Took: time.Millisecond},
		{Status: http.StatusOK, Took: 2 * time.Millisecond},
		{Status: http.StatusServiceUnavailable, Err: errors.New("status 503, expected 200")},
		{Status: http.StatusOK, Err: wrong},
		{Status: http.StatusOK, Took: inTime + 1},
	}}}
	o := &Overload{Capacity: 4}
	o.count(calls, a, 800)
	if o.Answered != 2 || o.Late != 1 || o.Refused != 1 || o.Failed != 1 || o.Failure != wrong.Error() {
		t.Errorf("counted %+v", o)
	}
	if o.Pings != 2 || o.PingsOK != 1 || o.Goodput != 2 || o.Share != 0.5 || o.P99 != 2000 {
		t.Errorf("counted %+v", o)
	}
	if o.Refusal != 200 {
		t.Errorf("a refusal costs %g µs, want the 200 that three answers of 800 leave of 2600", o.Refusal)
	}
}

func TestRedisBenchmarkIsRead(t *testing.T) {
	const printed = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"XADD k * body 0123","12383.90","0.318","0.128","0.311","0.479","0.559","3.639"
`
	if got, err := parseRedisBenchmark(printed); err != nil || got != 12383.90 {
		t.Errorf("%g, %v", got, err)
	}
	for _, broken := range []string{"", "WRONGTYPE", `"test","rps"`} {
		if got, err := parseRedisBenchmark(broken); err == nil {
			t.Errorf("%q is read as %g", broken, got)
		}
	}
}

func TestCopiedFlowsDifferInTheirTitlesOnly(t *testing.T) {
	dir := t.TempDir()
	names, err := copyFlows("../../../examples", dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Fatalf("flows %q", names)
	}
	one, other := read(t, dir, names[0], "flow.json"), read(t, dir, names[1], "flow.json")
	if one == other || strings.ReplaceAll(one, names[0], names[1]) != other {
		t.Error("the flows differ in more than a title, or not at all")
	}
}

func TestTheShippedCaddyfileTakesFourKeys(t *testing.T) {
	dir := t.TempDir()
	own, err := site.WriteSecrets(filepath.Join(dir, "own"))
	if err != nil {
		t.Fatal(err)
	}
	caddyfile := filepath.Join(dir, "Caddyfile")
	keys, err := fourKeys("../../..", caddyfile, own)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 4 || !keys[3].Equal(&own.PrivateKey.PublicKey) {
		t.Errorf("%d keys, want four with the site's own last", len(keys))
	}
	if got := strings.Count(read(t, caddyfile), "private_key {file."); got != 4 {
		t.Errorf("the Caddyfile names %d keys, want 4", got)
	}
}

func TestNoSessionIsTakenTwice(t *testing.T) {
	target := &target{begun: 1000}
	seen := make(map[string]bool)
	for range 3 {
		tokens, ok := target.unused(300)
		if !ok {
			t.Fatal("there are sessions left")
		}
		for _, token := range tokens {
			if seen[token] {
				t.Fatalf("session %s comes twice", token)
			}
			seen[token] = true
		}
	}
	if _, ok := target.unused(101); ok {
		t.Error("100 sessions are left, and 101 were given")
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
