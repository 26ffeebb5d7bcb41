package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type callbackCommands struct {
	List         callbacksList   `cmd:"" help:"List the endpoints."`
	Add          callbacksAdd    `cmd:"" help:"Add an endpoint and print its secret."`
	Show         callbacksShow   `cmd:"" help:"Show one, without what is secret of it."`
	Set          callbacksSet    `cmd:"" help:"Change settings of one."`
	Secret       callbacksSecret `cmd:"" help:"Print the secrets that sign callbacks, current first."`
	RotateSecret callbacksRotate `cmd:"" help:"Make another secret the current one, and print it."`
	Pause        callbacksPause  `cmd:"" help:"Send nothing there until it is resumed: deliveries wait."`
	Resume       callbacksResume `cmd:"" help:"Send again, whatever had stopped it."`
	Remove       callbacksRemove `cmd:"" help:"Remove one, and cancel what was still to be delivered there."`
	Test         callbacksTest   `cmd:"" help:"Send a test event at once and print what came of it."`
}

// oneCallback names an endpoint.
type oneCallback struct {
	Name    string `arg:"" help:"Name or id of the endpoint."`
	Account string `default:"default" help:"Account of the endpoint, when it is named. One of every account is found too."`
}

func (o oneCallback) key() endpoint.Key { return endpoint.ParseKey(o.Name, o.Account, nil) }

func (o oneCallback) explain(err error) error {
	if errors.Is(err, endpoint.ErrNotFound) {
		return fmt.Errorf("there is no callback endpoint %q in the account %s: `worker callbacks list` shows all", o.Name, o.Account)
	}
	return explainCallback(err)
}

// explainCallback says what to do about an error of package endpoint.
func explainCallback(err error) error {
	if errors.Is(err, endpoint.ErrNameTaken) {
		return errors.New("another callback endpoint of this account has that name: choose another one, or change that one with `worker callbacks set NAME`")
	}
	return err
}

// change runs do with the endpoint locked.
func (o oneCallback) change(p *process, do func(context.Context, pgx.Tx, *endpoint.Endpoint) error) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		return o.explain(pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			e, err := endpoint.Lock(ctx, tx, o.key())
			if err != nil {
				return err
			}
			return do(ctx, tx, e)
		}))
	})
}

type callbacksList struct {
	JSON bool `help:"Print JSON."`
}

// Run lists every endpoint.
func (c callbacksList) Run(p *process) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		all, err := endpoint.List(ctx, pool, nil, nil, 100_000)
		if err != nil {
			return explainCallback(err)
		}
		if c.JSON {
			shown := make([]callbackView, len(all))
			for i, e := range all {
				shown[i] = viewOf(e)
			}
			return writeJSON(p.stdout, shown)
		}
		rows := make([][]string, len(all))
		for i, e := range all {
			rows[i] = []string{e.Account, e.Name, string(e.Status), string(e.Payload), strings.Join(e.Events, ","), e.URL, optionalText(e.StatusReason)}
		}
		return printTable(p.stdout, []string{"ACCOUNT", "NAME", "STATUS", "PAYLOAD", "EVENTS", "URL", "WHY"}, rows)
	})
}

// callbackView is an endpoint as --json prints it: nothing secret.
type callbackView struct {
	ID                uuid.UUID  `json:"id"`
	Account           string     `json:"account"`
	Name              string     `json:"name"`
	Description       string     `json:"description"`
	URL               string     `json:"url"`
	Events            []string   `json:"events"`
	Flows             []string   `json:"flows"`
	Payload           string     `json:"payload"`
	HeaderNames       []string   `json:"headerNames"`
	AuthType          string     `json:"authType"`
	TimeoutMs         int64      `json:"timeoutMs"`
	MaxAttempts       int        `json:"maxAttempts"`
	Schedule          []int32    `json:"schedule"`
	MaxInFlight       int        `json:"maxInFlight"`
	RateLimit         float64    `json:"rateLimit"`
	Ordered           bool       `json:"ordered"`
	DisableAfterHours int        `json:"disableAfterHours"`
	Status            string     `json:"status"`
	StatusReason      *string    `json:"statusReason"`
	StatusSince       time.Time  `json:"statusSince"`
	PausedUntil       *time.Time `json:"pausedUntil"`
	Failures          int        `json:"failures"`
	FailingSince      *time.Time `json:"failingSince"`
	Secrets           int        `json:"secrets"`
}

