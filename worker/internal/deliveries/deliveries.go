// Package deliveries is the operator's view of what goes to callback endpoints:
// what is on its way, what has arrived, what was given up, and how to send it
// again. Open deliveries are rows of deliveries, finished ones of
// delivery_history; here they are one list. It has the entries of the streams
// that could never be stored as well, which can be put back.
package deliveries

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// The states. The first two are of open deliveries.
const (
	Due       = "due"
	Leased    = "leased" // an attempt is under way
	Delivered = "delivered"
	Dead      = "dead" // given up
	Cancelled = "cancelled"
)

var (
	// ErrNotFound says that there is no such record in the accounts asked for.
	ErrNotFound = errors.New("there is no such record")
	// ErrEndpointGone says that a delivery has no endpoint to go to any more.
	ErrEndpointGone = errors.New("its endpoint was removed, so it cannot be sent again")
	// ErrOff says that nothing is sent to the endpoint.
	ErrOff = errors.New("its endpoint is off, so nothing is sent there")
	// ErrSuperseded says that the same event is on its way there already.
	ErrSuperseded = errors.New("the same event is on its way to this endpoint already")
	// ErrFinished says that there is nothing to cancel.
	ErrFinished = errors.New("it is finished already")
)

// AmbiguousError says that an event id means several deliveries.
type AmbiguousError struct{ Endpoints []string }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("this webhook-id went to %d endpoints, %v: name one of them, or take the delivery's own id", len(e.Endpoints), e.Endpoints)
}

// Scope limits what is seen and changed.
type Scope struct {
	Accounts []string // of events; nil: all
	// Own leaves out what goes to an endpoint of other accounts, or of every
	// account.
	Own bool
}

// Delivery is one event on its way to one endpoint, or there.
type Delivery struct {
	ID         uuid.UUID          `json:"id" format:"uuid" doc:"The delivery's own id"`
	EventID    uuid.UUID          `json:"eventId" format:"uuid" doc:"webhook-id of every attempt: the same for every endpoint and every replay"`
	Account    string             `json:"account"`
	Endpoint   string             `json:"endpoint" doc:"Name of the callback endpoint"`
	EndpointID uuid.UUID          `json:"endpointId" format:"uuid"`
	EventType  string             `json:"eventType" example:"flow.completed"`
	EventAt    records.Timestamp  `json:"eventAt" format:"date-time" doc:"When it happened; of an answer that a message brought the end of that second"`
	Flow       *string            `json:"flow" doc:"Name of the flow, if it is about one that is known"`
	State      string             `json:"state" enum:"due,leased,delivered,dead,cancelled" doc:"leased: being sent; dead: given up"`
	Attempt    int                `json:"attempt" doc:"Attempts begun"`
	Replay     bool               `json:"replay" doc:"It was asked for again, and goes after what is live"`
	RunAt      *records.Timestamp `json:"runAt" format:"date-time" doc:"When the next attempt is due; null when it is finished"`
	LastStatus *int               `json:"lastStatus" doc:"HTTP status of the latest attempt that got one"`
	LastError  *string            `json:"lastError"`
	CreatedAt  records.Timestamp  `json:"createdAt" format:"date-time"`
	FinishedAt *records.Timestamp `json:"finishedAt" format:"date-time"`
}

const liveColumns = `d.id, d.event_id, d.account, e.name, d.endpoint_id, d.event_type, d.event_at, d.flow, d.state, d.attempt, d.replay,
	d.run_at, d.last_status, d.last_error, d.created_at, NULL::timestamptz AS finished_at`

const pastColumns = `d.id, d.event_id, d.account, d.endpoint_name, d.endpoint_id, d.event_type, d.event_at, d.flow, d.state, d.attempt, d.replay,
	NULL::timestamptz AS run_at, d.last_status, d.last_error, d.created_at, d.finished_at`

// moved are the columns that both tables have under the same name and meaning.
const moved = `id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position, flow,
	ordering_key, traceparent, attempt, body, last_status, last_error, created_at`

func scanDelivery(row pgx.CollectableRow) (d Delivery, err error) {
	err = row.Scan(&d.ID, &d.EventID, &d.Account, &d.Endpoint, &d.EndpointID, &d.EventType, &d.EventAt, &d.Flow, &d.State, &d.Attempt, &d.Replay,
		&d.RunAt, &d.LastStatus, &d.LastError, &d.CreatedAt, &d.FinishedAt)
	return d, err
}

// Open says whether it is still to be delivered.
func (d *Delivery) Open() bool { return d.State == Due || d.State == Leased }

// idAt is the least id that is made at a time or later: ids are UUIDs version 7,
// which begin with their milliseconds.
func idAt(at time.Time) uuid.UUID {
	var id uuid.UUID
	ms := max(0, at.UnixMilli())
	for i := range 6 {
		id[5-i] = byte(ms >> (8 * i))
	}
	return id
}
