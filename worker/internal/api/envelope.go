package api

import (
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Timestamp is a time as JavaScript's toISOString writes it: UTC, milliseconds.
type Timestamp time.Time

const isoMilliseconds = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(make([]byte, 0, 32), `"`+isoMilliseconds+`"`), nil
}

// Schema implements huma.SchemaProvider.
func (Timestamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-11-23T20:07:48.123Z"}}
}

func now() Timestamp { return Timestamp(time.Now()) }

// envelope is a successful answer.
type envelope[T any] struct {
	Success   bool      `json:"success" doc:"Always true"`
	Data      T         `json:"data"`
	Timestamp Timestamp `json:"timestamp"`
}

// answer is the output of an operation that answers 200 with one thing.
type answer[T any] struct {
	Body envelope[T]
}

func ok[T any](data T) *answer[T] { return &answer[T]{envelope[T]{true, data, now()}} }

// listEnvelope is one page of a list.
type listEnvelope[T any] struct {
	Success    bool       `json:"success" doc:"Always true"`
	Data       []T        `json:"data" nullable:"false"`
	Pagination pagination `json:"pagination"`
	Timestamp  Timestamp  `json:"timestamp"`
}

type pagination struct {
	Limit      int     `json:"limit" example:"50"`
	NextCursor *string `json:"next_cursor" doc:"For the cursor of the next page; null on the last one" example:"eyJzIjoibmFtZSJ9"`
}

// list is the output of an operation that answers with a page.
type list[T any] struct {
	Body listEnvelope[T]
}

// listed makes a page of rows, of which there is one more than the limit if
// there is another page. at gives the place of the last row that is shown: any
// struct, which the next request's Page.after reads back.
func listed[T any](p Page, rows []T, at func(last T) any) *list[T] {
	out := &list[T]{listEnvelope[T]{Success: true, Data: rows, Pagination: pagination{Limit: p.Limit}, Timestamp: now()}}
	if len(rows) > p.Limit {
		out.Body.Data = rows[:p.Limit]
		cursor := encodeCursor(at(rows[p.Limit-1]))
		out.Body.Pagination.NextCursor = &cursor
	}
	if rows == nil {
		out.Body.Data = []T{}
	}
	return out
}

// schemaName gives schemas names that read well: Flow, FlowEnvelope, FlowList,
// Error.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	switch name {
	case "Problem":
		return "Error"
	case "ProblemFault":
		return "ErrorContent"
	}
	if of, ok := strings.CutPrefix(name, "ListEnvelope"); ok && of != "" {
		return of + "List"
	}
	if of, ok := strings.CutPrefix(name, "Envelope"); ok && of != "" {
		if item, several := strings.CutPrefix(of, "List"); several {
			return item + "Array"
		}
		return of + "Envelope"
	}
	return name
}