func viewOf(e *endpoint.Endpoint) callbackView {
	return callbackView{
		ID: e.ID, Account: e.Account, Name: e.Name, Description: e.Description, URL: e.URL, Events: e.Events, Flows: e.Flows, Payload: string(e.Payload),
		HeaderNames: append([]string{}, slices.Sorted(maps.Keys(e.Headers))...), AuthType: endpoint.AuthType(e.Auth), TimeoutMs: e.Timeout.Milliseconds(),
		MaxAttempts: e.MaxAttempts, Schedule: e.Schedule, MaxInFlight: e.MaxInFlight, RateLimit: e.RateLimit, Ordered: e.Ordered,
		DisableAfterHours: e.DisableAfterHours, Status: string(e.Status), StatusReason: e.StatusReason, StatusSince: e.StatusSince,
		PausedUntil: e.PausedUntil, Failures: e.Failures, FailingSince: e.FailingSince, Secrets: len(e.Secrets),
	}
}

type callbacksShow struct {
	oneCallback
	JSON bool `help:"Print JSON."`
}

// Run shows one endpoint and what happened to it.
func (c callbacksShow) Run(p *process) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		e, err := endpoint.Get(ctx, pool, c.key())
		if err != nil {
			return c.explain(err)
		}
		v := viewOf(e)
		if c.JSON {
			return writeJSON(p.stdout, v)
		}
		schedule := "default"
		if v.Schedule != nil {
			schedule = fmt.Sprint(v.Schedule)
		}
		rows := [][]string{
			{"id", v.ID.String()}, {"account", v.Account}, {"name", v.Name}, {"description", v.Description}, {"url", v.URL},
			{"status", v.Status + " since " + shortTime(v.StatusSince) + " " + optionalText(v.StatusReason)},
			{"events", strings.Join(v.Events, ", ")}, {"flows", orAll(v.Flows)}, {"payload", v.Payload}, {"headers", strings.Join(v.HeaderNames, ", ")},
			{"auth", v.AuthType}, {"secrets", fmt.Sprint(v.Secrets)}, {"timeout", e.Timeout.String()}, {"attempts", fmt.Sprint(v.MaxAttempts)},
			{"schedule", schedule}, {"in flight", fmt.Sprint(v.MaxInFlight)}, {"rate limit", fmt.Sprint(v.RateLimit)}, {"ordered", fmt.Sprint(v.Ordered)},
			{"disabled after", fmt.Sprint(v.DisableAfterHours, " hours")}, {"failures", fmt.Sprint(v.Failures)},
		}
		events, err := endpoint.Events(ctx, pool, e.ID, 10)
		if err != nil {
			return err
		}
		for _, event := range events {
			rows = append(rows, []string{event.Kind, shortTime(event.At) + " " + optionalText(event.Reason)})
		}
		return printTable(p.stdout, []string{"ENDPOINT", ""}, rows)
	})
}

func orAll(flows []string) string {
	if flows == nil {
		return "all"
	}
	return strings.Join(flows, ", ")
}

type callbacksSecret struct {
	Name    string `arg:"" optional:"" default:"env" help:"Name or id of the endpoint; by default that of CALLBACK_WEBHOOK_URL."`
	Account string `default:"default" help:"Account of the endpoint, when it is named."`
	New     bool   `help:"Make a new secret for CALLBACK_SECRET and store nothing."`
}

// Run prints the secrets a receiver verifies webhook-signature with.
func (c callbacksSecret) Run(p *process) error {
	if c.New {
		_, err := fmt.Fprintln(p.stdout, callback.NewSecret())
		return err
	}
	s, err := settings.ReadCallback(p.source)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		one := oneCallback{c.Name, c.Account}
		e, err := endpoint.Get(ctx, pool, one.key())
		if errors.Is(err, endpoint.ErrNotFound) && c.Name != endpoint.EnvironmentName {
			return one.explain(err)
		}
		var secrets []string
		if err != nil || e.Ours() {
			if secrets, err = endpoint.EnvironmentSecrets(ctx, pool, s.Environment); err != nil {
				return err
			}
		} else {
			for _, secret := range e.Secrets {
				secrets = append(secrets, secret.Value)
			}
		}
		for _, secret := range secrets {
			if _, err := fmt.Fprintln(p.stdout, secret); err != nil {
				return err
			}
		}
		return nil
	})
}

