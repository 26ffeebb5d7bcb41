package keyscommand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
)

func (w World) status() *cobra.Command {
	var e edges
	var m meta
	quiet := days(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tells which keys the running edge has, what each is used for, and what WhatsApp holds",
		Long: `Tells for each account the keys of the running edge in their order: fingerprint,
where it was read, how many requests it opened in the last 24 hours, which share of
all that is, and when it did so last. With META_ACCESS_TOKEN it also asks WhatsApp
what each phone number has. A rotation under way is shown with what keeps the old
key from going. Ends with an error when WhatsApp holds a key that the edge cannot
open, or whose signature is not VALID.`,
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, _ []string) error {
			all, err := w.accounts(ctx, e)
			if err != nil {
				return err
			}
			accounts := names(named(all, e.account))
			if len(m.numbers) > 0 && len(accounts) > 1 {
				return fmt.Errorf("--number: %w", errSeveralAccounts)
			}
			var wrong []error
			for _, name := range accounts {
				edges := named(all, name)
				for _, account := range edges {
					w.keys(account)
				}
				w.underWay(sharing(edges, all), time.Duration(quiet))
				wrong = append(wrong, w.whatsApp(ctx, m, edges))
			}
			return errors.Join(wrong...)
		}),
	}
	e.flags(cmd, true)
	m.flags(cmd)
	cmd.Flags().Var(&quiet, "quiet", "how long an old key must have opened nothing before it may go")
	return cmd
}

func (w World) keys(account edgeAccount) {
	fmt.Fprintf(w.Out, "account %s at %s, %d app secrets, read at %s\n", account.Account.Account, account.address, account.AppSecrets, stamp(account.LoadedAt))
	for i, key := range account.Keys {
		used := "never used"
		if !key.LastOpened.IsZero() {
			used = fmt.Sprintf("last used %s ago", roughly(w.Now().Sub(key.LastOpened)))
		}
		fmt.Fprintf(w.Out, "  key %d  %s\n         %s\n         %d requests in 24 h (%.1f %%), %s; counted since %s\n",
			i+1, key.Fingerprint, key.Source, key.OpenedDay, 100*key.ShareDay, used, stamp(key.Since))
	}
	if len(account.Keys) == 0 {
		fmt.Fprintln(w.Out, "  no private key")
	}
}

// underWay tells of a rotation. The directory may be on another machine.
func (w World) underWay(found []edgeAccount, quiet time.Duration) {
	directory := found[0].Directory
	if directory == "" {
		return
	}
	state, err := keyring.ReadRotation(directory)
	if err != nil {
		fmt.Fprintf(w.Out, "  whether a rotation is under way cannot be read: %v\n", err)
		return
	}
	if state == nil {
		return
	}
	fmt.Fprintf(w.Out, "  rotation begun %s\n", stamp(state.Begun))
	reasons := mayNotGo(*state, found, w.Now(), quiet)
	for _, reason := range reasons {
		fmt.Fprintf(w.Out, "         not yet: %s\n", reason)
	}
	if len(reasons) == 0 {
		fmt.Fprintln(w.Out, "         the old key may go: `caddy whatsapp-flows keys rotate --finish`")
	}
}

// whatsApp compares what WhatsApp holds with the keys of an account, of which every
// edge must have the one that is registered.
func (w World) whatsApp(ctx context.Context, m meta, edges []edgeAccount) error {
	client, err := w.client()
	if errors.Is(err, errNoToken) {
		fmt.Fprintln(w.Out, "  WhatsApp is not asked: META_ACCESS_TOKEN is not set")
		return nil
	}
	if err != nil {
		return err
	}
	numbers, err := w.find(ctx, client, m, edges[0].Account.Account)
	if errors.Is(err, errWhichNumbers) {
		fmt.Fprintf(w.Out, "  WhatsApp is not asked: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	var wrong []error
	for _, n := range numbers {
		h, err := w.readBack(ctx, client, n)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("number %s: %w", n, err))
			continue
		}
		fmt.Fprintf(w.Out, "  number %s has %s\n", n, h.describe(edges[0].Keys))
		for _, edge := range edges {
			if !slices.ContainsFunc(edge.Keys, func(key keyring.Key) bool { return h.is(key.Fingerprint) }) {
				wrong = append(wrong, fmt.Errorf("number %s: WhatsApp does not hold a valid key of the edge at %s", n, edge.address))
			}
		}
	}
	return errors.Join(wrong...)
}
