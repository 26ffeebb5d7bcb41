// Package records reads what the worker has stored, for people and programs
// that ask: sessions with every step of a user's way, answers with their
// deliveries, raw webhooks, and exports of answers of any size.
//
// Every question is asked for a set of accounts, and nothing of another account
// is ever part of its answer. Lists are pages, newest first, that go on from a
// cursor: what is added meanwhile neither repeats nor hides a row.
package records

import (
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNotFound says that there is no such record in the accounts asked for.
var ErrNotFound = errors.New("no such record")

// Accounts limit a question; nil asks for all there are.
type Accounts []string

// Records answers questions about one database.
type Records struct {
	pool    *pgxpool.Pool
	titles  *titleCache
	exports chan struct{} // a place for each export that may run
}

// New returns the records of a database.
func New(pool *pgxpool.Pool) *Records {
	return &Records{pool: pool, titles: newTitleCache(pool), exports: make(chan struct{}, maxExports)}
}
