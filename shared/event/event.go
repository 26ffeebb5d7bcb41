// Package event defines the entries that the edge appends to the Redis streams
// and the worker reads: one Go type, one encoding, versioned.
//
// An entry is a flat list of stream fields:
//
//	v            encoding version, "1"
//	kind         step | stateless_step | client_error | webhook | mark
//	account      the account it belongs to
//	id           deduplication id within its kind; absent on a mark
//	ts           milliseconds since the Unix epoch at which the edge made it
//	traceparent  W3C Trace Context of the request; optional
//	src, seq     the writing process (new at each start) and its running
//	             number on this shard, from 1
//	void         sequence numbers of this src and shard whose append was not
//	             acknowledged, comma-separated; optional
//	body         JSON of a Step, or Meta's raw bytes of a webhook
//
// A mark carries in seq the highest number below which every number of its src
// on its shard is acknowledged or void. It has no number of its own.
package event

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is the encoding version this package writes and reads.
const Version = "1"

// Kind says what an entry is about.
type Kind string

// The kinds of entries.
const (
	KindStep          Kind = "step"           // one step of a session; id = session id hex + ":" + version
	KindStatelessStep Kind = "stateless_step" // a step without a session; id = envelope hash
	KindClientError   Kind = "client_error"   // the client refused a reply; id = envelope hash
	KindWebhook       Kind = "webhook"        // Meta's webhook; id = SHA-256 of the body
	KindMark          Kind = "mark"           // what one src has had acknowledged on one shard
)

// Entry is one entry of a stream.
type Entry struct {
	Kind        Kind
	Account     string
	ID          string
	Time        time.Time // millisecond precision
	Traceparent string
	Source      string
	Seq         uint64
	Void        []uint64
	Body        []byte
}

// Values are the fields of e in the order XADD takes them: name, value, …
func (e Entry) Values() []any {
	values := make([]any, 0, 20)
	values = append(values, "v", Version, "kind", string(e.Kind), "account", e.Account)
	if e.ID != "" {
		values = append(values, "id", e.ID)
	}
	values = append(values, "ts", strconv.FormatInt(e.Time.UnixMilli(), 10))
	if e.Traceparent != "" {
		values = append(values, "traceparent", e.Traceparent)
	}
	values = append(values, "src", e.Source, "seq", strconv.FormatUint(e.Seq, 10))
	if len(e.Void) > 0 {
		values = append(values, "void", formatVoid(e.Void))
	}
	if e.Kind != KindMark {
		values = append(values, "body", e.Body)
	}
	return values
}

// ErrVersion is wrapped by the error of Decode for an entry of another
// encoding version: a newer edge may be writing beside an older worker.
var ErrVersion = errors.New("unknown entry version")

// Decode reads the fields of a stream entry as go-redis returns them. Its error
// names the field that is wrong, what came and what was expected; it never
// holds a body.
func Decode(fields map[string]any) (Entry, error) {
	field := func(name string) string { s, _ := fields[name].(string); return s }

	if v := field("v"); v != Version {
		return Entry{}, fmt.Errorf("%w: field v is %q, expected %q", ErrVersion, clip(v), Version)
	}
	e := Entry{
		Kind:        Kind(field("kind")),
		Account:     field("account"),
		ID:          field("id"),
		Traceparent: field("traceparent"),
		Source:      field("src"),
		Body:        []byte(field("body")),
	}
	switch e.Kind {
	case KindStep, KindStatelessStep, KindClientError, KindWebhook:
		if e.ID == "" {
			return Entry{}, fmt.Errorf("entry of kind %s: field id is missing", e.Kind)
		}
		if _, ok := fields["body"].(string); !ok {
			return Entry{}, fmt.Errorf("entry of kind %s: field body is missing", e.Kind)
		}
	case KindMark:
	default:
		return Entry{}, fmt.Errorf("field kind is %q, expected step, stateless_step, client_error, webhook or mark", clip(string(e.Kind)))
	}
	if e.Account == "" {
		return Entry{}, fmt.Errorf("entry of kind %s: field account is missing", e.Kind)
	}
	if e.Source == "" {
		return Entry{}, fmt.Errorf("entry of kind %s: field src is missing", e.Kind)
	}
	ms, err := strconv.ParseInt(field("ts"), 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("field ts is %q, expected milliseconds since the Unix epoch", clip(field("ts")))
	}
	e.Time = time.UnixMilli(ms).UTC()
	if e.Seq, err = strconv.ParseUint(field("seq"), 10, 63); err != nil {
		return Entry{}, fmt.Errorf("field seq is %q, expected a decimal number", clip(field("seq")))
	}
	if e.Void, err = parseVoid(field("void")); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func formatVoid(void []uint64) string {
	var b strings.Builder
	for i, n := range void {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(n, 10))
	}
	return b.String()
}

func parseVoid(s string) ([]uint64, error) {
	if s == "" {
		return nil, nil
	}
	var void []uint64
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(part, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("field void holds %q, expected decimal numbers separated by commas", clip(part))
		}
		void = append(void, n)
	}
	return void, nil
}

// clip bounds what an error repeats of a field that may be anything.
func clip(s string) string {
	const limit = 40
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
