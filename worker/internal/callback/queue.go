package callback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// leaseFor is how long a delivery belongs to the worker that claimed it.
	// An attempt takes 20 s at most and the lease is renewed every
	// heartbeatEvery, so that only a dead worker loses one. The clock is
	// always the database's.
	leaseFor       = 90 * time.Second
	heartbeatEvery = 15 * time.Second
	sweepEvery     = 5 * time.Second

	// endpointsPerClaim bounds the endpoints one claim looks at; which ones is
	// random, so that each gets its turn.
	endpointsPerClaim = 64
)

// Delivery is one claimed delivery: the right, until its lease ends, to make
// one attempt.
type Delivery struct {
	ID       uuid.UUID
	Lease    uuid.UUID
	Account  string
	Attempt  int // this attempt's number, from 1
	Body     []byte
	Endpoint Endpoint
}

// queue is the table of deliveries. Every state change of a delivery is here.
type queue struct {
	pool  *pgxpool.Pool
	lease time.Duration
}

// claim leases up to limit due deliveries, spread over the endpoints that have
// any. Bodies not rendered yet are rendered and frozen in the same
// transaction, so that every attempt sends the same bytes.
func (q *queue) claim(ctx context.Context, limit int) ([]Delivery, error) {
	var claimed []Delivery
	err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		claimed = nil
		endpoints, err := lockEndpoints(ctx, tx)
		if err != nil || len(endpoints) == 0 {
			return err
		}
		due, err := lockDue(ctx, tx, endpoints, limit)
		if err != nil || len(due) == 0 {
			return err
		}
		claimed, err = q.take(ctx, tx, due)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries: %w", err)
	}
	return claimed, nil
}

// lockEndpoints locks some endpoints with due deliveries. The lock makes the
// limit on deliveries in flight strict across workers: it is counted by the
// next statement, which sees every claim committed before. NO KEY UPDATE, so
// that inserting deliveries, which refer to the endpoint, never waits for it.
func lockEndpoints(ctx context.Context, tx pgx.Tx) (map[uuid.UUID]Endpoint, error) {
	const sql = `
		SELECT e.id, e.name, e.url, e.secrets, e.timeout_ms, e.max_attempts
		FROM callback_endpoints e
		WHERE e.enabled AND (e.paused_until IS NULL OR e.paused_until <= now())
		  AND EXISTS (SELECT FROM deliveries d WHERE d.endpoint_id = e.id AND d.state = 'due' AND d.run_at <= now())
		ORDER BY random() LIMIT $1
		FOR NO KEY UPDATE OF e SKIP LOCKED`
	rows, err := tx.Query(ctx, sql, endpointsPerClaim)
	if err != nil {
		return nil, err
	}
	endpoints := make(map[uuid.UUID]Endpoint)
	var e Endpoint
	var timeout int64
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &e.Name, &e.URL, &e.Secrets, &timeout, &e.MaxAttempts}, func() error {
		e.Timeout = min(time.Duration(timeout)*time.Millisecond, LongestTimeout)
		endpoints[e.ID] = e
		e.Secrets = nil
		return nil
	})
	return endpoints, err
}

// due is a delivery that is about to be claimed.
type due struct {
	Delivery
	eventType string
	answer    answer
}

// lockDue locks the oldest due deliveries of each endpoint, as many as it may
// have in flight besides those it has. One that failed breakerAfter times in a
// row gets a single probe.
func lockDue(ctx context.Context, tx pgx.Tx, endpoints map[uuid.UUID]Endpoint, limit int) ([]due, error) {
	const sql = `
		WITH slots AS (
			SELECT e.id, least($2, CASE WHEN e.failures >= $3 THEN 1 ELSE e.max_in_flight END
				- (SELECT count(*) FROM deliveries l WHERE l.endpoint_id = e.id AND l.state = 'leased')) AS free
			FROM callback_endpoints e WHERE e.id = ANY($1) ORDER BY random()
		)
		SELECT d.id, d.endpoint_id, d.account, d.attempt, d.body, d.event_type, r.flow_token, r.flow_id,
			r.phone_number, r.user_id, r.response_data::text, r.response_raw, now()
		FROM slots s
		CROSS JOIN LATERAL (
			SELECT * FROM deliveries d
			WHERE d.endpoint_id = s.id AND d.state = 'due' AND d.run_at <= now()
			ORDER BY d.run_at LIMIT greatest(s.free, 0)
			FOR UPDATE SKIP LOCKED
		) d
		LEFT JOIN flow_responses r ON r.id = d.response_id AND d.body IS NULL
		LIMIT $4`
	ids := make([]uuid.UUID, 0, len(endpoints))
	for id := range endpoints {
		ids = append(ids, id)
	}
	// Each endpoint's share, rounded up, so that the first one cannot take all.
	share := max(1, (limit+len(ids)-1)/len(ids))
	rows, err := tx.Query(ctx, sql, ids, share, breakerAfter, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (due, error) {
		var (
			d        due
			endpoint uuid.UUID
			data     *string
		)
		a := &d.answer
		err := row.Scan(&d.ID, &endpoint, &d.Account, &d.Attempt, &d.Body, &d.eventType, &a.FlowToken, &a.FlowID,
			&a.PhoneNumber, &a.UserID, &data, &a.Raw, &a.RenderedAt)
		if data != nil {
			a.Data = []byte(*data)
		}
		a.EventType = d.eventType
		d.Endpoint = endpoints[endpoint]
		return d, err
	})
}

