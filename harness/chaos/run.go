package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options say how faults are run.
type Options struct {
	Root  string // the repository
	Bin   string // the directory of bin/worker
	Short bool
	Long  bool
	// Say receives a line about each row as it begins and ends.
	Say io.Writer
	// Verbose also writes what a worker last warned of when its row was missed.
	Verbose bool

	// Slack multiplies the bounds of recovery, for a machine that is busy with other
	// things; 0 is 1. What may be lost or doubled has none.
	Slack int

	builds *builds
}

func (o Options) allow(bound time.Duration, strict bool) time.Duration {
	if strict {
		return bound
	}
	return bound * time.Duration(max(1, o.Slack))
}

// Run injects one fault into a scene of its own and judges what became of it.
func Run(ctx context.Context, f Fault, o Options) (v Verdict) {
	redis.SetLogger(silent{})
	v = Verdict{Number: f.Number, Name: f.Name, Promise: f.Promise, Bound: f.Bound}
	if o.builds == nil {
		o.builds = &builds{root: o.Root}
		defer o.builds.close()
	}
	began := time.Now()
	defer func() { v.Took = time.Since(began) }()
	s, err := newScene(ctx, f, o, &v)
	if err != nil {
		v.Error = err.Error()
		return v
	}
	err = f.Run(ctx, s)
	if err == nil {
		err = s.Settle(ctx)
	}
	if err == nil {
		err = s.stopAll()
	}
	if err == nil {
		err = s.judge(ctx, f)
	}
	if err != nil {
		v.Error = err.Error()
		// What can be counted is counted all the same.
		v.Events = s.Producer.Events()
	}
	if !v.OK() && o.Verbose {
		for _, w := range s.workers {
			fmt.Fprintf(o.Say, "what %s warned of:\n%s", w.name, w.Warnings(20))
		}
	}
	if err := s.close(); err != nil && v.Error == "" {
		v.Error = fmt.Sprintf("ending the scene: %v", err)
	}
	return v
}

// silent takes what go-redis says of servers that are away, which is the point.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// stopAll ends the workers in an orderly way: a lease that one of them still has
// then is leaked.
func (s *Scene) stopAll() error {
	var errs []error
	for _, w := range s.workers {
		if !w.running() {
			continue
		}
		if err := w.Stop(25 * time.Second); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", w.name, err))
		}
	}
	return errors.Join(errs...)
}

// RunAll runs faults one after another.
func RunAll(ctx context.Context, faults []Fault, o Options) []Verdict {
	o.builds = &builds{root: o.Root}
	defer o.builds.close()
	var verdicts []Verdict
	for _, f := range faults {
		if o.Short && f.LongOnly != "" {
			fmt.Fprintf(o.Say, "%2d %s: left out of the short form: %s\n", f.Number, f.Name, f.LongOnly)
			continue
		}
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(o.Say, "%2d %s\n", f.Number, f.Name)
		v := Run(ctx, f, o)
		verdicts = append(verdicts, v)
		word := "ok"
		if !v.OK() {
			word = "MISSED"
		}
		fmt.Fprintf(o.Say, "   %s after %s: %d events, %d lost, %d doubled, %d duplicate POSTs, recovery %s\n",
			word, v.Took.Round(100*time.Millisecond), v.Events, v.Lost, v.Doubled, v.DuplicatePosts, duration(v.Recovery))
	}
	return verdicts
}
