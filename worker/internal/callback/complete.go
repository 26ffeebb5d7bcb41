package callback

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// outcome is a finished attempt and what follows from it.
type outcome struct {
	Delivery
	result Result
	state  string        // delivered, dead or due
	wait   time.Duration // before the next attempt, when due
	pause  time.Duration // of the endpoint, asked for by Retry-After
}

// decide says what follows from an attempt. random is in [0, 1).
func decide(schedule []time.Duration, d Delivery, r Result, random float64) outcome {
	o := outcome{Delivery: d, result: r, state: "due"}
	switch {
	case r.Delivered():
		o.state = "delivered"
	case r.Gone():
		// The endpoint is shut, the delivery waits for it to come back.
	case d.Attempt >= min(d.Endpoint.MaxAttempts, len(schedule)):
		o.state = "dead"
	default:
		o.wait = pauseBefore(schedule, d.Attempt+1, random)
		if r.RetryAfter > 0 {
			o.wait = afterRetry(o.wait, r.RetryAfter)
		}
	}
	if r.RetryAfter > 0 && (r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable) {
		// It asked for quiet, not only about this delivery; no longer, though,
		// than the breaker would be.
		o.pause = min(r.RetryAfter, breakerLongest)
	}
	return o
}

// complete stores finished attempts with the state changes that follow, in one
// transaction. An attempt whose lease was lost changes nothing; its delivery
// is another claim's now. Running it twice is harmless for the same reason.
func (q *queue) complete(ctx context.Context, done []outcome) (stored int64, err error) {
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		if stored, err = storeAttempts(ctx, tx, done); err != nil || stored == 0 {
			return err // none: they were stored before, and have been counted
		}
		return updateEndpoints(ctx, tx, done)
	})
	if err != nil {
		return 0, fmt.Errorf("storing %d attempts: %w", len(done), err)
	}
	return stored, nil
}

func storeAttempts(ctx context.Context, tx pgx.Tx, done []outcome) (int64, error) {
	const sql = `
		WITH result AS (
			SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::int[], $6::text[],
				$7::uuid[], $8::int[], $9::bigint[], $10::bytea[])
			AS u (id, lease, state, wait, status, error, attempt_id, tries, milliseconds, response_body)
		), changed AS (
			UPDATE deliveries d SET state = u.state, lease_id = NULL, lease_until = NULL,
				run_at = CASE WHEN u.state = 'due' THEN now() + make_interval(secs => u.wait) ELSE d.run_at END,
				last_status = u.status, last_error = u.error,
				finished_at = CASE WHEN u.state = 'due' THEN NULL ELSE now() END
			FROM result u
			WHERE d.id = u.id AND d.lease_id = u.lease AND d.state = 'leased'
			RETURNING d.id, d.account, d.endpoint_id, d.attempt, u.attempt_id
		)
		INSERT INTO attempts (id, at, account, delivery_id, endpoint_id, number, tries, status, error, milliseconds, response_body)
		SELECT attempt_id, now(), c.account, c.id, c.endpoint_id, c.attempt, u.tries, u.status, u.error, u.milliseconds, u.response_body
		FROM changed c JOIN result u USING (attempt_id)`
	var (
		n        = len(done)
		ids      = make([]uuid.UUID, n)
		leases   = make([]uuid.UUID, n)
		states   = make([]string, n)
		waits    = make([]float64, n)
		statuses = make([]*int, n)
		problems = make([]*string, n)
		attempts = make([]uuid.UUID, n)
		tries    = make([]int, n)
		took     = make([]int64, n)
		bodies   = make([][]byte, n)
	)
	for i, o := range done {
		id, err := uuid.NewV7()
		if err != nil {
			return 0, err
		}
		ids[i], leases[i], states[i], waits[i], attempts[i] = o.ID, o.Lease, o.state, o.wait.Seconds(), id
		tries[i], took[i], bodies[i] = o.result.Tries, o.result.Took.Milliseconds(), o.result.Body
		if status := o.result.Status; status != 0 {
			statuses[i] = &status
		}
		if problem := o.result.problem(); problem != "" {
			problems[i] = &problem
		}
	}
	tag, err := tx.Exec(ctx, sql, ids, leases, states, waits, statuses, problems, attempts, tries, took, bodies)
	return tag.RowsAffected(), err
}

