package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/proxy"
)

func postgresFaults() []Fault {
	return []Fault{
		{
			Number: 5, Name: "Postgres killed mid-batch", Bound: 3 * time.Second,
			Promise: "nothing is acknowledged while it is away; commits again within 3 s of its being ready; 0/0",
			Run:     postgresKilled,
		},
		{
			Number: 6, Name: "Postgres away", Bound: 3 * time.Second,
			Promise: "the streams grow and the gauge of the backlog shows it; no goroutines pile up; then everything is read, at 8 000/s at least in the full form",
			Run:     postgresAway,
		},
		{
			Number: 7, Name: "answers to COMMIT lost", Bound: 3 * time.Second,
			Promise: "the batch is run again and changes nothing: 0 doubled, no duplicate POST; deliveries that were claimed unheard are claimed again",
			Run:     commitsCut,
		},
		{
			Number: 8, Name: "Postgres read-only, then its disk full", Bound: 4 * time.Second,
			Promise: "backs off, nothing goes to the dead stream, recovers alone within 4 s; the full disk needs root, who can mount one",
			Run:     postgresRefuses,
		},
		{
			Number: 9, Name: "deadlocks and serialization failures", Bound: 0,
			Promise: "tried again; not one entry is given up or read a second time",
			Run:     postgresCollides,
		},
	}
}

// noDead misses when an entry was given up.
func (s *Scene) noDead(ctx context.Context) error {
	n, err := s.Number(ctx, "SELECT count(*) FROM dead_entries")
	if err == nil && n > 0 {
		s.Miss("%d entries were given up", n)
	}
	return err
}

func postgresKilled(ctx context.Context, s *Scene) error {
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	for range Pick(s, 2, 5) {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		if err := s.Stack.Postgres.Kill(); err != nil {
			return err
		}
		from := s.Producer.Position()
		if err := s.outage(ctx, Pick(s, time.Second, 5*time.Second)); err != nil {
			return err
		}
		if err := s.Stack.Postgres.Restart(ctx); err != nil {
			return err
		}
		if err := s.resumed(ctx, from); err != nil {
			return err
		}
		s.MaxExpired += inFlight
	}
	return s.noDead(ctx)
}

// outage lets time pass while Postgres is away, in which nothing may leave the
// streams.
func (s *Scene) outage(ctx context.Context, d time.Duration) error {
	// What was committed when it went is acknowledged still.
	before := int64(-1)
	if _, err := until(ctx, 10*time.Second, "nothing leaves the streams any more", func(ctx context.Context) error {
		last := before
		var err error
		if before, err = s.removed(ctx); err == nil && before != last {
			err = errors.Join(fmt.Errorf("%d have left", before), pause(ctx, 100*time.Millisecond))
		}
		return err
	}); err != nil {
		return err
	}
	if err := pause(ctx, d); err != nil {
		return err
	}
	after, err := s.removed(ctx)
	if err == nil && after != before {
		s.Miss("%d entries left the streams while Postgres was away: they were acknowledged", after-before)
	}
	return err
}

func postgresAway(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	before, err := w.Metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	if err := s.Stack.Postgres.Stop(); err != nil {
		return err
	}
	from := s.Producer.Position()
	s.MaxExpired = inFlight
	away := Pick(s, 18*time.Second, 2*time.Minute)
	if s.Long {
		away = 10 * time.Minute
	}
	// The gauge is set every 15 s: in the end it shows no less than what waited
	// before the last of these.
	const gauge = 16 * time.Second
	if err := s.outage(ctx, away-gauge); err != nil {
		return err
	}
	waiting, _, err := s.backlog(ctx)
	if err != nil {
		return err
	}
	if err := s.outage(ctx, gauge); err != nil {
		return err
	}
	shown, err := w.Metric(ctx, "stream_lag_entries")
	if err != nil {
		return err
	}
	if shown < float64(waiting) || waiting == 0 {
		s.Miss("%d entries waited %s ago, stream_lag_entries shows %g", waiting, gauge, shown)
	}
	during, err := w.Metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	if during > before+50 {
		s.Miss("the worker had %g goroutines before and %g while Postgres was away", before, during)
	}
	memory, err := w.Metric(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	s.Producer.Pause()
	if waiting, _, err = s.backlog(ctx); err != nil {
		return err
	}
	if err := s.Stack.Postgres.Restart(ctx); err != nil {
		return err
	}
	back := time.Now()
	if err := s.resumed(ctx, from); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, s.Patience); err != nil {
		return err
	}
	speed := float64(waiting) / time.Since(back).Seconds()
	s.Note("away for %s: %d entries waited, read at %.0f/s; goroutines %g before, %g during; %.0f MB resident", away, waiting, speed, before, during, memory/1e6)
	if !s.Short && speed < 8000 {
		s.Miss("the backlog was read at %.0f/s, at least 8000/s is promised", speed)
	}
	return s.noDead(ctx)
}

// throughProxy starts a worker whose way to Postgres leads through a proxy.
func (s *Scene) throughProxy(ctx context.Context) (*Worker, *proxy.Proxy, error) {
	p, url, err := proxy.Before(s.Site.DatabaseURL)
	if err != nil {
		return nil, nil, err
	}
	s.Defer(p.Close)
	w, err := s.StartWorker(ctx, "one", "DATABASE_URL="+url)
	return w, p, err
}

