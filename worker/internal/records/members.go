package records

import (
	"bytes"
	"encoding/json"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// eachMember visits the members of a JSON object in their order: the key
// unescaped, the value as it stands. Of JSON that is no object it visits
// nothing.
//
// It exists for exports, which look at every answer twice: data must be valid
// JSON, which everything in a json column is, so that only the extent of a
// value has to be found.
func eachMember(data []byte, visit func(key, value []byte)) {
	if flowjson.KindOf(data) != "object" {
		return
	}
	rest := space(space(data)[1:])
	for len(rest) > 0 && rest[0] == '"' {
		n := stringEnd(rest)
		key := rest[:n]
		rest = space(rest[n:])
		if len(rest) == 0 { // no valid JSON
			return
		}
		rest = space(rest[1:]) // colon
		n = valueEnd(rest)
		if bytes.IndexByte(key, '\\') < 0 {
			key = key[1 : len(key)-1]
		} else {
			key = []byte(unquote(key))
		}
		visit(key, rest[:n])
		rest = space(rest[n:])
		if len(rest) > 0 {
			rest = space(rest[1:]) // comma, or the end
		}
	}
}

func space(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// stringEnd is the length of the string that b begins with, quotes included.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// valueEnd is the length of the value that b begins with.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:])
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i++
			continue
		}
		if depth == 0 {
			return i
		}
	}
	return len(b)
}

// unquote reads a JSON string; half a surrogate pair becomes U+FFFD.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 && len(quoted) >= 2 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(quoted)
	}
	return s
}
