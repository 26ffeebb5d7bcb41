package keyscommand

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

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

// each calls the admin API of every edge.
func (w World) each(e edges, method, path string, answer func(address string, body []byte) error) error {
	addresses := e.addresses
	if len(addresses) == 0 {
		address, err := w.AdminAddress(e.config, e.adapter)
		if err != nil {
			return fmt.Errorf("finding the admin address: %w", err)
		}
		addresses = []string{address}
	}
	for _, address := range addresses {
		body, err := w.ask(address, method, path)
		if err != nil {
			return fmt.Errorf("the edge at %s: %w", address, err)
		}
		if err := answer(address, body); err != nil {
			return fmt.Errorf("the edge at %s: %w", address, err)
		}
	}
	return nil
}

func (w World) ask(address, method, path string) ([]byte, error) {
	answer, err := w.Admin(address, method, path)
	if err != nil {
		return nil, plain(err)
	}
	defer answer.Close()
	return io.ReadAll(io.LimitReader(answer, maxAdminAnswer))
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

// accounts asks every edge for its accounts.
func (w World) accounts(e edges) (found []edgeAccount, err error) {
	err = w.each(e, http.MethodGet, "/whatsapp_flows/keys", func(address string, body []byte) error {
		var report keyring.Report
		if err := json.Unmarshal(body, &report); err != nil {
			return fmt.Errorf("its answer is not that of this version: %w", err)
		}
		for _, account := range report.Accounts {
			if e.account == "" || account.Account == e.account {
				found = append(found, edgeAccount{address, account})
			}
		}
		if e.account != "" && (len(found) == 0 || found[len(found)-1].address != address) {
			return fmt.Errorf("it has no account %q", e.account)
		}
		return nil
	})
	// What several edges have of one account comes together.
	slices.SortStableFunc(found, func(a, b edgeAccount) int { return strings.Compare(a.Account.Account, b.Account.Account) })
	return found, err
}

// oneAccount is accounts for a command that is about one account.
func (w World) oneAccount(e edges) ([]edgeAccount, error) {
	found, err := w.accounts(e)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("the edge has no account")
	}
	for _, account := range found {
		if account.Account.Account != found[0].Account.Account {
			return nil, errors.New("the edge has several accounts: name one with --account")
		}
	}
	return found, nil
}

func (w World) reloadAll(e edges) ([]keyring.Reloaded, error) {
	var all []keyring.Reloaded
	err := w.each(e, http.MethodPost, "/whatsapp_flows/reload", func(_ string, body []byte) error {
		var done keyring.Reloaded
		if err := json.Unmarshal(body, &done); err != nil {
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
Nothing is restarted, and no request is lost.`,
		Example: `  caddy whatsapp-flows keys reload
  caddy whatsapp-flows keys reload --address 10.0.0.5:2019 --address 10.0.0.6:2019`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := w.reloadAll(e)
			for _, done := range all {
				for _, account := range done.Accounts {
					what := "as before"
					if slices.Contains(done.Changed, account) {
						what = "changed"
					}
					w.row(account, what)
				}
			}
			return err
		},
	}
	e.flags(cmd, false)
	return cmd
}
