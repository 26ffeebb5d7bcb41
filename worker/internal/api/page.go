package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// Page is what a list's input embeds: how much, and from where.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most items of this page"`
	Cursor string `query:"cursor" maxLength:"2048" doc:"next_cursor of the page before; left out for the first one"`
}

// after reads the place that the page before ended at into a struct; false on
// the first page. A cursor of another list, or of other settings, is a
// badRequest.
//
// A cursor names the last row that was seen, not a number of rows: what is added
// meanwhile neither moves rows to the next page nor shows one twice.
func (p Page) after(place any) (bool, error) {
	if p.Cursor == "" {
		return false, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	d := json.NewDecoder(bytes.NewReader(raw))
	if err == nil {
		d.DisallowUnknownFields()
		err = d.Decode(place)
	}
	if err != nil || d.More() {
		return false, badCursor()
	}
	return true, nil
}

func badCursor() *problem {
	return badRequest("The cursor is not one of this list: take next_cursor as it came, with the same filters and sort, or leave it out")
}

// encodeCursor makes a cursor of a struct with JSON fields.
func encodeCursor(place any) string {
	raw, err := json.Marshal(place)
	if err != nil {
		panic(err) // a struct of plain fields
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}
