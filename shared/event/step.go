package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Outcome says how a step ended.
type Outcome string

// The outcomes of a step.
const (
	OutcomeNext     Outcome = "next"     // another screen was shown
	OutcomeSame     Outcome = "same"     // the same screen was shown again
	OutcomeBack     Outcome = "back"     // the screen before was shown
	OutcomeComplete Outcome = "complete" // SUCCESS with params: an nfm_reply follows
	OutcomeClose    Outcome = "close"    // SUCCESS without params: no message follows
	OutcomeError    Outcome = "error"    // the client refused a reply (client_error)
)

// Step is the body of a step, stateless_step or client_error entry. Fields that
// need a session (Version, Attempt, StartedAt, Started) are zero without one.
type Step struct {
	Flow       string `json:"flow"`
	Definition string `json:"definition,omitempty"` // hash of the definition; empty when the edge has none
	Token      string `json:"flow_token,omitempty"`
	User       string `json:"user,omitempty"` // from a signed token
	Version    int64  `json:"version,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`

	Action string `json:"action"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`

	// Answers are what this request posted, by the author's payload keys.
	Answers map[string]json.RawMessage `json:"answers,omitempty"`
	// Params are extension_message_response.params of a completing reply.
	Params json.RawMessage `json:"params,omitempty"`

	Outcome Outcome `json:"outcome"`
	// Incomplete says that answers are known to be missing: the session began
	// on a screen that is no entry, or a stateless flow could not carry them.
	Incomplete bool `json:"incomplete,omitempty"`
	// Collected are the answers of the whole attempt, sent when it closes
	// without params, because then no webhook ever brings them.
	Collected map[string]json.RawMessage `json:"collected,omitempty"`

	StartedAt    time.Time `json:"started_at,omitzero"`
	Milliseconds int64     `json:"ms"`

	// ErrorKey and ErrorMessage are those of an error notification.
	ErrorKey     string `json:"error,omitempty"`
	ErrorMessage string `json:"error_message,omitempty"`
}

// Encode is the body of the entry that carries s. Answers stay as the client
// wrote them: <, > and & are not escaped.
func (s *Step) Encode() []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		// Every field is a string, a number, a time, or JSON that was parsed
		// before: only a programming error gets here.
		panic(fmt.Sprintf("event: encoding a step: %v", err))
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

// DecodeStep reads the body of a step, stateless_step or client_error entry.
// Its error never repeats the body.
func DecodeStep(body []byte) (*Step, error) {
	var s Step
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("body of a step is not the JSON of one: %w", describe(err))
	}
	if s.Flow == "" {
		return nil, fmt.Errorf("body of a step names no flow")
	}
	return &s, nil
}

// describe keeps of a JSON error what holds no data.
func describe(err error) error {
	switch e := err.(type) {
	case *json.SyntaxError:
		return fmt.Errorf("syntax error at byte %d", e.Offset)
	case *json.UnmarshalTypeError:
		return fmt.Errorf("field %s holds a %s", e.Field, e.Value)
	default:
		return fmt.Errorf("unreadable JSON")
	}
}
