package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// callbackFlags are the settings of an endpoint; those that are not given are
// left as they are.
type callbackFlags struct {
	Description       *string        `help:"For people."`
	Events            []string       `help:"Event types, separated by commas, or patterns such as flow.* and *. Default flow.completed."`
	Flows             *string        `help:"Only these flows, by name, separated by commas; empty: all."`
	Payload           *string        `help:"event, seed or raw. Default event, for webhook.received alone raw."`
	Header            []string       `sep:"none" placeholder:"NAME: VALUE" help:"Sent with every request; repeat it. Replaces all there were."`
	NoHeaders         bool           `help:"Send no headers of its own."`
	Bearer            *string        `placeholder:"TOKEN" help:"Authorization by a token; -: a line of the standard input, which is in no list of processes."`
	Basic             *string        `placeholder:"USER:PASSWORD" help:"Authorization by a user and a password; - as for --bearer."`
	NoAuth            bool           `help:"Send no Authorization header."`
	Timeout           *time.Duration `help:"Of one attempt, at most 20s. Default 15s."`
	MaxAttempts       *int           `help:"Default: as many as the schedule has."`
	Schedule          *string        `placeholder:"0s,5s,5m" help:"Pause before each attempt, the first included; empty: the default."`
	MaxInFlight       *int           `help:"Attempts at once. Default 32."`
	RateLimit         *float64       `help:"Requests a second over all workers; 0: no limit."`
	Ordered           *bool          `negatable:"" help:"One after the other for each flow token."`
	DisableAfterHours *int           `help:"Of failures without a success; 0: never. Default 120."`
}

// apply puts what was given into s.
func (f callbackFlags) apply(s *endpoint.Settings) error {
	set(&s.Description, f.Description)
	set(&s.MaxInFlight, f.MaxInFlight)
	set(&s.RateLimit, f.RateLimit)
	set(&s.Ordered, f.Ordered)
	set(&s.DisableAfterHours, f.DisableAfterHours)
	set(&s.Timeout, f.Timeout)
	if f.Events != nil {
		s.Events = f.Events
	}
	if f.Payload != nil {
		s.Payload = payload.Form(*f.Payload)
	}
	if f.Flows != nil {
		s.Flows = nil
		if *f.Flows != "" {
			s.Flows = strings.Split(*f.Flows, ",")
		}
	}
	return errors.Join(f.applySchedule(s), f.applyHeaders(s), f.applyAuth(s))
}

func set[T any](to *T, given *T) {
	if given != nil {
		*to = *given
	}
}

func (f callbackFlags) applySchedule(s *endpoint.Settings) error {
	if f.Schedule != nil {
		s.Schedule, s.MaxAttempts = nil, len(callback.Schedule)
		if *f.Schedule != "" {
			for _, text := range strings.Split(*f.Schedule, ",") {
				seconds, err := strconv.ParseInt(text, 10, 32)
				if pause, errPause := duration(text); errPause == nil && pause%time.Second == 0 && pause/time.Second <= 1<<31-1 {
					seconds, err = int64(pause/time.Second), nil
				}
				if err != nil {
					return fmt.Errorf("--schedule holds %q, expected pauses such as 0s,5s,5m,2h, separated by commas", text)
				}
				s.Schedule = append(s.Schedule, int32(seconds)) //nolint:gosec // bounded above
			}
			s.MaxAttempts = len(s.Schedule)
		}
	}
	set(&s.MaxAttempts, f.MaxAttempts)
	return nil
}

func (f callbackFlags) applyHeaders(s *endpoint.Settings) error {
	if f.NoHeaders && len(f.Header) > 0 {
		return errors.New("--header and --no-headers exclude each other")
	}
	if !f.NoHeaders && len(f.Header) == 0 {
		return nil
	}
	s.Headers = map[string]string{}
	for _, header := range f.Header {
		name, value, found := strings.Cut(header, ":")
		if _, twice := s.Headers[name]; !found || twice {
			return errors.New(`--header is not NAME: VALUE, or comes twice with the same name`) // the value may be a secret
		}
		s.Headers[name] = strings.TrimSpace(value)
	}
	return nil
}

