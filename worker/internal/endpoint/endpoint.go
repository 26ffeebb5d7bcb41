package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// Status says whether anything is sent.
type Status string

// The statuses. Deliveries are created, and wait, for all but Off.
const (
	Active   Status = "active"
	Paused   Status = "paused"   // by the operator
	Disabled Status = "disabled" // by 410 Gone, or by days of failures
	Off      Status = "off"      // nothing is routed to it
)

// Endpoint is a receiver of callbacks.
type Endpoint struct {
	ID      uuid.UUID
	Account string // eventtype.AnyAccount receives from every account
	Settings
	Secrets []Secret // current first; those that have expired are left out

	Status       Status
	StatusReason *string
	StatusSince  time.Time
	PausedUntil  *time.Time // by Retry-After, or the breaker
	Failures     int        // in a row
	FailingSince *time.Time
	Revision     int64 // counts the changes
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Ours says whether the environment describes the endpoint.
func (e *Endpoint) Ours() bool { return e.Account == eventtype.AnyAccount && e.Name == EnvironmentName }

var (
	// ErrNotFound is returned for an endpoint that is not there.
	ErrNotFound = errors.New("there is no such callback endpoint")
	// ErrNameTaken is returned when another endpoint of the account has the name.
	ErrNameTaken = errors.New("another callback endpoint of the account has this name")
)

// Key finds an endpoint: by ID in any of Accounts (nil: all), or by Name in
// Account, and then, if Accounts is nil, among those of every account.
type Key struct {
	ID       uuid.UUID // zero: by name
	Accounts []string
	Account  string
	Name     string
}

// ParseKey makes a key of an id or a name.
func ParseKey(nameOrID, account string, accounts []string) Key {
	if id, err := uuid.Parse(nameOrID); err == nil {
		return Key{ID: id, Accounts: accounts}
	}
	return Key{Account: account, Accounts: accounts, Name: nameOrID}
}

func (k Key) where() (string, []any) {
	if k.ID != uuid.Nil {
		return "e.id = $1 AND ($2::text[] IS NULL OR e.account = ANY ($2))", []any{k.ID, k.Accounts}
	}
	return "e.name = $1 AND (e.account = $2 OR $3::text[] IS NULL AND e.account = '" + eventtype.AnyAccount + "')",
		[]any{k.Name, k.Account, k.Accounts}
}

// The account's own comes before one of every account.
const ownFirst = " ORDER BY e.account = '" + eventtype.AnyAccount + "' LIMIT 1"

const columns = `e.id, e.account, e.name, e.description, e.url, e.events, e.flows, e.payload, e.headers, coalesce(e.auth, ''),
	e.timeout_ms, e.max_attempts, e.schedule, e.max_in_flight, coalesce(e.rate_limit, 0), e.ordered, e.disable_after_hours,
	e.secrets, e.secret_expiries, e.status, e.status_reason, e.status_since, e.paused_until, e.failures, e.failing_since,
	e.revision, e.created_at, e.updated_at, now()`

// Queryer is a pool or a transaction.
type Queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Get finds an endpoint.
func Get(ctx context.Context, db Queryer, key Key) (*Endpoint, error) {
	where, args := key.where()
	return scan(db.QueryRow(ctx, "SELECT "+columns+" FROM callback_endpoints e WHERE "+where+ownFirst, args...))
}

// Lock is Get, and nobody else changes the endpoint until tx ends. Deliveries may
// still be created for it.
func Lock(ctx context.Context, tx pgx.Tx, key Key) (*Endpoint, error) {
	return lock(ctx, tx, key, "FOR NO KEY UPDATE")
}

func lock(ctx context.Context, tx pgx.Tx, key Key, strength string) (*Endpoint, error) {
	found, err := Get(ctx, tx, key)
	if err != nil {
		return nil, err
	}
	e, err := scan(tx.QueryRow(ctx, "SELECT "+columns+" FROM callback_endpoints e WHERE e.id = $1 "+strength, found.ID))
	if err == nil && key.ID == uuid.Nil && e.Name != key.Name {
		return nil, ErrNotFound // renamed while we waited
	}
	return e, err
}

// List is the endpoints of accounts (nil: all) by account and name, behind a
// place if there is one.
func List(ctx context.Context, db Queryer, accounts []string, after *Key, limit int) ([]*Endpoint, error) {
	var account, name *string
	if after != nil {
		account, name = &after.Account, &after.Name
	}
	rows, err := db.Query(ctx, "SELECT "+columns+` FROM callback_endpoints e
		WHERE ($1::text[] IS NULL OR e.account = ANY ($1)) AND ($2::text IS NULL OR (e.account COLLATE "C", e.name COLLATE "C") > ($2, $3))
		ORDER BY e.account COLLATE "C", e.name COLLATE "C" LIMIT $4`, accounts, account, name, limit)
	if err != nil {
		return nil, fmt.Errorf("reading callback endpoints: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Endpoint, error) { return scan(row) })
	if err != nil {
		return nil, fmt.Errorf("reading callback endpoints: %w", err)
	}
	return all, nil
}

func scan(row pgx.Row) (*Endpoint, error) {
	e := new(Endpoint)
	var (
		timeout  int64
		headers  []byte
		secrets  []string
		expiries []*time.Time
		now      time.Time
	)
	err := row.Scan(&e.ID, &e.Account, &e.Name, &e.Description, &e.URL, &e.Events, &e.Flows, &e.Payload, &headers, &e.Auth,
		&timeout, &e.MaxAttempts, &e.Schedule, &e.MaxInFlight, &e.RateLimit, &e.Ordered, &e.DisableAfterHours,
		&secrets, &expiries, &e.Status, &e.StatusReason, &e.StatusSince, &e.PausedUntil, &e.Failures, &e.FailingSince,
		&e.Revision, &e.CreatedAt, &e.UpdatedAt, &now)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	e.Timeout = time.Duration(timeout) * time.Millisecond
	e.Secrets = validSecrets(secrets, expiries, now)
	if err := json.Unmarshal(headers, &e.Headers); err != nil {
		return nil, fmt.Errorf("the headers of the callback endpoint %s are no JSON object of texts", e.Name)
	}
	return e, nil
}

// Create adds an endpoint with one secret.
func Create(ctx context.Context, tx pgx.Tx, account string, s Settings, secret string) (*Endpoint, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	const sql = `INSERT INTO callback_endpoints AS e (id, account, secrets, name, description, url, events, flows, payload, headers, auth,
			timeout_ms, max_attempts, schedule, max_in_flight, rate_limit, ordered, disable_after_hours)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::json, nullif($11, ''), $12, $13, $14, $15, nullif($16::float8, 0), $17, $18)
		RETURNING ` + columns
	args := append([]any{id, account, []string{secret}}, s.arguments()...)
	e, err := scan(tx.QueryRow(ctx, sql, args...))
	return e, nameTaken(err)
}

// Change writes the settings of a locked endpoint; e follows. Another URL begins
// afresh: what the former receiver did says nothing about the next.
func (e *Endpoint) Change(ctx context.Context, tx pgx.Tx, s Settings) error {
	const sql = `UPDATE callback_endpoints e SET name = $2, description = $3, url = $4, events = $5, flows = $6, payload = $7,
			headers = $8::text::json, auth = nullif($9, ''), timeout_ms = $10, max_attempts = $11, schedule = $12, max_in_flight = $13,
			rate_limit = nullif($14::float8, 0), ordered = $15, disable_after_hours = $16,
			paused_until = CASE WHEN url = $4 THEN paused_until END,
			failures = CASE WHEN url = $4 THEN failures ELSE 0 END,
			failing_since = CASE WHEN url = $4 THEN failing_since END,
			revision = revision + 1, updated_at = clock_timestamp() WHERE id = $1 RETURNING ` + columns
	changed, err := scan(tx.QueryRow(ctx, sql, append([]any{e.ID}, s.arguments()...)...))
	if err != nil {
		return nameTaken(err)
	}
	*e = *changed
	return nil
}

func (s Settings) arguments() []any {
	headers := s.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	encoded, err := json.Marshal(headers)
	if err != nil {
		panic(err) // texts always can
	}
	return []any{s.Name, s.Description, s.URL, s.Events, s.Flows, string(s.Payload), string(encoded), s.Auth,
		s.Timeout.Milliseconds(), s.MaxAttempts, s.Schedule, s.MaxInFlight, s.RateLimit, s.Ordered, s.DisableAfterHours}
}

func nameTaken(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return ErrNameTaken
	}
	return err
}
