package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// inFlight is how many deliveries to one endpoint may be under way at once, by
// callback_endpoints.max_in_flight's default: as many callbacks may come again for
// each killed worker.
const inFlight = 32

func killFaults() []Fault {
	return []Fault{
		{
			Number: 1, Name: "kill -9 between read and COMMIT", Failpoints: true, Bound: 75 * time.Second,
			Promise: "0 lost, 0 doubled; read up within 1 s once it serves again, or by a peer within 75 s (full form)",
			Run:     killBeforeCommit,
		},
		{
			Number: 2, Name: "kill -9 between COMMIT and XACK", Failpoints: true, Bound: 3 * time.Second,
			Promise: "0 doubled; every entry that was committed counts as a duplicate when it comes again; read up within 3 s once it serves again",
			Run:     killAfterCommit,
		},
		{
			Number: 3, Name: "kill -9 at random, two workers", Bound: 0,
			Promise: "0 lost, 0 doubled, all invariants; at most 32 duplicate POSTs a kill",
			Run:     killAtRandom,
		},
		{
			Number: 4, Name: "kill -9 after the receiver's 200", Bound: 95 * time.Second,
			Promise: "exactly one duplicate POST for each delivery in flight, under its own webhook-id; sent again within 10 s by a worker of the same name, within 95 s by another (full form)",
			Run:     killAfterAnswer,
		},
	}
}

