package api

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// moment is a time in a query: RFC 3339, or a date, which is its beginning in
// UTC.
type moment struct{ time time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) (err error) {
	if m.time, err = time.Parse(time.DateOnly, string(text)); err == nil {
		return nil
	}
	// An unescaped plus of a time zone arrives as a space.
	if m.time, err = time.Parse(time.RFC3339, strings.Replace(string(text), " ", "+", 1)); err != nil {
		return errors.New("expected a time such as 2026-11-23T08:00:00Z, or a date such as 2026-11-23")
	}
	return nil
}

// Schema implements huma.SchemaProvider.
func (moment) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"2026-11-23T08:00:00Z", "2026-11-23"}}
}

func span(since, until moment) (records.Span, error) {
	s := records.Span{Since: since.time, Until: until.time}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		return s, badRequest("Since is %s and until is %s, expected the earlier one first",
			s.Since.Format(time.RFC3339), s.Until.Format(time.RFC3339))
	}
	return s, nil
}

// recordPath names a record.
type recordPath struct {
	ID string `path:"id" format:"uuid" doc:"Id of the record"`
}

func (p recordPath) parse() (uuid.UUID, error) {
	id, err := uuid.Parse(p.ID)
	if err != nil {
		return id, badRequest("path.id is no id, expected a UUID")
	}
	return id, nil
}

// placeOf reads where a page goes on in a list of that order.
func placeOf(p Page, order string) (*records.Place, error) {
	var place records.Place
	switch found, err := p.after(&place); {
	case err != nil || !found:
		return nil, err
	case place.Order != order:
		return nil, badCursor()
	}
	return &place, nil
}

// checkTexts refuses in an input's query parameters what no text in Postgres
// can be.
func checkTexts(in any) error {
	var wrong error
	eachField(reflect.ValueOf(in).Elem(), func(field reflect.StructField, v reflect.Value) {
		if name := field.Tag.Get("query"); name != "" && v.Kind() == reflect.String && wrong == nil {
			if s := v.String(); !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				wrong = badRequest("%s", fmt.Sprintf("query.%s holds a NUL or is no UTF-8: nothing can match it", name))
			}
		}
	})
	return wrong
}

func eachField(v reflect.Value, visit func(reflect.StructField, reflect.Value)) {
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.Anonymous && field.Type.Kind() == reflect.Struct {
			eachField(v.Field(i), visit)
		} else {
			visit(field, v.Field(i))
		}
	}
}
