package load

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	fine    = 128          // microseconds that have a bucket each
	buckets = fine + 64*24 // up to half an hour
)

// Histogram counts durations in buckets that are at most 1/64 wide. It is safe
// for concurrent use.
type Histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
	sum    atomic.Int64 // nanoseconds: room for centuries
	count  atomic.Int64
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.sum.Add(int64(d))
	h.count.Add(1)
	for {
		old := h.max.Load()
		if int64(d) <= old || h.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func bucket(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < fine {
		return int(us)
	}
	shift := bits.Len64(us) - 7
	return min(buckets-1, fine+(shift-1)*64+int(us>>shift)-64)
}

// lowest is the least duration of a bucket.
func lowest(i int) time.Duration {
	if i < fine {
		return time.Duration(i) * time.Microsecond
	}
	shift := (i-fine)/64 + 1
	return time.Duration((i-fine)%64+64) << shift * time.Microsecond
}

// Quantile is the duration that the part q of all stays below, as far as the
// buckets tell; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total))
	var seen uint64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen > rank {
			return min(lowest(i+1), h.Max())
		}
	}
	return h.Max()
}

// Mean is the sum of all durations by their number; 0 without any.
func (h *Histogram) Mean() time.Duration {
	n := h.count.Load()
	if n == 0 {
		return 0
	}
	return time.Duration(h.sum.Load() / n)
}

// Quantiles are what a histogram says of all its durations.
type Quantiles struct {
	P50, P95, P99, Max, Mean time.Duration
}

// Quantiles reads them off.
func (h *Histogram) Quantiles() Quantiles {
	return Quantiles{P50: h.Quantile(0.50), P95: h.Quantile(0.95), P99: h.Quantile(0.99), Max: h.Max(), Mean: h.Mean()}
}

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }
