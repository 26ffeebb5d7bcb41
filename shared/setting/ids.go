package setting

import (
	"fmt"
	"slices"
	"strings"
)

// DefaultAccount is the account of an installation that has only one.
const DefaultAccount = "default"

// IDs reads a variable of ids of Meta's, by account: each is `id`, which belongs to
// DefaultAccount, or `account=id`. It holds those of several accounts, because which
// one something belongs to is told by its id.
func (s Source) IDs(name string) (map[string][]string, error) {
	value, from, err := s.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, owner := map[string][]string{}, map[string]string{}
	for _, item := range List(value) {
		account, id, named := strings.Cut(item, "=")
		if !named {
			account, id = DefaultAccount, item
		}
		if account == "" || id == "" || strings.Trim(id, "0123456789") != "" {
			return nil, fmt.Errorf("%s holds %q, expected an id of digits, or account=id, separated by commas", from, item)
		}
		if other, ok := owner[id]; ok && other != account {
			return nil, fmt.Errorf("%s gives the id %s to both %s and %s: an id belongs to one account", from, id, other, account)
		}
		if owner[id] = account; !slices.Contains(ids[account], id) {
			ids[account] = append(ids[account], id)
		}
	}
	return ids, nil
}
