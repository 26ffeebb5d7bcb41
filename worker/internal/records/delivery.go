package records

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ResponseDelivery is an answer on its way to one callback endpoint.
type ResponseDelivery struct {
	ID         uuid.UUID  `json:"id" format:"uuid" doc:"The delivery's own id"`
	EventID    uuid.UUID  `json:"eventId" format:"uuid" doc:"webhook-id of every attempt"`
	Endpoint   string     `json:"endpoint" doc:"Name of the callback endpoint"`
	EventType  string     `json:"eventType"`
	State      string     `json:"state" enum:"due,leased,delivered,dead,cancelled" doc:"leased: being sent; dead: given up"`
	Attempt    int        `json:"attempt" doc:"Attempts begun"`
	RunAt      *Timestamp `json:"runAt" doc:"When the next attempt is due; null when it is finished"`
	LastStatus *int       `json:"lastStatus" doc:"HTTP status of the latest attempt that got one"`
	LastError  *string    `json:"lastError"`
	CreatedAt  Timestamp  `json:"createdAt"`
	FinishedAt *Timestamp `json:"finishedAt"`
	Attempts   []Attempt  `json:"attempts"`
}

// Attempt is one HTTP request of a delivery.
type Attempt struct {
	Number       int       `json:"number"`
	At           Timestamp `json:"at"`
	Status       *int      `json:"status" doc:"HTTP status; null when none came"`
	Error        *string   `json:"error"`
	Milliseconds int64     `json:"milliseconds"`
}

// ResponseWay is an answer and where it went.
type ResponseWay struct {
	Response
	Deliveries []ResponseDelivery `json:"deliveries"`
}

// ways adds their deliveries to responses of one account.
func (r *Records) ways(ctx context.Context, account string, responses []Response) ([]ResponseWay, error) {
	ids := make([]uuid.UUID, len(responses))
	for i := range responses {
		ids[i] = responses[i].ID
	}
	deliveries, err := r.deliveries(ctx, account, ids)
	if err != nil {
		return nil, err
	}
	ways := make([]ResponseWay, len(responses))
	for i, response := range responses {
		ways[i] = ResponseWay{response, deliveries[response.ID]}
		if ways[i].Deliveries == nil {
			ways[i].Deliveries = []ResponseDelivery{}
		}
	}
	return ways, nil
}

// One snapshot of both tables: a delivery that is finished moves from one to the
// other.
const deliveriesOfResponses = `
	SELECT * FROM (
		SELECT d.subject_id, d.id, d.event_id, e.name, d.event_type, d.state, d.attempt, d.run_at, d.last_status, d.last_error, d.created_at, NULL::timestamptz
		FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id
		WHERE d.account = $1 AND d.subject_id = ANY ($2)
		UNION ALL
		SELECT h.subject_id, h.id, h.event_id, h.endpoint_name, h.event_type, h.state, h.attempt, NULL, h.last_status, h.last_error, h.created_at, h.finished_at
		FROM delivery_history h WHERE h.account = $1 AND h.subject_id = ANY ($2)) d
	ORDER BY d.created_at, d.id`

const attemptsOfDeliveries = `
	SELECT delivery_id, number, at, status, error, milliseconds FROM attempts
	WHERE account = $1 AND delivery_id = ANY ($2) AND at >= $3 ORDER BY at, number`

// deliveries are those of each response, with their attempts.
func (r *Records) deliveries(ctx context.Context, account string, responses []uuid.UUID) (map[uuid.UUID][]ResponseDelivery, error) {
	rows, err := r.pool.Query(ctx, deliveriesOfResponses, account, responses)
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	all := make(map[uuid.UUID][]ResponseDelivery)
	var ids []uuid.UUID
	var since time.Time
	var of uuid.UUID
	var d ResponseDelivery
	_, err = pgx.ForEachRow(rows, []any{&of, &d.ID, &d.EventID, &d.Endpoint, &d.EventType, &d.State, &d.Attempt, &d.RunAt,
		&d.LastStatus, &d.LastError, &d.CreatedAt, &d.FinishedAt}, func() error {
		d.Attempts = []Attempt{}
		all[of] = append(all[of], d)
		ids = append(ids, d.ID)
		if since.IsZero() || d.CreatedAt.Before(since) {
			since = d.CreatedAt.Time
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	if len(ids) == 0 {
		return all, nil
	}
	attempts := make(map[uuid.UUID][]Attempt)
	// Attempts are stamped by the worker's clock, deliveries by Postgres'.
	rows, err = r.pool.Query(ctx, attemptsOfDeliveries, account, ids, since.Add(-24*time.Hour))
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	var a Attempt
	_, err = pgx.ForEachRow(rows, []any{&of, &a.Number, &a.At, &a.Status, &a.Error, &a.Milliseconds}, func() error {
		attempts[of] = append(attempts[of], a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	for _, list := range all {
		for i := range list {
			if made := attempts[list[i].ID]; made != nil {
				list[i].Attempts = made
			}
		}
	}
	return all, nil
}
