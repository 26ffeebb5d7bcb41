package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

type migrateCommands struct {
	Up     migrateUp     `cmd:"" help:"Apply every pending migration."`
	Down   migrateDown   `cmd:"" help:"Take back the newest migration, with the data in what it created."`
	Status migrateStatus `cmd:"" help:"List the migrations."`
}

type (
	migrateUp   struct{}
	migrateDown struct {
		Yes bool `help:"Do not ask."`
	}
	migrateStatus struct{}
)

// Run applies every pending migration.
func (migrateUp) Run(p *process) error {
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		applied, err := store.Up(ctx, pool)
		for _, m := range applied {
			fmt.Fprintf(p.stdout, "applied %s\n", m.Name) //nolint:errcheck // the migration is what counts
		}
		if err == nil && len(applied) == 0 {
			fmt.Fprintln(p.stdout, "the database is up to date") //nolint:errcheck // as above
		}
		return err
	})
}

// Run takes back the newest migration, after having said which and asked.
func (c migrateDown) Run(p *process) error {
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		if !c.Yes {
			if err := c.ask(ctx, p, pool); err != nil {
				return err
			}
		}
		undone, err := store.Down(ctx, pool)
		if err != nil {
			return err
		}
		if undone == nil {
			_, err = fmt.Fprintln(p.stdout, "no migration is applied")
		} else {
			_, err = fmt.Fprintf(p.stdout, "took back %s\n", undone.Name)
		}
		return err
	})
}

// ask says what would be dropped; there is nothing to ask when it is nothing.
func (migrateDown) ask(ctx context.Context, p *process, pool *pgxpool.Pool) error {
	all, err := store.Status(ctx, pool)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(all) {
		if !m.AppliedAt.IsZero() {
			fmt.Fprintf(p.stderr, "%s would be taken back, with all data in what it created, such as answers and deliveries that are still to be made.\n", m.Name) //nolint:errcheck // the answer counts
			return p.confirm(bufio.NewReader(p.input()), "to take it back", "nothing was taken back")
		}
	}
	return nil
}

// Run lists the migrations.
func (migrateStatus) Run(p *process) error {
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := store.Status(ctx, pool)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
		for _, m := range all {
			state := "pending"
			if !m.AppliedAt.IsZero() {
				state = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(table, "%s\t%s\n", m.Name, state) //nolint:errcheck // Flush tells
		}
		return table.Flush()
	})
}

// withTables is withDatabase for what needs the tables to be there: it says what
// to do when they are not.
func withTables(p *process, do func(context.Context, *pgxpool.Pool) error) error {
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		reading, err := pgxpool.NewWithConfig(ctx, store.Reading(pool)) // what is looked for may be anywhere
		if err != nil {
			return err
		}
		defer reading.Close()
		return endpoint.Missing(do(ctx, reading))
	})
}

// withDatabase opens Postgres for a command that ends, and does not wait for
// one that is away.
func withDatabase(p *process, do func(context.Context, *pgxpool.Pool) error) error {
	d, err := settings.ReadDatabase(p.source)
	if err != nil {
		return err
	}
	pool, err := store.Open(p.ctx, d.URL, 4)
	if err != nil {
		return createFirst(err, d)
	}
	defer pool.Close()
	return do(p.ctx, pool)
}
