package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

const (
	errorMessageKey = "error_message"
	extensionKey    = "extension_message_response"
	flowTokenKey    = "flow_token"
)

// Reply is an answer to the client, before it is sealed.
type Reply struct {
	Screen string
	Data   map[string]json.RawMessage
}

// JSON is the plaintext of the reply: screen, then data with sorted keys, every
// value as it was given. Equal replies have equal bytes.
func (r Reply) JSON() []byte {
	size := 24 + len(r.Screen)
	for key, value := range r.Data {
		size += len(key) + len(value) + 4
	}
	b := make([]byte, 0, size)
	b = append(b, `{"screen":`...)
	b = append(b, quote(r.Screen)...)
	b = append(b, `,"data":`...)
	b = appendObject(b, r.Data)
	return append(b, '}')
}

func appendObject(b []byte, members map[string]json.RawMessage) []byte {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, quote(key)...)
		b = append(b, ':')
		b = append(b, members[key]...)
	}
	return append(b, '}')
}

// Ends says that the reply closes the flow.
func (r Reply) Ends() bool { return r.Screen == flowjson.Success }

// Params are extension_message_response.params of a reply that ends the flow:
// what WhatsApp sends into the chat and to the webhook. Without them the flow
// closes silently and no webhook ever comes.
func (r Reply) Params() (json.RawMessage, bool) {
	if !r.Ends() {
		return nil, false
	}
	var extension map[string]json.RawMessage
	if raw := r.Data[extensionKey]; kindOf(raw) != "object" || json.Unmarshal(raw, &extension) != nil {
		return nil, false
	}
	params, ok := extension["params"]
	return params, ok && kindOf(params) == "object"
}

// ParseReply reads a plaintext that JSON made. It checks no rule of the client:
// that is Guard's work.
func ParseReply(plaintext []byte) (Reply, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(plaintext, &top); err != nil || top == nil {
		return Reply{}, fmt.Errorf("the reply is not a JSON object: %w", describe(plaintext, err))
	}
	screen, ok := stringOf(top["screen"])
	if !ok {
		return Reply{}, fmt.Errorf("the reply's screen is %s, expected a string", article(kindOf(top["screen"])))
	}
	r := Reply{Screen: screen}
	if kindOf(top["data"]) != "object" || json.Unmarshal(top["data"], &r.Data) != nil {
		return Reply{}, errors.New("the reply has no data object")
	}
	return r, nil
}
