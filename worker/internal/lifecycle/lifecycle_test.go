package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quick(t *testing.T) *Group {
	g := New(zap.NewNop())
	g.pause = func(int) time.Duration { return time.Millisecond }
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestAPartThatDiesIsStartedAgain(t *testing.T) {
	for name, die := range map[string]func() error{
		"an error":          func() error { return errors.New("lost") },
		"a return":          func() error { return nil },
		"a panic":           func() error { panic("oops") },
		"a foreign context": func() error { return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			g := quick(t)
			alive := make(chan struct{})
			runs := 0
			g.Start(Part{Name: "p", Run: func(ctx context.Context) error {
				if runs++; runs < 3 {
					return die()
				}
				close(alive)
				<-ctx.Done()
				return nil
			}})
			select {
			case <-alive:
			case <-time.After(5 * time.Second):
				t.Fatal("the part did not come back")
			}
			if f := g.Failing(); len(f) != 0 {
				t.Errorf("failing = %v, want none", f)
			}
		})
	}
}

func TestAPanicIsNamedWithoutItsValue(t *testing.T) {
	for want, die := range map[string]func() error{
		"panic: string":                      func() error { panic("geheim") },
		"panic: runtime error: nil pointer":  func() error { var p *Part; return errors.New(p.Name) },
		"lifecycle.TestAPanicIsNamedWithout": func() error { panic("geheim") },
	} {
		err := run(t.Context(), Part{Run: func(context.Context) error { return die() }})
		if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(strings.Replace(err.Error(), "invalid memory address or ", "", 1), want) {
			t.Errorf("err = %v, want %s in it", err, want)
		}
	}
}

func TestADeadPartIsListedUntilItRunsAgain(t *testing.T) {
	g := quick(t)
	g.pause = func(int) time.Duration { return time.Hour }
	g.Start(Part{Name: "reader", Run: func(context.Context) error { return errors.New("lost") }})
	deadline := time.After(5 * time.Second)
	for len(g.Failing()) == 0 {
		select {
		case <-deadline:
			t.Fatal("the death is not shown")
		default:
		}
	}
	if f := g.Failing()[0]; f.Part != "reader" || f.Err == nil {
		t.Errorf("failure = %+v", f)
	}
}

func TestAFatalErrorIsHandedToTheProcess(t *testing.T) {
	g := quick(t)
	want := errors.New("another number of shards")
	g.Start(Part{Name: "p", Run: func(context.Context) error { return Fatal(want) }})
	select {
	case err := <-g.Fatal():
		if !errors.Is(err, want) {
			t.Errorf("err = %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
	}
}

func TestStopWaitsForWhatIsInHand(t *testing.T) {
	g := New(zap.NewNop())
	finish := make(chan struct{})
	started := make(chan struct{})
	g.Start(Part{Name: "p", Run: func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrStop) {
			t.Errorf("cause = %v", context.Cause(ctx))
		}
		<-finish
		return nil
	}})
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Stop(ctx); err == nil {
		t.Error("a stop that did not finish must say so")
	}
	close(finish)
	if err := g.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestPausesGrowToThirtySeconds(t *testing.T) {
	if p := pause(1); p != 250*time.Millisecond {
		t.Errorf("first pause = %s", p)
	}
	if p := pause(100); p != 30*time.Second {
		t.Errorf("last pause = %s", p)
	}
}
