package settings

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// API is who may use the HTTP API.
type API struct {
	Tokens []APIToken
	// Origins are the origins whose pages may call the API from a browser
	// (CORS_ORIGINS): none when empty, everyone for "*".
	Origins []string
}

// APIToken lets its holder use the API.
type APIToken struct {
	Name   string // for logs: where it is set, such as "API_TOKENS line 3"
	Secret string
	Admin  bool // may change things; else only read
	// Accounts are those it is for; nil for all.
	Accounts []string
}

// Sees says whether the token is for an account.
func (t *APIToken) Sees(account string) bool {
	return t.Accounts == nil || slices.Contains(t.Accounts, account)
}

// shortToken is less than anybody would make at random.
const shortToken = 16

// Weak says whether the token is so short that it is likely a word, which can be
// guessed, such as that of an example.
func (t *APIToken) Weak() bool { return len(t.Secret) < shortToken }

// accountName is what fits into a path and a key of Redis.
var accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func readAPI(src setting.Source) (API, error) {
	var a API
	simple, from, err := src.Lookup("API_TOKEN")
	if err != nil {
		return a, err
	}
	for i, secret := range setting.List(simple) {
		a.Tokens = append(a.Tokens, APIToken{Name: fmt.Sprintf("%s %d", from, i+1), Secret: secret, Admin: true})
	}
	lines, from, err := src.Lookup("API_TOKENS")
	if err != nil {
		return a, err
	}
	for i, line := range strings.Split(lines, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		token, err := readToken(fields)
		if err != nil {
			return a, fmt.Errorf("%s: line %d %w", from, i+1, err)
		}
		token.Name = fmt.Sprintf("%s line %d", from, i+1)
		a.Tokens = append(a.Tokens, token)
	}
	for i, t := range a.Tokens {
		for _, earlier := range a.Tokens[:i] {
			if t.Secret == earlier.Secret {
				return a, fmt.Errorf("%s and %s are the same token: its rights would be in doubt, so keep one of them", earlier.Name, t.Name)
			}
		}
	}
	a.Origins, err = readOrigins(src)
	return a, err
}

// readToken reads `<read|admin> <account,account|*> <token>`. Its errors hold no
// part of the line that may be a token.
func readToken(fields []string) (APIToken, error) {
	if len(fields) != 3 {
		return APIToken{}, fmt.Errorf("has %d words, expected three: read or admin, accounts separated by commas or *, token", len(fields))
	}
	t := APIToken{Admin: fields[0] == "admin", Secret: fields[2]}
	if fields[0] != "read" && fields[0] != "admin" {
		return t, errors.New("does not begin with read or admin, expected for example: read shop,default <token>")
	}
	if setting.IsPlaceholder(t.Secret) {
		return t, errors.New("still holds the placeholder of an example: set it to the real token")
	}
	if fields[1] == "*" {
		return t, nil
	}
	for _, account := range strings.Split(fields[1], ",") {
		if !accountName.MatchString(account) {
			return t, errors.New("names an account that is none, expected letters, digits, dots, dashes and underscores, separated by commas without spaces, or *")
		}
		t.Accounts = append(t.Accounts, account)
	}
	return t, nil
}

func readOrigins(src setting.Source) ([]string, error) {
	value, from, err := src.Lookup("CORS_ORIGINS")
	if err != nil {
		return nil, err
	}
	var origins []string
	for _, item := range setting.List(value) {
		u, err := url.Parse(item)
		if item != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.TrimSuffix(item, "/") != u.Scheme+"://"+u.Host) {
			return nil, fmt.Errorf("%s holds %q, expected origins such as https://admin.example.com separated by commas, or *", from, item)
		}
		origins = append(origins, strings.TrimSuffix(item, "/"))
	}
	if len(origins) > 1 && slices.Contains(origins, "*") {
		return nil, fmt.Errorf("%s holds * beside other origins: keep either", from)
	}
	return origins, nil
}
