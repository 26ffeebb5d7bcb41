package conversation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Recorded is a session as the worker's API tells it, GET
// /api/sessions/{id}/steps: what of it makes a conversation.
type Recorded struct {
	Session struct {
		ID     string  `json:"id"`
		Flow   string  `json:"flow"`
		UserID *string `json:"userId"`
	} `json:"session"`
	Steps     []RecordedStep `json:"steps"`
	Truncated bool           `json:"truncated"`
}

// RecordedStep is one step of it.
type RecordedStep struct {
	Kind     string          `json:"kind"` // step, client_error
	Action   string          `json:"action"`
	From     *string         `json:"from"`
	To       *string         `json:"to"`
	Outcome  string          `json:"outcome"` // next, same, back, complete, close, error
	Answers  json.RawMessage `json:"answers"`
	Params   json.RawMessage `json:"params"`
	ErrorKey *string         `json:"errorKey"`
}

// FromSession makes a conversation of a session. What is stored does not hold
// the data of screens, nor what upstreams answered: the conversation expects the
// screens and the end, and any data and message. notes say what of the session
// is not in it.
func FromSession(r *Recorded) (c Conversation, notes []string, err error) {
	c.Name = "session " + r.Session.ID
	if r.Session.UserID != nil && *r.Session.UserID != "" {
		c.User.ID = *r.Session.UserID
		notes = append(notes, "The name of the user is not stored: add it to user if the flow asks for it.")
	}
	if r.Truncated {
		notes = append(notes, fmt.Sprintf("The session has more steps than these %d, the earliest.", len(r.Steps)))
	}
	for i, s := range r.Steps {
		step, why := fromStep(s)
		if why != "" {
			notes = append(notes, fmt.Sprintf("Step %d of the session is left out: %s.", i+1, why))
			continue
		}
		if err := step.check(); err != nil {
			return c, notes, fmt.Errorf("step %d of the session: %w", i+1, err)
		}
		if step.HoldsPlaceholder() {
			notes = append(notes, fmt.Sprintf("Step %d holds text in braces, which a script takes for a placeholder: change it by hand.", i+1))
		}
		c.Steps = append(c.Steps, step)
	}
	if len(c.Steps) == 0 {
		return c, notes, errors.New("no step of the session can be played again")
	}
	return c, notes, nil
}

// fromStep makes a step, or says why there is none.
func fromStep(s RecordedStep) (step Step, why string) {
	if s.Kind == "client_error" {
		key := "unknown"
		if s.ErrorKey != nil {
			key = *s.ErrorKey
		}
		return step, "the phone reported that it refused the answer (" + key + ")"
	}
	switch s.Action {
	case "INIT":
		step.Do = DoInit
	case "BACK":
		step.Do = DoBack
	case "data_exchange", "navigate", "complete": // the edge takes all three alike
		step.Do = DoExchange
		sent, err := object(s.Answers)
		if err != nil {
			return step, "its answers are no JSON object"
		}
		if step.Send = sent; sent == nil {
			step.Send = map[string]any{}
		}
	default:
		return step, "its action is " + strconv.Quote(s.Action)
	}
	if s.From != nil {
		step.From = *s.From
	}
	switch s.Outcome {
	case "next", "back", "same":
		if s.To == nil || *s.To == "" {
			return step, "the screen it led to is not stored"
		}
		step.Shows, step.Message = *s.To, "*"
	case "complete":
		params, err := object(s.Params)
		if err != nil || params == nil {
			return step, "its params are no JSON object"
		}
		delete(params, "flow_token") // goes without saying
		step.Completes = params
	case "close":
		step.Closes = true
	default:
		return step, "its outcome is " + strconv.Quote(s.Outcome)
	}
	return step, ""
}

// Came writes into a step, which says what was done, what came of it. It says
// false of what no step can expect, such as a mistake of the user's.
func (s *Step) Came(reply *phone.Reply, err error) bool {
	refusal, isRefusal := errors.AsType[*phone.RefusalError](err)
	dead, isDead := errors.AsType[*phone.TokenError](err)
	switch {
	case isRefusal:
		s.Refused = refusal.Key
	case isDead:
		s.Expired = &dead.Message
	case err != nil || reply == nil:
		return false
	case reply.Ended && reply.Params == nil:
		s.Closes = true
	case reply.Ended:
		params, err := object(reply.Params)
		if err != nil || params == nil {
			return false
		}
		delete(params, "flow_token") // goes without saying
		s.Completes = params
	default:
		s.Shows, s.Message = reply.Screen, reply.ErrorMessage
	}
	return true
}

// HoldsPlaceholder says that a step holds text in braces that a script takes for
// a placeholder.
func (s *Step) HoldsPlaceholder() bool {
	return holdsPlaceholder(s.Send) || holdsPlaceholder(s.Enter) || holdsPlaceholder(map[string]any(s.Completes)) || holdsPlaceholder(s.Message)
}

// object reads a JSON object with its numbers as YAML has them; nil is none.
func object(raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	value, err := decode(raw)
	if err != nil {
		return nil, err
	}
	members, ok := plain(value).(map[string]any)
	if !ok {
		return nil, errors.New("expected an object")
	}
	return members, nil
}

func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	}
	return value
}

func holdsPlaceholder(value any) bool {
	switch v := value.(type) {
	case string:
		return placeholder.MatchString(v)
	case []any:
		return slices.ContainsFunc(v, holdsPlaceholder)
	case map[string]any:
		for _, member := range v {
			if holdsPlaceholder(member) {
				return true
			}
		}
	}
	return false
}

// Write writes a file of conversations that Read reads, with notes as comments
// at its head.
func Write(conversations []Conversation, notes []string) ([]byte, error) {
	var b bytes.Buffer
	for _, note := range notes {
		fmt.Fprintf(&b, "# %s\n", note)
	}
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string]any{"conversations": conversations}); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
