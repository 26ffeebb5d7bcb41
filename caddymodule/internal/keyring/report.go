package keyring

import "time"

// Report is what an edge tells of its keys over Caddy's admin API. It holds
// nothing secret.
type Report struct {
	Accounts []Account `json:"accounts"`
}

// Account is one account of a Report.
type Account struct {
	Account   string    `json:"account"`
	LoadedAt  time.Time `json:"loaded_at"`           // when its secrets were last read
	Directory string    `json:"directory,omitempty"` // of private_keys

	AppSecrets   int `json:"app_secrets"`   // how many are accepted
	TokenSecrets int `json:"token_secrets"` // how many are accepted

	// Keys in the order in which they are listed, the current one first.
	Keys []Key `json:"keys"`
}

// Key is one private key of an account, told by its public half.
type Key struct {
	Fingerprint string    `json:"fingerprint"` // SHA-256 of the SPKI, hex
	PublicKey   string    `json:"public_key"`  // PEM
	Source      string    `json:"source"`      // where it was read
	Since       time.Time `json:"since"`       // first loaded by this process, which has counted since then
	Opened      uint64    `json:"opened"`      // envelopes, since then
	OpenedDay   uint64    `json:"opened_24h"`  // envelopes in the last 24 hours
	ShareDay    float64   `json:"share_24h"`   // of the account's envelopes in the last 24 hours, 0 to 1
	LastOpened  time.Time `json:"last_opened,omitzero"`
}

// Find returns the account of that name, else the only one when name is empty.
func (r Report) Find(name string) (Account, bool) {
	if name == "" && len(r.Accounts) == 1 {
		return r.Accounts[0], true
	}
	for _, account := range r.Accounts {
		if account.Account == name {
			return account, true
		}
	}
	return Account{}, false
}

// Reloaded is the answer to a reload.
type Reloaded struct {
	Accounts []string `json:"accounts"`
	Changed  []string `json:"changed"` // accounts of which something is another than before
}
