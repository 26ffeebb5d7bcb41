package payload

import (
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// flowEvent is what Meta reported of a flow: a row of flow_events.
type flowEvent struct {
	metaFlowID, wabaID, message, warning, oldStatus, newStatus, alertState *string
	event                                                                  string
	threshold, errorRate, availability, p50, p90                           *float64
	requests                                                               *int64
	value                                                                  string
}

var flowEvents = source{
	query: `SELECT w.number, e.meta_flow_id, e.waba_id, e.event, e.message, e.warning, e.old_status, e.new_status, e.alert_state, e.threshold,
		e.error_rate, e.availability, e.p50_latency_ms, e.p90_latency_ms, e.requests_count, e.value::text` + among + `JOIN flow_events e ON e.id = w.id`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var e flowEvent
		err := row.Scan(number, &e.metaFlowID, &e.wabaID, &e.event, &e.message, &e.warning, &e.oldStatus, &e.newStatus, &e.alertState, &e.threshold,
			&e.errorRate, &e.availability, &e.p50, &e.p90, &e.requests, &e.value)
		return e, err
	},
}

func (e flowEvent) write(o *object) {
	o.put("meta_flow_id", e.metaFlowID)
	o.put("waba_id", e.wabaID)
	o.put("event", e.event)
	o.put("message", e.message)
	o.put("warning", e.warning)
	o.put("old_status", e.oldStatus)
	o.put("new_status", e.newStatus)
	o.put("alert_state", e.alertState)
	o.put("threshold", e.threshold)
	o.put("error_rate", e.errorRate)
	o.put("availability", e.availability)
	o.put("p50_latency_ms", e.p50)
	o.put("p90_latency_ms", e.p90)
	o.put("requests_count", e.requests)
	o.verbatim("value", []byte(e.value))
}

// whole is a webhook as Meta sent it: a row of webhook_events.
type whole struct{ *hook }

func (w whole) write(*object) {}

// data is the whole webhook. One that is no JSON is a string.
func (w whole) data() []byte {
	if json.Valid(w.body) {
		return w.body
	}
	return quote(string(w.body))
}

// notice is what happened to an endpoint: a row of endpoint_events.
type notice struct {
	name   string
	id     uuid.UUID
	reason *string
}

var notices = source{
	query: `SELECT w.number, e.name, e.endpoint_id, e.reason` + among + `JOIN endpoint_events e ON e.id = w.id`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var n notice
		err := row.Scan(number, &n.name, &n.id, &n.reason)
		return n, err
	},
}

func (n notice) write(o *object) {
	o.put("endpoint", n.name)
	o.put("endpoint_id", n.id)
	o.put("reason", n.reason)
}
