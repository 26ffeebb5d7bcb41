// Package webhook reads the webhooks that Meta sends for a WhatsApp Business
// Account, leniently: whatever is well-formed is found, wherever the rest is
// broken.
//
// Shapes: Meta, "Webhooks reference: messages" and "Receive flow response".
package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Payload is one webhook: up to 1000 updates of several accounts.
type Payload struct {
	Changes []Change
	// Problems say which parts could not be read and why, by their place in the
	// body; they never repeat its contents.
	Problems []string
}

// Change is one element of entry[].changes[].
type Change struct {
	WABA          string    // entry[].id
	Time          Timestamp // entry[].time; often absent
	Field         string    // messages, flows, …
	PhoneNumberID string    // value.metadata.phone_number_id
	Contacts      []Contact
	Messages      []Message
	Statuses      []Status
	Flow          *FlowEvent // of the field flows; nil for every other
}

// Contact is the person a message came from. UserID (the business-scoped user
// id) is the first identity: WAID is absent for users with a username.
type Contact struct {
	WAID    string `json:"wa_id"`
	UserID  string `json:"user_id"`
	Profile struct {
		Name     string `json:"name"`
		Username string `json:"username"`
	} `json:"profile"`
}

// Message is one element of value.messages[].
type Message struct {
	ID         string    `json:"id"` // wamid
	From       string    `json:"from"`
	FromUserID string    `json:"from_user_id"`
	Timestamp  Timestamp `json:"timestamp"`
	Type       string    `json:"type"`
	Context    struct {
		ID string `json:"id"` // wamid of the message that was answered
	} `json:"context"`
	Interactive struct {
		Type     string    `json:"type"`
		NFMReply *NFMReply `json:"nfm_reply"`
	} `json:"interactive"`
}

// NFMReply is the answer to a native flow message. Name is "flow" for a Flow;
// other native messages, such as addresses, use the same envelope.
type NFMReply struct {
	Name         string          `json:"name"`
	ResponseJSON json.RawMessage `json:"response_json"` // a JSON string that holds JSON
}

// Status is one element of value.statuses[].
type Status struct {
	ID              string    `json:"id"` // wamid of the message it is about
	Status          string    `json:"status"`
	Timestamp       Timestamp `json:"timestamp"`
	RecipientID     string    `json:"recipient_id"`
	RecipientUserID string    `json:"recipient_user_id"`
	CallbackData    string    `json:"biz_opaque_callback_data"`
	Pricing         struct {
		Billable *bool  `json:"billable"`
		Model    string `json:"pricing_model"`
		Type     string `json:"type"`
		Category string `json:"category"`
	} `json:"pricing"`
	Errors []struct {
		Code  int32  `json:"code"`
		Title string `json:"title"`
	} `json:"errors"`
}

// FlowAnswer returns what a finished Flow sent, as it was written inside
// response_json; ok is false for every other message.
func (m *Message) FlowAnswer() (response []byte, ok bool) {
	reply := m.Interactive.NFMReply
	if reply == nil || reply.ResponseJSON == nil || (reply.Name != "flow" && reply.Name != "") {
		return nil, false
	}
	var s string
	if json.Unmarshal(reply.ResponseJSON, &s) == nil {
		return []byte(s), true
	}
	// Meta documents a string; an object in its place holds the same answers.
	return reply.ResponseJSON, true
}

// Timestamp is seconds since the Unix epoch, which Meta writes as a string.
// Reading one never fails: a message with an odd timestamp is still a message.
type Timestamp string

// UnmarshalJSON takes a string or a number.
func (t *Timestamp) UnmarshalJSON(raw []byte) error {
	*t = Timestamp(bytes.Trim(raw, `"`))
	return nil
}

// Time is ok for the years 2000 to 9999 only.
func (t Timestamp) Time() (at time.Time, ok bool) {
	seconds, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil || seconds < 946684800 || seconds > 253402300799 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// Sender is the contact that sent m: the one with its number or user id, else
// the only one there is. Two candidates are none: an answer must not be given to
// the wrong person.
func (c *Change) Sender(m *Message) *Contact { return c.person(m.From, m.FromUserID) }

// Recipient is the contact that s is about, if it is listed.
func (c *Change) Recipient(s *Status) *Contact { return c.person(s.RecipientID, s.RecipientUserID) }

func (c *Change) person(phone, userID string) *Contact {
	for i := range c.Contacts {
		known := &c.Contacts[i]
		if phone != "" && known.WAID == phone || userID != "" && known.UserID == userID {
			return known
		}
	}
	if len(c.Contacts) != 1 {
		return nil
	}
	only := &c.Contacts[0]
	if phone != "" && only.WAID != "" || userID != "" && only.UserID != "" {
		return nil // it names somebody else
	}
	return only
}

// Parse reads a webhook. The error says that body is no JSON object at all;
// everything less is a problem of the payload.
func Parse(body []byte) (*Payload, error) {
	var whole struct {
		Entry []struct {
			ID      string    `json:"id"`
			Time    Timestamp `json:"time"`
			Changes []struct {
				Field string `json:"field"`
				Value value  `json:"value"`
			} `json:"changes"`
		} `json:"entry"`
	}
	err := json.Unmarshal(body, &whole)
	if mistyped := (*json.UnmarshalTypeError)(nil); errors.As(err, &mistyped) {
		return parsePieces(body)
	}
	if err != nil {
		return nil, describe("the body", err)
	}
	p := &Payload{}
	if whole.Entry == nil {
		p.Problems = append(p.Problems, "the body has no entry")
	}
	for _, e := range whole.Entry {
		for _, c := range e.Changes {
			change := Change{
				WABA: e.ID, Time: e.Time, Field: c.Field, PhoneNumberID: c.Value.Metadata.PhoneNumberID,
				Contacts: c.Value.Contacts, Messages: c.Value.Messages, Statuses: c.Value.Statuses,
			}
			if c.Field == FieldFlows {
				event := c.Value.FlowEvent
				change.Flow = &event
			}
			p.Changes = append(p.Changes, change)
		}
	}
	return p, nil
}

type value struct {
	FlowEvent
	Metadata metadata  `json:"metadata"`
	Contacts []Contact `json:"contacts"`
	Messages []Message `json:"messages"`
	Statuses []Status  `json:"statuses"`
}

type metadata struct {
	PhoneNumberID string `json:"phone_number_id"`
}

// describe keeps of a JSON error what holds no data.
func describe(place string, err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s is no JSON: syntax error at byte %d", place, syntax.Offset)
	case errors.As(err, &mistyped) && mistyped.Field != "":
		return fmt.Errorf("%s: %s holds a %s, expected a %s", place, mistyped.Field, kind(mistyped.Value), mistyped.Type)
	case errors.As(err, &mistyped):
		return fmt.Errorf("%s is a %s, expected another kind of value", place, kind(mistyped.Value))
	default:
		return fmt.Errorf("%s could not be read", place)
	}
}

// kind cuts the digits off encoding/json's "number 12.5".
func kind(value string) string {
	if len(value) > 6 && value[:6] == "number" {
		return "number"
	}
	return value
}
