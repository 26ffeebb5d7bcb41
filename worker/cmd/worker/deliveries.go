package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

type deliveryCommands struct {
	List   deliveriesList   `cmd:"" help:"List deliveries, the latest first."`
	Show   deliveriesShow   `cmd:"" help:"Show one with its attempts."`
	Replay deliveriesReplay `cmd:"" help:"Send finished deliveries again: some by id, or all that a filter lets through."`
	Cancel deliveriesCancel `cmd:"" help:"Cancel open deliveries."`
}

// deliveryFlags narrow what is listed or replayed.
type deliveryFlags struct {
	Account   string `help:"Only this account."`
	Endpoint  string `help:"Only this endpoint, by name or id."`
	EventType string `help:"Only this event type, such as flow.completed."`
	Flow      string `help:"Only this flow."`
	EventID   string `name:"event-id" help:"Only this webhook-id."`
	Since     moment `help:"Created at this time or later: 2026-11-23T08:00:00Z, 2026-11-23, or how long ago, such as 24h or 7d."`
	Until     moment `help:"Created before this time."`
}

func (f deliveryFlags) filter() (s deliveries.Scope, d deliveries.Filter, err error) {
	if f.Account != "" {
		s.Accounts = []string{f.Account}
	}
	d = deliveries.Filter{Endpoint: f.Endpoint, EventType: f.EventType, Flow: f.Flow, Since: f.Since.Time, Until: f.Until.Time}
	if f.EventID != "" {
		if d.EventID, err = uuid.Parse(f.EventID); err != nil {
			return s, d, fmt.Errorf("--event-id is %q, expected a UUID", f.EventID)
		}
	}
	return s, d, order(f.Since, f.Until)
}

func (f deliveryFlags) given() bool { return f != deliveryFlags{} }

type deliveriesList struct {
	deliveryFlags
	State string `enum:",due,leased,delivered,dead,cancelled" default:"" help:"due, leased (being sent), delivered, dead (given up) or cancelled."`
	Limit int    `default:"50" help:"Most rows, at most 10000."`
	JSON  bool   `help:"Print JSON."`
}

// Run lists deliveries.
func (c deliveriesList) Run(p *process) error {
	scope, filter, err := c.filter()
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 10_000 {
		return fmt.Errorf("--limit is %d, expected 1 to 10000", c.Limit)
	}
	filter.State = c.State
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := deliveries.List(ctx, pool, scope, filter, uuid.Nil, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			if all == nil {
				all = []deliveries.Delivery{}
			}
			return writeJSON(p.stdout, all)
		}
		rows := make([][]string, len(all))
		for i, d := range all {
			rows[i] = []string{d.ID.String(), shortTime(d.CreatedAt.Time), d.Endpoint, d.EventType, optionalText(d.Flow), d.State, fmt.Sprint(d.Attempt),
				optionalNumber(d.LastStatus), optionalText(d.LastError)}
		}
		return printTable(p.stdout, []string{"ID", "CREATED (UTC)", "ENDPOINT", "EVENT", "FLOW", "STATE", "ATTEMPT", "STATUS", "ERROR"}, rows)
	})
}

// find is one delivery by its id or webhook-id.
func find(ctx context.Context, pool *pgxpool.Pool, id, of string) (*deliveries.Delivery, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("%q is no id of a delivery, expected a UUID", id)
	}
	d, err := deliveries.Get(ctx, pool, deliveries.Scope{}, parsed, of)
	var ambiguous *deliveries.AmbiguousError
	switch {
	case errors.Is(err, deliveries.ErrNotFound):
		return nil, fmt.Errorf("there is no delivery %s", id)
	case errors.As(err, &ambiguous):
		return nil, fmt.Errorf("the webhook-id %s went to the endpoints %s: add --endpoint with one of them", id, strings.Join(ambiguous.Endpoints, ", "))
	}
	return d, err
}

type deliveriesShow struct {
	ID       string `arg:"" help:"Id of the delivery, or its webhook-id."`
	Endpoint string `help:"With a webhook-id that went to several endpoints: which of them."`
	Body     bool   `help:"Also the beginning of what is sent: it holds personal data."`
	JSON     bool   `help:"Print JSON."`
}

// Run shows a delivery.
func (c deliveriesShow) Run(p *process) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		d, err := find(ctx, pool, c.ID, c.Endpoint)
		if err != nil {
			return err
		}
		detail, err := deliveries.Show(ctx, pool, d, c.Body)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(p.stdout, detail)
		}
		rows := [][]string{
			{"id", d.ID.String()}, {"webhook-id", d.EventID.String()}, {"account", d.Account}, {"endpoint", d.Endpoint}, {"event", d.EventType},
			{"happened", shortTime(d.EventAt.Time)}, {"flow", optionalText(d.Flow)}, {"state", d.State}, {"created", shortTime(d.CreatedAt.Time)},
		}
		if d.RunAt != nil {
			rows = append(rows, []string{"next attempt", shortTime(d.RunAt.Time)})
		}
		if d.FinishedAt != nil {
			rows = append(rows, []string{"finished", shortTime(d.FinishedAt.Time)})
		}
		for _, a := range detail.Attempts {
			rows = append(rows, []string{fmt.Sprint("attempt ", a.Number),
				strings.Join(strings.Fields(fmt.Sprint(shortTime(a.At.Time), " ", optionalNumber(a.Status), " ", a.Milliseconds, " ms ", optionalText(a.Error))), " ")})
		}
		if err := printTable(p.stdout, []string{"DELIVERY", ""}, rows); err != nil || detail.Body == nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "\n%s\n", *detail.Body)
		return err
	})
}

