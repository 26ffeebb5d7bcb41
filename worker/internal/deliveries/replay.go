package deliveries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
)

const (
	// replayPortion deliveries are put back in one transaction: some tens of
	// milliseconds, so that it holds up nobody and pins no row versions.
	replayPortion = 500

	// DefaultRate is how many replays of one endpoint become due in a second.
	DefaultRate = 50

	// DefaultLimit and MostReplayed bound one replay by filter.
	DefaultLimit = 10_000
	MostReplayed = 1_000_000

	// replayLock is the first key of the advisory locks under which the replays
	// of one endpoint are spread.
	replayLock = 0x77616610
)

// Replay says what is sent again by filter, and how fast.
type Replay struct {
	Filter
	Rate   float64 // replays of one endpoint in a second; its own limit, if lower, counts
	Limit  int
	DryRun bool
	// FinishedBefore leaves out what finished at this time or later, so that what
	// one request has sent again is not picked by the next, however soon it is
	// delivered; zero: now.
	FinishedBefore time.Time
}

// Replayed is what a replay by filter did, or would do.
type Replayed struct {
	Count     int
	More      bool // there are more than the limit, or than time was for
	LastRunAt time.Time
	// FinishedBefore is that of the replay: the next one that goes on with it
	// passes it on.
	FinishedBefore time.Time
}

// Run sends finished deliveries again, the earliest first: same id, same
// webhook-id, same body. They become due one after the other, behind replays
// asked for before, and go after what is live.
//
// It works in portions, each a transaction. What it has put back is no longer
// finished, or finished later, so that running it again with its FinishedBefore,
// after a crash too, goes on instead of sending twice. It stops in time when ctx
// has a deadline.
func (r Replay) Run(ctx context.Context, pool *pgxpool.Pool, s Scope) (done Replayed, err error) {
	t, err := r.resolve(ctx, pool)
	if err != nil {
		return done, fmt.Errorf("replaying deliveries: %w", err)
	}
	if r.FinishedBefore.IsZero() {
		// As exactly as it is told to clients, and with it what finished just now.
		if err := pool.QueryRow(ctx, "SELECT date_trunc('milliseconds', now()) + interval '1 millisecond'").Scan(&r.FinishedBefore); err != nil {
			return done, fmt.Errorf("replaying deliveries: %w", err)
		}
	}
	if done.FinishedBefore = r.FinishedBefore; r.DryRun {
		done.Count, err = r.count(ctx, pool, s, t)
		if done.More = done.Count > r.Limit; done.More {
			done.Count = r.Limit
		}
		return done, err
	}
	after := uuid.Nil
	deadline, bounded := ctx.Deadline()
	for {
		portion := min(replayPortion, r.Limit-done.Count+1)
		picked, err := r.pick(ctx, pool, s, t, after, portion)
		if err != nil {
			return done, fmt.Errorf("replaying deliveries: %w", err)
		}
		done.More = len(picked) > 0 && done.Count+len(picked) > r.Limit
		full := len(picked) == portion
		picked = picked[:min(len(picked), r.Limit-done.Count)]
		if len(picked) == 0 {
			return done, nil
		}
		n, last, err := putBack(ctx, pool, picked, r.Rate)
		if err != nil {
			return done, fmt.Errorf("replaying deliveries: %w", err)
		}
		if done.Count += n; last.After(done.LastRunAt) {
			done.LastRunAt = last
		}
		if after = picked[len(picked)-1].id; !full || done.More {
			return done, nil
		}
		if bounded && time.Until(deadline) < 5*time.Second {
			done.More = true
			return done, nil
		}
	}
}

// replayable are finished deliveries whose endpoint takes something and is not
// to get the same event anyway.
const replayable = ` FROM delivery_history d JOIN callback_endpoints e ON e.id = d.endpoint_id
	WHERE e.status <> 'off' AND NOT EXISTS (SELECT FROM deliveries o WHERE o.event_id = d.event_id AND o.endpoint_id = d.endpoint_id) AND `

// count goes to one more than the limit.
func (r Replay) count(ctx context.Context, pool *pgxpool.Pool, s Scope, t *target) (n int, err error) {
	w := &where{}
	r.narrow(w, s, t, true)
	w.and("d.finished_at < %s", r.FinishedBefore)
	err = pool.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 %s%s LIMIT %d) d", replayable, w, r.Limit+1), w.args...).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting deliveries: %w", err)
	}
	return n, nil
}

// finished names one row of delivery_history.
type finished struct {
	id, endpoint uuid.UUID
	at           time.Time
}

func (r Replay) pick(ctx context.Context, pool *pgxpool.Pool, s Scope, t *target, after uuid.UUID, limit int) ([]finished, error) {
	w := &where{}
	r.narrow(w, s, t, true)
	w.and("d.finished_at < %s", r.FinishedBefore)
	w.and("d.id > %s", after)
	rows, err := pool.Query(ctx, fmt.Sprintf("SELECT d.id, d.endpoint_id, d.finished_at %s%s ORDER BY d.id LIMIT %d", replayable, w, limit), w.args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (f finished, err error) {
		err = row.Scan(&f.id, &f.endpoint, &f.at)
		return f, err
	})
}

