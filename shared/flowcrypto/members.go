package flowcrypto

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// eachMember walks the members of the one JSON object that body must be. It
// exists because encoding/json would copy a body of 10 MiB twice before the
// base64 is decoded. A name is unescaped; a value is the slice of body that
// holds it, a complete string token when it begins with a quote. For any other
// value only the extent is known, so visit checks what it cares about with
// json.Valid, which keeps the grammar in one place.
func eachMember(body []byte, visit func(name, value []byte) error) error {
	rest := skipSpace(body)
	if len(rest) == 0 || rest[0] != '{' {
		return errMalformed
	}
	rest = skipSpace(rest[1:])
	if len(rest) > 0 && rest[0] == '}' {
		return atEnd(rest[1:])
	}
	for {
		n := stringExtent(rest)
		if n == 0 {
			return errMalformed
		}
		name, ok := unquote(rest[:n])
		if !ok {
			return errMalformed
		}
		rest = skipSpace(rest[n:])
		if len(rest) == 0 || rest[0] != ':' {
			return errMalformed
		}
		rest = skipSpace(rest[1:])
		if n = valueExtent(rest); n == 0 {
			return errMalformed
		}
		if err := visit(name, rest[:n]); err != nil {
			return err
		}
		rest = skipSpace(rest[n:])
		switch {
		case len(rest) > 0 && rest[0] == ',':
			rest = skipSpace(rest[1:])
		case len(rest) > 0 && rest[0] == '}':
			return atEnd(rest[1:])
		default:
			return errMalformed
		}
	}
}

// unquote is what a string token stands for. Names are nearly always plain; of
// the others encoding/json knows the rules.
func unquote(token []byte) ([]byte, bool) {
	inside := token[1 : len(token)-1]
	for _, c := range inside {
		if c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			var text string
			err := json.Unmarshal(token, &text)
			return []byte(text), err == nil
		}
	}
	return inside, true
}

func atEnd(rest []byte) error {
	if len(skipSpace(rest)) > 0 {
		return errMalformed
	}
	return nil
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// stringExtent is the length of the string token at the start of b with both
// quotes, or 0 if there is none.
func stringExtent(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; ; i++ {
		quote := bytes.IndexByte(b[i:], '"')
		if quote < 0 {
			return 0
		}
		i += quote
		backslashes := 0
		for b[i-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i + 1
		}
	}
}

// valueExtent is the length of the value at the start of b, or 0 if there is
// none. It is exact for valid JSON and anything for the rest.
func valueExtent(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"':
		return stringExtent(b)
	case '{', '[':
		depth := 0
		for i := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				n := stringExtent(b[i:])
				if n == 0 {
					return 0
				}
				i += n - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return 0
	default:
		if n := bytes.IndexAny(b, ",}] \t\r\n"); n >= 0 {
			return n
		}
		return len(b)
	}
}

func kindOf(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	default:
		return "a number"
	}
}

// strict refuses set bits behind the last byte, so that one value has one
// spelling. Like every decoder of the standard library it skips CR and LF,
// which the callers refuse themselves.
var strict = base64.StdEncoding.Strict()

// appendBase64 appends what the inside of a JSON string decodes to. Meta escapes
// each slash of the base64 (\/), and any character may come as \u00XX.
func appendBase64(decoded, text []byte) (_ []byte, ok bool) {
	if bytes.IndexByte(text, '\\') < 0 {
		return appendChunk(decoded, text)
	}
	// Unescape through a small chunk rather than a second copy of the body.
	var chunk [4096]byte // a multiple of 4 characters
	filled := 0
	for len(text) > 0 {
		run := bytes.IndexByte(text, '\\')
		switch {
		case run == 0:
			c, size := unescape(text)
			if size == 0 {
				return nil, false
			}
			chunk[filled] = c
			filled++
			text = text[size:]
		case run < 0:
			run = len(text)
			fallthrough
		default:
			n := copy(chunk[filled:], text[:run])
			filled += n
			text = text[n:]
		}
		if filled < len(chunk) && len(text) > 0 {
			continue
		}
		before := len(decoded)
		if decoded, ok = appendChunk(decoded, chunk[:filled]); !ok {
			return nil, false
		}
		if len(text) > 0 && len(decoded)-before < len(chunk)/4*3 {
			return nil, false // padding before the end
		}
		filled = 0
	}
	return decoded, true
}

func appendChunk(decoded, text []byte) ([]byte, bool) {
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return nil, false
	}
	decoded, err := strict.AppendDecode(decoded, text)
	return decoded, err == nil
}

// unescape decodes the escape at the start of text if it stands for an ASCII
// character that base64 can hold, and returns its size, else 0.
func unescape(text []byte) (c byte, size int) {
	switch {
	case len(text) >= 2 && text[1] == '/':
		return '/', 2
	case len(text) >= 6 && text[1] == 'u':
		n, err := strconv.ParseUint(string(text[2:6]), 16, 8)
		if err != nil {
			return 0, 0
		}
		return byte(n), 6
	default:
		return 0, 0
	}
}
