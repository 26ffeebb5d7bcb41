package keyscommand

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func (w World) register() *cobra.Command {
	var e edges
	var m meta
	var public string
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Registers the public key at WhatsApp, and reads it back",
		Long: `Registers the public half of the key that the running edge has first, or the one in
--public FILE, for phone numbers at WhatsApp, and reads back what WhatsApp holds: the
fingerprint beside ours, and VALID or MISMATCH.

Numbers are those of META_PHONE_NUMBER_ID, or --number, or with --all-numbers all
of META_WABA_ID. The token is META_ACCESS_TOKEN or META_ACCESS_TOKEN_FILE. A key
belongs to a phone number: do this for each, and again when a number was registered
anew.`,
		Example: `  caddy whatsapp-flows keys register --all-numbers
  caddy whatsapp-flows keys register --public flow.pub --number 106540352242922`,
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, _ []string) error {
			client, err := w.client()
			if err != nil {
				return err
			}
			pem, account, err := w.keyToRegister(ctx, e, public)
			if err != nil {
				return err
			}
			numbers, err := w.find(ctx, client, m, account)
			if err != nil {
				return err
			}
			return w.set(ctx, client, numbers, pem)
		}),
	}
	e.flags(cmd, true)
	m.flags(cmd)
	cmd.Flags().StringVar(&public, "public", "", "file of the public key; without it, that of the edge's first key")
	return cmd
}

// keyToRegister is a public key in PEM, and the account whose numbers get it.
func (w World) keyToRegister(ctx context.Context, e edges, file string) (pem, account string, err error) {
	if file == "" {
		found, _, err := w.oneAccount(ctx, e)
		if err != nil {
			return "", "", err
		}
		first, err := firstKey(found)
		return first.PublicKey, found[0].Account.Account, err
	}
	text, err := w.Env.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	key, err := flowcrypto.ReadPublicKey(text)
	if err == nil {
		err = flowcrypto.CheckPublicKey(key)
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	if e.account == "" {
		e.account = setting.DefaultAccount
	}
	return string(flowcrypto.PublicPEM(key)), e.account, nil
}

// firstKey is the key that every edge has first.
func firstKey(found []edgeAccount) (first keyring.Key, err error) {
	for i, account := range found {
		if len(account.Keys) == 0 {
			return first, fmt.Errorf("the edge at %s has no private key", account.address)
		}
		if i == 0 {
			first = account.Keys[0]
		} else if account.Keys[0].Fingerprint != first.Fingerprint {
			return first, fmt.Errorf("the edges at %s and %s do not have the same key first: reload them with `caddy whatsapp-flows keys reload`", found[0].address, account.address)
		}
	}
	return first, nil
}

// set registers a key for each number and reads it back. One that fails does not
// keep the others from getting theirs.
func (w World) set(ctx context.Context, client *graph.Client, numbers []number, pem string) error {
	key, err := flowcrypto.ReadPublicKey([]byte(pem))
	if err != nil {
		return err
	}
	ours := flowcrypto.Fingerprint(key)
	w.row("ours", ours)
	var failed []error
	for _, n := range numbers {
		if err := client.SetPublicKey(ctx, n.id, pem); err != nil {
			failed = append(failed, fmt.Errorf("number %s: %w", n, err))
			continue
		}
		h, err := w.readBack(ctx, client, n)
		if err != nil {
			failed = append(failed, fmt.Errorf("number %s: the key is set, but cannot be read back: %w", n, err))
			continue
		}
		switch {
		case h.is(ours):
			w.row("number", fmt.Sprintf("%s  %s, the same key", n, h.signature))
		case h.fingerprint == ours:
			w.row("number", fmt.Sprintf("%s  %s, the same key", n, h.state()))
			failed = append(failed, fmt.Errorf("number %s: WhatsApp holds the key, but it is %s", n, h.state()))
		default:
			failed = append(failed, fmt.Errorf("number %s: WhatsApp took the key, but holds another: %s", n, h.describe(nil)))
		}
	}
	return errors.Join(failed...)
}
