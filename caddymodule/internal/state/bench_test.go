package state

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// Each benchmark runs with one, four and 32 callers, by itself ("direct", every
// command in an exchange of its own) and coalesced with so many batches under
// way. Besides the time it reports the CPU of this process, kernel included,
// and the 50th and 99th percentile of one operation.

func BenchmarkAppend(b *testing.B) {
	// A webhook of a message is about 1 KB.
	e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Body: bytes.Repeat([]byte("a"), 1024)}
	eachWay(b, func(s bench, n int64) error {
		e := e
		e.Time = time.Now()
		return s.Append(b.Context(), int(n)%s.keys.Shards(), e)
	})
}

func BenchmarkStep(b *testing.B) {
	session := string(bytes.Repeat([]byte("s"), 1500))
	reply := string(bytes.Repeat([]byte("r"), 500))
	eachWay(b, func(s bench, n int64) error {
		name := strconv.FormatInt(n, 10)
		l := s.lookup("e"+name, "step-"+name)
		l.Session += name
		o, err := s.Open(b.Context(), l)
		if err != nil {
			return err
		}
		_, err = s.Commit(b.Context(), s.step(l, o, session, reply))
		return err
	})
}

func eachWay(b *testing.B, operation func(bench, int64) error) {
	for _, callers := range []int{1, 4, 8, 32} {
		for _, way := range []struct {
			name     string
			underWay int
		}{{"direct", 1 << 30}, {"coalesced-1", 1}, {"coalesced-2", 2}, {"coalesced-4", 4}, {"coalesced-8", 8}} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, way.name), func(b *testing.B) {
				s := setup(b, Options{})
				s.underWay = way.underWay
				if err := s.load(b.Context()); err != nil {
					b.Fatal(err)
				}
				measure(b, callers, func(n int64) error { return operation(s, n) })
			})
		}
	}
}

func measure(b *testing.B, callers int, operation func(int64) error) {
	b.ReportAllocs()
	took := make([][]time.Duration, callers)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	before := cpu(b)
	for caller := range took {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				begin := time.Now()
				if err := operation(n); err != nil {
					b.Error(err)
					return
				}
				took[caller] = append(took[caller], time.Since(begin))
			}
		})
	}
	wg.Wait()
	used := cpu(b) - before
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		return
	}
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// cpu is what this process has used so far, kernel included.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
