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

// rendering takes no longer than this: a claim holds locks, and has all its
// deliveries wait until the last body is made.
const rendering = 2 * time.Second

// Body is what Render made of an event.
type Body struct {
	Bytes []byte // nil and not Late: its subject is gone
	// Late says that it was not made: those before it took up the budget, or the
	// time. It is to be asked for again.
	Late bool
}

// Render makes the bodies of events, in their order, by one query for each table
// that holds a subject. One whose subject is not there any more has none:
// retention or an erasure took it. No more webhooks are read than budget bytes
// hold, nor more bodies made: webhooks are of up to 4 MiB, and one goes to many
// endpoints. The first event is never late.
func Render(ctx context.Context, db Database, events []Event, now time.Time, budget int) ([]Body, error) {
	found, err := load(ctx, db, events, budget)
	if err != nil {
		return nil, fmt.Errorf("reading what callbacks tell of: %w", err)
	}
	bodies := make([]Body, len(events))
	made, started := 0, time.Now()
	for i, e := range events {
		if found[i] == nil {
			continue
		}
		if late(found[i]) || made > 0 && (made >= budget || time.Since(started) >= rendering) {
			bodies[i].Late = true
			continue
		}
		bodies[i].Bytes = body(e, found[i], now)
		made += len(bodies[i].Bytes)
	}
	return bodies, nil
}

// late says that the webhook of a subject was not read.
func late(s subject) bool {
	switch s := s.(type) {
	case *message:
		return s.hook != nil && s.hook.late
	case whole:
		return s.late
	}
	return false
}

func body(e Event, s subject, now time.Time) []byte {
	if hook, ok := s.(whole); ok && e.Verbatim() {
		return hook.body
	}
	// Endpoints of the seed's form subscribe to answers only; should another
	// event come to one, it is told in the form that can tell it.
	if a, ok := s.(answer); ok && e.Form == Seed {
		return seed(a, now)
	}
	at := e.At
	if a, ok := s.(answer); ok {
		at = a.answeredAt // e.At puts it behind its screens
	}
	return envelope(string(e.Type), e.ID, at, e.Account, s)
}
