package callback

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// States that a delivery ends in, and the one it waits in.
const (
	stateDue       = "due"
	stateDelivered = "delivered"
	stateDead      = "dead"
	stateCancelled = "cancelled"
)

// outcome is a finished attempt and what follows from it.
type outcome struct {
	Delivery
	result Result
	state  string        // stateDelivered, stateDead or stateDue
	wait   time.Duration // before the next attempt, when due
	pause  time.Duration // of the endpoint, asked for by Retry-After
}

// decide says what follows from an attempt. standard is the schedule of endpoints
// that have none of their own; random is in [0, 1).
func decide(standard []time.Duration, d Delivery, r Result, random float64) outcome {
	o := outcome{Delivery: d, result: r, state: stateDue}
	schedule := d.Endpoint.Schedule
	if len(schedule) == 0 {
		schedule = standard
	}
	made, last := d.Attempt-d.Base, min(d.Endpoint.MaxAttempts, len(schedule))
	switch {
	case r.Delivered():
		o.state = stateDelivered
	case r.Gone():
		// The endpoint is disabled, the delivery waits for it to come back.
	case made >= last:
		o.state = stateDead
	default:
		o.wait = pauseBefore(schedule, made+1, random)
		if r.RetryAfter > 0 {
			o.wait = afterRetry(o.wait, r.RetryAfter, remaining(schedule[made:last]))
		}
	}
	if r.RetryAfter > 0 && (r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable) {
		// It asked for quiet, not only about this delivery; no longer, though,
		// than the breaker would be.
		o.pause = min(r.RetryAfter, breakerLongest)
	}
	return o
}

// stored is what complete did.
type stored struct {
	attempts int
	finished map[string]int // deliveries by the state they ended in
	disabled []disabled
}

