package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
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
	told, err := e.wasDisabled(ctx, tx)
	if err != nil {
		return err
	}
	if err := e.set(ctx, tx, Active, nil); err != nil || !told {
		return err
	}
	return callback.Announce(ctx, tx, e.ID, callback.KindEnabled, "enabled by the operator")
}

// wasDisabled says that an endpoint is disabled, or was and has not been enabled
// since: it may have been paused, or off, in between.
func (e *Endpoint) wasDisabled(ctx context.Context, tx pgx.Tx) (is bool, err error) {
	if e.Status == Disabled {
		return true, nil
	}
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT kind = 'disabled' FROM endpoint_events WHERE endpoint_id = $1 ORDER BY at DESC, id DESC LIMIT 1), false)`, e.ID).Scan(&is)
	if err != nil {
		return false, fmt.Errorf("reading the events of an endpoint: %w", err)
	}
	return is, nil
}

func (e *Endpoint) set(ctx context.Context, tx pgx.Tx, status Status, reason *string) error {
	changed, err := scan(tx.QueryRow(ctx, setStatus, e.ID, string(status), reason))
	if err == nil {
		*e = *changed
	}
	return err
}

// StatusEvent is a change of status by itself, as endpoint_events keeps it.
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