const putBackSQL = `
	WITH picked AS (
		SELECT h.*, u.run_at FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS u(id, finished_at, run_at)
		JOIN delivery_history h ON h.id = u.id AND h.finished_at = u.finished_at
		FOR UPDATE OF h),
	back AS (
		INSERT INTO deliveries (` + moved + `, state, run_at, replay, attempt_base)
		SELECT ` + moved + `, 'due', run_at, true, attempt FROM picked
		ON CONFLICT DO NOTHING RETURNING id, run_at)
	DELETE FROM delivery_history h USING picked p, back b
	WHERE b.id = p.id AND h.id = p.id AND h.finished_at = p.finished_at RETURNING b.run_at`

// putBack makes finished deliveries due again. A row that somebody else put back
// meanwhile is gone, and one whose event came to be on its way meanwhile stays.
func putBack(ctx context.Context, pool *pgxpool.Pool, rows []finished, rate float64) (n int, last time.Time, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		n, last = 0, time.Time{}
		clocks, err := lockClocks(ctx, tx, rows, rate)
		if err != nil {
			return err
		}
		var ids []uuid.UUID
		var at, due []time.Time
		for _, f := range rows {
			clock := clocks[f.endpoint]
			if clock == nil {
				continue // removed meanwhile
			}
			ids, at, due = append(ids, f.id), append(at, f.at), append(due, clock.next)
			clock.next = clock.next.Add(clock.step)
		}
		put, err := tx.Query(ctx, putBackSQL, ids, at, due)
		if err != nil {
			return err
		}
		var runAt time.Time
		_, err = pgx.ForEachRow(put, []any{&runAt}, func() error {
			if n++; runAt.After(last) {
				last = runAt
			}
			return nil
		})
		return err
	})
	return n, last, err
}

// clock spreads the replays of one endpoint.
type clock struct {
	next time.Time
	step time.Duration
}

// lockClocks goes on behind the last replay that is planned and was not tried
// yet. The lock, of all who replay to the endpoint and of nobody else, keeps two
// from planning for the same moments; the rows are locked as by a foreign key.
func lockClocks(ctx context.Context, tx pgx.Tx, all []finished, rate float64) (map[uuid.UUID]*clock, error) {
	ids := make([]uuid.UUID, 0, len(all))
	for _, f := range all {
		ids = append(ids, f.endpoint)
	}
	rows, err := tx.Query(ctx, `SELECT id, coalesce(rate_limit, 'infinity') FROM callback_endpoints WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE`, ids)
	if err != nil {
		return nil, err
	}
	type limited struct {
		id   uuid.UUID
		rate float64
	}
	endpoints, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l limited, err error) {
		err = row.Scan(&l.id, &l.rate)
		return l, err
	})
	if err != nil {
		return nil, err
	}
	clocks := make(map[uuid.UUID]*clock, len(endpoints))
	for _, e := range endpoints {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, hashtext($2))", int32(replayLock), e.id.String()); err != nil {
			return nil, err
		}
		step := time.Duration(float64(time.Second) / min(rate, e.rate))
		c := &clock{step: step}
		err := tx.QueryRow(ctx, `SELECT greatest(clock_timestamp(), max(run_at) + $2::float8 * interval '1 second') FROM deliveries
			WHERE endpoint_id = $1 AND state = 'due' AND replay AND attempt = attempt_base`, e.id, step.Seconds()).Scan(&c.next)
		if err != nil {
			return nil, err
		}
		clocks[e.id] = c
	}
	return clocks, nil
}

// Again sends one delivery again, at once: an open one is due now, a finished one
// is put back. One that is being sent is left alone.
func Again(ctx context.Context, pool *pgxpool.Pool, d *Delivery) error {
	var status *string
	err := pool.QueryRow(ctx, "SELECT status FROM callback_endpoints WHERE id = $1", d.EndpointID).Scan(&status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrEndpointGone
	case err != nil:
		return fmt.Errorf("replaying a delivery: %w", err)
	case *status == "off":
		return ErrOff
	}
	if d.Open() {
		if _, err := pool.Exec(ctx, "UPDATE deliveries SET run_at = now() WHERE id = $1 AND state = 'due'", d.ID); err != nil {
			return fmt.Errorf("replaying a delivery: %w", err)
		}
		return nil
	}
	var now time.Time
	if err := pool.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
		return fmt.Errorf("replaying a delivery: %w", err)
	}
	tag, err := pool.Exec(ctx, putBackSQL, []uuid.UUID{d.ID}, []time.Time{d.FinishedAt.Time}, []time.Time{now})
	if err != nil {
		return fmt.Errorf("replaying a delivery: %w", err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	var open bool
	if err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM deliveries WHERE id = $1)", d.ID).Scan(&open); err != nil {
		return fmt.Errorf("replaying a delivery: %w", err)
	}
	if open {
		return nil // somebody else did the same
	}
	return ErrSuperseded
}

// Cancel ends an open delivery. An attempt that is under way is not called back:
// the receiver may have it.
func Cancel(ctx context.Context, pool *pgxpool.Pool, d *Delivery) error {
	if d.State == Cancelled {
		return nil
	}
	tag, err := pool.Exec(ctx, callback.Cancelling("id = $1", "o.last_error"), d.ID)
	if err != nil {
		return fmt.Errorf("cancelling a delivery: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrFinished
	}
	return nil
}
