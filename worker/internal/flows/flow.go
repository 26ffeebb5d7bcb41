// Package flows stores flows and their versions in Postgres: the one way in, for
// the API and for `worker flows load`.
//
// A version is immutable and numbered from 1; a flow points at the one that is
// active. Whoever changes a flow holds the lock of its row, so that versions have
// neither gaps nor doubles however many change it at once.
package flows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Flow is a flow without the content of its versions.
type Flow struct {
	ID      uuid.UUID
	Account string
	Properties
	// Active is the version that is published while Status is not inactive; 0
	// when none can be.
	Active int
	// Latest is the newest version; 0 when there is none.
	Latest int
	// Definition is the hash of the active version, nil when there is none.
	Definition *string
	// Revision counts the changes.
	Revision             int64
	CreatedAt, UpdatedAt time.Time
}

// Properties are what may be changed of a flow beside its content.
type Properties struct {
	Name   string
	Status string // active | inactive | deprecated
	// Label is free text that the seed calls version.
	Label        *string
	Description  *string
	MetaFlowID   *string
	TemplateName *string
	CallbackURL  *string
}

// Same says whether nothing differs.
func (p Properties) Same(other Properties) bool {
	equal := func(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
	return p.Name == other.Name && p.Status == other.Status && equal(p.Label, other.Label) && equal(p.Description, other.Description) &&
		equal(p.MetaFlowID, other.MetaFlowID) && equal(p.TemplateName, other.TemplateName) && equal(p.CallbackURL, other.CallbackURL)
}

// The statuses.
const (
	Active     = "active"
	Inactive   = "inactive"
	Deprecated = "deprecated"
)

var (
	// ErrNotFound is returned for a flow or version that is not there.
	ErrNotFound = errors.New("there is no such flow or version")
	// ErrNameTaken is returned when another flow of the account has the name.
	ErrNameTaken = errors.New("another flow of the account has this name")
)

// Key finds a flow: by ID in any of Accounts (nil: all), or by Name in Account.
type Key struct {
	ID       uuid.UUID // zero: by name
	Accounts []string
	Account  string
	Name     string
}

const columns = `f.id, f.account, f.name, f.status, f.label, f.description, f.meta_flow_id, f.template_name, f.callback_url,
	f.version, (SELECT coalesce(max(version), 0) FROM flow_versions v WHERE v.account = f.account AND v.flow_id = f.id),
	(SELECT definition FROM flow_versions v WHERE v.account = f.account AND v.flow_id = f.id AND v.version = f.version),
	f.revision, f.created_at, f.updated_at`

func (f *Flow) fields() []any {
	return []any{&f.ID, &f.Account, &f.Name, &f.Status, &f.Label, &f.Description, &f.MetaFlowID, &f.TemplateName, &f.CallbackURL,
		&f.Active, &f.Latest, &f.Definition, &f.Revision, &f.CreatedAt, &f.UpdatedAt}
}

// Queryer is a pool or a transaction.
type Queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Get finds a flow that is not deleted.
func Get(ctx context.Context, db Queryer, key Key) (*Flow, error) {
	where, args := key.where()
	return scan(db.QueryRow(ctx, "SELECT "+columns+" FROM flows f WHERE "+where, args...))
}

// Lock is Get, and nobody else changes the flow until tx ends.
func Lock(ctx context.Context, tx pgx.Tx, key Key) (*Flow, error) {
	where, args := key.where()
	// Two statements: one that waits for the lock sees its subqueries as of
	// before the wait.
	var id uuid.UUID
	err := tx.QueryRow(ctx, "SELECT f.id FROM flows f WHERE "+where+" FOR UPDATE", args...).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return scan(tx.QueryRow(ctx, "SELECT "+columns+" FROM flows f WHERE f.id = $1", id))
}

func (k Key) where() (string, []any) {
	if k.ID != uuid.Nil {
		return "f.id = $1 AND ($2::text[] IS NULL OR f.account = ANY ($2)) AND f.deleted_at IS NULL", []any{k.ID, k.Accounts}
	}
	return "f.account = $1 AND f.name = $2 AND f.deleted_at IS NULL", []any{k.Account, k.Name}
}

func scan(row pgx.Row) (*Flow, error) {
	f := new(Flow)
	err := row.Scan(f.fields()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	return f, err
}

// Create adds a flow without a version, locked until tx ends.
func Create(ctx context.Context, tx pgx.Tx, account string, p Properties) (*Flow, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	return CreateAs(ctx, tx, id, account, p)
}

// CreateAs is Create with an id that another system gave the flow, which
// receivers of callbacks may know it by.
func CreateAs(ctx context.Context, tx pgx.Tx, id uuid.UUID, account string, p Properties) (*Flow, error) {
	const sql = `INSERT INTO flows AS f (id, account, name, status, label, description, meta_flow_id, template_name, callback_url)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ` + columns
	f, err := scan(tx.QueryRow(ctx, sql, id, account, p.Name, p.Status, p.Label, p.Description, p.MetaFlowID, p.TemplateName, p.CallbackURL))
	if err != nil {
		return nil, nameTaken(err)
	}
	return f, forgetFormerName(ctx, tx, f)
}

// Change writes properties of a locked flow; f follows.
func (f *Flow) Change(ctx context.Context, tx pgx.Tx, p Properties) error {
	const sql = `UPDATE flows f SET name = $2, status = $3, label = $4, description = $5, meta_flow_id = $6, template_name = $7, callback_url = $8,
		revision = revision + 1, updated_at = clock_timestamp() WHERE id = $1 RETURNING ` + columns
	former := f.Name
	changed, err := scan(tx.QueryRow(ctx, sql, f.ID, p.Name, p.Status, p.Label, p.Description, p.MetaFlowID, p.TemplateName, p.CallbackURL))
	if err != nil {
		return nameTaken(err)
	}
	*f = *changed
	if f.Name == former {
		return nil
	}
	const remember = `INSERT INTO flow_former_names (account, name, flow_id) VALUES ($1, $2, $3)
		ON CONFLICT (account, name) DO UPDATE SET flow_id = excluded.flow_id, renamed_at = now()`
	if _, err := tx.Exec(ctx, remember, f.Account, former, f.ID); err != nil {
		return fmt.Errorf("remembering the former name: %w", err)
	}
	return forgetFormerName(ctx, tx, f)
}

// forgetFormerName: a name that is in use again is nobody's former name.
func forgetFormerName(ctx context.Context, tx pgx.Tx, f *Flow) error {
	_, err := tx.Exec(ctx, `DELETE FROM flow_former_names WHERE account = $1 AND name = $2`, f.Account, f.Name)
	return err
}

// Delete hides a locked flow and frees its name. Its versions, sessions and
// answers stay.
func (f *Flow) Delete(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE flows SET deleted_at = clock_timestamp(), updated_at = clock_timestamp(), revision = revision + 1 WHERE id = $1`, f.ID)
	return err
}

func nameTaken(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == "flows_name" {
		return ErrNameTaken
	}
	return err
}
