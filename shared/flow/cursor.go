package flow

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// valid says whether raw is JSON as encoding/json takes it: duplicate names and
// half surrogate pairs included.
func valid(raw []byte) bool {
	return jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// cursor goes through the members of an object or the items of an array in the
// order they are written. It reads what was found valid before, so it checks
// nothing; over other bytes it ends somewhere. What it returns are parts of
// those bytes, without the white space around them.
type cursor struct {
	raw []byte
	at  int
}

// within is a cursor at the first member or item of raw.
func within(raw []byte) cursor {
	c := cursor{raw: raw}
	c.skip()
	c.at++ // the bracket
	return c
}

// skip moves over what stands between values.
func (c *cursor) skip() {
	for c.at < len(c.raw) {
		switch c.raw[c.at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			c.at++
		default:
			return
		}
	}
}

// more says whether another member or item follows, and moves to it.
func (c *cursor) more() bool {
	c.skip()
	return c.at < len(c.raw) && c.raw[c.at] != '}' && c.raw[c.at] != ']'
}

// value is the value that follows.
func (c *cursor) value() json.RawMessage {
	c.skip()
	from, depth := c.at, 0
	for c.at < len(c.raw) {
		switch c.raw[c.at] {
		case '"':
			c.pass()
			if depth == 0 {
				return c.raw[from:c.at:c.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth < 0 {
				return c.raw[from:c.at:c.at]
			}
			if depth == 0 {
				c.at++
				return c.raw[from:c.at:c.at]
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return c.raw[from:c.at:c.at]
			}
		}
		c.at++
	}
	return c.raw[from:c.at:c.at]
}

// text moves over a string. It says whether its bytes between the quotes are
// its text.
func (c *cursor) text() (plain bool) {
	from := c.at
	return !c.pass() && utf8.Valid(c.raw[from:c.at])
}

// pass moves over a string and says whether there is an escape in it, or no end.
func (c *cursor) pass() (escaped bool) {
	c.at++
	// Nearly all strings end at the next quote.
	rest := c.raw[min(c.at, len(c.raw)):]
	if end := bytes.IndexByte(rest, '"'); end >= 0 && bytes.IndexByte(rest[:end], '\\') < 0 {
		c.at += end + 1
		return false
	}
	for ; c.at < len(c.raw); c.at++ {
		switch c.raw[c.at] {
		case '"':
			c.at++
			return true
		case '\\':
			c.at++
		}
	}
	c.at = len(c.raw)
	return true
}

// name is the name of the member that follows.
func (c *cursor) name() []byte {
	from := c.at
	if c.text() {
		return c.raw[from+1 : c.at-1]
	}
	var name string
	if json.Unmarshal(c.raw[from:c.at], &name) != nil {
		return nil // not reached: it was valid
	}
	return []byte(name)
}

// object is a valid JSON object as encoding/json reads it: of members with one
// name the last counts.
func object(raw []byte) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	for c := within(raw); c.more(); {
		name := c.name()
		members[string(name)] = c.value()
	}
	return members
}

// memberOf is the member of a valid JSON object that object would have.
func memberOf(raw []byte, want string) (json.RawMessage, bool) {
	var found json.RawMessage
	for c := within(raw); c.more(); {
		name := c.name()
		if value := c.value(); string(name) == want {
			found = value
		}
	}
	return found, found != nil
}

// countItems counts the items of a valid JSON array.
func countItems(raw []byte) int {
	n := 0
	for c := within(raw); c.more(); n++ {
		c.value()
	}
	return n
}
