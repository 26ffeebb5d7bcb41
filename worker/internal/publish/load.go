// Package publish brings flow definitions from a directory into Postgres, and
// from Postgres to the edges through Redis. Postgres is the truth; what Redis
// lost, or never had, is put there again.
package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// Loaded is what loading one flow did.
type Loaded struct {
	Account    string
	Flow       string
	Version    int
	Definition string // hash
	New        bool   // a version was added; else the newest has this content
	Status     string // only an active flow is published
	Warnings   []string
}

// Load stores definitions by flow name, each as a new version unless it is the
// one that is active already. All are stored, or none. Flows that are not named
// stay as they are.
func Load(ctx context.Context, pool *pgxpool.Pool, account string, definitions map[string]*flow.Definition) ([]Loaded, error) {
	var all []Loaded
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		all = nil
		// In order of names, so that two loads at once cannot lock each other.
		for _, name := range slices.Sorted(maps.Keys(definitions)) {
			loaded, err := loadOne(ctx, tx, account, name, definitions[name])
			if err != nil {
				return fmt.Errorf("storing the flow %s: %w", name, err)
			}
			all = append(all, loaded)
		}
		return nil
	})
	return all, err
}

func loadOne(ctx context.Context, tx pgx.Tx, account, name string, def *flow.Definition) (Loaded, error) {
	loaded := Loaded{Account: account, Flow: name, Definition: def.Hash(), Warnings: def.Warnings()}
	id, err := uuid.NewV7()
	if err != nil {
		return loaded, err
	}
	// The update of nothing locks the row.
	const upsert = `
		INSERT INTO flows AS f (id, account, name) VALUES ($1, $2, $3)
		ON CONFLICT (account, name) WHERE deleted_at IS NULL DO UPDATE SET name = f.name
		RETURNING f.id, f.version, f.status`
	if err := tx.QueryRow(ctx, upsert, id, account, name).Scan(&id, &loaded.Version, &loaded.Status); err != nil {
		return loaded, err
	}
	const active = `SELECT coalesce((SELECT definition FROM flow_versions WHERE account = $1 AND flow_id = $2 AND version = $3), ''),
		coalesce((SELECT max(version) FROM flow_versions WHERE account = $1 AND flow_id = $2), 0)`
	var current string
	var newest int
	if err := tx.QueryRow(ctx, active, account, id, loaded.Version).Scan(&current, &newest); err != nil {
		return loaded, err
	}
	if current == loaded.Definition {
		return loaded, nil
	}
	loaded.Version, loaded.New = newest+1, true
	if _, err := tx.Exec(ctx, `INSERT INTO flow_versions (account, flow_id, version, definition, flow_json) VALUES ($1, $2, $3, $4, $5)`,
		account, id, loaded.Version, loaded.Definition, def.FlowJSON()); err != nil {
		return loaded, err
	}
	_, err = tx.Exec(ctx, `UPDATE flows SET version = $3, updated_at = now() WHERE account = $1 AND id = $2`, account, id, loaded.Version)
	return loaded, err
}
