package keyscommand

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
)

const maxAdminAnswer = 4 << 20

// edges are the running edges to speak to.
type edges struct {
	addresses       []string
	config, adapter string
	account         string
}

func (e *edges) flags(cmd *cobra.Command, account bool) {
	f := cmd.Flags()
	f.StringArrayVar(&e.addresses, "address", nil, "admin address of the edge; once for each, when several run")
	f.StringVarP(&e.config, "config", "c", "", "configuration file that names the admin address")
	f.StringVarP(&e.adapter, "adapter", "a", "", "name of its adapter")
	if account {
		f.StringVar(&e.account, "account", "", "account of the configuration; not needed when there is only one")
	}
}

// adminTime bounds one call of the admin API. A reload opens every key, of which
// each may take some seconds.
const adminTime = 2 * time.Minute

// each calls the admin API of every edge. One that fails does not keep the others
// from being asked.
func (w World) each(ctx context.Context, e edges, method, path string, answer func(address string, body []byte) error) error {
	addresses := e.addresses
	if len(addresses) == 0 {
		address, err := w.AdminAddress(e.config, e.adapter)
		if err != nil {
			return fmt.Errorf("finding the admin address: %w", err)
		}
		addresses = []string{address}
	}
	var failed []error
	for _, address := range addresses {
		body, err := w.ask(ctx, address, method, path)
		if err == nil {
			err = answer(address, body)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("the edge at %s: %w", address, err))
		}
	}
	return errors.Join(failed...)
}

func (w World) ask(ctx context.Context, address, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	type said struct {
		body []byte
		err  error
	}
	done := make(chan said, 1)
	// Caddy's client knows no context: a call that is given up ends with the process.
	go func() {
		answer, err := w.Admin(address, method, path)
		if err != nil {
			done <- said{err: plain(err)}
			return
		}
		defer answer.Close()
		body, err := io.ReadAll(io.LimitReader(answer, maxAdminAnswer))
		done <- said{body, err}
	}()
	select {
	case s := <-done:
		return s.body, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer came: %w", ctx.Err())
	}
}

// plain takes the sentence out of Caddy's JSON of an error.
func plain(err error) error {
	text := err.Error()
	at := strings.Index(text, `{"error":`)
	var said struct{ Error string }
	if at < 0 || json.Unmarshal([]byte(text[at:]), &said) != nil || said.Error == "" {
		if strings.Contains(text, "connection refused") || strings.Contains(text, "no such file") {
			return fmt.Errorf("%w: does it run, and is this its admin address (--address, or --config FILE)?", err)
		}
		return err
	}
	return errors.New(said.Error)
}

// edgeAccount is one account as one edge has it.
type edgeAccount struct {
	address string
	keyring.Account
}

// accounts asks every edge for its accounts; what several edges have of one comes
// together. Each has the one that e names.
func (w World) accounts(ctx context.Context, e edges) (all []edgeAccount, err error) {
	err = w.each(ctx, e, http.MethodGet, "/whatsapp_flows/keys", func(address string, body []byte) error {
		var report keyring.Report
		if err := json.Unmarshal(body, &report); err != nil {
			return fmt.Errorf("its answer is not that of this version: %w", err)
		}
		for _, account := range report.Accounts {
			for _, key := range account.Keys {
				if len(key.Fingerprint) != 2*sha256.Size {
					return fmt.Errorf("its answer is not that of this version: %q is no fingerprint", key.Fingerprint)
				}
			}
			all = append(all, edgeAccount{address, account})
		}
		if _, ok := report.Find(e.account); e.account != "" && !ok {
			return fmt.Errorf("it has no account %q", e.account)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b edgeAccount) int { return strings.Compare(a.Account.Account, b.Account.Account) })
	return all, err
}

// named are those of the account of that name; all of them when it is empty.
func named(all []edgeAccount, name string) []edgeAccount {
	return slices.DeleteFunc(slices.Clone(all), func(a edgeAccount) bool { return name != "" && a.Account.Account != name })
}

// oneAccount is accounts for a command that is about one account: as every edge has
// it, and all the others beside.
func (w World) oneAccount(ctx context.Context, e edges) (one, all []edgeAccount, err error) {
	if all, err = w.accounts(ctx, e); err != nil {
		return nil, nil, err
	}
	if one = named(all, e.account); len(one) == 0 {
		return nil, nil, errors.New("the edge has no account")
	}
	if len(names(one)) > 1 {
		return nil, nil, errSeveralAccounts
	}
	return one, all, nil
}

var errSeveralAccounts = errors.New("the edge has several accounts: name one with --account")

// names are the accounts, each once.
func names(accounts []edgeAccount) (names []string) {
	for _, account := range accounts {
		if !slices.Contains(names, account.Account.Account) {
			names = append(names, account.Account.Account)
		}
	}
	return names
}

// reloaded is what one edge answered.
type reloaded struct {
	address string
	keyring.Reloaded
}

func (w World) reloadAll(ctx context.Context, e edges) (all []reloaded, err error) {
	err = w.each(ctx, e, http.MethodPost, "/whatsapp_flows/reload", func(address string, body []byte) error {
		done := reloaded{address: address}
		if err := json.Unmarshal(body, &done.Reloaded); err != nil {
			return fmt.Errorf("its answer is not that of this version: %w", err)
		}
		all = append(all, done)
		return nil
	})
	return all, err
}

func (w World) reload() *cobra.Command {
	var e edges
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Has the running edge read its keys and secrets anew",
		Long: `Has the running edge read the private keys and secrets of every account anew, from
where its configuration says they are: files, directories of keys, and files that
the environment names. They are checked as a whole before they replace the old ones;
when one cannot be used, all stay as they were, and the error says which file it is.
Nothing is restarted, and no request is lost. Of several edges, one that cannot does
not keep the others from it.`,
		Example: `  caddy whatsapp-flows keys reload
  caddy whatsapp-flows keys reload --address 10.0.0.5:2019 --address 10.0.0.6:2019`,
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, _ []string) error {
			all, err := w.reloadAll(ctx, e)
			for _, done := range all {
				for _, account := range done.Accounts {
					what := "as before"
					if slices.Contains(done.Changed, account) {
						what = "changed"
					}
					if len(e.addresses) > 1 {
						what += " at " + done.address
					}
					w.row(account, what)
				}
			}
			return err
		}),
	}
	e.flags(cmd, false)
	return cmd
}
