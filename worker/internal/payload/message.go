package payload

import (
	"bytes"
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
	hook                                 []byte // the webhook that holds it
}

// The webhook is read as well: the element itself is stored nowhere else. When
// it is gone already, what is known of the message is told without it.
var messages = source{
	query: `SELECT w.number, m.position, m.kind, m.type, m.wamid, m.context_id, m.phone_number_id, m.at, m.error_code, m.error_title,
		m.pricing_model, m.pricing_type, m.pricing_category, m.billable, m.callback_data, c.phone_number, c.user_id, c.username, c.name, e.body` + among + `
		JOIN webhook_messages m ON m.event_at = w.at AND m.event_id = w.id AND m.position = w.position
		LEFT JOIN contacts c ON c.id = m.contact_id
		LEFT JOIN webhook_events e ON e.received_at = w.at AND e.id = w.id`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var m message
		err := row.Scan(number, &m.position, &m.kind, &m.typ, &m.wamid, &m.contextID, &m.phoneNumberID, &m.at, &m.errorCode, &m.errorTitle,
			&m.pricing[0], &m.pricing[1], &m.pricing[2], &m.billable, &m.callbackData, &m.phoneNumber, &m.userID, &m.username, &m.name, &m.hook)
		return m, err
	},
}

func (m message) write(o *object) {
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
		o.verbatim("details", m.element())
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
	o.verbatim("message", m.element())
}

// element is the message as Meta wrote it, or nil. It is the one at its
// position, the messages and then the statuses of each change counted together,
// and must have its id: of a webhook with broken parts the count may differ, and
// another person's message must not be taken for it.
func (m message) element() []byte {
	var hook struct {
		Entry []json.RawMessage `json:"entry"`
	}
	_ = json.Unmarshal(m.hook, &hook) // what can be read of it is
	var other []byte
	position := 0
	for _, raw := range hook.Entry {
		var entry struct {
			Changes []json.RawMessage `json:"changes"`
		}
		_ = json.Unmarshal(raw, &entry)
		for _, raw := range entry.Changes {
			for _, list := range lists(raw) {
				for _, one := range list.elements {
					if m.is(list.kind, one) {
						if position == m.position {
							return one
						}
						if other == nil {
							other = one
						}
					}
					position++
				}
			}
		}
	}
	return other
}

type list struct {
	kind     string
	elements []json.RawMessage
}

func lists(change []byte) []list {
	var c struct {
		Value json.RawMessage `json:"value"`
	}
	var value struct {
		Messages json.RawMessage `json:"messages"`
		Statuses json.RawMessage `json:"statuses"`
	}
	_ = json.Unmarshal(change, &c)
	_ = json.Unmarshal(c.Value, &value)
	var messages, statuses []json.RawMessage
	_ = json.Unmarshal(value.Messages, &messages)
	_ = json.Unmarshal(value.Statuses, &statuses)
	return []list{{"message", messages}, {"status", statuses}}
}

func (m message) is(kind string, raw []byte) bool {
	if kind != m.kind || !bytes.HasPrefix(raw, []byte("{")) {
		return false
	}
	var known struct {
		ID     json.RawMessage `json:"id"`
		Status json.RawMessage `json:"status"`
	}
	if json.Unmarshal(raw, &known) != nil {
		return false
	}
	return same(known.ID, m.wamid) && (kind == "message" || same(known.Status, m.typ))
}

// same compares what JSON holds with what is stored; nothing is an empty string
// there.
func same(raw json.RawMessage, stored *string) bool {
	var s string
	_ = json.Unmarshal(raw, &s)
	if stored == nil {
		return s == ""
	}
	return s == *stored
}
