package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/publish"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type flowsCommands struct {
	Load flowsLoad `cmd:"" help:"Store the flows of a directory and publish them to the edges."`
}

type flowsLoad struct {
	Dir     string `arg:"" type:"existingdir" help:"Directory with one folder for each flow (NAME/flow.json), or files NAME.json."`
	Account string `default:"default" help:"Account the flows belong to."`
}

// plainName is what fits into the path of an endpoint and a key of Redis.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Run loads a directory.
func (c flowsLoad) Run(p *process) error {
	if !plainName.MatchString(c.Account) {
		return fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores", c.Account)
	}
	definitions, err := flow.LoadDir(os.DirFS(c.Dir))
	if err != nil {
		return err
	}
	if len(definitions) == 0 {
		return fmt.Errorf("%s holds no flow, expected folders with a flow.json, or .json files", c.Dir)
	}
	for name := range definitions {
		if !plainName.MatchString(name) {
			return fmt.Errorf("the flow %q has a name that fits no endpoint's path, expected letters, digits, dots, dashes and underscores", name)
		}
	}
	r, err := settings.ReadRedis(p.source)
	if err != nil {
		return err
	}
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		loaded, err := publish.Load(ctx, pool, c.Account, definitions)
		if err != nil {
			return err
		}
		printLoaded(p.stdout, loaded)
		client := redis.NewUniversalClient(commandOptions(r))
		defer client.Close() //nolint:errcheck // everything was answered
		redis.SetLogger(quietRedis{})
		if err := publish.New(pool, client, r.Keys, newLog(io.Discard, 0)).Publish(ctx); err != nil {
			return fmt.Errorf("the flows are stored but not published, which a running worker does as soon as it can: %w", err)
		}
		_, err = fmt.Fprintln(p.stdout, "published")
		return err
	})
}

func printLoaded(w io.Writer, loaded []publish.Loaded) {
	for _, l := range loaded {
		what := "unchanged, version"
		if l.New {
			what = "stored as version"
		}
		fmt.Fprintf(w, "%s/%s: %s %d, definition %.12s\n", l.Account, l.Flow, what, l.Version, l.Definition) //nolint:errcheck // output only
		if l.Status != "active" {
			fmt.Fprintf(w, "  note: the flow is %s\n", l.Status) //nolint:errcheck // output only
		}
		for _, warning := range l.Warnings {
			fmt.Fprintf(w, "  warning: %s\n", warning) //nolint:errcheck // output only
		}
	}
}

// quietRedis drops go-redis's own messages: the error says the same.
type quietRedis struct{}

// Printf implements go-redis's internal logger.
func (quietRedis) Printf(context.Context, string, ...any) {}
