package phone

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

const success = "SUCCESS"

// judge fills the reply from its plaintext, or refuses it. from is the screen
// the request was sent from.
func (p *Phone) judge(action flow.Action, from string, reply *Reply) error {
	top, err := object(reply.Plaintext)
	if err != nil {
		return &RefusalError{KeyPayloadSchema, "the answer is " + err.Error()}
	}
	if kind(top["screen"]) != "a string" || json.Unmarshal(top["screen"], &reply.Screen) != nil {
		return &RefusalError{KeyPayloadSchema, "screen is " + kind(top["screen"]) + ", expected a string"}
	}
	if reply.Data, err = object(top["data"]); err != nil {
		return &RefusalError{KeyPayloadSchema, "data is " + err.Error()}
	}
	if path := findNull("data", top["data"]); path != "" {
		return &RefusalError{KeyPayloadSchema, path + " is null: leave the key out, or send an empty value of its type"}
	}
	if message, ok := reply.Data["error_message"]; ok {
		if kind(message) != "a string" || json.Unmarshal(message, &reply.ErrorMessage) != nil {
			return &RefusalError{KeyPayloadSchema, "data.error_message is " + kind(message) + ", expected a string"}
		}
	}
	if err := judgeExtension(reply); err != nil {
		return err
	}

	if reply.Screen == success {
		reply.Ended = true
		return nil
	}
	reply.Params = nil // the client looks at them on SUCCESS only
	if err := p.judgeTransition(action, from, reply.Screen); err != nil {
		return err
	}
	if p.Flow == nil {
		return nil
	}
	request := &flow.Request{Version: p.version(), Action: action, Screen: from, Token: p.Token, Data: map[string]json.RawMessage{}}
	if _, err := flow.Guard(p.Flow, request, reply.Plaintext); err != nil {
		key := KeyPayloadSchema
		var guard *flow.GuardError
		if errors.As(err, &guard) && guard.Path == "screen" {
			key = KeyInvalidTransition
		}
		return &RefusalError{key, err.Error()}
	}
	return nil
}

func judgeExtension(reply *Reply) error {
	raw, ok := reply.Data["extension_message_response"]
	if !ok {
		return nil
	}
	extension, err := object(raw)
	if err != nil {
		return &RefusalError{KeyPayloadSchema, "data.extension_message_response is " + err.Error()}
	}
	params, ok := extension["params"]
	if !ok {
		return nil
	}
	if _, err := object(params); err != nil {
		return &RefusalError{KeyPayloadSchema, "data.extension_message_response.params is " + err.Error()}
	}
	reply.Params = params
	return nil
}

// judgeTransition is the client's rule about screens: INIT lands on one that no
// edge leads to, and on the one the message named if it did; any other action
// stays, or moves along an edge in either direction.
func (p *Phone) judgeTransition(action flow.Action, from, to string) error {
	refuse := func(want string) error {
		return &RefusalError{KeyInvalidTransition, fmt.Sprintf("%s from screen %q led to %q, expected %s", action, from, to, want)}
	}
	if to == "" {
		return refuse("the id of a screen")
	}
	if p.Flow == nil {
		if action == flow.Init && from != "" && from != to {
			return refuse("the screen the message named")
		}
		return nil
	}
	edges := p.Flow.Flow().RoutingModel
	if p.Flow.Flow().Screen(to) == nil {
		return refuse("a screen of the flow")
	}
	if action != flow.Init {
		if from == to || slices.Contains(edges[from], to) || slices.Contains(edges[to], from) {
			return nil
		}
		return refuse("the same screen or one joined to it by an edge: " + strings.Join(edges[from], ", "))
	}
	if from != "" && from != to {
		return refuse("the screen the message named")
	}
	for screen, next := range edges {
		if slices.Contains(next, to) {
			return refuse("an entry screen, but an edge from " + screen + " leads to it")
		}
	}
	return nil
}

// judgeData accepts exactly {"data":{key:value,…}} as far as key goes: what
// answers a ping and an error notification.
func judgeData(reply *Reply, key, value string) error {
	top, err := object(reply.Plaintext)
	if err != nil {
		return &RefusalError{KeyPayloadSchema, "the answer is " + err.Error()}
	}
	if reply.Data, err = object(top["data"]); err != nil {
		return &RefusalError{KeyPayloadSchema, "data is " + err.Error()}
	}
	if !bytes.Equal(bytes.TrimSpace(reply.Data[key]), []byte(value)) {
		return &RefusalError{KeyPayloadSchema, fmt.Sprintf("data.%s is not %s", key, value)}
	}
	return nil
}

// object reads a JSON object; its error completes "x is …".
func object(raw []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	if found := kind(raw); found != "an object" {
		return nil, errors.New(found + ", expected an object")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, errors.New("malformed JSON")
	}
	return members, nil
}

func kind(raw []byte) string {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return "missing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return "a number"
	default:
		return "no JSON"
	}
}

// longestPath bounds the path of a null: its names are the endpoint's.
const longestPath = 200

// findNull is the path of the first null in raw by sorted keys, or "". It decodes
// raw as a whole: going down one level after the other would read what lies
// deepest once for each level.
func findNull(path string, raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	rest, found := nullIn(value)
	if !found {
		return ""
	}
	if path += rest; len(path) > longestPath {
		path = strings.ToValidUTF8(path[:longestPath], "") + "…"
	}
	return path
}

// nullIn is where a null lies in a value.
func nullIn(value any) (path string, found bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if rest, found := nullIn(v[key]); found {
				return "." + key + rest, true
			}
		}
	case []any:
		for i, item := range v {
			if rest, found := nullIn(item); found {
				return fmt.Sprintf("[%d]%s", i, rest), true
			}
		}
	}
	return "", false
}
