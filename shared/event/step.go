package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
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
// need a session (Version, Attempt, StartedAt) are zero without one. The values
// of Answers and Collected, and Params, must be valid JSON.
type Step struct {
	Flow       string `json:"flow"`
	Definition string `json:"definition,omitempty"` // hash of the definition; empty when the edge has none
	Token      string `json:"flow_token,omitempty"`
	User       string `json:"user,omitempty"` // from a signed token
	Version    int64  `json:"version,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`
	// Opened says that the attempt began with this step: the user opened the flow.
	Opened bool `json:"opened,omitempty"`

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

// Encode is the body of the entry that carries s, as encoding/json would write it,
// but with every answer as the client wrote it: <, > and & are not escaped.
func (s *Step) Encode() []byte {
	b := make([]byte, 0, s.size())
	b = rawjson.AppendString(append(b, `{"flow":`...), s.Flow)
	b = appendText(b, `,"definition":`, s.Definition)
	b = appendText(b, `,"flow_token":`, s.Token)
	b = appendText(b, `,"user":`, s.User)
	b = appendNumber(b, `,"version":`, s.Version)
	b = appendNumber(b, `,"attempt":`, int64(s.Attempt))
	if s.Opened {
		b = append(b, `,"opened":true`...)
	}
	b = rawjson.AppendString(append(b, `,"action":`...), s.Action)
	b = appendText(b, `,"from":`, s.From)
	b = appendText(b, `,"to":`, s.To)
	b = appendAnswers(b, `,"answers":`, s.Answers)
	if len(s.Params) > 0 {
		b = append(append(b, `,"params":`...), s.Params...)
	}
	b = rawjson.AppendString(append(b, `,"outcome":`...), string(s.Outcome))
	if s.Incomplete {
		b = append(b, `,"incomplete":true`...)
	}
	b = appendAnswers(b, `,"collected":`, s.Collected)
	if !s.StartedAt.IsZero() {
		b = s.StartedAt.AppendFormat(append(b, `,"started_at":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	b = strconv.AppendInt(append(b, `,"ms":`...), s.Milliseconds, 10)
	b = appendText(b, `,"error":`, s.ErrorKey)
	b = appendText(b, `,"error_message":`, s.ErrorMessage)
	return append(b, '}')
}

// size is about what Encode makes, so that it allocates once.
func (s *Step) size() int {
	return 320 + len(s.Flow) + len(s.Definition) + len(s.Token) + len(s.User) + len(s.From) + len(s.To) +
		rawjson.SizeOf(s.Answers) + len(s.Params) + rawjson.SizeOf(s.Collected) + len(s.ErrorKey) + len(s.ErrorMessage)
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return rawjson.AppendString(append(b, name...), text)
}

func appendNumber(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendAnswers(b []byte, name string, answers map[string]json.RawMessage) []byte {
	if len(answers) == 0 {
		return b
	}
	return rawjson.AppendObject(append(b, name...), answers)
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
