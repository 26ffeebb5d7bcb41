package callback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// leaseFor is how long a delivery belongs to the worker that claimed it.
	// An attempt takes 20 s at most and the lease is renewed every
	// heartbeatEvery, so that only a dead worker loses one; sooner, when a
	// worker of its name starts: see reclaim. The clock is always the database's.
	leaseFor       = 90 * time.Second
	heartbeatEvery = 15 * time.Second
	sweepEvery     = 5 * time.Second
)

// renew extends the leases of held deliveries and returns those that are not
// ours any more: their attempts must stop.
func (q *queue) renew(ctx context.Context, held []Delivery) (lost []Delivery, err error) {
	const sql = `
		UPDATE deliveries d SET lease_until = now() + make_interval(secs => $1)
		FROM unnest($2::uuid[], $3::uuid[]) AS u (id, lease)
		WHERE d.id = u.id AND d.lease_id = u.lease
		RETURNING d.id, d.lease_id`
	ids, leases := idsOf(held)
	rows, err := q.pool.Query(ctx, sql, q.lease.Seconds(), uuids(ids), uuids(leases))
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	type lease struct{ delivery, id uuid.UUID }
	kept := make(map[lease]bool, len(held))
	var l lease
	if _, err := pgx.ForEachRow(rows, []any{bytes16(&l.delivery), bytes16(&l.id)}, func() error { kept[l] = true; return nil }); err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	for _, d := range held {
		if !kept[lease{d.ID, d.Lease}] {
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
	tag, err := q.pool.Exec(ctx, sql, uuids(ids))
	if err != nil {
		return 0, fmt.Errorf("looking for leases that ran out: %w", err)
	}
	return tag.RowsAffected(), nil
}

// reclaim makes due what was leased under this worker's name and is not held:
// by a process of that name that was killed, which sent them or not, or by a
// claim whose commit came through and whose answer did not. Their places in the
// endpoint's limit would else be taken until the leases run out.
func (q *queue) reclaim(ctx context.Context, held []Delivery) (left int64, err error) {
	if q.worker == "" {
		return 0, nil
	}
	const sql = `
		UPDATE deliveries SET state = 'due', lease_id = NULL, lease_until = NULL
		WHERE state = 'leased' AND leased_by = $1 AND id <> ALL($2)`
	ids, _ := idsOf(held)
	tag, err := q.pool.Exec(ctx, sql, q.worker, uuids(ids))
	if err != nil {
		return 0, fmt.Errorf("looking for leases of this worker's earlier life: %w", err)
	}
	return tag.RowsAffected(), nil
}

// release gives back deliveries whose attempt has not begun.
func (q *queue) release(ctx context.Context, held []Delivery) error {
	const sql = `
		UPDATE deliveries d SET state = 'due', attempt = d.attempt - 1, lease_id = NULL, lease_until = NULL
		FROM unnest($1::uuid[], $2::uuid[]) AS u (id, lease)
		WHERE d.id = u.id AND d.lease_id = u.lease`
	ids, leases := idsOf(held)
	if _, err := q.pool.Exec(ctx, sql, uuids(ids), uuids(leases)); err != nil {
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
