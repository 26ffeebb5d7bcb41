package flow

import (
	"encoding/json"
	"errors"
	"fmt"
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
	b = appendQuoted(b, r.Screen)
	b = append(b, `,"data":`...)
	b = appendObject(b, r.Data)
	return append(b, '}')
}

func appendObject(b []byte, members map[string]json.RawMessage) []byte {
	var room [16]string
	keys := room[:0]
	for key := range members {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, key)
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
	extension := r.Data[extensionKey]
	if kindOf(extension) != "object" {
		return nil, false
	}
	params, ok := memberOf(extension, "params")
	return params, ok && kindOf(params) == "object"
}

// ParseReply reads a plaintext that JSON made. It checks no rule of the client:
// that is Guard's work.
func ParseReply(plaintext []byte) (Reply, error) {
	if err := isObject(plaintext); err != nil {
		return Reply{}, fmt.Errorf("the reply is not a JSON object: %w", err)
	}
	rawScreen, data := screenAndData(plaintext)
	screen, ok := stringOf(rawScreen)
	if !ok {
		return Reply{}, fmt.Errorf("the reply's screen is %s, expected a string", article(kindOf(rawScreen)))
	}
	if kindOf(data) != "object" {
		return Reply{}, errors.New("the reply has no data object")
	}
	return Reply{Screen: screen, Data: object(data)}, nil
}

// screenAndData are the two members of a reply, which is a valid object.
func screenAndData(reply []byte) (screen, data json.RawMessage) {
	for c := within(reply); c.more(); {
		name := c.name()
		switch value := c.value(); string(name) {
		case "screen":
			screen = value
		case "data":
			data = value
		}
	}
	return screen, data
}