type callbacksRotate struct {
	oneCallback
	Overlap string `default:"24h" help:"How long the former secrets go on signing beside it, such as 1h or 7d; 0: not at all."`
	Secret  string `help:"The new one; by default one is made; -: a line of the standard input, which is in no list of processes."`
}

// Run makes another secret the current one.
func (c callbacksRotate) Run(p *process) error {
	overlap, err := duration(c.Overlap)
	if err != nil || overlap > endpoint.LongestOverlap {
		return fmt.Errorf("--overlap is %q, expected a duration such as 1h or 7d, at most 30d", c.Overlap)
	}
	s, err := settings.ReadCallback(p.source)
	if err != nil {
		return err
	}
	if err := p.typed(&c.Secret); err != nil {
		return err
	}
	secret := c.Secret
	if secret == "" {
		secret = callback.NewSecret()
	}
	if err := callback.CheckSecret(secret); err != nil {
		return err
	}
	err = c.change(p, func(ctx context.Context, tx pgx.Tx, e *endpoint.Endpoint) error {
		if e.Ours() && s.Rules().FixedSecrets {
			return errors.New("the secrets of this endpoint are those of CALLBACK_SECRET: put a new one before them there, and start the workers again")
		}
		return e.Rotate(ctx, tx, secret, overlap)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, secret)
	return err
}

type callbacksPause struct {
	oneCallback
	Reason string `help:"For whoever asks why."`
}

// Run pauses an endpoint.
func (c callbacksPause) Run(p *process) error {
	err := c.change(p, func(ctx context.Context, tx pgx.Tx, e *endpoint.Endpoint) error { return e.Pause(ctx, tx, c.Reason) })
	return said(p, err, "paused %s: what comes for it waits\n", c.Name)
}

type callbacksResume struct{ oneCallback }

// Run makes an endpoint active.
func (c callbacksResume) Run(p *process) error {
	err := c.change(p, func(ctx context.Context, tx pgx.Tx, e *endpoint.Endpoint) error { return e.Resume(ctx, tx) })
	return said(p, err, "%s is active: what waited is sent\n", c.Name)
}

// said prints what was done, if it was.
func said(p *process, err error, format string, args ...any) error {
	if err == nil {
		_, err = fmt.Fprintf(p.stdout, format, args...)
	}
	return err
}

type callbacksRemove struct{ oneCallback }

// Run removes an endpoint.
func (c callbacksRemove) Run(p *process) error {
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		cancelled, err := endpoint.Remove(ctx, pool, c.key(), nil)
		return said(p, c.explain(err), "removed %s; %d deliveries were still to be made and are cancelled\n", c.Name, cancelled)
	})
}

type callbacksTest struct{ oneCallback }

// Run sends a test event; its exit code says whether the receiver took it.
func (c callbacksTest) Run(p *process) error {
	s, err := settings.ReadCallback(p.source)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		e, err := endpoint.Get(ctx, pool, c.key())
		if err != nil {
			return c.explain(err)
		}
		if e.URL == "" {
			return endpoint.ErrOff
		}
		ping, err := pinger(pool, s.AllowNetworks)(ctx, e.ID)
		if err != nil {
			return c.explain(err)
		}
		if !ping.Delivered() && ping.Status == 0 {
			return fmt.Errorf("%s could not be reached: %s", e.Name, ping.Problem)
		}
		if !ping.Delivered() {
			return fmt.Errorf("%s did not take it: %s", e.Name, ping.Problem)
		}
		_, err = fmt.Fprintf(p.stdout, "%s took it: %d after %s\n", e.Name, ping.Status, ping.Took.Round(time.Millisecond))
		return err
	})
}

// accountOf checks the account of a new endpoint.
func accountOf(account string) error {
	if account != eventtype.AnyAccount && !plainName.MatchString(account) {
		return fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores, or * for every account", account)
	}
	return nil
}
