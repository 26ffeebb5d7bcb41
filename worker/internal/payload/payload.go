// Package payload makes the bodies of callbacks from the rows that they tell
// of: an answer, a step, a message, what Meta said of a flow.
//
// There are three forms. Seed is the JSON of guilhermejansen/whatsapp-flows-server,
// for its receivers. Typed is this project's own: one envelope for every type of
// event. Raw is a webhook of Meta's, byte for byte.
package payload

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// Form is how an endpoint wants its bodies, as its row writes it.
type Form string

// The forms.
const (
	Seed  Form = "seed"
	Typed Form = "event"
	Raw   Form = "raw"
)

// Subject names the row that an event is about. Position is that of a message
// inside its webhook.
type Subject struct {
	ID       uuid.UUID
	At       time.Time
	Position int
}

// Event is one event for one endpoint.
type Event struct {
	ID      uuid.UUID // the webhook-id
	Type    eventtype.Type
	At      time.Time
	Account string
	Form    Form
	Subject Subject
}

// Verbatim says that the body is what Meta sent. It is not to be kept anywhere
// else than in its row of webhook_events.
func (e Event) Verbatim() bool { return e.Form == Raw && e.Type == eventtype.WebhookReceived }

// Database is a connection, a pool or a transaction.
type Database interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Render makes the bodies of events, in their order, by one query for each table
// that holds a subject. A body is nil when its subject is not there any more:
// retention or an erasure took it.
func Render(ctx context.Context, db Database, events []Event, now time.Time) ([][]byte, error) {
	found, err := load(ctx, db, events)
	if err != nil {
		return nil, fmt.Errorf("reading what callbacks tell of: %w", err)
	}
	bodies := make([][]byte, len(events))
	for i, e := range events {
		if found[i] == nil {
			continue
		}
		bodies[i] = body(e, found[i], now)
	}
	return bodies, nil
}

func body(e Event, s subject, now time.Time) []byte {
	if hook, ok := s.(webhook); ok && e.Verbatim() {
		return hook.body
	}
	// Endpoints of the seed's form subscribe to answers only; should another
	// event come to one, it is told in the form that can tell it.
	if a, ok := s.(answer); ok && e.Form == Seed {
		return seed(a, now)
	}
	return envelope(string(e.Type), e.ID, e.At, e.Account, s)
}