// take leases what lockDue locked. Each claim has a lease id of its own: a
// result that comes after the lease was lost finds another id and changes
// nothing, even when the same worker holds the delivery again.
func (q *queue) take(ctx context.Context, tx pgx.Tx, found []due) ([]Delivery, error) {
	lease, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	claimed := make([]Delivery, 0, len(found))
	ids := make([]uuid.UUID, 0, len(found))
	bodies := make([][]byte, 0, len(found))
	for _, d := range found {
		if d.Body == nil {
			if d.Body, err = render(d.answer); err != nil {
				return nil, fmt.Errorf("rendering delivery %s: %w", d.ID, err)
			}
		}
		d.Lease = lease
		d.Attempt++
		claimed = append(claimed, d.Delivery)
		ids = append(ids, d.ID)
		bodies = append(bodies, d.Body)
	}
	const sql = `
		UPDATE deliveries d SET state = 'leased', attempt = d.attempt + 1, lease_id = $1,
			lease_until = now() + make_interval(secs => $2), body = coalesce(d.body, u.body)
		FROM unnest($3::uuid[], $4::bytea[]) AS u (id, body)
		WHERE d.id = u.id`
	_, err = tx.Exec(ctx, sql, lease, q.lease.Seconds(), ids, bodies)
	return claimed, err
}

// renew extends the leases of held deliveries and returns those that are not
// ours any more: their attempts must stop.
func (q *queue) renew(ctx context.Context, held []Delivery) (lost []Delivery, err error) {
	const sql = `
		UPDATE deliveries d SET lease_until = now() + make_interval(secs => $1)
		FROM unnest($2::uuid[], $3::uuid[]) AS u (id, lease)
		WHERE d.id = u.id AND d.lease_id = u.lease AND d.state = 'leased'
		RETURNING d.id`
	ids, leases := idsOf(held)
	rows, err := q.pool.Query(ctx, sql, q.lease.Seconds(), ids, leases)
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	kept := make(map[uuid.UUID]bool, len(held))
	var id uuid.UUID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { kept[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	for _, d := range held {
		if !kept[d.ID] {
			lost = append(lost, d)
		}
	}
	return lost, nil
}

// sweep makes deliveries due again whose worker died. held are this worker's
// own: it is alive, so they keep their leases even when a database that was
// away let them run out.
func (q *queue) sweep(ctx context.Context, held []Delivery) (expired int64, err error) {
	const sql = `
		UPDATE deliveries SET state = 'due', lease_id = NULL, lease_until = NULL
		WHERE state = 'leased' AND lease_until < now() AND id <> ALL($1)`
	ids, _ := idsOf(held)
	tag, err := q.pool.Exec(ctx, sql, ids)
	if err != nil {
		return 0, fmt.Errorf("looking for leases that ran out: %w", err)
	}
	return tag.RowsAffected(), nil
}

// release gives back deliveries whose attempt has not begun.
func (q *queue) release(ctx context.Context, held []Delivery) error {
	const sql = `
		UPDATE deliveries d SET state = 'due', attempt = d.attempt - 1, lease_id = NULL, lease_until = NULL
		FROM unnest($1::uuid[], $2::uuid[]) AS u (id, lease)
		WHERE d.id = u.id AND d.lease_id = u.lease AND d.state = 'leased'`
	ids, leases := idsOf(held)
	if _, err := q.pool.Exec(ctx, sql, ids, leases); err != nil {
		return errors.Join(errors.New("giving deliveries back: they are sent once their leases run out"), err)
	}
	return nil
}

func idsOf(held []Delivery) (ids, leases []uuid.UUID) {
	ids, leases = make([]uuid.UUID, 0, len(held)), make([]uuid.UUID, 0, len(held))
	for _, d := range held {
		ids, leases = append(ids, d.ID), append(leases, d.Lease)
	}
	return ids, leases
}
