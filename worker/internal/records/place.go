package records

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// Place is where a page of a list ended: at the row of that time and id, in the
// order of that name. The next page begins behind it, whatever was added since.
type Place struct {
	Order string    `json:"o"`
	At    time.Time `json:"t"`
	ID    uuid.UUID `json:"i"`
	// Position tells apart the messages of one webhook.
	Position int `json:"p,omitempty"`
}

// Timestamp is a time that is written as JavaScript's toISOString does: UTC,
// milliseconds.
type Timestamp struct{ time.Time }

const isoMilliseconds = "2006-01-02T15:04:05.000Z"

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (t *Timestamp) ScanTimestamptz(v pgtype.Timestamptz) error {
	if !v.Valid || v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("a time that is none: valid %t, %s", v.Valid, v.InfinityModifier)
	}
	t.Time = v.Time
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Timestamp) MarshalText() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(isoMilliseconds)), isoMilliseconds), nil
}

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(isoMilliseconds)+2), `"`+isoMilliseconds+`"`), nil
}

// rawJSON is where a json column that may be null is scanned to.
func rawJSON(r *json.RawMessage) *[]byte { return (*[]byte)(r) }
