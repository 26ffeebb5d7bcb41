package callback

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// errGone is what the history says of a delivery whose subject was deleted.
const errGone = "what it would have told of was deleted, by retention or an erasure, before it could be sent"

// claimBytes bounds the bodies of one claim together: webhooks are of up to
// 4 MiB, a claim takes hundreds of deliveries, and Postgres no parameter of a
// gigabyte.
const claimBytes = 16 << 20

// render makes the bodies that are not frozen yet and reads those that are, of as
// many deliveries as claimBytes and the time for it allow, at least one; the
// others are left out and stay due. What is left without a body has lost its
// subject.
func render(ctx context.Context, tx *transaction, due []Delivery) ([]Delivery, error) {
	budget := claimBytes
	var frozen []uuid.UUID
	var events []payload.Event
	for i := range due {
		switch d := &due[i]; {
		case d.frozen < 0:
			events = append(events, d.event())
		case budget > 0:
			budget -= d.frozen
			frozen = append(frozen, d.ID)
		}
	}
	bodies, err := readFrozen(ctx, tx, frozen)
	if err != nil {
		return nil, err
	}
	var made []payload.Body
	if len(events) > 0 {
		if made, err = payload.Render(ctx, tx, events, time.Now(), budget); err != nil {
			return nil, err
		}
	}
	kept := make([]Delivery, 0, len(due))
	for _, d := range due {
		if d.frozen >= 0 {
			if d.Body = bodies[d.ID]; d.Body == nil {
				continue // no room for it, or it was taken away just now
			}
		} else {
			body := made[0]
			if made = made[1:]; body.Late {
				continue
			}
			d.Body = body.Bytes
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// readFrozen reads the bodies of attempts before this one.
func readFrozen(ctx context.Context, tx *transaction, ids []uuid.UUID) (map[uuid.UUID][]byte, error) {
	bodies := make(map[uuid.UUID][]byte, len(ids))
	if len(ids) == 0 {
		return bodies, nil
	}
	var b pgx.Batch
	b.Queue(`SELECT id, body FROM deliveries WHERE id = ANY ($1)`, uuids(ids)).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var body []byte
		_, err := pgx.ForEachRow(rows, []any{bytes16(&id), &body}, func() error {
			bodies[id], body = body, nil
			return nil
		})
		return err
	})
	return bodies, tx.send(ctx, &b)
}

// take leases what was found. Each claim has a lease id of its own: a result
// that comes after the lease was lost finds another id and changes nothing, even
// when the same worker holds the delivery again.
//
// The rows were not locked when they were found. Claims cannot have taken them,
// for the endpoint is locked; what somebody else has cancelled meanwhile is not
// due any more, and left out. (|| ” keeps the planner from the index of what is
// due, which it would read whole for each row.)
func (q *queue) take(ctx context.Context, tx *transaction, due []Delivery, late []deferred) (claimed, error) {
	lease, err := uuid.NewV7()
	if err != nil {
		return claimed{}, err
	}
	var (
		c      claimed
		ids    = make([]uuid.UUID, 0, len(due))
		bodies = make([][]byte, 0, len(due))
		taken  = make(map[uuid.UUID]bool, len(due))
		spent  = make(map[uuid.UUID]int)
	)
	for _, d := range due {
		if d.Body == nil {
			c.gone = append(c.gone, d)
			continue
		}
		ids = append(ids, d.ID)
		if d.event().Verbatim() {
			bodies = append(bodies, nil) // it is read from its webhook each time
		} else {
			bodies = append(bodies, d.Body)
		}
		if d.Endpoint.limited {
			spent[d.Endpoint.ID]++
		}
	}
	var b pgx.Batch
	if len(ids) > 0 {
		const sql = `
			UPDATE deliveries d SET state = 'leased', attempt = d.attempt + 1, lease_id = $1, leased_by = nullif($5, ''),
				lease_until = now() + make_interval(secs => $2), body = coalesce(d.body, u.body)
			FROM unnest($3::uuid[], $4::bytea[]) AS u (id, body)
			WHERE d.id = u.id AND d.state || '' = 'due'
			RETURNING d.id`
		b.Queue(sql, lease, q.lease.Seconds(), uuids(ids), bodies, q.worker).Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			_, err := pgx.ForEachRow(rows, []any{bytes16(&id)}, func() error { taken[id] = true; return nil })
			return err
		})
	}
	spend(&b, spent)
	bury(&b, c.gone)
	putOff(&b, late)
	if err := tx.commit(ctx, &b); err != nil {
		return claimed{}, err
	}
	c.deliveries = make([]Delivery, 0, len(taken))
	for _, d := range due {
		if taken[d.ID] {
			d.Lease = lease
			d.Attempt++
			c.deliveries = append(c.deliveries, d)
		}
	}
	return c, nil
}

// spend takes tokens out of buckets.
func spend(b *pgx.Batch, spent map[uuid.UUID]int) {
	if len(spent) == 0 {
		return
	}
	var ids []uuid.UUID
	var counts []int
	for id, n := range spent {
		ids, counts = append(ids, id), append(counts, n)
	}
	const sql = `
		UPDATE callback_endpoints e SET rate_tokens = ` + tokens + ` - u.spent, rate_at = greatest(e.rate_at, now())
		FROM unnest($1::uuid[], $2::int[]) AS u (id, spent)
		WHERE e.id = u.id`
	b.Queue(sql, uuids(ids), counts)
}

// bury moves deliveries that nothing is left to tell of to the history.
func bury(b *pgx.Batch, gone []Delivery) {
	if len(gone) == 0 {
		return
	}
	ids, _ := idsOf(gone)
	b.Queue(Cancelling("id = ANY ($1) AND state = 'due'", "$2"), uuids(ids), errGone)
}

// putOff lets a claim of an ordered endpoint see past those that wait.
func putOff(b *pgx.Batch, late []deferred) {
	if len(late) == 0 {
		return
	}
	ids, waits := make([]uuid.UUID, len(late)), make([]float64, len(late))
	for i, l := range late {
		ids[i], waits[i] = l.id, l.wait.Seconds()
	}
	const sql = `
		UPDATE deliveries d SET run_at = now() + make_interval(secs => u.wait)
		FROM unnest($1::uuid[], $2::float8[]) AS u (id, wait)
		WHERE d.id = u.id AND d.state || '' = 'due'`
	b.Queue(sql, uuids(ids), waits)
}
