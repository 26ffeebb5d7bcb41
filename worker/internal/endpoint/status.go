package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// ErrOff is returned for an endpoint that only a URL can switch on.
var ErrOff = errors.New("nothing is sent there because CALLBACK_WEBHOOK_URL is not set: set it and start the worker again")

const setStatus = `UPDATE callback_endpoints e SET status = $2, status_reason = $3,
		status_since = CASE WHEN status = $2 THEN status_since ELSE now() END,
		paused_until = NULL, failures = 0, failing_since = NULL,
		revision = revision + 1, updated_at = clock_timestamp()
	WHERE id = $1 RETURNING ` + columns

// Pause stops a locked endpoint until it is resumed; e follows. Its deliveries
// are created and wait. An attempt that is under way ends.
func (e *Endpoint) Pause(ctx context.Context, tx pgx.Tx, reason string) error {
	if e.Status == Off {
		return ErrOff
	}
	if reason == "" {
		reason = "paused by the operator"
	}
	return e.set(ctx, tx, Paused, &reason)
}

// Resume makes a locked endpoint active, whatever had stopped it, and begins
// afresh: neither failures nor a pause of before count. e follows.
func (e *Endpoint) Resume(ctx context.Context, tx pgx.Tx) error {
	if e.Status == Off && e.Ours() {
		return ErrOff
	}
	before := e.Status
	if err := e.set(ctx, tx, Active, nil); err != nil || before != Disabled {
		return err
	}
	return announceEnabled(ctx, tx, e, "enabled by the operator")
}

func (e *Endpoint) set(ctx context.Context, tx pgx.Tx, status Status, reason *string) error {
	changed, err := scan(tx.QueryRow(ctx, setStatus, e.ID, string(status), reason))
	if err == nil {
		*e = *changed
	}
	return err
}

// announceEnabled records that an endpoint is enabled again, and has the others
// told that want to know.
func announceEnabled(ctx context.Context, tx pgx.Tx, e *Endpoint, reason string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	var at time.Time
	err = tx.QueryRow(ctx, `INSERT INTO endpoint_events (id, account, endpoint_id, name, kind, reason)
		VALUES ($1, $2, $3, $4, 'enabled', $5) RETURNING at`, id, e.Account, e.ID, e.Name, reason).Scan(&at)
	if err != nil {
		return fmt.Errorf("recording an event of an endpoint: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT id, account, events FROM callback_endpoints
		WHERE id <> $1 AND status <> 'off' AND payload = 'event' AND flows IS NULL ORDER BY id`, e.ID)
	if err != nil {
		return fmt.Errorf("reading who wants events of endpoints: %w", err)
	}
	var (
		deliveries, targets []uuid.UUID
		target              uuid.UUID
		wants               eventtype.Subscription
	)
	_, err = pgx.ForEachRow(rows, []any{&target, &wants.Account, &wants.Events}, func() error {
		if !wants.Wants(eventtype.EndpointEnabled, e.Account, "") {
			return nil
		}
		delivery, err := uuid.NewV7()
		deliveries, targets = append(deliveries, delivery), append(targets, target)
		return err
	})
	if err != nil || len(targets) == 0 {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		SELECT d.id, $3, d.endpoint, $4, $5, $6, $7, $6 FROM unnest($1::uuid[], $2::uuid[]) AS d(id, endpoint)`,
		deliveries, targets, e.Account, string(eventtype.EndpointEnabled), eventtype.ID(eventtype.EndpointEnabled, id, 0), at, id)
	if err != nil {
		return fmt.Errorf("telling of an endpoint that is enabled: %w", err)
	}
	return nil
}

// StatusEvent is a change of status that was not an operator's setting, as
// endpoint_events keeps it.
type StatusEvent struct {
	ID     uuid.UUID
	At     time.Time
	Kind   string // disabled | enabled
	Reason *string
}

// Events are the latest changes of an endpoint between disabled and enabled.
func Events(ctx context.Context, db Queryer, id uuid.UUID, limit int) ([]StatusEvent, error) {
	rows, err := db.Query(ctx, `SELECT id, at, kind, reason FROM endpoint_events WHERE endpoint_id = $1 ORDER BY at DESC, id DESC LIMIT $2`, id, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the events of an endpoint: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StatusEvent])
	if err != nil {
		return nil, fmt.Errorf("reading the events of an endpoint: %w", err)
	}
	return all, nil
}
