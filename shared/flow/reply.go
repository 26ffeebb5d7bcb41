package flow

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

const (
	errorMessageKey = "error_message"
	extensionKey    = "extension_message_response"
	flowTokenKey    = "flow_token"
)

// Reply is an answer to the client, before it is sealed. Its values may be parts
// of the request's plaintext or of the stored session: JSON is a copy.
type Reply struct {
	Screen string
	Data   map[string]json.RawMessage
}

// JSON is the plaintext of the reply: screen, then data with sorted keys, every
// value as it was given. Equal replies have equal bytes.
func (r Reply) JSON() []byte {
	b := make([]byte, 0, len(`{"screen":"","data":}`)+len(r.Screen)+rawjson.SizeOf(r.Data))
	b = append(b, `{"screen":`...)
	b = rawjson.AppendString(b, r.Screen)
	b = append(b, `,"data":`...)
	b = rawjson.AppendObject(b, r.Data)
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
