// Package lifecycle starts, restarts and stops the long-running parts of the
// worker. A part that dies is started again, with growing pauses; until it
// runs again the worker is not ready. Nothing outlives Stop.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ErrStop is the cause of a part's context once the worker is stopping.
var ErrStop = errors.New("the worker is stopping")

// settled is how long a part must have run for its next death to count as the
// first one again.
const settled = time.Minute

// Part is one long-running piece of the worker. Run returns soon after its
// context ends, once everything in hand is finished. Returning earlier, with
// or without an error, counts as dying.
type Part struct {
	Name string
	Run  func(context.Context) error
}

// Failure is a part that is down at the moment and waits to be started again.
type Failure struct {
	Part  string
	Since time.Time
	Err   error
}

// Fatal marks an error that no restart can heal: the process has to stop.
func Fatal(err error) error { return &fatalError{err} }

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// Group runs parts. The zero value is not usable: call New.
type Group struct {
	log   *zap.Logger
	pause func(deaths int) time.Duration

	ctx    context.Context
	cancel context.CancelCauseFunc
	wait   sync.WaitGroup
	fatal  chan error

	mu      sync.Mutex
	failing map[string]Failure
}

// New returns a group without parts.
func New(log *zap.Logger) *Group {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Group{
		log: log, pause: pause, ctx: ctx, cancel: cancel,
		fatal: make(chan error, 1), failing: make(map[string]Failure),
	}
}

// pause is 250 ms after the first death, doubled by each further one, at most
// 30 s.
func pause(deaths int) time.Duration {
	return min(250*time.Millisecond<<min(deaths-1, 10), 30*time.Second)
}

// Start starts one part in the background.
func (g *Group) Start(p Part) {
	g.wait.Go(func() { g.keep(p) })
}

// Stop tells every part to stop and waits for them, at most until ctx ends. It
// may be called again.
func (g *Group) Stop(ctx context.Context) error {
	g.cancel(ErrStop)
	done := make(chan struct{})
	go func() { g.wait.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("parts of the worker did not stop in time: %w", ctx.Err())
	}
}

// Fatal delivers the error of a part that only a stop of the process answers.
func (g *Group) Fatal() <-chan error { return g.fatal }

// Stopping says whether Stop has been called.
func (g *Group) Stopping() bool { return g.ctx.Err() != nil }

// Failing lists the parts that are down.
func (g *Group) Failing() []Failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Failure
	for _, f := range g.failing {
		all = append(all, f)
	}
	return all
}

func (g *Group) keep(p Part) {
	deaths := 0
	for {
		started := time.Now()
		// A part that comes back counts as running at once: a death that
		// follows marks it down again.
		g.setFailing(p.Name, nil)
		err := run(g.ctx, p)
		if g.ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStop) {
				g.log.Error("part stopped with an error", zap.String("part", p.Name), zap.Error(err))
			}
			return
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			g.setFailing(p.Name, err)
			select {
			case g.fatal <- fatal.err:
			default:
			}
			return
		}
		if err == nil {
			err = errors.New("ended without being told to")
		}
		if time.Since(started) > settled {
			deaths = 0
		}
		deaths++
		wait := g.pause(deaths)
		g.setFailing(p.Name, err)
		g.log.Error("part died and is started again",
			zap.String("part", p.Name), zap.Error(err), zap.Duration("in", wait), zap.Int("deaths", deaths))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (g *Group) setFailing(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.failing, name)
		return
	}
	g.failing[name] = Failure{Part: name, Since: time.Now(), Err: err}
}

// run turns a panic of a part into its death, so that one part cannot take
// the others with it. The error says where it was; its value, which may hold
// anything, only if it is Go's own.
func run(ctx context.Context, p Part) (err error) {
	defer func() {
		if r := recover(); r != nil {
			what := fmt.Sprintf("%T", r)
			if fault, ok := r.(runtime.Error); ok {
				what = fault.Error()
			}
			err = fmt.Errorf("panic: %s\n%s", what, debug.Stack())
		}
	}()
	return p.Run(ctx)
}
