package payload

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// answer is a form that came back: a row of flow_responses.
type answer struct {
	id                                   uuid.UUID
	flow, flowToken, phoneNumber, userID *string
	flowID                               *uuid.UUID
	wamid, contextID                     *string
	source                               string
	incomplete                           bool
	answeredAt                           time.Time
	response                             []byte // JSON as stored, or nil
	raw                                  []byte // what came, when it was no JSON object
}

var answers = source{
	query: `SELECT w.number, r.id, r.flow, r.flow_id, r.flow_token, r.phone_number, r.user_id, r.wamid, r.context_id, r.source,
		r.incomplete, r.answered_at, r.response_data::text, r.response_raw` + among + `JOIN flow_responses r ON r.id = w.id`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var a answer
		var response *string
		err := row.Scan(number, &a.id, &a.flow, &a.flowID, &a.flowToken, &a.phoneNumber, &a.userID, &a.wamid, &a.contextID, &a.source,
			&a.incomplete, &a.answeredAt, &response, &a.raw)
		a.response = bytesOf(response)
		return a, err
	},
}

func (a answer) write(o *object) {
	o.put("response_id", a.id)
	o.put("flow", a.flow)
	o.put("flow_id", a.flowID)
	o.put("flow_token", a.flowToken)
	o.put("phone_number", a.phoneNumber)
	o.put("user_id", a.userID)
	o.put("wamid", a.wamid)
	o.put("context_id", a.contextID)
	o.put("source", a.source)
	o.put("incomplete", a.incomplete)
	o.time("answered_at", &a.answeredAt)
	if data, ok := a.object(); ok {
		o.verbatim("response", data)
		o.put("response_raw", nil)
	} else {
		o.put("response", nil)
		o.put("response_raw", a.text())
	}
}

// object is the stored JSON when it is an object.
func (a answer) object() ([]byte, bool) {
	data := bytes.TrimSpace(a.response)
	return data, len(data) > 0 && data[0] == '{' && json.Valid(data)
}

func (a answer) text() string {
	if len(a.raw) > 0 {
		return string(a.raw)
	}
	return string(a.response)
}

// step is one request of a phone to a flow: a row of flow_steps.
type step struct {
	id                            uuid.UUID
	flow                          string
	flowToken, userID, definition *string
	version                       *int64
	attempt                       *int
	action                        string
	from, to                      *string
	outcome                       string
	incomplete                    bool
	answers, params               []byte
	milliseconds                  int64
	errorKey, errorMessage        *string
}

// The token is stored with the session only: a step without one has none.
var steps = source{
	query: `SELECT w.number, s.id, s.flow, f.flow_token, f.user_id, s.definition, s.version, s.attempt, s.action, s.from_screen, s.to_screen,
		s.outcome, s.incomplete, s.answers::text, s.params::text, s.milliseconds, s.error_key, s.error_message` + among + `
		JOIN flow_steps s ON s.at = w.at AND s.id = w.id
		LEFT JOIN flow_sessions f ON f.account = s.account AND f.flow = s.flow AND f.token_hash = s.token_hash`,
	read: func(row pgx.CollectableRow, number *int) (subject, error) {
		var s step
		var answers, params *string
		err := row.Scan(number, &s.id, &s.flow, &s.flowToken, &s.userID, &s.definition, &s.version, &s.attempt, &s.action, &s.from, &s.to,
			&s.outcome, &s.incomplete, &answers, &params, &s.milliseconds, &s.errorKey, &s.errorMessage)
		s.answers, s.params = bytesOf(answers), bytesOf(params)
		return s, err
	},
}

func (s step) write(o *object) {
	o.put("step_id", s.id)
	o.put("flow", s.flow)
	o.put("flow_token", s.flowToken)
	o.put("user_id", s.userID)
	o.put("definition", s.definition)
	o.put("version", s.version)
	o.put("attempt", s.attempt)
	o.put("action", s.action)
	o.put("from", s.from)
	o.put("to", s.to)
	o.put("outcome", s.outcome)
	o.put("incomplete", s.incomplete)
	o.verbatim("answers", s.answers)
	o.verbatim("params", s.params)
	o.put("milliseconds", s.milliseconds)
	o.put("error", s.errorKey)
	o.put("error_message", s.errorMessage)
}

func bytesOf(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}
