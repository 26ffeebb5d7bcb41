package records

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// byteOrderMark tells Excel that a file is UTF-8.
const byteOrderMark = "\uFEFF"

// fixedColumns are those of every CSV export, whatever the flow.
var fixedColumns = []string{"id", "account", "flow", "flowVersion", "answeredAt", "receivedAt", "phoneNumber", "userId",
	"flowToken", "source", "wamid", "contextId", "phoneNumberId", "sessionId", "attempt", "incomplete", "raw"}

// titleSuffix marks the column of the titles of another column's ids.
const titleSuffix = " (title)"

// table writes responses as CSV (RFC 4180).
type table struct {
	columns []string       // of answers, after the fixed ones
	byKey   map[string]int // place in columns of an answer's key
	titles  map[string]int // place in columns of an answer's title
	values  [][]byte       // of one response, by place
}

// newTable makes a table with columns of answers: a key, or a key and
// titleSuffix.
func newTable(columns []string) *table {
	t := &table{columns: columns, byKey: make(map[string]int), titles: make(map[string]int), values: make([][]byte, len(columns))}
	for i, name := range columns {
		t.byKey[name] = i
		if key, ok := strings.CutSuffix(name, titleSuffix); ok {
			t.titles[key] = i
		}
	}
	return t
}

func (t *table) header(b []byte) []byte {
	for i, name := range fixedColumns {
		b = appendCell(separate(b, i), name)
	}
	for _, name := range t.columns {
		b = append(b, ',')
		for _, fixed := range fixedColumns {
			if name == fixed {
				name = "answer." + name // a flow may well ask for an id
				break
			}
		}
		b = appendCell(b, name)
	}
	return append(b, "\r\n"...)
}

func separate(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func (t *table) row(b []byte, r *Response) []byte {
	number := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	for i, cell := range [...]string{r.ID.String(), r.Account, optional(r.Flow), number(r.FlowVersion),
		r.AnsweredAt.UTC().Format(isoMilliseconds), r.ReceivedAt.UTC().Format(isoMilliseconds), optional(r.PhoneNumber), optional(r.UserID),
		optional(r.FlowToken), r.Source, optional(r.Wamid), optional(r.ContextID), optional(r.PhoneNumberID), r.session(), number(r.Attempt),
		strconv.FormatBool(r.Incomplete), optional(r.Raw)} {
		b = appendCell(separate(b, i), cell)
	}
	clear(t.values)
	eachMember(r.ResponseData, func(key, value []byte) {
		if i, ok := t.byKey[string(key)]; ok {
			t.values[i] = value
		}
	})
	for i, value := range t.values {
		b = append(b, ',')
		if value != nil {
			b = appendValue(b, value)
			continue
		}
		if key, ok := strings.CutSuffix(t.columns[i], titleSuffix); ok {
			b = appendTitle(b, r.Titles[key])
		}
	}
	return append(b, "\r\n"...)
}

func optional(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r *Response) session() string {
	if r.SessionID == nil {
		return ""
	}
	return r.SessionID.String()
}

const listSeparator = "; "

func appendTitle(b []byte, title any) []byte {
	switch title := title.(type) {
	case string:
		return appendCell(b, title)
	case []string:
		return appendCell(b, strings.Join(title, listSeparator))
	}
	return b
}

// appendValue writes an answer: a text as it is, a list of texts and numbers
// joined, anything deeper as JSON.
func appendValue(b, value []byte) []byte {
	switch flowjson.KindOf(value) {
	case "null":
		return b
	case "number", "boolean":
		return append(b, value...) // no spreadsheet takes these for a formula
	case "array":
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			break
		}
		texts := make([]string, 0, len(list))
		for _, v := range list {
			text, ok := scalar(v)
			if !ok {
				return appendCell(b, compact(value))
			}
			texts = append(texts, text)
		}
		return appendCell(b, strings.Join(texts, listSeparator))
	case "object":
		return appendCell(b, compact(value))
	}
	return appendCell(b, unquote(value))
}

func scalar(value []byte) (string, bool) {
	switch flowjson.KindOf(value) {
	case "object", "array":
		return "", false
	case "string":
		return unquote(value), true
	case "null":
		return "", true
	}
	return string(value), true
}

func compact(value []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}

// appendCell writes a text, in quotes where RFC 4180 wants them. A text that a
// spreadsheet would run as a formula gets an apostrophe before it: users write
// what they like into a flow (OWASP, "CSV Injection").
func appendCell(b []byte, text string) []byte {
	if text == "" {
		return b
	}
	formula := strings.IndexByte("=+-@\t\r\n", text[0]) >= 0
	if !strings.ContainsAny(text, "\",\r\n\x00") && text[0] != ' ' && text[len(text)-1] != ' ' {
		if formula {
			b = append(b, '\'')
		}
		return append(b, text...)
	}
	b = append(b, '"')
	if formula {
		b = append(b, '\'')
	}
	for i := range len(text) {
		switch text[i] {
		case '"':
			b = append(b, `""`...)
		case 0:
			b = append(b, "\uFFFD"...) // readers end a file at a NUL
		default:
			b = append(b, text[i])
		}
	}
	return append(b, '"')
}
