package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

func bothFaults() []Fault {
	return []Fault{{
		Number: 28, Name: "Postgres lost while a worker has only what was pending, then Redis too", Failpoints: true, Interrupted: true, Bound: 5 * time.Second,
		Promise: "both come back and every shard is read on, what was pending first, within 5 s (a batch pauses for 2 s at most, and a reader)",
		Run:     bothAway,
	}}
}

// bothAway takes Postgres from a worker that was killed, has started again and
// has nothing in hand but what it had left pending; and then Redis, in which it
// counts how often that was tried.
func bothAway(ctx context.Context, s *Scene) error {
	w, err := s.Worker("one")
	if err != nil {
		return err
	}
	for range Pick(s, 1, 5) {
		if err := s.stopAt(ctx, w, "after_read"); err != nil {
			return err
		}
		if err := w.Kill(); err != nil {
			return err
		}
		if err := s.withheld(ctx, w); err != nil {
			return err
		}
		before, err := w.Metric(ctx, "stream_read_errors_total")
		if err != nil {
			return err
		}
		if err := s.counted(ctx, w, "batch_write_errors_total", 0, s.Stack.Postgres.Kill); err != nil {
			return err
		}
		if err := s.counted(ctx, w, "stream_read_errors_total", before, s.Stack.Redis.Kill); err != nil {
			return err
		}
		if err := pause(ctx, Pick(s, 2*time.Second, 10*time.Second)); err != nil {
			return err
		}
		if err := errors.Join(s.Stack.Redis.Restart(ctx), s.Stack.Postgres.Restart(ctx)); err != nil {
			return err
		}
		from := s.Producer.Position()
		s.Producer.Start(s.Rate())
		if err := s.resumed(ctx, from); err != nil {
			return err
		}
		if err := pause(ctx, Pick(s, time.Second, 5*time.Second)); err != nil {
			return err
		}
		s.Producer.Pause()
		if _, err := s.ReadUp(ctx, s.Patience); err != nil {
			return err
		}
		if err := w.Stop(25 * time.Second); err != nil {
			return err
		}
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	s.Repeats(Pick(s, 1, 5) * inFlight) // of what the kill had under way
	return s.noDead(ctx)
}

// withheld starts a worker while a session has what every batch needs first, and
// returns once a batch waits for it: what is pending is in hand, and not stored.
func (s *Scene) withheld(ctx context.Context, w *Worker) error {
	conn, err := s.Session(ctx)
	if err != nil {
		return err
	}
	// Postgres is killed under it.
	s.Defer(func() error { _ = conn.Close(context.Background()); return nil })
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE event_keys IN ACCESS EXCLUSIVE MODE"); err != nil {
		return err
	}
	if err := w.Launch(); err != nil {
		return err
	}
	return s.waitsFor(ctx, conn, "a batch of what was pending waits")
}

// waitsFor returns when another session waits for what this one has. It asks by a
// third one: inside of a transaction the list of sessions stays as it was.
func (s *Scene) waitsFor(ctx context.Context, conn *pgx.Conn, what string) error {
	pid := conn.PgConn().PID()
	_, err := until(ctx, 30*time.Second, what, func(ctx context.Context) error {
		n, err := s.Number(ctx, "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))", int32(pid))
		if err == nil && n == 0 {
			err = errors.New("none does")
		}
		return err
	})
	return err
}

// counted does something and returns when a counter of the worker has grown.
func (s *Scene) counted(ctx context.Context, w *Worker, counter string, before float64, do func() error) error {
	if err := do(); err != nil {
		return err
	}
	_, err := until(ctx, 30*time.Second, counter+" grows", func(ctx context.Context) error {
		n, err := w.Metric(ctx, counter)
		if err == nil && n <= before {
			err = errors.New("it does not")
		}
		return err
	})
	return err
}
