package load

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Open is OpenAt with arrivals by Poisson: perSecond on average, the same ones
// every time.
func Open(ctx context.Context, address string, calls []Call, perSecond float64, connections int) (Result, error) {
	if !(perSecond > 0) {
		return Result{}, fmt.Errorf("%g calls per second, expected more than none", perSecond)
	}
	return OpenAt(ctx, address, calls, Poisson(len(calls), perSecond, 1), connections)
}

// OpenAt sends each call when it is due, arrivals[i] after the start, in rising
// order, whatever became of those before: so do independent users. A connection
// carries one call at a time; a call that is due while all are taken waits for
// one, and its waiting counts in its time (otherwise a server that stalls would
// stop the clock of those it keeps out, "coordinated omission"). How many
// requests the server can have at once is the number of connections.
//
// Answers are judged after the run, from copies of their bodies, so that judging
// takes nothing from the sending. For the error see Closed.
func OpenAt(ctx context.Context, address string, calls []Call, arrivals []time.Duration, connections int) (Result, error) {
	if len(arrivals) != len(calls) || !slices.IsSorted(arrivals) {
		return Result{}, fmt.Errorf("%d arrivals for %d calls, expected as many, in rising order", len(arrivals), len(calls))
	}
	all, err := connect(ctx, address, calls, connections)
	if err != nil {
		return Result{}, err
	}
	defer disconnect(all)
	alarm, err := newAlarm(ctx)
	if err != nil {
		return Result{}, err
	}
	defer alarm.close()

	answers, bodies := make([]Answer, len(calls)), make([][]byte, len(calls))
	var free pool
	var wg sync.WaitGroup
	start := time.Now()
	for _, c := range all {
		work := &worker{due: make(chan int, 1)}
		free.idle = append(free.idle, work)
		wg.Go(func() {
			for i := range work.due {
				for ; i >= 0; i = free.next(work) {
					if ctx.Err() != nil {
						answers[i] = Answer{Err: errNotSent}
						continue
					}
					status, body, err := c.exchange(ctx, calls[i].Request)
					answers[i] = Answer{Status: status, Took: time.Since(start) - arrivals[i], Err: err}
					bodies[i] = bytes.Clone(body)
				}
			}
		})
	}
	for i, arrival := range arrivals {
		alarm.sleep(time.Until(start.Add(arrival)))
		free.add(i)
	}
	free.end()
	wg.Wait()
	took := time.Since(start)
	for i, call := range calls {
		if answers[i].Err == nil {
			answers[i].Err = call.Judge(answers[i].Status, bodies[i])
		}
	}
	return Result{Took: took, Answers: answers}, context.Cause(ctx)
}

// pool gives each call to the connection that was used last, as the pools of HTTP
// clients do (net/http's Transport among them): as many connections are in use as
// the server needs to be, not all in turn. Its calls wait in line when none is free.
type pool struct {
	mu      sync.Mutex
	idle    []*worker
	waiting []int
	ended   bool
}

// worker is who uses one connection.
type worker struct{ due chan int }

// add takes a call that is due. It never waits for the server.
func (p *pool) add(call int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.idle) - 1; last >= 0 {
		p.idle[last].due <- call
		p.idle = p.idle[:last]
	} else {
		p.waiting = append(p.waiting, call)
	}
}

// next is the call that has waited longest, or -1; then w is idle.
func (p *pool) next(w *worker) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		call := p.waiting[0]
		p.waiting = p.waiting[1:]
		return call
	}
	if p.idle = append(p.idle, w); p.ended {
		close(w.due)
	}
	return -1
}

// end lets the workers end when no call waits any more.
func (p *pool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, w := range p.idle {
		close(w.due)
	}
}

// Even are n arrivals at equal distances, perSecond of them in a second.
func Even(n int, perSecond float64) []time.Duration {
	arrivals := make([]time.Duration, n)
	for i := range arrivals {
		arrivals[i] = time.Duration(float64(i) / perSecond * float64(time.Second))
	}
	return arrivals
}

// Poisson are n arrivals of a Poisson process with perSecond on average: the
// distances are exponential, as between users who know nothing of each other.
// The same seed gives the same arrivals.
func Poisson(n int, perSecond float64, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	arrivals := make([]time.Duration, n)
	at := 0.0 // seconds
	for i := range arrivals {
		at += random.ExpFloat64() / perSecond
		arrivals[i] = time.Duration(at * float64(time.Second))
	}
	return arrivals
}
