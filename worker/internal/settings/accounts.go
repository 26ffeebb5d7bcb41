package settings

import "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"

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
	phones, err := accountByID(src, "META_PHONE_NUMBER_ID")
	if err != nil {
		return Accounts{}, err
	}
	wabas, err := accountByID(src, "META_WABA_ID")
	return Accounts{phones: phones, wabas: wabas}, err
}

func accountByID(src setting.Source, name string) (map[string]string, error) {
	ids, err := src.IDs(name)
	if err != nil {
		return nil, err
	}
	accounts := make(map[string]string)
	for account, of := range ids {
		for _, id := range of {
			accounts[id] = account
		}
	}
	return accounts, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