// milliseconds is how the time of a replay is told.
const milliseconds = "2006-01-02T15:04:05.000Z"

type deliveriesReplay struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of deliveries, or webhook-ids. Without any, filters say which."`
	deliveryFlags
	State  string  `default:"dead" enum:"dead,delivered,cancelled" help:"dead, delivered or cancelled, of a replay by filter."`
	All    bool    `help:"Without any filter: all dead deliveries there are."`
	Limit  int     `default:"10000" help:"Most of them, at most 1000000."`
	Rate   float64 `default:"50" help:"Most that become due in a second for one endpoint."`
	DryRun bool    `help:"Only count them."`

	FinishedBefore moment `help:"Finished before this time; by default now. To go on with a replay, the time that it named."`
}

// Run sends deliveries again.
func (c deliveriesReplay) Run(p *process) error {
	scope, filter, err := c.filter()
	switch filtered := c.deliveryFlags; {
	case err != nil:
		return err
	case len(c.IDs) > 0 && (filtered != deliveryFlags{Endpoint: c.Endpoint} || c.All || c.DryRun || !c.FinishedBefore.IsZero()):
		return errors.New("ids and filters exclude each other; only --endpoint may stand beside a webhook-id")
	case len(c.IDs) > 0:
		return c.each(p)
	case !filtered.given() && c.State == deliveries.Dead && !c.All && !c.DryRun:
		return errors.New("which deliveries? Name some by id, give a filter such as --endpoint or --since, or say --all; --dry-run counts them first")
	case c.Limit < 1 || c.Limit > deliveries.MostReplayed:
		return fmt.Errorf("--limit is %d, expected 1 to %d", c.Limit, deliveries.MostReplayed)
	case !(c.Rate >= 0.001 && c.Rate <= 10_000):
		return fmt.Errorf("--rate is %g, expected 0.001 to 10000 a second", c.Rate)
	}
	filter.State = c.State
	r := deliveries.Replay{Filter: filter, Rate: c.Rate, Limit: c.Limit, DryRun: c.DryRun, FinishedBefore: c.FinishedBefore.Time}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		done, err := r.Run(ctx, pool, scope)
		more := ""
		if done.More {
			more = "; there are more: the same command with --finished-before " + done.FinishedBefore.UTC().Format(milliseconds) + " goes on"
		}
		switch {
		case err != nil && done.Count == 0:
			return err
		case err != nil:
			return fmt.Errorf("%d deliveries are sent again; the same command with --finished-before %s goes on: %w",
				done.Count, done.FinishedBefore.UTC().Format(milliseconds), endpoint.Missing(err))
		case c.DryRun:
			return said(p, nil, "%d deliveries would be sent again%s\n", done.Count, more)
		case done.Count == 0:
			return said(p, nil, "there is nothing to send again\n")
		}
		return said(p, nil, "%d deliveries are sent again, the last one at %s UTC%s\n", done.Count, shortTime(done.LastRunAt), more)
	})
}

func (c deliveriesReplay) each(p *process) error {
	return eachDelivery(p, c.IDs, c.Endpoint, "is sent again", func(ctx context.Context, pool *pgxpool.Pool, d *deliveries.Delivery) error {
		return deliveries.Again(ctx, pool, d)
	})
}

// eachDelivery does something with deliveries one after the other, and stops at
// the first mistake.
func eachDelivery(p *process, ids []string, of, what string, do func(context.Context, *pgxpool.Pool, *deliveries.Delivery) error) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		for id := range slices.Values(ids) {
			d, err := find(ctx, pool, id, of)
			if err != nil {
				return err
			}
			if err := do(ctx, pool, d); err != nil {
				return fmt.Errorf("delivery %s: %w", id, err)
			}
			if err := said(p, nil, "%s %s\n", d.ID, what); err != nil {
				return err
			}
		}
		return nil
	})
}

type deliveriesCancel struct {
	IDs      []string `arg:"" name:"id" help:"Ids of deliveries, or webhook-ids."`
	Endpoint string   `help:"With a webhook-id that went to several endpoints: which of them."`
}

// Run cancels open deliveries.
func (c deliveriesCancel) Run(p *process) error {
	return eachDelivery(p, c.IDs, c.Endpoint, "is cancelled", func(ctx context.Context, pool *pgxpool.Pool, d *deliveries.Delivery) error {
		return deliveries.Cancel(ctx, pool, d)
	})
}