// health is what a batch of attempts says of one endpoint, in the order in
// which they ended.
type health struct {
	reset  bool          // a delivery succeeded
	failed int           // failures since, or in all
	gone   bool          // 410
	pause  time.Duration // asked for
}

func judge(done []outcome) map[uuid.UUID]health {
	all := make(map[uuid.UUID]health)
	for _, o := range done {
		h := all[o.Endpoint.ID]
		if o.result.Delivered() {
			h.reset, h.failed = true, 0
		} else {
			h.failed++
		}
		h.gone = h.gone || o.result.Gone()
		h.pause = max(h.pause, o.pause)
		all[o.Endpoint.ID] = h
	}
	return all
}

// updateEndpoints counts consecutive failures. At breakerAfter the endpoint
// pauses; when the pause is over a single delivery probes it, and each probe
// that fails doubles the pause. What was in flight when it paused counts for
// nothing, so that one outage is one trip. Endpoints whose counters would stay
// as they are, the usual case, are not written at all.
//
// 410 shuts the endpoint until a worker is started again: a pause of 'infinity',
// which Ensure ends. The column enabled is the operator's: answers that arrive while a
// disabled endpoint is away get no delivery at all, those of a shut one wait.
func updateEndpoints(ctx context.Context, tx pgx.Tx, done []outcome) error {
	const sql = `
		WITH news AS (
			SELECT * FROM unnest($1::uuid[], $2::bool[], $3::int[], $4::bool[], $5::float8[])
			AS u (id, reset, failed, gone, pause)
		), counted AS (
			SELECT e.id, u.gone, u.pause, CASE WHEN u.reset THEN 0 ELSE e.failures END AS old,
				coalesce(e.paused_until > now(), false) AND NOT u.reset AS paused, u.failed
			FROM news u JOIN callback_endpoints e ON e.id = u.id
			ORDER BY e.id FOR NO KEY UPDATE OF e
		), next AS (
			SELECT *, CASE
				WHEN failed = 0 THEN old
				WHEN old < $6 THEN least($6, old + failed)
				WHEN paused THEN old
				ELSE old + 1 END AS failures
			FROM counted
		), paused AS (
			SELECT *, CASE WHEN gone THEN 'infinity'::timestamptz
				WHEN failures >= $6 AND failures > old
					THEN now() + make_interval(secs => greatest(pause, least($7 * 2 ^ least(failures - $6, 20), $8)))
				WHEN pause > 0 THEN now() + make_interval(secs => pause) END AS until
			FROM next
		)
		UPDATE callback_endpoints e SET failures = p.failures,
			paused_until = CASE WHEN p.until IS NOT NULL THEN greatest(e.paused_until, p.until)
				WHEN p.failures = 0 AND e.paused_until < CASE WHEN e.failures >= $6 THEN 'infinity'::timestamptz ELSE now() END THEN NULL
				ELSE e.paused_until END,
			updated_at = now()
		FROM paused p
		WHERE e.id = p.id AND (p.failures <> e.failures OR p.until IS NOT NULL
			OR (p.failures = 0 AND e.paused_until < now()))`
	all := judge(done)
	var (
		ids    []uuid.UUID
		resets []bool
		failed []int
		gone   []bool
		pauses []float64
	)
	for id, h := range all {
		ids, resets, failed = append(ids, id), append(resets, h.reset), append(failed, h.failed)
		gone, pauses = append(gone, h.gone), append(pauses, h.pause.Seconds())
	}
	_, err := tx.Exec(ctx, sql, ids, resets, failed, gone, pauses,
		breakerAfter, breakerFirst.Seconds(), breakerLongest.Seconds())
	return err
}
