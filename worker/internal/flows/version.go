package flows

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// Content is what a version consists of, byte for byte.
type Content struct {
	FlowJSON []byte
	Logic    []byte // empty: none
	// Definition is what flow.Load made of both; nil if it could not.
	Definition *flow.Definition
	// Broken says why there is no Definition.
	Broken string
}

// Same says whether both consist of the same bytes.
func (c Content) Same(other Content) bool {
	return bytes.Equal(c.FlowJSON, other.FlowJSON) && bytes.Equal(c.Logic, other.Logic)
}

// Version is one version of a flow. Definition is not set in its Content.
type Version struct {
	Number int
	Hash   *string // of the definition; nil if it is broken
	Content
	CreatedAt time.Time
}

// GetVersion reads a version with its content.
func GetVersion(ctx context.Context, db Queryer, f *Flow, number int) (*Version, error) {
	const sql = `SELECT version, definition, flow_json, logic, coalesce(broken, ''), created_at FROM flow_versions
		WHERE account = $1 AND flow_id = $2 AND version = $3`
	v := new(Version)
	err := db.QueryRow(ctx, sql, f.Account, f.ID, number).Scan(&v.Number, &v.Hash, &v.FlowJSON, &v.Logic, &v.Broken, &v.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	return v, err
}

// Summary is a version without its content.
type Summary struct {
	Number    int
	Hash      *string
	Broken    *string
	Size      int // bytes of Flow JSON
	Logic     bool
	CreatedAt time.Time
}

// ListVersions reads at most limit versions below a number (0: from the newest
// one on), newest first.
func ListVersions(ctx context.Context, db Queryer, f *Flow, below, limit int) ([]Summary, error) {
	const sql = `SELECT version, definition, broken, length(flow_json), coalesce(length(logic), 0) > 0, created_at FROM flow_versions
		WHERE account = $1 AND flow_id = $2 AND ($3 = 0 OR version < $3) ORDER BY version DESC LIMIT $4`
	rows, err := db.Query(ctx, sql, f.Account, f.ID, below, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Summary])
}

// AddVersion stores content as the newest version of a locked flow and makes it
// the active one, unless it is broken: what works is never replaced by what does
// not. Nothing is stored, and added is false, if the active version has this
// content, or the newest one when c is broken. f follows.
func (f *Flow) AddVersion(ctx context.Context, tx pgx.Tx, c Content) (number int, added bool, err error) {
	if number, same, err := f.has(ctx, tx, c); same || err != nil {
		return number, false, err
	}
	if err := f.insert(ctx, tx, c); err != nil {
		return 0, false, err
	}
	active := f.Active
	if c.Definition != nil {
		active = f.Latest
	}
	return f.Latest, true, f.activate(ctx, tx, active)
}

// KeepVersion stores content as the newest version of a locked flow and leaves
// the active one as it is. Nothing is stored, and added is false, if any version
// has this content. f follows.
func (f *Flow) KeepVersion(ctx context.Context, tx pgx.Tx, c Content) (number int, added bool, err error) {
	const sql = `SELECT version FROM flow_versions
		WHERE account = $1 AND flow_id = $2 AND (definition = $3 OR $3 IS NULL AND definition IS NULL AND flow_json = $4 AND logic IS NOT DISTINCT FROM $5)
		ORDER BY version DESC LIMIT 1`
	hash, _ := c.state()
	err = tx.QueryRow(ctx, sql, f.Account, f.ID, hash, c.FlowJSON, c.logic()).Scan(&number)
	if !errors.Is(err, pgx.ErrNoRows) {
		return number, false, err
	}
	if err := f.insert(ctx, tx, c); err != nil {
		return 0, false, err
	}
	return f.Latest, true, f.activate(ctx, tx, f.Active)
}

func (f *Flow) insert(ctx context.Context, tx pgx.Tx, c Content) error {
	const sql = `INSERT INTO flow_versions (account, flow_id, version, definition, flow_json, logic, broken) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	hash, broken := c.state()
	f.Latest++
	_, err := tx.Exec(ctx, sql, f.Account, f.ID, f.Latest, hash, c.FlowJSON, c.logic(), broken)
	return err
}

// state is the hash of what can run, or why it cannot.
func (c Content) state() (hash, broken *string) {
	if c.Definition == nil {
		return nil, &c.Broken
	}
	h := c.Definition.Hash()
	return &h, nil
}

// logic is nil for none, which is null in its column.
func (c Content) logic() []byte {
	if len(c.Logic) == 0 {
		return nil
	}
	return c.Logic
}

// has says whether c is what the flow has already.
func (f *Flow) has(ctx context.Context, tx pgx.Tx, c Content) (number int, same bool, err error) {
	if c.Definition != nil {
		return f.Active, f.Definition != nil && *f.Definition == c.Definition.Hash(), nil
	}
	if f.Latest == 0 {
		return 0, false, nil
	}
	have, err := GetVersion(ctx, tx, f, f.Latest)
	if err != nil {
		return 0, false, err
	}
	return f.Latest, have.Hash == nil && have.Same(c), nil
}

// ErrBroken is returned for a version that cannot run.
var ErrBroken = errors.New("this version cannot run")

// Activate makes a version of a locked flow the active one; f follows.
func (f *Flow) Activate(ctx context.Context, tx pgx.Tx, number int) error {
	v, err := GetVersion(ctx, tx, f, number)
	switch {
	case err != nil:
		return err
	case v.Hash == nil:
		return ErrBroken
	case f.Active == number:
		return nil
	}
	return f.activate(ctx, tx, number)
}

func (f *Flow) activate(ctx context.Context, tx pgx.Tx, number int) error {
	const sql = `UPDATE flows f SET version = $2, revision = revision + 1, updated_at = clock_timestamp() WHERE id = $1 RETURNING ` + columns
	changed, err := scan(tx.QueryRow(ctx, sql, f.ID, number))
	if err == nil {
		*f = *changed
	}
	return err
}
