package callback

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// health is what a batch of attempts says of one endpoint, in the order in
// which they ended.
type health struct {
	reset  bool          // a delivery succeeded
	failed int           // failures since, or in all
	gone   bool          // 410
	pause  time.Duration // asked for
}

// judge leaves out endpoints that did well and had done well before, the usual
// case: nothing is to be written of them. unwell are those that a success changes.
func judge(done []outcome, unwell map[uuid.UUID]bool) map[uuid.UUID]health {
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
	for id, h := range all {
		if h.failed == 0 && !h.gone && h.pause == 0 && !unwell[id] {
			delete(all, id)
		}
	}
	return all
}

// queueUnwell finds the endpoints that a success changes.
func queueUnwell(b *pgx.Batch, endpoints, unwell map[uuid.UUID]bool) {
	const sql = `SELECT id FROM callback_endpoints
		WHERE id = ANY($1) AND (failures <> 0 OR failing_since IS NOT NULL OR paused_until IS NOT NULL)`
	ids := make([]uuid.UUID, 0, len(endpoints))
	for id := range endpoints {
		ids = append(ids, id)
	}
	b.Queue(sql, uuids(ids)).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { unwell[id] = true; return nil })
		return err
	})
}

// disabled is an endpoint that was shut by what a batch says of it.
type disabled struct {
	ID           uuid.UUID
	name, reason string
}

// updateEndpoints counts consecutive failures. At breakerAfter the endpoint
// pauses; when the pause is over a single delivery probes it, and each probe
// that fails doubles the pause. What was in flight when it paused counts for
// nothing, so that one outage is one trip.
//
// 410 Gone disables the endpoint, and so do failures without a success in
// between for as long as its row allows, of which there must be breakerAfter: two
// of a quiet week say nothing. Its deliveries wait, those that are
// still to come too, until somebody enables it again.
func updateEndpoints(ctx context.Context, tx *transaction, news map[uuid.UUID]health) ([]disabled, error) {
	const sql = `
		WITH news AS (
			SELECT * FROM unnest($1::uuid[], $2::bool[], $3::int[], $4::bool[], $5::float8[])
			AS u (id, reset, failed, gone, pause)
		), counted AS (
			SELECT e.id, u.gone, u.pause, u.failed, e.status, e.disable_after_hours AS hours,
				CASE WHEN u.reset THEN 0 ELSE e.failures END AS old,
				coalesce(e.paused_until > now(), false) AND NOT u.reset AS paused,
				CASE WHEN u.failed = 0 THEN NULL WHEN u.reset THEN now() ELSE coalesce(e.failing_since, now()) END AS since
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
			SELECT *,
				CASE WHEN gone AND status IN ('active', 'paused') THEN $9::text
					WHEN failed > 0 AND failures >= $6 AND status = 'active' AND hours > 0 AND since <= now() - make_interval(hours => hours)
					THEN 'no delivery succeeded in ' || hours || ' hours' END AS reason,
				CASE
				WHEN failures >= $6 AND failures > old
					THEN now() + make_interval(secs => greatest(pause, least($7 * 2 ^ least(failures - $6, 20), $8)))
				WHEN pause > 0 THEN now() + make_interval(secs => pause) END AS until
			FROM next
		)
		UPDATE callback_endpoints e SET failures = p.failures, failing_since = p.since,
			paused_until = CASE WHEN p.until IS NOT NULL THEN greatest(e.paused_until, p.until)
				WHEN p.failures = 0 AND e.paused_until < CASE WHEN e.failures >= $6 THEN 'infinity'::timestamptz ELSE now() END THEN NULL
				ELSE e.paused_until END,
			status = CASE WHEN p.reason IS NULL THEN e.status ELSE 'disabled' END,
			status_reason = coalesce(p.reason, e.status_reason),
			status_since = CASE WHEN p.reason IS NULL THEN e.status_since ELSE now() END,
			revision = CASE WHEN p.reason IS NULL THEN e.revision ELSE e.revision + 1 END,
			updated_at = now()
		FROM paused p
		WHERE e.id = p.id AND (p.failures <> e.failures OR p.since IS DISTINCT FROM e.failing_since OR p.until IS NOT NULL
			OR p.reason IS NOT NULL OR (p.failures = 0 AND e.paused_until < now()))
		RETURNING e.id, e.name, coalesce(p.reason, '')`
	var (
		ids    []uuid.UUID
		resets []bool
		failed []int
		gone   []bool
		pauses []float64
	)
	for id, h := range news {
		ids, resets, failed = append(ids, id), append(resets, h.reset), append(failed, h.failed)
		gone, pauses = append(gone, h.gone), append(pauses, h.pause.Seconds())
	}
	var all []disabled
	var b pgx.Batch
	b.Queue(sql, uuids(ids), resets, failed, gone, pauses, breakerAfter, breakerFirst.Seconds(), breakerLongest.Seconds(), errGone410).
		Query(func(rows pgx.Rows) error {
			var d disabled
			_, err := pgx.ForEachRow(rows, []any{&d.ID, &d.name, &d.reason}, func() error {
				if d.reason != "" {
					all = append(all, d)
				}
				return nil
			})
			return err
		})
	err := tx.send(ctx, &b)
	return all, err
}

// errGone410 is the reason that a row of an endpoint gives for being disabled.
const errGone410 = "the receiver answered 410 Gone"
