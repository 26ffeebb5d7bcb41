package records

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// FlowEvent is what Meta reports of a flow: that its status changed, or that its
// endpoint is too slow or wrong too often.
type FlowEvent struct {
	ID             uuid.UUID       `json:"id" format:"uuid"`
	Account        string          `json:"account"`
	WebhookEventID uuid.UUID       `json:"webhookEventId" format:"uuid" doc:"The webhook it came in"`
	At             Timestamp       `json:"at" format:"date-time" doc:"Meta's time of it, else when it was received"`
	ReceivedAt     Timestamp       `json:"receivedAt" format:"date-time"`
	WabaID         *string         `json:"wabaId"`
	MetaFlowID     *string         `json:"metaFlowId"`
	Event          string          `json:"event" doc:"FLOW_STATUS_CHANGE, CLIENT_ERROR_RATE, ENDPOINT_ERROR_RATE, ENDPOINT_LATENCY, ENDPOINT_AVAILABILITY, FLOW_VERSION_EXPIRY_WARNING"`
	Message        *string         `json:"message"`
	Warning        *string         `json:"warning"`
	OldStatus      *string         `json:"oldStatus"`
	NewStatus      *string         `json:"newStatus" doc:"DRAFT, PUBLISHED, THROTTLED, BLOCKED, DEPRECATED"`
	AlertState     *string         `json:"alertState" doc:"ACTIVATED, DEACTIVATED"`
	Threshold      *float64        `json:"threshold"`
	ErrorRate      *float64        `json:"errorRate" doc:"Per cent"`
	Availability   *float64        `json:"availability" doc:"Per cent"`
	P50LatencyMs   *float64        `json:"p50LatencyMs"`
	P90LatencyMs   *float64        `json:"p90LatencyMs"`
	RequestsCount  *int64          `json:"requestsCount"`
	Value          json.RawMessage `json:"value" doc:"What Meta sent of it"`
}

// FlowEventFilter narrows a list of flow events; what is zero does not.
type FlowEventFilter struct {
	MetaFlowID string
	Event      string
	NewStatus  string
	AlertState string
	At         Span
}

// Order names the order of the list.
func (f *FlowEventFilter) Order() string { return "flowEvents" }

// Place is where a page ends that ends with e.
func (f *FlowEventFilter) Place(e *FlowEvent) Place {
	return Place{Order: f.Order(), At: e.At.Time, ID: e.ID}
}

func scanFlowEvent(row pgx.CollectableRow) (e FlowEvent, err error) {
	err = row.Scan(&e.ID, &e.Account, &e.WebhookEventID, &e.At, &e.ReceivedAt, &e.WabaID, &e.MetaFlowID, &e.Event, &e.Message, &e.Warning,
		&e.OldStatus, &e.NewStatus, &e.AlertState, &e.Threshold, &e.ErrorRate, &e.Availability, &e.P50LatencyMs, &e.P90LatencyMs,
		&e.RequestsCount, rawJSON(&e.Value))
	return e, err
}

// FlowEvents lists at most limit events of flows, the latest first, behind a
// place.
func (r *Records) FlowEvents(ctx context.Context, accounts Accounts, f FlowEventFilter, from *Place, limit int) ([]FlowEvent, error) {
	q := &query{account: "a.account"}
	known := q.accountsOf(accounts, "flow_events")
	q.and("t.account = a.account")
	q.andText("t.meta_flow_id = %s", f.MetaFlowID)
	q.andText("t.event = %s", f.Event)
	q.andText("t.new_status = %s", f.NewStatus)
	q.andText("t.alert_state = %s", f.AlertState)
	q.within("t.at", f.At)
	q.after("t.at", "t.id", from)
	rows, err := r.pool.Query(ctx, fmt.Sprintf(`
		SELECT e.id, e.account, e.webhook_event_id, e.at, e.received_at, e.waba_id, e.meta_flow_id, e.event, e.message, e.warning,
			e.old_status, e.new_status, e.alert_state, e.threshold, e.error_rate, e.availability, e.p50_latency_ms, e.p90_latency_ms,
			e.requests_count, e.value
		FROM (%s) a CROSS JOIN LATERAL (SELECT * FROM flow_events t WHERE %s ORDER BY t.at DESC, t.id DESC LIMIT %d) e
		ORDER BY e.at DESC, e.id DESC LIMIT %[3]d`, known, q.conditions(), limit), q.args...)
	if err != nil {
		return nil, fmt.Errorf("reading events of flows: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanFlowEvent)
	if err != nil {
		return nil, fmt.Errorf("reading events of flows: %w", err)
	}
	return list, nil
}
