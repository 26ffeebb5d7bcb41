package stream

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// Entry is one entry of a stream as it was read.
type Entry struct {
	Stream string // key of the stream
	ID     string // stream id
	Shard  int
	Fields map[string]any // as go-redis returned them

	// Event is Fields decoded. When Problem is set they could not be, and Event
	// holds what was readable.
	Event   event.Entry
	Problem error
}

// Dead is an entry that cannot be stored, and why.
type Dead struct {
	Entry  Entry
	Reason string // names what came and what was expected; never holds a body
}

func newEntry(stream string, shard int, m redis.XMessage) Entry {
	e := Entry{Stream: stream, ID: m.ID, Shard: shard, Fields: m.Values}
	if e.Event, e.Problem = event.Decode(m.Values); e.Problem != nil {
		e.Event = readable(m.Values)
	}
	return e
}

// readable is what a broken entry still says of itself.
func readable(fields map[string]any) event.Entry {
	var e event.Entry
	field := func(name string) string { s, _ := fields[name].(string); return s }
	e.Kind, e.Account, e.ID, e.Source = event.Kind(field("kind")), field("account"), field("id"), field("src")
	if _, err := fmt.Sscanf(field("seq"), "%d", &e.Seq); err != nil {
		e.Source = "" // a source without a number proves nothing
	}
	return e
}

// size is what an entry weighs against the limit of one transaction, in bytes.
func (e Entry) size() int {
	n := 0
	for name, v := range e.Fields {
		n += len(name)
		if s, ok := v.(string); ok {
			n += len(s)
		}
	}
	return n
}
