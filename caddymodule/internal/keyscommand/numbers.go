package keyscommand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// meta says which phone numbers at Meta are meant.
type meta struct {
	numbers    []string
	allNumbers bool
}

func (m *meta) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&m.numbers, "number", nil, "phone number id; without it, those of META_PHONE_NUMBER_ID")
	f.BoolVar(&m.allNumbers, "all-numbers", false, "every phone number of META_WABA_ID")
}

// errNoToken is a command that cannot ask Meta.
var errNoToken = errors.New("neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set: set one of them to the token of a system user with whatsapp_business_management and whatsapp_business_messaging")

var errWhichNumbers = errors.New("which phone numbers?")

// client is a client of the Graph API with the token of the environment.
func (w World) client() (*graph.Client, error) {
	token, _, err := w.Env.Lookup("META_ACCESS_TOKEN")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errNoToken
	}
	url, _, err := w.Env.Lookup("META_GRAPH_URL")
	if err != nil {
		return nil, err
	}
	version, _, err := w.Env.Lookup("META_GRAPH_VERSION")
	if err != nil {
		return nil, err
	}
	return graph.New(graph.Config{HTTP: w.HTTP, Token: token, URL: url, Version: version})
}

// number is one phone number to be asked or told.
type number struct{ id, display string }

func (n number) String() string {
	if n.display == "" {
		return n.id
	}
	return n.id + " (" + n.display + ")"
}

func (n number) same(other number) bool { return n.id == other.id }

// find lists the numbers that are meant of one account.
func (w World) find(ctx context.Context, client *graph.Client, m meta, account string) ([]number, error) {
	var found []number
	if m.allNumbers {
		wabas, err := w.idsOf("META_WABA_ID", account)
		if err != nil {
			return nil, err
		}
		if len(wabas) == 0 {
			return nil, fmt.Errorf("--all-numbers: META_WABA_ID names no WhatsApp Business Account of the account %s", account)
		}
		for _, waba := range wabas {
			numbers, err := client.Numbers(ctx, waba)
			if err != nil {
				return nil, err
			}
			for _, n := range numbers {
				found = append(found, number{n.ID, n.Display})
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("the WhatsApp Business Account %s has no phone number", strings.Join(wabas, ", "))
		}
		return found, nil
	}
	ids := m.numbers
	if len(ids) == 0 {
		var err error
		if ids, err = w.idsOf("META_PHONE_NUMBER_ID", account); err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: META_PHONE_NUMBER_ID names none of the account %s; set it, or give --number ID or --all-numbers (with META_WABA_ID)", errWhichNumbers, account)
	}
	for _, id := range ids {
		found = append(found, number{id: id})
	}
	return found, nil
}

// findAll is find for several accounts; each number comes once.
func (w World) findAll(ctx context.Context, client *graph.Client, m meta, accounts []string) (all []number, err error) {
	for _, account := range accounts {
		numbers, err := w.find(ctx, client, m, account)
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			if !slices.ContainsFunc(all, n.same) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// idsOf are the ids in a variable that belong to an account.
func (w World) idsOf(variable, account string) ([]string, error) {
	ids, err := w.Env.IDs(variable)
	return ids[account], err
}

// held is what Meta holds for a number, beside our keys.
type held struct {
	fingerprint string // "" when there is no key
	signature   string // VALID or MISMATCH
	unreadable  error
}

func (w World) readBack(ctx context.Context, client *graph.Client, n number) (held, error) {
	key, err := client.GetPublicKey(ctx, n.id)
	if err != nil {
		return held{}, err
	}
	if key.PEM == "" {
		return held{}, nil
	}
	h := held{signature: key.Signature}
	public, err := flowcrypto.ReadPublicKey([]byte(key.PEM))
	if public == nil {
		h.unreadable = err
		return h, nil
	}
	h.fingerprint = flowcrypto.Fingerprint(public)
	return h, nil
}

// is says that Meta holds this key, and that its signature is good.
func (h held) is(fingerprint string) bool {
	return h.fingerprint == fingerprint && h.signature == graph.SignatureValid
}

// state is what Meta says of the key's signature.
func (h held) state() string {
	switch h.signature {
	case graph.SignatureMismatch:
		return h.signature + " (the number was registered anew: set the key again)"
	case "":
		return "without a signature status"
	}
	return h.signature
}

// describe is held in words, beside the keys that the edge has. Without them it does
// not say whose key it is.
func (h held) describe(keys []keyring.Key) string {
	switch {
	case h.unreadable != nil:
		return "a key that cannot be read: " + h.unreadable.Error()
	case h.fingerprint == "":
		return "no key: register one with `caddy whatsapp-flows keys register`"
	case keys == nil:
		return h.fingerprint + "  " + h.state()
	}
	which := "NOT A KEY OF THE EDGE: every request gets 421; `caddy whatsapp-flows keys register` sets the edge's"
	for i, key := range keys {
		if key.Fingerprint == h.fingerprint {
			which = fmt.Sprintf("key %d of the edge", i+1)
		}
	}
	return fmt.Sprintf("%s  %s, %s", h.fingerprint, h.state(), which)
}
