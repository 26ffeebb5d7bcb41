package settings

import (
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Accounts maps Meta's ids to accounts.
type Accounts struct {
	phones map[string]string // phone number id → account
	wabas  map[string]string // WhatsApp Business Account id → account
}

// Of is the account a change belongs to: the one that names its phone number
// id, else its WABA id, else fallback, the account whose secret verified the
// webhook.
func (a Accounts) Of(phoneNumberID, wabaID, fallback string) string {
	if account, ok := a.phones[phoneNumberID]; ok {
		return account
	}
	if account, ok := a.wabas[wabaID]; ok {
		return account
	}
	return fallback
}

// ReadAccounts reads META_PHONE_NUMBER_ID and META_WABA_ID: ids, which belong
// to the default account, or account=id, separated by commas.
func ReadAccounts(src setting.Source) (Accounts, error) {
	phones, err := idsByAccount(src, "META_PHONE_NUMBER_ID")
	if err != nil {
		return Accounts{}, err
	}
	wabas, err := idsByAccount(src, "META_WABA_ID")
	return Accounts{phones: phones, wabas: wabas}, err
}

func idsByAccount(src setting.Source, name string) (map[string]string, error) {
	value, from, err := src.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]string)
	for _, item := range setting.List(value) {
		account, id := cutAccount(item)
		if account == "" || !digits(id) {
			return nil, fmt.Errorf("%s holds %q, expected an id of digits, or account=id, separated by commas", from, item)
		}
		if other, ok := ids[id]; ok && other != account {
			return nil, fmt.Errorf("%s gives the id %s to both %s and %s: an id belongs to one account", from, id, other, account)
		}
		ids[id] = account
	}
	return ids, nil
}

func cutAccount(item string) (account, id string) {
	for i := range len(item) {
		if item[i] == '=' {
			return item[:i], item[i+1:]
		}
	}
	return DefaultAccount, item
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
