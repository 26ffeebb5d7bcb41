package callback

// HistoryColumns are those of delivery_history, in the order in which Cancel and
// complete fill them.
const HistoryColumns = `id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at,
	subject_position, flow, ordering_key, traceparent, replay, state, attempt, body, last_status, last_error, created_at, finished_at`

// Cancelling is a statement that ends the open deliveries of which a condition
// holds: their rows move to the history, with lastError, an expression in which o
// is the row.
func Cancelling(condition, lastError string) string {
	return `
		WITH open AS (DELETE FROM deliveries WHERE ` + condition + ` RETURNING *)
		INSERT INTO delivery_history (` + HistoryColumns + `)
		SELECT o.id, o.account, o.endpoint_id, e.name, o.event_type, o.event_id, o.event_at, o.subject_id, o.subject_at,
			o.subject_position, o.flow, o.ordering_key, o.traceparent, o.replay, 'cancelled', o.attempt, o.body, o.last_status, ` + lastError + `,
			o.created_at, now()
		FROM open o JOIN callback_endpoints e ON e.id = o.endpoint_id`
}
