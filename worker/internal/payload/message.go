package payload

import (
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// message is one message or status inside a webhook: a row of webhook_messages,
// who it was, and the element it came as.
type message struct {
	position                             int
	kind                                 string // message | status
	typ, wamid, contextID, phoneNumberID *string
	at                                   *time.Time
	errorCode                            *int
	errorTitle                           *string
	pricing                              [3]*string // model, type, category
	billable                             *bool
	callbackData                         *string
	phoneNumber, userID, username, name  *string
	hook                                 *hook // the webhook that holds it; nil: gone
}

// The element itself is stored in the webhook only. When that is gone already,
// what is known of the message is told without it.
var messages = source{
	query: `SELECT w.number, m.position, m.kind, m.type, m.wamid, m.context_id, m.phone_number_id, m.at, m.error_code, m.error_title,
		m.pricing_model, m.pricing_type, m.pricing_category, m.billable, m.callback_data, c.phone_number, c.user_id, c.username, c.name` + among + `
		JOIN webhook_messages m ON m.event_at = w.at AND m.event_id = w.id AND m.position = w.position
		LEFT JOIN contacts c ON c.id = m.contact_id`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var m message
		err := row.Scan(number, &m.position, &m.kind, &m.typ, &m.wamid, &m.contextID, &m.phoneNumberID, &m.at, &m.errorCode, &m.errorTitle,
			&m.pricing[0], &m.pricing[1], &m.pricing[2], &m.billable, &m.callbackData, &m.phoneNumber, &m.userID, &m.username, &m.name)
		return &m, err
	},
}

func (m *message) write(o *object) {
	if m.kind == "status" {
		o.put("wamid", m.wamid)
		o.put("status", m.typ)
		o.put("phone_number_id", m.phoneNumberID)
		o.put("phone_number", m.phoneNumber)
		o.put("user_id", m.userID)
		o.time("at", m.at)
		o.put("error_code", m.errorCode)
		o.put("error_title", m.errorTitle)
		o.put("pricing_model", m.pricing[0])
		o.put("pricing_type", m.pricing[1])
		o.put("pricing_category", m.pricing[2])
		o.put("billable", m.billable)
		o.put("callback_data", m.callbackData)
		o.verbatim("details", m.hook.element(m))
		return
	}
	o.put("wamid", m.wamid)
	o.put("context_id", m.contextID)
	o.put("type", m.typ)
	o.put("phone_number_id", m.phoneNumberID)
	o.put("phone_number", m.phoneNumber)
	o.put("user_id", m.userID)
	o.put("username", m.username)
	o.put("name", m.name)
	o.time("at", m.at)
	o.verbatim("message", m.hook.element(m))
}

// is says whether an element is this message: the only one of its id, as statuses
// tell of other messages, and of one status after the other.
func (m *message) is(raw []byte) bool {
	e := identify(raw)
	var wamid, status string
	if m.wamid != nil {
		wamid = *m.wamid
	}
	if m.kind == "status" && m.typ != nil {
		status = *m.typ
	}
	return e.id == wamid && e.status == status
}

// identity is what tells elements apart; nothing is an empty string here.
type identity struct{ id, status string }

func identify(raw []byte) identity {
	var known struct {
		ID     json.RawMessage `json:"id"`
		Status json.RawMessage `json:"status"`
	}
	var e identity
	_ = json.Unmarshal(raw, &known) // what is no text is empty
	_ = json.Unmarshal(known.ID, &e.id)
	_ = json.Unmarshal(known.Status, &e.status)
	return e
}
