package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Fault says whose fault a failed transaction is.
type Fault int

// The faults of a transaction.
const (
	// FaultServer: connection, resources, shutdown, deadlock, a schema that does
	// not fit. The same transaction may succeed later; unknown errors count here,
	// so that what nobody foresaw loses nothing.
	FaultServer Fault = iota
	// FaultCollision: a deadlock or a serialization failure. Nothing is wrong
	// with the server or the data; trying again at once usually helps.
	FaultCollision
	// FaultRace: another transaction got in between (unique or foreign key).
	// Trying again at once usually helps.
	FaultRace
	// FaultData: one of the values can never be stored.
	FaultData
)

// FaultOf classifies an error of a transaction by its SQLSTATE.
func FaultOf(err error) Fault {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return FaultServer
	}
	switch {
	case pg.Code == "40001", pg.Code == "40P01":
		return FaultCollision
	case pg.Code == "23505", pg.Code == "23503":
		return FaultRace
	case pg.Code[:2] == "22", pg.Code[:2] == "23":
		return FaultData
	case pg.Code[:2] == "54": // too long for an index, too deep for the JSON parser
		return FaultData
	}
	return FaultServer
}

// Stale says whether err means that the connections of a pool lead to a server
// that is no longer the one to use: read-only after a failover, or going down.
func Stale(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "25006", "57P01", "57P02", "57P03":
		return true
	}
	return false
}

// Describe is what may be recorded of a Postgres error: its message may hold
// the value that was refused.
func Describe(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return "Postgres refused it"
	}
	s := "Postgres refused it: SQLSTATE " + pg.Code
	for _, part := range []struct{ name, value string }{
		{"table", pg.TableName}, {"column", pg.ColumnName}, {"constraint", pg.ConstraintName},
	} {
		if part.value != "" {
			s += fmt.Sprintf(", %s %s", part.name, part.value)
		}
	}
	return s
}
