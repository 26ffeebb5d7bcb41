package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type eraseCommand struct {
	Phone  string `xor:"who" required:"" placeholder:"NUMBER" help:"Whoever has this number now; with its country code."`
	UserID string `xor:"who" required:"" name:"user-id" placeholder:"ID" help:"Whoever has this business-scoped user id, or signed tokens with this user id."`
	Token  string `xor:"who" required:"" placeholder:"TOKEN" help:"Only what came under this flow token. Any of the three may be -: it is then the first line of the standard input, and in no history of a shell."`

	WholeContact bool          `help:"With --token: everything of whoever answered under it."`
	Account      string        `default:"default" help:"Account to erase in."`
	EveryBody    bool          `help:"Search the bytes of every raw webhook too, which takes long: for what is in webhooks without being a message or status."`
	DryRun       bool          `help:"Count, and change nothing."`
	Yes          bool          `help:"Do not ask."`
	JSON         bool          `name:"json" help:"Print the report as JSON."`
	Wait         time.Duration `default:"30s" help:"How long to wait for what is in the streams and not stored yet."`
}

// Run erases, after having shown what and asked.
func (c eraseCommand) Run(p *process) error {
	input := bufio.NewReader(p.input())
	r, err := c.request(input)
	if err != nil {
		return err
	}
	s, err := settings.ReadRedis(p.source)
	if err != nil {
		return err
	}
	accounts, err := settings.ReadAccounts(p.source)
	if err != nil {
		return err
	}
	return withTables(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		client := redis.NewUniversalClient(commandOptions(s))
		defer client.Close() //nolint:errcheck // everything was answered
		redis.SetLogger(quietRedis{})
		eraser := erase.New(erase.Config{Pool: pool, Redis: client, Keys: s.Keys, Accounts: accounts.Of})
		if !c.DryRun && !c.Yes {
			if err := c.ask(ctx, p, eraser, r, input); err != nil {
				return err
			}
		}
		report, err := eraser.Erase(ctx, r)
		if err != nil {
			return err
		}
		if !c.JSON {
			return report.Print(p.stdout)
		}
		encoder := json.NewEncoder(p.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	})
}

func (c eraseCommand) request(input *bufio.Reader) (erase.Request, error) {
	r := erase.Request{Account: c.Account, WholeContact: c.WholeContact, EveryBody: c.EveryBody, OtherAccounts: true, DryRun: c.DryRun, Wait: c.Wait}
	if !plainName.MatchString(c.Account) {
		return r, fmt.Errorf("--account is %q, expected letters, digits, dots, dashes and underscores", c.Account)
	}
	switch {
	case c.Phone != "":
		r.By, r.Value = erase.PhoneNumber, c.Phone
	case c.UserID != "":
		r.By, r.Value = erase.UserID, c.UserID
	default:
		r.By, r.Value = erase.FlowToken, c.Token
	}
	if r.Value != "-" {
		return r, nil
	}
	line, err := input.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("reading the standard input: %w", err)
	}
	if r.Value = strings.TrimRight(line, "\r\n"); r.Value == "" {
		return r, errors.New("the first line of the standard input is empty, expected what identifies the person")
	}
	return r, nil
}

// ask shows what would be erased. Questions go to stderr: stdout is the report's.
func (c eraseCommand) ask(ctx context.Context, p *process, eraser *erase.Eraser, r erase.Request, input *bufio.Reader) error {
	r.DryRun = true
	report, err := eraser.Erase(ctx, r)
	if err != nil {
		return err
	}
	if err := report.Print(p.stderr); err != nil {
		return err
	}
	return p.confirm(input, "to erase", "nothing was erased")
}

// confirm asks before something that cannot be taken back.
func (p *process) confirm(input *bufio.Reader, what, otherwise string) error {
	fmt.Fprintf(p.stderr, "\nThis cannot be undone. Type yes %s: ", what) //nolint:errcheck // the answer counts
	if line, _ := input.ReadString('\n'); strings.TrimSpace(line) != "yes" {
		return errors.New(otherwise + ": yes was not typed; add --yes where nobody can type")
	}
	return nil
}

// input is the standard input; a process may have none.
func (p *process) input() io.Reader {
	if p.stdin == nil {
		return strings.NewReader("")
	}
	return p.stdin
}
