package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type deadCommands struct {
	List    deadList    `cmd:"" help:"List entries of the streams that could never be stored, the latest first."`
	Show    deadShow    `cmd:"" help:"Show one with its fields: they hold personal data."`
	Requeue deadRequeue `cmd:"" help:"Put entries back into their streams: some by id, or all that a filter lets through."`
}

// deadFlags narrow what is listed or put back.
type deadFlags struct {
	Account string `help:"Only this account."`
	Kind    string `help:"Only this kind: step, stateless_step, client_error, webhook or mark."`
	Stream  string `help:"Only this stream, by its key in Redis."`
	Since   moment `help:"Given up at this time or later: 2026-11-23T08:00:00Z, 2026-11-23, or how long ago, such as 24h or 7d."`
	Until   moment `help:"Given up before this time."`
}

func (f deadFlags) filter() (deliveries.DeadFilter, error) {
	d := deliveries.DeadFilter{Kind: f.Kind, Stream: f.Stream, Since: f.Since.Time, Until: f.Until.Time}
	if f.Account != "" {
		d.Accounts = []string{f.Account}
	}
	return d, order(f.Since, f.Until)
}

type deadList struct {
	deadFlags
	Waiting bool `help:"Only those that were not put back."`
	Limit   int  `default:"50" help:"Most rows, at most 10000."`
	JSON    bool `help:"Print JSON."`
}

// Run lists dead entries.
func (c deadList) Run(p *process) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 10_000 {
		return fmt.Errorf("--limit is %d, expected 1 to 10000", c.Limit)
	}
	if c.Waiting {
		never := false
		filter.Requeued = &never
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := deliveries.ListDead(ctx, pool, filter, nil, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			if all == nil {
				all = []deliveries.DeadEntry{}
			}
			return writeJSON(p.stdout, all)
		}
		rows := make([][]string, len(all))
		for i, d := range all {
			back := ""
			if d.RequeuedAt != nil {
				back = shortTime(d.RequeuedAt.Time)
			}
			rows[i] = []string{d.ID.String(), shortTime(d.At.Time), d.Account, optionalText(d.Kind), d.Stream, fmt.Sprint(d.Size), back, d.Reason}
		}
		return printTable(p.stdout, []string{"ID", "AT (UTC)", "ACCOUNT", "KIND", "STREAM", "BYTES", "PUT BACK", "REASON"}, rows)
	})
}

type deadShow struct {
	ID   string `arg:"" help:"Id of the entry."`
	JSON bool   `help:"Print JSON."`
}

func entryID(s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return id, fmt.Errorf("%q is no id of a dead entry, expected a UUID", s)
	}
	return id, nil
}

// Run shows a dead entry.
func (c deadShow) Run(p *process) error {
	id, err := entryID(c.ID)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		d, err := deliveries.GetDead(ctx, pool, nil, id)
		if errors.Is(err, deliveries.ErrNotFound) {
			return fmt.Errorf("there is no dead entry %s", id)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(p.stdout, d)
		}
		rows := [][]string{{"id", d.ID.String()}, {"at", shortTime(d.At.Time)}, {"account", d.Account}, {"stream", d.Stream + " " + d.StreamID}, {"reason", d.Reason}}
		for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
			rows = append(rows, []string{"field " + name, d.Fields[name]})
		}
		for _, name := range slices.Sorted(maps.Keys(d.FieldsData)) {
			rows = append(rows, []string{"field " + name, fmt.Sprintf("%d bytes that are no text: --json has them in base64", len(d.FieldsData[name]))})
		}
		return printTable(p.stdout, []string{"ENTRY", ""}, rows)
	})
}

type deadRequeue struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of entries. Without any, filters say which."`
	deadFlags
	All   bool `help:"Without any filter: all that were not put back."`
	Limit int  `default:"1000" help:"Most of them, at most 10000."`
}

// Run puts dead entries back.
func (c deadRequeue) Run(p *process) error {
	filter, err := c.filter()
	given := c.deadFlags != deadFlags{}
	switch {
	case err != nil:
		return err
	case len(c.IDs) > 0 && (given || c.All):
		return errors.New("ids and filters exclude each other")
	case len(c.IDs) == 0 && !given && !c.All:
		return errors.New("which entries? Name some by id, give a filter such as --kind or --since, or say --all")
	case c.Limit < 1 || c.Limit > 10_000:
		return fmt.Errorf("--limit is %d, expected 1 to 10000", c.Limit)
	}
	ids := make([]uuid.UUID, len(c.IDs))
	for i, text := range c.IDs {
		if ids[i], err = entryID(text); err != nil {
			return err
		}
	}
	r, err := settings.ReadRedis(p.source)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		client := redis.NewUniversalClient(commandOptions(r))
		defer client.Close() //nolint:errcheck // everything was answered
		redis.SetLogger(quietRedis{})
		requeuer := deliveries.Requeuer{Pool: pool, Redis: client, Keys: r.Keys}
		if len(ids) > 0 {
			return requeueEach(ctx, p, requeuer, ids)
		}
		done, err := requeuer.RequeueAll(ctx, filter, c.Limit)
		if err != nil {
			return fmt.Errorf("%d entries are back in their streams; the same command goes on: %w", done.Count, endpoint.Missing(err))
		}
		more := ""
		if done.Skipped > 0 {
			more = fmt.Sprintf("; %d are of streams that no worker of this installation reads: look at REDIS_PREFIX and REDIS_SHARDS", done.Skipped)
		}
		if done.More {
			more += "; there are more"
		}
		return said(p, nil, "%d entries are back in their streams%s\n", done.Count, more)
	})
}

func requeueEach(ctx context.Context, p *process, r deliveries.Requeuer, ids []uuid.UUID) error {
	for _, id := range ids {
		done, err := r.Requeue(ctx, nil, id)
		if errors.Is(err, deliveries.ErrNotFound) {
			return fmt.Errorf("there is no dead entry %s", id)
		}
		if err != nil {
			return fmt.Errorf("entry %s: %w", id, endpoint.Missing(err))
		}
		what := "is back in its stream"
		if !done {
			what = "was put back before and is left alone"
		}
		if err := said(p, nil, "%s %s\n", id, what); err != nil {
			return err
		}
	}
	return nil
}
