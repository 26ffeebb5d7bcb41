package e2e

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// histogram is one of Prometheus: how many observations lie at or below each
// bound, and their sum in seconds.
type histogram struct {
	bounds []float64 // seconds, rising, the last +Inf
	below  []float64
	sum    float64
}

func (h histogram) count() float64 { return h.below[len(h.below)-1] }

var sample = regexp.MustCompile(`(?m)^(\w+?)_(bucket|sum)\{(.*)\} (\S+)$`)
var boundOf = regexp.MustCompile(`le="([^"]+)"`)

// readHistogram adds up the series of a histogram in what /metrics shows.
func readHistogram(metrics, name string) (histogram, error) {
	below := map[float64]float64{}
	var h histogram
	for _, m := range sample.FindAllStringSubmatch(metrics, -1) {
		if m[1] != name {
			continue
		}
		value, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			return h, err
		}
		if m[2] == "sum" {
			h.sum += value
			continue
		}
		le := boundOf.FindStringSubmatch(m[3])
		if le == nil {
			return h, fmt.Errorf("a bucket of %s has no le: %s", name, m[0])
		}
		bound, err := strconv.ParseFloat(le[1], 64) // reads +Inf too
		if err != nil {
			return h, err
		}
		below[bound] += value
	}
	for bound := range below {
		h.bounds = append(h.bounds, bound)
	}
	slices.Sort(h.bounds)
	for _, bound := range h.bounds {
		h.below = append(h.below, below[bound])
	}
	if len(h.bounds) == 0 || !math.IsInf(h.bounds[len(h.bounds)-1], 1) {
		return h, fmt.Errorf("the metrics show no histogram %s", name)
	}
	return h, nil
}

// minus is what was observed since an earlier reading.
func (h histogram) minus(earlier histogram) histogram {
	d := histogram{bounds: h.bounds, sum: h.sum - earlier.sum, below: slices.Clone(h.below)}
	for i, bound := range h.bounds {
		if at := slices.Index(earlier.bounds, bound); at >= 0 {
			d.below[i] -= earlier.below[at]
		}
	}
	return d
}

// measured is what a load says of the time from sending a request to the last
// byte of its answer, in milliseconds.
type measured struct {
	Requests     int
	Milliseconds struct{ P50, P95, P99, Mean float64 }
}

// The load gives quantiles by buckets of 1/64, and cuts microseconds off.
const (
	loadsBucket    = 1.0 / 64
	loadsPrecision = 2e-6 // seconds
)

// disagree says in what a load and the server's own histogram of the same requests
// cannot both be right. What the load measures of a request is what the server
// measures of it and something more: the connection, the kernel, the wait of both
// processes for a processor. So
//
//   - both have counted as many requests;
//   - a quantile of the load is not below the bucket that holds the server's;
//   - it is above that bucket only as far as the something more of all requests
//     together, which is the difference of both sums, can have moved it: of n
//     requests at most more/d have d or more of it.
//
// No bound of time is in this: it holds of any machine, however busy.
func disagree(l measured, h histogram) error {
	n := float64(l.Requests)
	if n != h.count() {
		return fmt.Errorf("the load has sent %.0f requests, the server has answered %.0f", n, h.count())
	}
	more := l.Milliseconds.Mean/1000*n + n*loadsPrecision - h.sum
	if more < 0 {
		return fmt.Errorf("all requests together took %.3f s by the load, %.3f s by the server, which is only a part of it", l.Milliseconds.Mean/1000*n, h.sum)
	}
	var errs []error
	for _, q := range []struct {
		name  string
		q     float64
		value float64
	}{{"p50", 0.50, l.Milliseconds.P50 / 1000}, {"p95", 0.95, l.Milliseconds.P95 / 1000}, {"p99", 0.99, l.Milliseconds.P99 / 1000}} {
		rank := math.Floor(q.q * n) // as many requests are faster
		least, most := 0.0, math.Inf(1)
		for i, bound := range h.bounds {
			if h.below[i] <= rank {
				least = bound
			} else {
				most = min(most, bound+more/(h.below[i]-rank))
			}
		}
		if q.value+loadsPrecision < least {
			errs = append(errs, fmt.Errorf("the load's %s is %.6f s, the server's is above %.6f s", q.name, q.value, least))
		}
		if q.value > most*(1+loadsBucket)+loadsPrecision {
			errs = append(errs, fmt.Errorf("the load's %s is %.6f s, by the server's histogram it is at most %.6f s", q.name, q.value, most))
		}
	}
	return errors.Join(errs...)
}

// A judge that finds no fault with anything proves nothing.
func TestTheJudgeOfALoadsFigures(t *testing.T) {
	const metrics = `# TYPE seconds histogram
seconds_bucket{action="INIT",le="0.001"} 0
seconds_bucket{action="INIT",le="0.005"} 80
seconds_bucket{action="INIT",le="0.05"} 97
seconds_bucket{action="INIT",le="+Inf"} 100
seconds_sum{action="INIT"} 0.9
seconds_count{action="INIT"} 100
seconds_bucket{action="BACK",le="0.001"} 0
seconds_bucket{action="BACK",le="0.005"} 100
seconds_bucket{action="BACK",le="0.05"} 100
seconds_bucket{action="BACK",le="+Inf"} 100
seconds_sum{action="BACK"} 0.1
seconds_count{action="BACK"} 100
other_seconds_bucket{le="+Inf"} 7
`
	h, err := readHistogram(metrics, "seconds")
	if err != nil || h.count() != 200 || h.sum != 1 {
		t.Fatalf("read %+v (%v)", h, err)
	}
	if d := h.minus(h); d.count() != 0 || d.sum != 0 {
		t.Errorf("nothing was observed in between, and it says %+v", d)
	}
	if _, err := readHistogram(metrics, "third_seconds"); err == nil {
		t.Error("a histogram that is not there was read")
	}
	for _, c := range []struct {
		name                string
		requests            int
		p50, p95, p99, mean float64
		says                string
	}{
		{"as they should be", 200, 3, 40, 80, 6, ""},
		{"a request too many", 201, 3, 40, 80, 6, "has sent 201 requests, the server has answered 200"},
		{"less than the server alone", 200, 3, 40, 80, 4, "which is only a part of it"},
		{"seconds for milliseconds", 200, 0.003, 0.04, 0.08, 6, "the load's p50 is 0.000003 s, the server's is above 0.001000 s"},
		{"a p95 of the bucket below", 200, 3, 4, 80, 6, "the load's p95 is 0.004000 s, the server's is above 0.005000 s"},
		{"a p99 of the bucket below", 200, 3, 40, 45, 6, "the load's p99 is 0.045000 s, the server's is above 0.050000 s"},
		{"the p95 as p50", 200, 40, 40, 80, 6, "the load's p50 is 0.040000 s, by the server's histogram it is at most"},
		{"a p95 that the wait cannot explain", 200, 3, 300, 300, 6, "the load's p95 is 0.300000 s, by the server's histogram it is at most"},
	} {
		var l measured
		l.Requests = c.requests
		l.Milliseconds.P50, l.Milliseconds.P95, l.Milliseconds.P99, l.Milliseconds.Mean = c.p50, c.p95, c.p99, c.mean
		err := disagree(l, h)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
		}
	}
}
