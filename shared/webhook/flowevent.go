package webhook

// FieldFlows is the webhook field by which Meta reports about flows.
const FieldFlows = "flows"

// EventFlowStatusChange is the FlowEvent.Event of a flow that was published,
// throttled, blocked or deprecated. Every other event is an alert or a warning.
const EventFlowStatusChange = "FLOW_STATUS_CHANGE"

// FlowEvent is the value of a change of the field flows. Which members there are
// depends on the event; names of events, states and statuses are open sets.
//
// Shapes: Meta, "Flows webhooks reference".
type FlowEvent struct {
	Event      string `json:"event"` // FLOW_STATUS_CHANGE, ENDPOINT_ERROR_RATE, …
	FlowID     string `json:"flow_id"`
	Message    string `json:"message"`
	Warning    string `json:"warning"`
	OldStatus  string `json:"old_status"`
	NewStatus  string `json:"new_status"`
	AlertState string `json:"alert_state"` // ACTIVATED | DEACTIVATED

	Threshold     *float64 `json:"threshold"`    // per cent, or ms of a latency
	ErrorRate     *float64 `json:"error_rate"`   // per cent
	Availability  *float64 `json:"availability"` // per cent
	P50Latency    *float64 `json:"p50_latency"`  // ms
	P90Latency    *float64 `json:"p90_latency"`  // ms
	RequestsCount *float64 `json:"requests_count"`
}
