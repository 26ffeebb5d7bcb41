package ingest

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Join connects answers that came here with sessions of the past, whose tokens
// have these hashes. It runs after the commit that stored the sessions, as the
// Writer's own does, and tells the endpoints that wait for an answer's flow.
func (p Past) Join(ctx context.Context, pool *pgxpool.Pool, hashes []string) error {
	accounts := make([]string, len(hashes))
	for i := range accounts {
		accounts[i] = p.Account
	}
	var joined int64
	if err := pool.QueryRow(ctx, joinSessions, accounts, hashes).Scan(&joined); err != nil {
		return fmt.Errorf("joining answers and sessions: %w", err)
	}
	return nil
}

const deliverPast = `
	WITH made AS (
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, flow, ordering_key, run_at)
		SELECT ` + laterDeliveryID + `, j.account, e.id, 'flow.completed', ` + completedID + `, j.answered_at + interval '999 milliseconds', j.id, j.answered_at, j.flow,
			CASE WHEN e.ordered THEN j.token_hash END, now() + make_interval(secs => coalesce(e.schedule[1], 0))
		FROM flow_responses j JOIN callback_endpoints e ON e.account IN ('*', j.account) AND e.status <> 'off' AND (e.flows IS NULL OR j.flow = ANY (e.flows))
			AND EXISTS (SELECT FROM unnest(e.events) AS p WHERE p = 'flow.completed'
				OR right(p, 1) = '*' AND starts_with('flow.completed', left(p, -1)))
		WHERE j.id = ANY ($1) AND NOT EXISTS (SELECT FROM delivery_history h WHERE h.event_id = ` + completedID + ` AND h.endpoint_id = e.id)
		ORDER BY j.answered_at, j.id
		ON CONFLICT DO NOTHING RETURNING 1)
	SELECT count(*) FROM made`

// laterDeliveryID is a UUIDv7 of now: the ids of the past are of no time.
const laterDeliveryID = `(SELECT (left(t, 8) || '-' || right(t, 4) || '-7' || substr(gen_random_uuid()::text || left(j.id::text, 0), 16))::uuid
	FROM lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') AS t)`

// DeliverPast makes the deliveries of answers that nobody has been told of, for
// the endpoints there are, and returns how many.
func DeliverPast(ctx context.Context, tx pgx.Tx, responses []uuid.UUID) (made int64, err error) {
	ids := column(responses, func(u uuid.UUID) pgtype.UUID { return id(u) })
	if err := tx.QueryRow(ctx, deliverPast, ids).Scan(&made); err != nil {
		return 0, fmt.Errorf("making deliveries: %w", err)
	}
	return made, nil
}
