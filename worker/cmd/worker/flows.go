package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/publish"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type flowsCommands struct {
	Load     flowsLoad     `cmd:"" help:"Store the flows of a directory and publish them to the edges."`
	Validate flowsValidate `cmd:"" help:"Say what Meta would refuse in flows, and why their logic does not work."`
}

type flowsLoad struct {
	Dir     string `arg:"" type:"existingdir" help:"Directory with one folder for each flow (NAME/flow.json), or files NAME.json."`
	Account string `default:"default" help:"Account the flows belong to."`
	Force   bool   `help:"Load also flows that Meta would refuse."`
}

// plainName is what fits into the path of an endpoint and a key of Redis.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Run loads a directory.
func (c flowsLoad) Run(p *process) error {
	if !plainName.MatchString(c.Account) {
		return fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores", c.Account)
	}
	if err := c.validate(p); err != nil {
		return err
	}
	definitions, err := flow.LoadDir(os.DirFS(c.Dir))
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(p.stdout, printable(strings.TrimSuffix(line, "\n"))) //nolint:errcheck // output only
		}
		return errors.New("nothing was loaded: mend what is said above")
	}
	if len(definitions) == 0 {
		return fmt.Errorf("%s holds no flow, expected folders with a flow.json, or .json files", c.Dir)
	}
	for name := range definitions {
		if !plainName.MatchString(name) {
			return fmt.Errorf("nothing was loaded: the flow %q has a name that fits no endpoint's path, expected letters, digits, dots, dashes and underscores", name)
		}
	}
	r, err := settings.ReadRedis(p.source)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
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

// validate prints what Meta would refuse or warn of, and refuses it too unless
// forced.
func (c flowsLoad) validate(p *process) error {
	documents, err := findDocuments(c.Dir)
	if err != nil {
		return err
	}
	refused := 0
	for _, d := range documents {
		text, err := d.read(nil)
		if err != nil {
			return fmt.Errorf("%s: %w", d.file, err)
		}
		report := validate.Flow(text)
		for _, w := range report.Warnings {
			fmt.Fprintf(p.stdout, "%s:%d:%d: warning %s %s\n", printable(d.file), w.LineStart, w.ColumnStart, w.Error, printable(w.Message)) //nolint:errcheck // output only
		}
		if report.Valid() {
			continue
		}
		refused++
		if err := printHuman(p.stdout, []*result{{file: d.file, text: text, errors: report.Errors, truncated: report.Truncated}}); err != nil {
			return err
		}
	}
	if refused > 0 && !c.Force {
		force := ", or load them with --force"
		if _, err := flow.LoadDir(os.DirFS(c.Dir)); err != nil {
			force = "" // which would be refused too
		}
		return fmt.Errorf("nothing was loaded: Meta would refuse %d of %d flows: mend them%s", refused, len(documents), force)
	}
	return nil
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
