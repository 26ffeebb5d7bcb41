package ingest

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// clean makes any bytes storable as text: Postgres refuses NUL and what is no
// UTF-8, and would refuse the whole batch with them.
func clean(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// cut bounds a text that people read, at a rune's start.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// longestTraceparent is that of version 00; later versions may only append.
const longestTraceparent = 128

// traceparent is that of an entry, or empty: a long one is not one.
func traceparent(e event.Entry) string {
	if len(e.Traceparent) > longestTraceparent {
		return ""
	}
	return clean(e.Traceparent)
}

// text is a nullable column: empty is null.
func text(s string) pgtype.Text { return pgtype.Text{String: s, Valid: s != ""} }

// timestamp is a nullable column: zero is null.
func timestamp(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()}
}

func id(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: u != uuid.Nil} }

// newID is a UUIDv7: ids that grow with time keep the indexes' hot end small.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// column takes one column out of rows.
func column[R, T any](rows []R, value func(R) T) []T {
	all := make([]T, len(rows))
	for i, r := range rows {
		all[i] = value(r)
	}
	return all
}
