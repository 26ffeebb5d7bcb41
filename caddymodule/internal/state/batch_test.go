package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// gate is a batcher whose batches are under way until the test lets them end.
type gate struct {
	batcher
	sent chan []*command
	end  chan struct{}
}

func newGate(underWay int) *gate {
	g := &gate{sent: make(chan []*command), end: make(chan struct{})}
	g.batcher = batcher{underWay: underWay, send: func(_ context.Context, batch []*command) {
		g.sent <- slices.Clone(batch)
		<-g.end
		for _, c := range batch {
			c.err = nil
		}
	}}
	return g
}

// enter starts a caller and returns once its command waits or is under way.
func (g *gate) enter(t *testing.T, callers *sync.WaitGroup, c *command) {
	t.Helper()
	if c.ctx == nil {
		c.ctx = t.Context()
	}
	g.mu.Lock()
	before := len(g.waiting)
	g.mu.Unlock()
	callers.Go(func() { g.do(c) })
	for deadline := time.Now().Add(5 * time.Second); ; {
		g.mu.Lock()
		waits := len(g.waiting) > before
		g.mu.Unlock()
		if waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the command does not wait for the batch under way")
		}
	}
}

func TestLoneCommandIsSentAtOnceByItsOwnCaller(t *testing.T) {
	var sizes []int // no lock: there is no other goroutine
	b := batcher{underWay: 1, send: func(_ context.Context, batch []*command) { sizes = append(sizes, len(batch)) }}
	for range 100 {
		b.do(&command{ctx: t.Context()})
	}
	if len(sizes) != 100 || slices.Max(sizes) != 1 {
		t.Fatalf("batches of %v, expected one hundred of one command", sizes)
	}
}

func TestCommandsThatComeMeanwhileGoTogether(t *testing.T) {
	const commands = batchCommands
	for name, c := range map[string]struct {
		sizes []int // bytes of the commands that wait
		want  []int // commands of the batches that follow
	}{
		"all":                         {[]int{1, 1, 1}, []int{3}},
		"up to the bound of commands": {make([]int, 2*commands+1), []int{commands, commands, 1}},
		"up to the bound of bytes":    {[]int{batchBytes - 1, 1, 1}, []int{2, 1}},
		"a larger one alone":          {[]int{2 * batchBytes, 1}, []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(1)
			var callers sync.WaitGroup
			callers.Go(func() { g.do(&command{ctx: t.Context()}) })
			<-g.sent
			var waiting []*command
			for _, size := range c.sizes {
				waiting = append(waiting, &command{size: size})
				g.enter(t, &callers, waiting[len(waiting)-1])
			}
			g.end <- struct{}{}
			for i, want := range c.want {
				batch := <-g.sent
				if len(batch) != want || !slices.Equal(batch, waiting[:want]) {
					t.Errorf("batch %d has %d commands, expected the next %d in the order they came", i, len(batch), want)
				}
				waiting = waiting[len(batch):]
				g.end <- struct{}{}
			}
			callers.Wait()
			if g.running != 0 || len(g.waiting) != 0 {
				t.Errorf("%d batches and %d commands are left", g.running, len(g.waiting))
			}
		})
	}
}

func TestWaitingCommandIsNotSentOnceItsContextEnds(t *testing.T) {
	g := newGate(1)
	var callers, leaver sync.WaitGroup
	callers.Go(func() { g.do(&command{ctx: t.Context()}) })
	<-g.sent
	ctx, cancel := context.WithCancel(t.Context())
	gone, stays := &command{ctx: ctx}, &command{}
	g.enter(t, &leaver, gone)
	g.enter(t, &callers, stays)
	cancel()
	leaver.Wait() // while the first batch is still under way
	if !errors.Is(gone.err, context.Canceled) || !certainlyNotWritten(gone.err) {
		t.Errorf("the command ends with %v, expected the end of its context, not written", gone.err)
	}
	g.end <- struct{}{}
	if batch := <-g.sent; !slices.Equal(batch, []*command{stays}) {
		t.Errorf("%d commands are sent, expected the other alone", len(batch))
	}
	g.end <- struct{}{}
	callers.Wait()

	g.do(gone)
	if !certainlyNotWritten(gone.err) {
		t.Errorf("a command whose context is over ends with %v, expected not to be sent", gone.err)
	}
}

func TestCommandUnderWayIsWaitedForBeyondItsContext(t *testing.T) {
	g := newGate(1)
	var callers, one sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	callers.Go(func() { g.do(&command{ctx: t.Context()}) })
	<-g.sent
	late := &command{ctx: ctx}
	g.enter(t, &one, late)
	g.end <- struct{}{}
	<-g.sent
	cancel()
	returned := make(chan struct{})
	go func() { one.Wait(); close(returned) }()
	select {
	case <-returned:
		t.Error("the caller is back before its command is resolved")
	case g.end <- struct{}{}:
	}
	<-returned
	callers.Wait()
	if late.err != nil {
		t.Errorf("the command ends with %v, expected its answer", late.err)
	}
}

func TestBatchLastsAsLongAsTheLastOfItsContexts(t *testing.T) {
	at := time.Now()
	in := func(d time.Duration) *command {
		ctx, cancel := context.WithDeadline(t.Context(), at.Add(d))
		t.Cleanup(cancel)
		return &command{ctx: ctx}
	}
	if got, ok := latest([]*command{in(time.Hour), in(2 * time.Hour), in(time.Minute)}).Deadline(); !ok || !got.Equal(at.Add(2*time.Hour)) {
		t.Errorf("the batch ends at %v, expected in two hours", got)
	}
	if got, ok := latest([]*command{in(time.Hour), {ctx: t.Context()}}).Deadline(); ok {
		t.Errorf("the batch ends at %v, expected no deadline: one of its commands has none", got)
	}
}

func TestNobodyWaitsForeverWhenSendingPanics(t *testing.T) {
	g := newGate(1)
	calm := g.send
	g.send = func(ctx context.Context, batch []*command) {
		calm(ctx, batch)
		if len(batch) > 1 {
			for _, c := range batch {
				c.err = errNoAnswer
			}
			panic("a bug")
		}
	}
	var callers sync.WaitGroup
	callers.Go(func() { g.do(&command{ctx: t.Context()}) })
	<-g.sent
	panics := make(chan any, 2)
	var two [2]command
	for i := range two {
		two[i].ctx = t.Context()
		before := i
		callers.Go(func() {
			defer func() { panics <- recover() }()
			g.do(&two[before])
		})
		for waits := 0; waits <= i; {
			g.mu.Lock()
			waits = len(g.waiting)
			g.mu.Unlock()
		}
	}
	g.end <- struct{}{}
	<-g.sent
	g.end <- struct{}{}
	callers.Wait()
	if got := fmt.Sprintln(<-panics, <-panics); got != "a bug <nil>\n" && got != "<nil> a bug\n" {
		t.Errorf("the callers end with %s, expected one panic", got)
	}
	if !errors.Is(two[0].err, errNoAnswer) || certainlyNotWritten(two[1].err) {
		t.Errorf("the commands end with %v and %v, expected that nobody knows", two[0].err, two[1].err)
	}
	if g.running != 0 {
		t.Errorf("%d batches are under way", g.running)
	}
}
