// Package publish brings flow definitions from a directory into Postgres, and
// from Postgres to the edges through Redis. Postgres is the truth; what Redis
// lost, or never had, is put there again.
package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
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
	f, err := lockOrCreate(ctx, tx, account, name, def)
	if err != nil {
		return loaded, err
	}
	loaded.Status = f.Status
	loaded.Version, loaded.New, err = f.AddVersion(ctx, tx, flows.Content{FlowJSON: def.FlowJSON(), Logic: def.Logic(), Definition: def})
	return loaded, err
}

// lockOrCreate also wins against another process that creates the same flow at
// the same time: its own insert waits for that one, and then finds the flow.
func lockOrCreate(ctx context.Context, tx pgx.Tx, account, name string, def *flow.Definition) (*flows.Flow, error) {
	key := flows.Key{Account: account, Name: name}
	f, err := flows.Lock(ctx, tx, key)
	if !errors.Is(err, flows.ErrNotFound) {
		return f, err
	}
	label := def.Flow().Version
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		f, err = flows.Create(ctx, savepoint, account, flows.Properties{Name: name, Status: flows.Active, Label: &label})
		return err
	})
	if errors.Is(err, flows.ErrNameTaken) {
		return flows.Lock(ctx, tx, key)
	}
	return f, err
}
