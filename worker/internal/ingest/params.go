package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// deepest is the nesting up to which an answer is kept as JSON. Postgres' own
// parser runs out of stack somewhere beyond.
const deepest = 256

// addedByClient are the keys that WhatsApp's client puts into an answer, or that
// differ between users: they are no part of what params_hash compares.
var addedByClient = []string{"flow_token", "flow_id", "response_message"}

// paramsHash is SHA-256, hex, over the canonical form of a JSON object: keys
// sorted, no white space, numbers in their shortest form, without the keys that
// the client adds. It finds the stateless step that an answer without a token
// came from, and nothing else: equal answers of two users have equal hashes.
// Empty when raw is no JSON object.
func paramsHash(raw []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	if decoder.Decode(&object) != nil || object == nil {
		return ""
	}
	for _, key := range addedByClient {
		delete(object, key)
	}
	canonical, err := json.Marshal(shortest(object))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// shortest rewrites numbers, which a client may write as 1, 1.0 or 1e0.
func shortest(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = shortest(value)
		}
	case []any:
		for i, value := range v {
			v[i] = shortest(value)
		}
	case json.Number:
		if f, err := strconv.ParseFloat(string(v), 64); err == nil && f < 1<<53 && f > -1<<53 {
			return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
		}
	}
	return v
}

// kindOfJSON says whether raw is JSON at all, and whether it is an object, both
// in a form that Postgres stores.
func kindOfJSON(raw []byte) (isJSON, isObject bool) {
	if !json.Valid(raw) || tooDeep(raw) {
		return false, false
	}
	trimmed := bytes.TrimLeft(raw, " \t\r\n")
	return true, trimmed[0] == '{'
}

// tooDeep counts brackets of valid JSON.
func tooDeep(raw []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > deepest {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
