package payload

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// milliseconds is RFC 3339 in UTC, as JavaScript writes it.
const milliseconds = "2006-01-02T15:04:05.000Z"

// object writes the members of one JSON object in the order in which they are
// given. Members are always there; what is not known is null.
type object struct {
	b   bytes.Buffer
	enc *json.Encoder
}

func newObject() *object {
	o := &object{}
	o.enc = json.NewEncoder(&o.b)
	o.enc.SetEscapeHTML(false) // JSON.stringify leaves <, > and & alone
	o.b.WriteByte('{')
	return o
}

func (o *object) name(name string) {
	if last := o.b.Bytes()[o.b.Len()-1]; last != '{' {
		o.b.WriteByte(',')
	}
	o.b.WriteByte('"')
	o.b.WriteString(name)
	o.b.WriteString(`":`)
}

// put writes a string, a number, a truth value or a pointer to one of them.
func (o *object) put(name string, value any) {
	o.name(name)
	length := o.b.Len()
	if err := o.enc.Encode(value); err != nil {
		// Only a number that JSON does not know, such as NaN, ends here.
		o.b.Truncate(length)
		o.b.WriteString("null")
		return
	}
	o.b.Truncate(o.b.Len() - 1) // the line feed that Encode adds
}

func (o *object) time(name string, at *time.Time) {
	if at == nil {
		o.verbatim(name, nil)
		return
	}
	o.put(name, at.UTC().Format(milliseconds))
}

// verbatim writes JSON as it is: the encoder would compact it.
func (o *object) verbatim(name string, raw []byte) {
	o.name(name)
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		raw = []byte("null")
	}
	o.b.Write(raw)
}

func (o *object) within(name string, write func(*object)) {
	o.name(name)
	o.b.WriteByte('{')
	write(o)
	o.b.WriteByte('}')
}

func (o *object) close() []byte {
	o.b.WriteByte('}')
	return o.b.Bytes()
}

// quote is s as a JSON string.
func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return []byte(strconv.Quote("")) // never: every string can be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
