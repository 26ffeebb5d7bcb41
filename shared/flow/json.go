package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

var kindOf = flowjson.KindOf

func article(kind string) string {
	switch kind {
	case "object", "array":
		return "an " + kind
	case "nothing", "null":
		return kind
	default:
		return "a " + kind
	}
}

func stringOf(raw json.RawMessage) (string, bool) {
	if n := len(raw) - 1; n > 0 && raw[0] == '"' && raw[n] == '"' && isPlain(raw[1:n]) {
		return string(raw[1:n]), true
	}
	var s string
	if kindOf(raw) != "string" || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// quote is s as JSON. Unlike json.Marshal it leaves <, > and & as they are:
// nothing here is ever put into HTML.
func quote(s string) json.RawMessage {
	return rawjson.AppendString(make([]byte, 0, len(s)+len(`""`)), s)
}

// isPlain says that a text is the same in JSON, between quotes. It knows
// only the signs that nearly all names are made of.
func isPlain[T string | json.RawMessage](s T) bool {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b >= utf8.RuneSelf || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

// encode is json.Marshal without HTML escaping.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// isObject is nil for a valid JSON object, else what raw is instead.
func isObject(raw []byte) error {
	if valid(raw) && kindOf(raw) == "object" {
		return nil
	}
	var members map[string]json.RawMessage
	return describe(raw, json.Unmarshal(raw, &members))
}

// describe keeps of a JSON error what holds no data.
func describe(raw []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("syntax error at byte %d", syntax.Offset)
	}
	return fmt.Errorf("it is %s", article(kindOf(raw)))
}

// clip bounds what an error repeats of a name that may be anything.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