func (f callbackFlags) applyAuth(s *endpoint.Settings) (err error) {
	given := 0
	for _, is := range []bool{f.Bearer != nil, f.Basic != nil, f.NoAuth} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("--bearer, --basic and --no-auth exclude each other")
	case f.Bearer != nil:
		s.Auth, err = endpoint.Bearer(*f.Bearer)
	case f.Basic != nil:
		user, password, _ := strings.Cut(*f.Basic, ":")
		s.Auth, err = endpoint.Basic(user, password)
	case f.NoAuth:
		s.Auth = ""
	}
	return err
}

// typed puts a line of the standard input in the place of each value that is -,
// so that a secret is in no list of processes and no history of a shell.
func (p *process) typed(values ...*string) error {
	var input *bufio.Reader
	for _, value := range values {
		if value == nil || *value != "-" {
			continue
		}
		if input == nil {
			input = bufio.NewReader(p.input())
		}
		line, err := input.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the standard input: %w", err)
		}
		if *value = strings.TrimRight(line, "\r\n"); *value == "" {
			return errors.New("the standard input has no line, or an empty one, in the place of a -")
		}
	}
	return nil
}

type callbacksAdd struct {
	Name    string `arg:"" help:"Its name, unique in the account."`
	URL     string `arg:"" name:"url" help:"Where to send."`
	Account string `default:"default" help:"Whose events it gets; * is every account."`
	Secret  string `help:"What signs what is sent; by default one is made; - as for --bearer, a line before that one."`
	callbackFlags
}

// Run adds an endpoint and prints its secret.
func (c callbacksAdd) Run(p *process) error {
	s := endpoint.Defaults()
	s.Name, s.URL = c.Name, c.URL
	if slices.Equal(c.Events, []string{string(eventtype.WebhookReceived)}) {
		s.Payload = payload.Raw
	}
	environment, err := settings.ReadCallback(p.source)
	if err := p.typed(&c.Secret, c.Bearer, c.Basic); err != nil {
		return err
	}
	if err := errors.Join(err, accountOf(c.Account), c.apply(&s)); err != nil {
		return err
	}
	if err := s.Validate(environment.Rules()); err != nil {
		return err
	}
	secret := c.Secret
	if secret == "" {
		secret = callback.NewSecret()
	}
	if err := callback.CheckSecret(secret); err != nil {
		return err
	}
	if c.Account == eventtype.AnyAccount && c.Name == endpoint.EnvironmentName {
		return errors.New("the endpoint env of every account belongs to CALLBACK_WEBHOOK_URL: choose another name")
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := endpoint.Create(ctx, tx, c.Account, s, secret)
			return err
		})
		return said(p, explainCallback(err), "%s\n", secret)
	})
}

type callbacksSet struct {
	oneCallback
	NewName *string `help:"Another name."`
	URL     *string `name:"url" help:"Another URL."`
	callbackFlags
}

// Run changes what was given of an endpoint.
func (c callbacksSet) Run(p *process) error {
	environment, err := settings.ReadCallback(p.source)
	if err != nil {
		return err
	}
	if err := p.typed(c.Bearer, c.Basic); err != nil {
		return err
	}
	changed := false
	err = c.change(p, func(ctx context.Context, tx pgx.Tx, e *endpoint.Endpoint) error {
		s := e.Settings.Clone()
		set(&s.Name, c.NewName)
		set(&s.URL, c.URL)
		if err := c.apply(&s); err != nil {
			return err
		}
		if e.Ours() && c.MaxAttempts == nil {
			s.MaxAttempts = e.MaxAttempts
		}
		if err := e.Check(s, environment.Rules()); err != nil || e.Same(s) {
			return err
		}
		changed = true
		return e.Change(ctx, tx, s)
	})
	if err == nil && !changed {
		return said(p, nil, "%s is as it was\n", c.Name)
	}
	return said(p, err, "changed %s\n", c.Name)
}