// complete stores finished attempts with the state changes that follow, in one
// transaction. An attempt whose lease was lost changes nothing; its delivery
// is another claim's now. Running it twice is harmless for the same reason.
func (q *queue) complete(ctx context.Context, done []outcome) (stored, error) {
	var s stored
	err := inTransaction(ctx, q.pool, func(tx *transaction) error {
		s = stored{finished: make(map[string]int)}
		kept, unwell, err := storeAttempts(ctx, tx, done)
		if err != nil {
			return err
		}
		s.attempts = len(kept)
		for i := range kept {
			if kept[i].state != stateDue {
				s.finished[kept[i].state]++
			}
		}
		news := judge(kept, unwell)
		if len(news) == 0 {
			return nil
		}
		if s.disabled, err = updateEndpoints(ctx, tx, news); err != nil {
			return err
		}
		for _, e := range s.disabled {
			if err := announce(ctx, tx, e.ID, e.reason); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return stored{}, fmt.Errorf("storing %d attempts: %w", len(done), err)
	}
	return s, nil
}

// storeAttempts returns the attempts whose lease still held, and the endpoints
// among theirs that a success changes. Only what is leased has a lease_id; that
// the statement does not say so keeps it on the primary key, away from an index
// that is full of dead versions when something holds vacuum up.
func storeAttempts(ctx context.Context, tx *transaction, done []outcome) (kept []outcome, unwell map[uuid.UUID]bool, err error) {
	const sql = `
		WITH result AS (
			SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::int[], $6::text[],
				$7::uuid[], $8::int[], $9::bigint[], $10::bytea[], $11::text[])
			AS u (id, lease, state, wait, status, error, attempt_id, tries, milliseconds, response_body, endpoint_name)
		), kept AS (
			UPDATE deliveries d SET state = 'due', lease_id = NULL, lease_until = NULL,
				run_at = now() + make_interval(secs => u.wait), last_status = u.status, last_error = u.error
			FROM result u
			WHERE u.state = 'due' AND d.id = u.id AND d.lease_id = u.lease
			RETURNING d.id, d.account, d.endpoint_id, d.attempt, u.attempt_id, u.tries, u.status, u.error, u.milliseconds, u.response_body
		), moved AS (
			DELETE FROM deliveries d USING result u
			WHERE u.state <> 'due' AND d.id = u.id AND d.lease_id = u.lease
			RETURNING d.id, d.account, d.endpoint_id, d.attempt, u.attempt_id, u.tries, u.status, u.error, u.milliseconds, u.response_body,
				d.event_type, d.event_id, d.event_at, d.subject_id, d.subject_at, d.subject_position, d.flow, d.ordering_key, d.traceparent,
				d.replay, d.body, d.created_at, u.state AS final, u.endpoint_name
		), history AS (
			INSERT INTO delivery_history (` + HistoryColumns + `)
			SELECT id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at,
				subject_position, flow, ordering_key, traceparent, replay, final, attempt, body, status, error, created_at, now()
			FROM moved
		)
		INSERT INTO attempts (id, at, account, delivery_id, endpoint_id, number, tries, status, error, milliseconds, response_body)
		SELECT attempt_id, now(), account, id, endpoint_id, attempt, tries, status, error, milliseconds, response_body FROM kept
		UNION ALL
		SELECT attempt_id, now(), account, id, endpoint_id, attempt, tries, status, error, milliseconds, response_body FROM moved
		RETURNING id`
	var (
		n         = len(done)
		ids       = make([]uuid.UUID, n)
		leases    = make([]uuid.UUID, n)
		states    = make([]string, n)
		waits     = make([]float64, n)
		statuses  = make([]*int, n)
		problems  = make([]*string, n)
		attempts  = make([]uuid.UUID, n)
		tries     = make([]int, n)
		took      = make([]int64, n)
		bodies    = make([][]byte, n)
		names     = make([]string, n)
		places    = make(map[uuid.UUID]int, n)
		endpoints = make(map[uuid.UUID]bool)
	)
	for i := range done {
		o := &done[i]
		id, err := uuid.NewV7()
		if err != nil {
			return nil, nil, err
		}
		ids[i], leases[i], states[i], waits[i], attempts[i] = o.ID, o.Lease, o.state, o.wait.Seconds(), id
		tries[i], took[i], bodies[i], names[i] = o.result.Tries, o.result.Took.Milliseconds(), o.result.Body, o.Endpoint.Name
		if o.result.Status != 0 {
			statuses[i] = &o.result.Status
		}
		if problem := o.result.Problem(); problem != "" {
			problems[i] = &problem
		}
		places[id], endpoints[o.Endpoint.ID] = i, true
	}
	here := make([]bool, n)
	var b pgx.Batch
	b.Queue(sql, uuids(ids), uuids(leases), states, waits, statuses, problems, uuids(attempts), tries, took, bodies, names).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{bytes16(&id)}, func() error { here[places[id]] = true; return nil })
		return err
	})
	unwell = make(map[uuid.UUID]bool)
	queueUnwell(&b, endpoints, unwell)
	queueNext(&b, done)
	if err := tx.send(ctx, &b); err != nil {
		return nil, nil, err
	}
	for i, o := range done {
		if here[i] {
			kept = append(kept, o)
		}
	}
	return kept, unwell, nil
}

// queueNext calls what comes after finished deliveries of ordered endpoints, when
// a claim had put it off. What waits for its own retry goes on waiting, and so do
// replays, which have their pace.
func queueNext(b *pgx.Batch, done []outcome) {
	var endpoints []uuid.UUID
	var keys []string
	for _, o := range done {
		if o.state != stateDue && o.orderingKey != "" && o.Endpoint.ordered {
			endpoints, keys = append(endpoints, o.Endpoint.ID), append(keys, o.orderingKey)
		}
	}
	if len(keys) == 0 {
		return
	}
	// Its endpoint may have a pause before the first attempt too.
	const firstRun = `greatest(now(), d.created_at + make_interval(secs => coalesce(e.schedule[1], 0)))`
	const sql = `
		UPDATE deliveries d SET run_at = ` + firstRun + `
		FROM unnest($1::uuid[], $2::text[]) AS u (endpoint_id, ordering_key)
		JOIN callback_endpoints e ON e.id = u.endpoint_id
		CROSS JOIN LATERAL (
			SELECT o.id FROM deliveries o WHERE o.endpoint_id = u.endpoint_id AND o.ordering_key = u.ordering_key AND NOT o.replay
			ORDER BY o.event_at, o.id LIMIT 1) first
		WHERE d.id = first.id AND d.state = 'due' AND d.attempt = d.attempt_base AND d.run_at > ` + firstRun
	b.Queue(sql, uuids(endpoints), keys)
}
