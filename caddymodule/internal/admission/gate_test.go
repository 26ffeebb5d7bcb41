package admission

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a clock that a test moves.
type clock struct{ nanoseconds atomic.Int64 }

func (c *clock) now() time.Time              { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) advance(by time.Duration)    { c.nanoseconds.Add(int64(by)) }
func stopped(slots int) (g *Gate, c *clock)  { c = new(clock); return New(slots, c.now), c }
func enter(g *Gate, class Class) <-chan bool { return enterUntil(context.Background(), g, class) }

// enterUntil enters from another goroutine and returns when that has a slot,
// waits, or was turned away.
func enterUntil(ctx context.Context, g *Gate, class Class) <-chan bool {
	before := g.Stats()
	answer := make(chan bool, 1)
	go func() {
		_, ok := g.Enter(ctx, class, within)
		answer <- ok
	}()
	for {
		now := g.Stats()
		if now.Waiting != before.Waiting || now.Running != before.Running || now.Refused != before.Refused {
			return answer
		}
		runtime.Gosched()
	}
}

func TestNeverMoreThanItsSlotsRun(t *testing.T) {
	const slots, callers, each = 3, 32, 500
	g := New(slots, time.Now)
	var running, most, entered atomic.Int64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := range each {
				ctx, cancel := context.WithCancel(context.Background())
				if (i+n)%3 == 0 {
					cancel() // gives up as soon as it would have to wait
				}
				if _, ok := g.Enter(ctx, Class((i+n)%2), time.Hour); ok {
					now := running.Add(1)
					for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
					}
					runtime.Gosched()
					running.Add(-1)
					entered.Add(1)
					g.Leave()
				}
				cancel()
			}
		})
	}
	all.Wait()
	s := g.Stats()
	if most.Load() != slots {
		t.Errorf("at most %d ran at once, expected %d", most.Load(), slots)
	}
	if s.Running != 0 || s.Waiting != 0 {
		t.Errorf("at the end %d run and %d wait, expected none", s.Running, s.Waiting)
	}
	admitted, refused := s.Admitted[Ping]+s.Admitted[Other], s.Refused[Ping]+s.Refused[Other]
	if admitted != uint64(entered.Load()) || admitted+refused != callers*each {
		t.Errorf("%d are counted as admitted and %d as refused, expected %d and %d", admitted, refused, entered.Load(), callers*each-entered.Load())
	}
}

func TestASlotIsPassedToAPingFirst(t *testing.T) {
	g, _ := stopped(1)
	if !<-enter(g, Other) {
		t.Fatal("an idle gate turned a request away")
	}
	first := enter(g, Other)
	ping := enter(g, Ping)
	g.Leave()
	if !<-ping {
		t.Fatal("the ping was turned away")
	}
	select {
	case <-first:
		t.Fatal("the other got a slot while the ping had the only one")
	default:
	}
	g.Leave()
	if !<-first {
		t.Fatal("the other was turned away")
	}
	g.Leave()
}

func TestWhoGivesUpLeavesNothingBehind(t *testing.T) {
	g, _ := stopped(1)
	<-enter(g, Other)
	ctx, cancel := context.WithCancel(context.Background())
	first := enterUntil(ctx, g, Other)
	second := enter(g, Other)
	cancel()
	if <-first {
		t.Error("one whose time was over got a slot")
	}
	if waiting := g.Stats().Waiting; waiting != 1 {
		t.Errorf("%d wait after one of two gave up, expected 1", waiting)
	}
	g.Leave()
	if !<-second {
		t.Error("the one behind was turned away")
	}
	g.Leave()
	if s := g.Stats(); s.Running != 0 || s.Waiting != 0 {
		t.Errorf("%d run and %d wait, expected none", s.Running, s.Waiting)
	}
}

func TestAFullGateTurnsAwayAtOnceAndCountsIt(t *testing.T) {
	g, c := stopped(1)
	if g.Full(Other, within) {
		t.Error("an idle gate is full")
	}
	<-enter(g, Other)
	c.advance(within)
	if !g.Full(Other, within) {
		t.Error("a gate where nothing has ended for half a second is not full")
	}
	if _, ok := g.Enter(context.Background(), Other, within); ok {
		t.Error("a full gate let a request in")
	}
	if s := g.Stats(); s.Refused[Other] != 2 || s.Refused[Ping] != 0 || s.Waiting != 0 {
		t.Errorf("refused are %v and %d wait, expected two others and nobody", s.Refused, s.Waiting)
	}
	g.Leave()
	if _, ok := g.Enter(context.Background(), Other, within); !ok {
		t.Error("a gate that is idle again turned a request away")
	}
	g.Leave()
}

func TestWhoHasWaitedTooLongIsWokenInVain(t *testing.T) {
	g, c := stopped(1)
	<-enter(g, Other)
	late := enter(g, Other)
	c.advance(within / 4)
	inTime := enter(g, Other)
	c.advance(within - within/8)
	g.Leave()
	if <-late {
		t.Error("one who had waited longer than it may got a slot")
	}
	if !<-inTime {
		t.Error("one who had waited less than it may was turned away")
	}
	g.Leave()
	if s := g.Stats(); s.Running != 0 || s.Refused[Other] != 1 {
		t.Errorf("%d run and %d were refused, expected 0 and 1", s.Running, s.Refused[Other])
	}
}

func TestLeaveWithoutEnterIsAFaultOfTheProgram(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it passed, expected a panic: more than the slots could run from then on")
		}
	}()
	g, _ := stopped(1)
	g.Leave()
}

// BenchmarkGate is what the gate itself costs: alone, and with a line before it.
func BenchmarkGate(b *testing.B) {
	pass := func(g *Gate) {
		if _, ok := g.Enter(context.Background(), Other, time.Hour); ok {
			g.Leave()
		}
	}
	b.Run("free", func(b *testing.B) {
		g := New(2, time.Now)
		b.ReportAllocs()
		for b.Loop() {
			pass(g)
		}
	})
	b.Run("line", func(b *testing.B) {
		g := New(1, time.Now)
		b.ReportAllocs()
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range b.N / 64 {
					if _, ok := g.Enter(context.Background(), Other, time.Hour); ok {
						runtime.Gosched() // those behind come and wait
						g.Leave()
					}
				}
			})
		}
		all.Wait()
	})
	b.Run("full", func(b *testing.B) {
		g, c := stopped(1)
		g.Enter(context.Background(), Other, within)
		c.advance(within)
		b.ReportAllocs()
		for b.Loop() {
			g.Full(Other, within)
		}
	})
}
