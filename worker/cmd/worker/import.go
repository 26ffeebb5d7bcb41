package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/seed"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

type importCommands struct {
	Seed importSeed `cmd:"" help:"Take over the flows, sessions, answers and webhooks of whatsapp-flows-server."`
}

type importSeed struct {
	From           string `placeholder:"URL" help:"Read another database, such as postgres://user@host/name, and change nothing there; - reads the URL from the first line of the standard input. Without it the tables are in DATABASE_URL's own, and are moved to the schema seed."`
	Account        string `default:"default" help:"Account that everything will belong to."`
	TimeZone       string `default:"UTC" help:"Time zone that whatsapp-flows-server ran in, such as America/Sao_Paulo: its times do not say."`
	DryRun         bool   `help:"Say what would be done, and change nothing."`
	DeliverPending bool   `help:"Deliver the answers that whatsapp-flows-server had not delivered. Without it nothing of the past is sent to anybody."`
	JSON           bool   `name:"json" help:"Print the report as JSON."`
}

// incomplete is an import that did all it could.
type incomplete struct{ rows int }

func (i incomplete) Error() string {
	return fmt.Sprintf("%d rows could not be mapped: the report above says why, and they are where they were", i.rows)
}

// exitCode is 2: 1 is an import that did not come to its end.
func (incomplete) exitCode() int { return 2 }

// Run imports, and prints what became of everything.
func (c importSeed) Run(p *process) error {
	if !plainName.MatchString(c.Account) {
		return fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores", c.Account)
	}
	var callback settings.Callback
	if c.DeliverPending {
		var err error
		if callback, err = settings.ReadCallback(p.source); err != nil {
			return err
		}
	}
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		from, err := c.other(p)
		if err != nil {
			return err
		}
		if from != nil {
			defer from.Close()
		}
		report, err := seed.Run(ctx, seed.Config{
			Pool: pool, From: from, Account: c.Account, TimeZone: c.TimeZone, DryRun: c.DryRun, DeliverPending: c.DeliverPending,
			Prepare: func(ctx context.Context) error {
				if !c.DeliverPending {
					return nil // serve does it
				}
				return endpoint.Ensure(ctx, pool, callback.Environment)
			},
			Progress: func(line string) { fmt.Fprintln(p.stderr, line) }, //nolint:errcheck // the report tells all
		})
		if err != nil && ctx.Err() != nil {
			return errors.New("stopped by a signal: what was taken over is there, and the same command goes on from it")
		}
		if err != nil {
			return err
		}
		if c.JSON {
			err = writeJSON(p.stdout, report)
		} else {
			err = report.Print(p.stdout)
		}
		if err == nil && !report.Complete() {
			err = incomplete{report.NotMapped()}
		}
		return err
	})
}

// other opens the database that --from names; nil when it does not.
func (c importSeed) other(p *process) (*pgxpool.Pool, error) {
	url := c.From
	if url == "-" {
		line, err := bufio.NewReader(p.input()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the standard input: %w", err)
		}
		if url = strings.TrimSpace(line); url == "" {
			return nil, errors.New("the first line of the standard input is empty, expected the URL of the database to read")
		}
	}
	if url == "" {
		return nil, nil
	}
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return nil, errors.New("--from does not say where Postgres is, expected postgres://user:password@host:5432/database")
	}
	pool, err := store.Open(p.ctx, url, 2)
	if err != nil {
		return nil, fmt.Errorf("the database of --from: %w", err)
	}
	return pool, nil
}
