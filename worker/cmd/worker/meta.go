package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/meta"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type metaCommands struct {
	Flows     metaFlows     `cmd:"" help:"Keep a folder of flows and those at Meta alike."`
	Subscribe metaSubscribe `cmd:"" help:"Make webhooks of the account come to the edge: messages and flows."`
	Send      metaSend      `cmd:"" help:"Send a message that opens a flow, with a token of its own."`
	Numbers   metaNumbers   `cmd:"" help:"List the phone numbers of the account, and whether their public key is good."`
	Health    metaHealth    `cmd:"" help:"Say whether token, account, numbers and flows can send, and what stands in the way."`
}

// metaFlags are those of every command that calls Meta.
type metaFlags struct {
	Account string `default:"default" help:"Account of ours, for which META_WABA_ID and META_PHONE_NUMBER_ID may name ids."`
	WABA    string `name:"waba" placeholder:"ID" help:"WhatsApp Business Account. Default META_WABA_ID."`
	JSON    bool   `help:"Print JSON."`
}

// metaSession is what a command has of Meta.
type metaSession struct {
	ctx     context.Context
	graph   *graph.Client
	account string // WhatsApp Business Account
	set     settings.Meta
	http    *http.Client
	pause   func(context.Context, time.Duration) error
}

// withMeta opens a client of the Graph API for do.
func (f metaFlags) withMeta(p *process, do func(*metaSession) error) error {
	if !plainName.MatchString(f.Account) {
		return fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores", f.Account)
	}
	set, err := settings.ReadMeta(p.source, f.Account)
	if err != nil {
		return err
	}
	account, err := set.WABA(f.WABA)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck // it is one
	defer transport.CloseIdleConnections()
	s := &metaSession{ctx: p.ctx, account: account, set: set, http: &http.Client{Transport: transport}, pause: p.pause}
	if s.graph, err = s.client(set.Token); err != nil {
		return err
	}
	err = do(s)
	for _, u := range s.graph.Usage() {
		if u.Percent() >= almostFull {
			fmt.Fprintf(p.stderr, "note: %d %% of Meta's rate limit of %s are used\n", u.Percent(), plain(u.Of)) //nolint:errcheck // nowhere else to say it
		}
	}
	return err
}

// almostFull is from how many percent of a rate limit on one is told.
const almostFull = 80

// client calls with a token of its own.
func (s *metaSession) client(token string) (*graph.Client, error) {
	c, err := graph.New(graph.Config{HTTP: s.http, Token: token, URL: s.set.URL, Version: s.set.Version, Pause: s.pause})
	if err != nil {
		return nil, fmt.Errorf("META_ACCESS_TOKEN, META_GRAPH_URL or META_GRAPH_VERSION: %w", err)
	}
	return c, nil
}

// longPause is from how long a pause on one is told why nothing happens.
const longPause = 5 * time.Second

