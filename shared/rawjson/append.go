// Package rawjson writes JSON around values that are JSON already, without
// reading them again: what a phone posted goes byte for byte into the session,
// the event and the reply.
package rawjson

import (
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// AppendString appends s as a JSON string, spelled as encoding/json spells it
// without HTML escaping: <, > and & stay, U+2028 and U+2029 are escaped, and
// what is no UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0 // of what is not yet appended
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[from:i]...), '\\', 'u', '2', '0', '2', hex[r&0xf])
		default:
			i += size
			continue
		}
		i += size
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// AppendObject appends an object of values that are valid JSON, its names
// sorted.
func AppendObject(b []byte, members map[string]json.RawMessage) []byte {
	return AppendMap(b, members, func(b []byte, value json.RawMessage) []byte { return append(b, value...) })
}

// AppendMap appends an object of what appendValue appends for each value, its
// names sorted.
func AppendMap[V any](b []byte, members map[string]V, appendValue func([]byte, V) []byte) []byte {
	var room [16]string
	b = append(b, '{')
	for i, name := range SortedNames(room[:0], members) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, name), ':')
		b = appendValue(b, members[name])
	}
	return append(b, '}')
}

// SortedNames appends the keys of a map to names, which has room for the usual
// number of them, and sorts them.
func SortedNames[V any](names []string, members map[string]V) []string {
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// SizeOf is what AppendObject appends of members, if no name needs an escape.
func SizeOf(members map[string]json.RawMessage) int {
	size := len(`{}`)
	for name, value := range members {
		size += len(`"":,`) + len(name) + len(value)
	}
	return size
}
