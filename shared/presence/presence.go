// Package presence is what an edge process says of itself in Redis, so that an
// operator sees which edges an installation has.
//
// Each edge keeps one field of the hash [keyspace.Keys.Edges]: its source as the
// name, an [Edge] as JSON. It writes the field every [Every] and removes it at a
// clean stop. The time of writing is by Redis's own clock, so that clocks of
// edges do not matter; what is older than [Gone] counts as gone.
package presence

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	// Every is how often an edge writes its field.
	Every = 10 * time.Second

	// Gone is the age from which an edge counts as gone: it was killed, or has
	// not reached Redis six times in a row.
	Gone = time.Minute

	// Limit is how many edges are kept; of more, those seen last.
	Limit = 256

	// MaxSize is the size in bytes that a value may have.
	MaxSize = 4 << 10
)

// Edge is one edge process. Host and PID say where it runs; they are for those
// who may read Redis, and are in no answer.
type Edge struct {
	Seen              int64     `json:"seen,omitempty"` // milliseconds since 1970 by Redis's clock, filled in there
	Host              string    `json:"host"`
	PID               int       `json:"pid"`
	Version           string    `json:"version"`
	PrivateKeyBackend string    `json:"private_key_backend"`
	Started           time.Time `json:"started"`
}

// Encode is the JSON of an edge without Seen.
func (e Edge) Encode() []byte {
	e.Seen = 0
	encoded, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("presence: %v", err)) // only a year past 9999, which no clock says
	}
	return encoded
}

// Decode reads a value of the hash. Fields of newer edges are passed over. The
// error says what is wrong with the value, and repeats nothing of it.
func Decode(value string) (Edge, error) {
	var e Edge
	if len(value) > MaxSize {
		return e, fmt.Errorf("presence of an edge is %d bytes, expected at most %d", len(value), MaxSize)
	}
	if err := json.Unmarshal([]byte(value), &e); err != nil {
		return Edge{}, fmt.Errorf("presence of an edge is no JSON object of its fields")
	}
	if e.Seen <= 0 {
		return Edge{}, fmt.Errorf("presence of an edge has no time in seen, expected milliseconds since 1970")
	}
	if e.PrivateKeyBackend == "" {
		return Edge{}, fmt.Errorf("presence of an edge has no private_key_backend")
	}
	return e, nil
}