// pause waits before Meta is asked again.
func (p *process) pause(ctx context.Context, d time.Duration) error {
	if d >= longPause {
		fmt.Fprintf(p.stderr, "note: Meta asks for patience: trying again in %s\n", d) //nolint:errcheck // nowhere else to say it
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// app is the Meta app: META_APP_ID, else that of the token.
func (s *metaSession) app() (string, error) {
	if s.set.App != "" {
		return s.set.App, nil
	}
	info, err := s.graph.DebugToken(s.ctx)
	if err != nil {
		return "", fmt.Errorf("META_APP_ID is not set, and Meta was asked whose token this is: %w", err)
	}
	return info.AppID, nil
}

type metaSubscribe struct {
	metaFlags
	CallbackURL string `name:"callback-url" placeholder:"URL" help:"Where the edge takes webhooks: https://flows.example.com/webhooks/whatsapp. Default: as it is."`
	Replace     bool   `help:"Take the app's webhooks away from another URL."`
	AccountOnly bool   `help:"Leave the app's own fields alone; without META_APP_SECRET they cannot be looked at."`
	DryRun      bool   `help:"Only say what would be done."`
}

// Run subscribes.
func (c metaSubscribe) Run(p *process) error {
	app, err := settings.ReadMetaApp(p.source)
	if err != nil {
		return err
	}
	if app.Secret == "" && !c.AccountOnly {
		return errors.New("neither META_APP_SECRET nor META_APP_SECRET_FILE is set, with which the app's fields are looked at: set one of them, or give --account-only and subscribe messages and flows in the app's settings")
	}
	if c.CallbackURL != "" && !strings.HasPrefix(c.CallbackURL, "https://") {
		return fmt.Errorf("--callback-url is %q, expected a URL that begins with https://", c.CallbackURL)
	}
	return c.withMeta(p, func(s *metaSession) error {
		subscriber := meta.Subscriber{Graph: s.graph, Account: s.account, App: s.set.App, CallbackURL: c.CallbackURL, VerifyToken: app.VerifyToken, Replace: c.Replace, DryRun: c.DryRun}
		if !c.AccountOnly {
			subscriber.Own = func(id string) (*graph.Client, error) { return s.client(graph.AppToken(id, app.Secret)) }
		}
		r, err := subscriber.Subscribe(s.ctx)
		if c.JSON && err == nil {
			return writeJSON(p.stdout, r)
		}
		if !c.JSON {
			printSteps(p, "app "+r.App, c.DryRun, r.Done, r.Notes, err == nil)
		}
		return err
	})
}

// printSteps prints what was done with something, or would be.
func printSteps(p *process, of string, dryRun bool, done, notes []string, well bool) {
	switch {
	case len(done) > 0:
		fmt.Fprintf(p.stdout, "%s\n", plain(of)) //nolint:errcheck // output only
	case well:
		fmt.Fprintf(p.stdout, "%s: nothing to do\n", plain(of)) //nolint:errcheck // output only
	}
	would := ""
	if dryRun {
		would = "would "
	}
	for _, step := range done {
		fmt.Fprintf(p.stdout, "  %s%s\n", would, plain(step)) //nolint:errcheck // output only
	}
	for _, note := range notes {
		fmt.Fprintf(p.stdout, "  note: %s\n", plain(note)) //nolint:errcheck // output only
	}
}

type metaNumbers struct{ metaFlags }

// Run lists phone numbers.
func (c metaNumbers) Run(p *process) error {
	return c.withMeta(p, func(s *metaSession) error {
		all, err := meta.Numbers(s.ctx, s.graph, s.account)
		if err != nil {
			return err
		}
		if c.JSON {
			return errors.Join(writeJSON(p.stdout, all), refusedNumbers(all))
		}
		rows := make([][]string, len(all))
		for i, n := range all {
			rows[i] = []string{n.ID, n.Display, n.Name, n.Verification, n.Status, n.Quality, n.Key}
		}
		if err := printTable(p.stdout, []string{"PHONE NUMBER ID", "NUMBER", "NAME", "VERIFIED", "STATUS", "QUALITY", "PUBLIC KEY"}, rows); err != nil {
			return err
		}
		return refusedNumbers(all)
	})
}

// refusedNumbers is an error when Meta did not tell the key of some number.
func refusedNumbers(all []meta.Number) error {
	refused, why := 0, ""
	for _, n := range all {
		if n.Refused != "" {
			refused, why = refused+1, n.Refused
		}
	}
	if refused == 0 {
		return nil
	}
	return fmt.Errorf("the public key of %d of %d numbers is not known: %s", refused, len(all), why)
}

type metaHealth struct{ metaFlags }

// Run prints health; what is blocked, or a token that lacks something, is an
// error.
func (c metaHealth) Run(p *process) error {
	return c.withMeta(p, func(s *metaSession) error {
		all, stopped := meta.Conditions(s.ctx, s.graph, s.account, time.Now())
		if len(all) == 0 {
			return stopped
		}
		bad := 0
		rows := [][]string{}
		for _, h := range all {
			if h.Bad() {
				bad++
			}
			rows = append(rows, []string{h.Kind, h.ID, h.Name, h.Status, h.CanSend})
			for _, problem := range h.Problems {
				rows = append(rows, []string{"", "", "", "", problem})
			}
		}
		var err error
		if c.JSON {
			err = writeJSON(p.stdout, all)
		} else {
			err = printTable(p.stdout, []string{"OF", "ID", "NAME", "STATUS", "CAN SEND"}, rows)
		}
		if err = errors.Join(err, stopped); err == nil && bad > 0 {
			err = fmt.Errorf("%d of %d cannot send as they should", bad, len(all))
		}
		return err
	})
}
