package callback

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// Ping sends a test event to an endpoint, whatever its status, with the signature
// and the headers of any other and as safely. Nothing is stored, and nothing
// follows from the result.
func Ping(ctx context.Context, s *Sender, e *Endpoint) Result {
	id, err := uuid.NewV7()
	if err != nil {
		return Result{Err: err, Tries: 1}
	}
	request := e.request(id.String(), payload.Ping(e.Form, id, e.Account, e.Name, e.ID, time.Now()))
	request.Verbatim = e.Form == payload.Raw
	return s.Send(ctx, request)
}

// FindEndpoint reads an endpoint as deliveries to it do. The error is
// pgx.ErrNoRows when there is none.
func FindEndpoint(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, id uuid.UUID) (*Endpoint, error) {
	rows, err := db.Query(ctx, `SELECT `+endpointColumns+` FROM callback_endpoints e WHERE e.id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("reading an endpoint: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, readEndpoint)
	if err != nil {
		return nil, fmt.Errorf("reading an endpoint: %w", err)
	}
	return e, nil
}
