package callback

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// EventFlowCompleted is the only event type so far: a form came back.
const EventFlowCompleted = "flow_completed"

// answer is what a callback tells of one stored answer.
type answer struct {
	EventType   string
	FlowToken   *string
	FlowID      *uuid.UUID
	PhoneNumber *string
	UserID      *string
	Data        []byte // JSON as stored, or nil
	Raw         []byte // what came, when it was no JSON object
	RenderedAt  time.Time
}

// render is the body of a callback: byte for byte the JSON that
// guilhermejansen/whatsapp-flows-server sent, so that its receivers need no
// change. user_id, which it did not know, follows phone_number only when
// there is no phone number to know the user by.
func render(a answer) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // JSON.stringify leaves <, > and & alone
	field := func(name string, value any) error {
		b.WriteString(`"` + name + `":`)
		if err := enc.Encode(value); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the line feed that Encode adds
		b.WriteByte(',')
		return nil
	}

	b.WriteByte('{')
	type member struct {
		name  string
		value any
	}
	members := []member{
		{"event_type", a.EventType},
		{"flow_token", a.FlowToken},
		{"flow_id", a.FlowID},
		{"phone_number", a.PhoneNumber},
	}
	if a.PhoneNumber == nil && a.UserID != nil {
		members = append(members, member{"user_id", a.UserID})
	}
	for _, m := range members {
		if err := field(m.name, m.value); err != nil {
			return nil, err
		}
	}
	if data, ok := a.object(); ok {
		// Verbatim: the encoder would compact it.
		b.WriteString(`"response_data":`)
		b.Write(data)
		b.WriteByte(',')
	} else if err := field("response_data", map[string]string{"raw": a.text()}); err != nil {
		return nil, err
	}
	b.WriteString(`"timestamp":"` + a.RenderedAt.UTC().Format("2006-01-02T15:04:05.000Z") + `"}`)
	return b.Bytes(), nil
}

// object is the stored JSON when it is an object.
func (a answer) object() ([]byte, bool) {
	data := bytes.TrimSpace(a.Data)
	return data, len(data) > 0 && data[0] == '{' && json.Valid(data)
}

func (a answer) text() string {
	if len(a.Raw) > 0 {
		return string(a.Raw)
	}
	return string(a.Data)
}
