package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Meta is what `worker meta` needs of Meta's side, for one account of ours.
type Meta struct {
	Token   string // META_ACCESS_TOKEN
	URL     string // META_GRAPH_URL; empty: Meta's own
	Version string // META_GRAPH_VERSION; empty: the one this worker was written for
	App     string // META_APP_ID; empty: that of the token

	wabas, phones []string
}

// ReadMeta reads the META_ variables.
func ReadMeta(src setting.Source, account string) (m Meta, err error) {
	if m.Token, err = src.Require("META_ACCESS_TOKEN"); err != nil {
		return m, err
	}
	if m.URL, _, err = src.Lookup("META_GRAPH_URL"); err != nil {
		return m, err
	}
	if m.Version, _, err = src.Lookup("META_GRAPH_VERSION"); err != nil {
		return m, err
	}
	var from string
	if m.App, from, err = src.Lookup("META_APP_ID"); err != nil {
		return m, err
	}
	if m.App != "" && !digits(m.App) {
		return m, fmt.Errorf("%s is %q, expected the id of a Meta app, which is digits", from, m.App)
	}
	if m.wabas, err = idsOf(src, "META_WABA_ID", account); err != nil {
		return m, err
	}
	m.phones, err = idsOf(src, "META_PHONE_NUMBER_ID", account)
	return m, err
}

func idsOf(src setting.Source, name, account string) ([]string, error) {
	ids, err := src.IDs(name)
	return slices.Sorted(slices.Values(ids[account])), err
}

// WABA is the WhatsApp Business Account: chosen, or the only one there is.
func (m Meta) WABA(chosen string) (string, error) {
	return one(m.wabas, chosen, "META_WABA_ID", "--waba", "the id of the WhatsApp Business Account")
}

// Phone is the phone number id to send from: chosen, or the only one there is.
func (m Meta) Phone(chosen string) (string, error) {
	return one(m.phones, chosen, "META_PHONE_NUMBER_ID", "--from", "the id of the phone number to send from")
}

func one(ids []string, chosen, name, flag, what string) (string, error) {
	switch {
	case chosen != "" && !digits(chosen):
		return "", fmt.Errorf("%s is %q, expected %s, which is digits", flag, chosen, what)
	case chosen != "":
		return chosen, nil
	case len(ids) == 0:
		return "", fmt.Errorf("neither %s nor %s_FILE is set for this account: set it to %s, or give %s", name, name, what, flag)
	case len(ids) > 1:
		return "", fmt.Errorf("%s holds %s: say which with %s", name, strings.Join(ids, " and "), flag)
	}
	return ids[0], nil
}

// MetaApp are the secrets of the app's own calls and of the webhook.
type MetaApp struct {
	Secret      string // META_APP_SECRET, the current one; empty: unset
	VerifyToken string // META_VERIFY_TOKEN; empty: unset
}

// ReadMetaApp reads them.
func ReadMetaApp(src setting.Source) (a MetaApp, err error) {
	if a.Secret, err = currentSecret(src, "META_APP_SECRET"); err != nil {
		return a, err
	}
	a.VerifyToken, _, err = src.Lookup("META_VERIFY_TOKEN")
	return a, err
}

// ReadFlowTokenSecret reads the current FLOW_TOKEN_SECRET; empty if unset.
func ReadFlowTokenSecret(src setting.Source) ([]byte, error) {
	secret, err := currentSecret(src, "FLOW_TOKEN_SECRET")
	return []byte(secret), err
}

// currentSecret is the first of a list as the edge reads it: separated by commas
// and line ends, while spaces belong to a secret.
func currentSecret(src setting.Source, name string) (string, error) {
	list, _, err := src.Lookup(name)
	if err != nil {
		return "", err
	}
	for _, secret := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if secret = strings.TrimSpace(secret); secret != "" {
			return secret, nil
		}
	}
	return "", nil
}
