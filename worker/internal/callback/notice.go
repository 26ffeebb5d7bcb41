package callback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// What can happen to an endpoint, as endpoint_events writes it.
const (
	KindDisabled = "disabled"
	KindEnabled  = "enabled"
)

// announce says that an endpoint was disabled.
func announce(ctx context.Context, tx *transaction, endpoint uuid.UUID, reason string) error {
	return Announce(ctx, tx, endpoint, KindDisabled, reason)
}

// Announce stores that something happened to an endpoint, and a delivery of it
// for each other endpoint that subscribes to it, inside the transaction that
// makes it so.
func Announce(ctx context.Context, tx payload.Database, endpoint uuid.UUID, kind, reason string) error {
	about := eventtype.EndpointDisabled
	if kind == KindEnabled {
		about = eventtype.EndpointEnabled
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	var account string
	var at time.Time
	var known bool
	subscribers := make(map[uuid.UUID]eventtype.Subscription)
	var b pgx.Batch
	b.Queue(`
		INSERT INTO endpoint_events (id, account, endpoint_id, name, kind, reason)
		SELECT $1, account, id, name, $3, nullif($4, '') FROM callback_endpoints WHERE id = $2
		RETURNING account, at`, id, endpoint, kind, reason).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&account, &at}, func() error { known = true; return nil })
		return err
	})
	b.Queue(`SELECT id, account, events, flows FROM callback_endpoints WHERE status <> 'off' AND id <> $1 ORDER BY id FOR KEY SHARE`, endpoint).
		Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			var s eventtype.Subscription
			_, err := pgx.ForEachRow(rows, []any{&id, &s.Account, &s.Events, &s.Flows}, func() error {
				subscribers[id] = s
				s = eventtype.Subscription{}
				return nil
			})
			return err
		})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("storing that an endpoint was %s: %w", kind, err)
	}
	if !known {
		return errors.New("there is no such endpoint")
	}
	var ids, to []uuid.UUID
	for subscriber, s := range subscribers {
		if !s.Wants(about, account, "") {
			continue
		}
		delivery, err := uuid.NewV7()
		if err != nil {
			return err
		}
		ids, to = append(ids, delivery), append(to, subscriber)
	}
	if len(ids) == 0 {
		return nil
	}
	var deliveries pgx.Batch
	deliveries.Queue(`
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, run_at)
		SELECT u.id, $3, e.id, $4, $5, $6, $7, $6, now() + make_interval(secs => coalesce(e.schedule[1], 0))
		FROM unnest($1::uuid[], $2::uuid[]) AS u (id, endpoint_id) JOIN callback_endpoints e ON e.id = u.endpoint_id`,
		ids, to, account, about, eventtype.ID(about, id, 0), at, id)
	if err := tx.SendBatch(ctx, &deliveries).Close(); err != nil {
		return fmt.Errorf("storing that an endpoint was %s: %w", kind, err)
	}
	return nil
}