func commitsCut(ctx context.Context, s *Scene) error {
	s.Producer.unique = true
	w, p, err := s.throughProxy(ctx)
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	p.CutCommits(0.2)
	want, again := Pick(s, int64(10), 100), 0.0
	if _, err := until(ctx, 2*time.Minute, fmt.Sprintf("%d COMMITs lose their answer, those of batches among them", want), func(ctx context.Context) error {
		// Nothing is appended twice: what counts as duplicate was in a batch whose
		// COMMIT was done and had no answer. Others are of claims and attempts.
		if again, err = w.Metric(ctx, "events_duplicate_total"); err != nil {
			return err
		}
		if n := p.Commits(); n < want || again == 0 {
			return fmt.Errorf("%d have, %g entries came again", n, again)
		}
		return nil
	}); err != nil {
		return err
	}
	p.Mend()
	s.MaxExpired = int(p.Commits()) * inFlight // each may have been that of a claim
	if err := s.resumed(ctx, s.Producer.Position()); err != nil {
		return err
	}
	s.Note("%d COMMITs lost their answer; %g entries at least were committed, written again and found to be there", p.Commits(), again)
	return s.noDead(ctx)
}

func postgresRefuses(ctx context.Context, s *Scene) error {
	disk, err := s.smallDisk(ctx)
	if err != nil {
		s.Note("the full disk was not tried here: %v", err)
	}
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	if err := s.refused(ctx, w, "read-only",
		func() error { return s.setting(ctx, "default_transaction_read_only", "on") },
		func() error { return s.setting(ctx, "default_transaction_read_only", "off") }); err != nil {
		return err
	}
	if disk != nil {
		if err := s.refused(ctx, w, "disk full", disk.fill, disk.free); err != nil {
			return err
		}
	}
	return s.noDead(ctx)
}

// refused spoils Postgres so that it refuses writes, waits until the worker has
// met that, mends it, and measures how long it takes until the next commit.
func (s *Scene) refused(ctx context.Context, w *Worker, what string, spoil, mend func() error) error {
	before, err := w.Metric(ctx, "batch_write_errors_total")
	if err != nil {
		return err
	}
	if err := spoil(); err != nil {
		return err
	}
	_, err = until(ctx, time.Minute, "a batch is refused ("+what+")", func(ctx context.Context) error {
		n, err := w.Metric(ctx, "batch_write_errors_total")
		if err == nil && n < before+2 {
			err = fmt.Errorf("%g were", n-before)
		}
		return err
	})
	from := s.Producer.Position()
	if err == nil {
		err = s.outage(ctx, Pick(s, time.Second, 10*time.Second))
	}
	if err = errors.Join(err, mend()); err != nil {
		return err
	}
	took, err := s.Beyond(ctx, time.Minute, from)
	if err != nil {
		return err
	}
	s.within(what+": commits again", took, 4*time.Second)
	return nil
}

// setting changes a setting of the whole server, for sessions that are open too.
func (s *Scene) setting(ctx context.Context, name, value string) error {
	conn, err := s.Session(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"SET default_transaction_read_only = off",
		"ALTER SYSTEM SET " + pgx.Identifier{name}.Sanitize() + " = '" + value + "'",
		"SELECT pg_reload_conf()",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func postgresCollides(ctx context.Context, s *Scene) error {
	// Of two in a deadlock the one that waits for longer than its
	// deadlock_timeout looks for it and gives way: that must be the worker.
	conn, err := s.Session(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{
		"ALTER DATABASE " + pgx.Identifier{conn.Config().Database}.Sanitize() + " SET deadlock_timeout = '300ms'",
		"SET deadlock_timeout = '60s'",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	for _, name := range []string{"one", "two"} {
		if _, err := s.StartWorker(ctx, name); err != nil {
			return err
		}
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	for range Pick(s, 3, 20) {
		if err := s.deadlock(ctx, conn); err != nil {
			return err
		}
	}
	deadlocks, err := s.Number(ctx, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
	if err != nil {
		return err
	}
	rollbacks, err := s.Number(ctx, "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
	if err != nil {
		return err
	}
	// Every transaction serializable: those that meet each other fail with 40001.
	if err := s.setting(ctx, "default_transaction_isolation", "serializable"); err != nil {
		return err
	}
	if err := pause(ctx, Pick(s, 2*time.Second, 30*time.Second)); err != nil {
		return err
	}
	if err := s.setting(ctx, "default_transaction_isolation", "read committed"); err != nil {
		return err
	}
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	after, err := s.Number(ctx, "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
	if err != nil {
		return err
	}
	s.Note("%d deadlocks that a worker lost; %d transactions rolled back while all were serializable", deadlocks, after-rollbacks)
	if deadlocks == 0 {
		s.Miss("no deadlock came about: this row shows nothing")
	}
	if after == rollbacks {
		s.Miss("no transaction failed while all were serializable: this row shows nothing")
	}
	return s.noDead(ctx)
}

// deadlock takes a row that every batch needs at its end, waits until a batch
// waits for it, and then asks for what that batch has since its beginning.
func (s *Scene) deadlock(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, "SELECT FROM stream_sources FOR UPDATE"); err != nil {
		return err
	}
	if err := s.waitsFor(ctx, conn, "a batch waits"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "LOCK TABLE event_keys IN SHARE MODE")
	return err
}