// stopAt launches a worker that stops at a failpoint, gives it something to do
// and returns once it stands there.
func (s *Scene) stopAt(ctx context.Context, w *Worker, point string) error {
	before, err := w.Lines("failpoint " + point)
	if err != nil {
		before = 0 // it has no log yet
	}
	if err := w.Launch("WORKER_FAILPOINT=" + point); err != nil {
		return err
	}
	if err := s.Producer.Add(ctx, Pick(s, 300, 3000)); err != nil {
		return err
	}
	_, err = until(ctx, 30*time.Second, "the worker stops at "+point, func(context.Context) error {
		if n, err := w.Lines("failpoint " + point); err != nil || n <= before {
			return errors.Join(errors.New("it has not said so yet"), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, pending, err := s.backlog(ctx)
	if err == nil && pending == 0 {
		err = fmt.Errorf("nothing is pending at %s: a kill would show nothing", point)
	}
	return err
}

// readUpAfter starts a worker and holds how long it takes until everything is
// read against a bound.
func (s *Scene) readUpAfter(ctx context.Context, w *Worker, bound time.Duration) error {
	const serving = `"msg":"worker is serving"`
	before, err := w.Lines(serving)
	if err != nil {
		return err
	}
	if err := w.Launch(); err != nil {
		return err
	}
	if _, err := until(ctx, time.Minute, "the worker serves again", func(context.Context) error {
		n, err := w.Lines(serving)
		if err == nil && n == before {
			err = errors.New("it does not say so")
		}
		return err
	}); err != nil {
		return err
	}
	took, err := s.ReadUp(ctx, time.Minute)
	if err != nil {
		return err
	}
	s.within("read up after the restart", took, bound)
	return w.Ready(ctx, 30*time.Second)
}

// within holds a recovery against a bound of its own.
func (s *Scene) within(what string, took, bound time.Duration) {
	s.Recovered(took)
	s.Note("%s: %s (bound %s)", what, duration(took), duration(bound))
	if took > s.options.allow(bound, false) {
		s.Miss("I7: %s took %s, the bound is %s", what, duration(took), duration(bound))
	}
}

func killBeforeCommit(ctx context.Context, s *Scene) error {
	w, err := s.Worker("one")
	if err != nil {
		return err
	}
	for _, point := range []string{"after_read", "before_commit"} {
		if err := s.stopAt(ctx, w, point); err != nil {
			return err
		}
		if err := w.Kill(); err != nil {
			return err
		}
		if err := s.readUpAfter(ctx, w, time.Second); err != nil {
			return err
		}
		if err := w.Stop(25 * time.Second); err != nil {
			return err
		}
	}
	s.Repeats(2 * inFlight)
	if s.Short {
		return w.Start(ctx)
	}
	s.Repeats(3 * inFlight)
	// What the first left pending is the second's after a minute.
	peer, err := s.Worker("two")
	if err != nil {
		return err
	}
	if err := s.stopAt(ctx, w, "after_read"); err != nil {
		return err
	}
	if err := w.Kill(); err != nil {
		return err
	}
	killed := time.Now()
	if err := peer.Start(ctx); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, 2*time.Minute); err != nil {
		return err
	}
	s.within("read up by a peer", time.Since(killed), 75*time.Second)
	return nil
}

func killAfterCommit(ctx context.Context, s *Scene) error {
	s.Producer.unique = true
	w, err := s.Worker("one")
	if err != nil {
		return err
	}
	kills := Pick(s, 1, 5)
	s.Repeats(kills * inFlight)
	for range kills {
		before, err := s.arrived(ctx)
		if err != nil {
			before = 0 // there are no tables yet
		}
		if err := s.stopAt(ctx, w, "after_commit"); err != nil {
			return err
		}
		if err := w.Kill(); err != nil {
			return err
		}
		if err := s.sessionsGone(ctx); err != nil {
			return err
		}
		after, err := s.arrived(ctx)
		if err != nil {
			return err
		}
		if err := s.readUpAfter(ctx, w, 3*time.Second); err != nil {
			return err
		}
		again := 0.0
		for _, kind := range []string{"step", "stateless_step", "client_error", "webhook"} {
			n, err := w.Metric(ctx, "events_duplicate_total", `kind="`+kind+`"`)
			if err != nil {
				return err
			}
			again += n
		}
		if committed := float64(after - before); again != committed {
			s.Miss("%g entries were committed and not acknowledged; events_duplicate_total says %g", committed, again)
		} else {
			s.Note("%g entries were committed and not acknowledged; all came again and changed nothing", committed)
		}
		if err := w.Stop(25 * time.Second); err != nil {
			return err
		}
	}
	return w.Start(ctx)
}

// sessionsGone returns when no worker has a session: a COMMIT of one that was
// killed may be under way still.
func (s *Scene) sessionsGone(ctx context.Context) error {
	return s.none(ctx, "the sessions of the killed worker end",
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'whatsapp-flows-worker%'")
}

func killAtRandom(ctx context.Context, s *Scene) error {
	var workers []*Worker
	for _, name := range []string{"one", "two"} {
		w, err := s.StartWorker(ctx, name)
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	began := time.Now()
	kills, most := Pick(s, 5, 100), Pick(s, 800*time.Millisecond, 11*time.Second)
	for range kills {
		// Long enough to be in the middle of something, never the same.
		if err := pause(ctx, 100*time.Millisecond+rand.N(most)); err != nil {
			return err
		}
		w := workers[rand.IntN(len(workers))]
		if err := w.Kill(); err != nil {
			return err
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	s.Repeats(kills * inFlight)
	rate, _ := s.Producer.Pace()
	s.Note("%d kills in %s at %.0f events/s (measured)", kills, time.Since(began).Round(time.Second), rate)
	return nil
}

func killAfterAnswer(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	expected, kills := 0, Pick(s, 1, 3)
	for range kills {
		n, err := s.killAfter(ctx, w, 20, w, 10*time.Second)
		if err != nil {
			return err
		}
		expected += n
	}
	if !s.Short {
		// Whoever bears another name waits until the leases run out.
		kills++
		peer, err := s.Worker("two")
		if err != nil {
			return err
		}
		n, err := s.killAfter(ctx, w, 20, peer, 95*time.Second)
		if err != nil {
			return err
		}
		expected += n
	}
	s.MaxDuplicatePosts, s.MaxExpired = expected, kills*inFlight
	repeated := 0
	for _, n := range s.Receiver.Accepted() {
		repeated += n - 1
	}
	if repeated != expected {
		s.Miss("%d deliveries were answered and not completed, %d came again", expected, repeated)
	}
	return nil
}

// killAfter kills the worker upon the receiver's nth 200, starts the next
// one, which may be itself, and returns how many deliveries had been answered and not completed, once
// they all are.
func (s *Scene) killAfter(ctx context.Context, w *Worker, nth int, next *Worker, bound time.Duration) (inDoubt int, err error) {
	var once sync.Once
	began := s.Receiver.Total()
	s.Receiver.After(func(_ string, total int) {
		if total >= began+nth {
			// To the process at once, before it can complete what it sent.
			once.Do(func() { _ = w.Process.Signal(syscall.SIGKILL) })
		}
	})
	defer s.Receiver.After(func(string, int) {})
	if err := s.Producer.Add(ctx, 1000); err != nil {
		return 0, err
	}
	select {
	case <-w.Process.Done():
	case <-time.After(30 * time.Second):
		return 0, fmt.Errorf("the receiver had %d callbacks, not %d more than %d", s.Receiver.Total(), nth, began)
	}
	killed := time.Now()
	// Requests that were on their way when the worker died are counted in.
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return 0, err
	}
	accepted := s.Receiver.Accepted()
	all, err := s.deliveries(ctx)
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if d.state == "leased" && accepted[d.webhook] > 0 {
			inDoubt++
		}
	}
	if inDoubt == 0 {
		return 0, errors.New("no delivery was answered and not completed: the kill came too late to show anything")
	}
	if err := next.Start(ctx); err != nil {
		return 0, err
	}
	if _, err := until(ctx, 3*time.Minute, "what was in flight is delivered", func(ctx context.Context) error {
		n, err := s.Number(ctx, "SELECT count(*) FROM deliveries WHERE state IN ('due', 'leased')")
		if err == nil && n > 0 {
			err = fmt.Errorf("%d deliveries are open", n)
		}
		return err
	}); err != nil {
		return 0, err
	}
	s.within(fmt.Sprintf("%d deliveries in flight were completed", inDoubt), time.Since(killed), bound)
	return inDoubt, nil
}
