package endpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
)

// removePortion deliveries are cancelled in one transaction.
const removePortion = 1000

// ErrOurs is returned for what only the environment may do.
var ErrOurs = errors.New("this endpoint belongs to CALLBACK_WEBHOOK_URL: unset it and start the worker again")

var cancelOpen = callback.Cancelling("id = ANY (ARRAY(SELECT id FROM deliveries WHERE endpoint_id = $1 LIMIT $2))", "o.last_error")

// Remove deletes an endpoint that check, which may be nil, lets go. What was
// still to be delivered there is cancelled, in portions, so that no transaction
// is long: first nothing more is routed to it. Broken off in between it leaves
// an endpoint that is off; removing it again goes on.
func Remove(ctx context.Context, pool *pgxpool.Pool, key Key, check func(*Endpoint) error) (cancelled int64, err error) {
	var id uuid.UUID
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		e, err := Lock(ctx, tx, key)
		if err != nil {
			return err
		}
		if e.Ours() {
			return ErrOurs
		}
		if check != nil {
			if err := check(e); err != nil {
				return err
			}
		}
		id = e.ID
		_, err = tx.Exec(ctx, `UPDATE callback_endpoints SET status = 'off', status_reason = 'it is being removed', status_since = now() WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return 0, err
	}
	for {
		tag, err := pool.Exec(ctx, cancelOpen, id, removePortion)
		if err != nil {
			return cancelled, fmt.Errorf("cancelling the deliveries of an endpoint: %w", err)
		}
		if cancelled += tag.RowsAffected(); tag.RowsAffected() < removePortion {
			break
		}
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// Waits for those who read the endpoint before it was off and may have
		// created deliveries since.
		if _, err := tx.Exec(ctx, `SELECT FROM callback_endpoints WHERE id = $1 FOR UPDATE`, id); err != nil {
			return err
		}
		for {
			tag, err := tx.Exec(ctx, cancelOpen, id, removePortion)
			if err != nil {
				return err
			}
			if cancelled += tag.RowsAffected(); tag.RowsAffected() == 0 {
				break
			}
		}
		_, err := tx.Exec(ctx, `DELETE FROM callback_endpoints WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return cancelled, fmt.Errorf("removing an endpoint: %w", err)
	}
	return cancelled, nil
}
