// Package metacheck looks at Meta's side of WhatsApp Flows through the Graph API:
// the token, who gets webhooks, the key of each phone number, each flow, and
// whether a flow could be published. It only reads.
package metacheck

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Config is what the checks need. What is left out is not compared.
type Config struct {
	Client *graph.Client
	// As makes a client with another token: Meta tells the fields of an app's
	// subscription to the app only. nil: they are not asked for.
	As  func(token string) (*graph.Client, error)
	Now func() time.Time

	Accounts []Account

	// Strays are ids that belong to an account that nobody has, as variable and
	// account.
	Strays []string
}

// Account is one account of ours and what belongs to it at Meta.
type Account struct {
	Name       string
	WABAs      []string // WhatsApp Business Account ids
	Numbers    []string // phone number ids, besides those of WABAs
	AppSecrets [][]byte // of the app; nil: not known
	// Fingerprints are of the private keys that the edge has, the current one
	// first; nil: not known.
	Fingerprints []string
	Flows        map[string][]byte // Flow JSON by name, as the edge serves it; nil: not known
	EndpointPath func(flow string) string

	// PingAnswered says whether the endpoint answered a health check from outside;
	// nil: nobody looked.
	PingAnswered *bool
	// Webhook is where webhooks should go; empty: not known.
	Webhook string
	// Site is scheme and host under which the edge is reached; empty: not known.
	Site string
}

// The names of findings; others begin with these and name an object.
const (
	Token  = "meta: token"
	Scopes = "meta: token scopes"
	Expiry = "meta: token expiry"
	Limits = "meta: rate limits"
	// Accounts is there when something is wrong with which there are.
	Accounts = "meta: accounts"
)

// Skipped are the findings without a token.
func Skipped(reason string) []doctor.Finding {
	return []doctor.Finding{doctor.Skip("meta", reason)}
}

// Check asks Meta everything. It takes many calls for many flows, one after the
// other, so that no rate limit is used up.
func Check(c Config) doctor.Check {
	return doctor.Check{Name: Token, Within: 3 * time.Minute, Run: c.run}
}

func (c Config) run(ctx context.Context) []doctor.Finding {
	info, found := c.token(ctx)
	if !info.Valid {
		return append(found, doctor.Skip("meta: everything else", "the token is not accepted"))
	}
	if len(c.Accounts) == 0 {
		found = append(found, doctor.Skip(Accounts, "META_WABA_ID names no WhatsApp Business Account"))
	}
	if len(c.Strays) > 0 {
		found = append(found, doctor.Warned(Accounts, strings.Join(c.Strays, ", ")+": there is no such account", "what the id stands for is not looked at",
			"write account=id with the name of an account, or name the account as there"))
	}
	for _, account := range c.Accounts {
		found = append(found, c.account(ctx, info, account)...)
	}
	return append(found, c.limits())
}

// The time before the end of a token from which it counts.
const (
	expiryWarn = 14 * 24 * time.Hour
	expiryFail = 2 * 24 * time.Hour
)

func (c Config) token(ctx context.Context) (graph.TokenInfo, []doctor.Finding) {
	const anew = "make a new token for a system user of the business (Business settings, System users) and set META_ACCESS_TOKEN"
	const meaning = "nothing can be sent, and keys, flows and subscriptions cannot be looked at or changed"
	info, err := c.Client.DebugToken(ctx)
	if err != nil {
		info.Valid = false
		return info, []doctor.Finding{doctor.Failed(Token, oneLine(err), meaning, "see whether graph.facebook.com is reached from here; else "+anew)}
	}
	if !info.Valid {
		evidence := "Meta says that it is not valid"
		if info.Error != nil && info.Error.Message != "" {
			evidence += ": " + info.Error.Message
		}
		return info, []doctor.Finding{doctor.Failed(Token, evidence, meaning, anew)}
	}
	found := []doctor.Finding{doctor.Fine(Token, "valid, of a %s, for the app %s", strings.ToLower(strings.ReplaceAll(info.Type, "_", " ")), named(info.Application, info.AppID))}
	return info, append(found, c.scopes(info), c.expiry(info))
}

func (c Config) scopes(info graph.TokenInfo) doctor.Finding {
	if lacks := info.Lacks(); len(lacks) > 0 {
		return doctor.Failed(Scopes, "it lacks "+strings.Join(lacks, " and "), "calls for keys, flows or messages are refused", "make a new token with both whatsapp_business_management and whatsapp_business_messaging")
	}
	for _, account := range c.Accounts {
		for _, waba := range account.WABAs {
			for _, g := range info.Granular {
				if g.Scope == graph.ScopeManagement && len(g.Targets) > 0 && !slices.Contains(g.Targets, waba) {
					return doctor.Failed(Scopes, g.Scope+" is not granted for the WhatsApp Business Account "+waba, "it cannot be looked at or changed", "assign the account to the system user with full control, then make a new token")
				}
			}
		}
	}
	return doctor.Fine(Scopes, "%s", strings.Join(info.Scopes, ", "))
}

func (c Config) expiry(info graph.TokenInfo) doctor.Finding {
	ends, what := info.Expires, "it ends at "
	if info.DataExpires != 0 && (ends == 0 || info.DataExpires < ends) {
		ends, what = info.DataExpires, "its access to data ends at "
	}
	if ends == 0 {
		return doctor.Fine(Expiry, "never")
	}
	at := time.Unix(ends, 0)
	left := at.Sub(c.Now())
	evidence := fmt.Sprintf("%s%s, in %s", what, at.UTC().Format(time.RFC3339), days(left))
	const fix = "make a token of a system user that never expires"
	switch {
	case left < expiryFail:
		return doctor.Failed(Expiry, evidence, "from then on nothing can be sent or changed", fix)
	case left < expiryWarn:
		return doctor.Warned(Expiry, evidence, "from then on nothing can be sent or changed", fix)
	}
	return doctor.Fine(Expiry, "%s", evidence)
}

func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Minute).String()
}

// nearLimit is the share of a rate limit, in percent, from which it counts.
const nearLimit = 80

func (c Config) limits() doctor.Finding {
	usage := c.Client.Usage()
	if len(usage) == 0 {
		return doctor.Skip(Limits, "Meta's answers tell none")
	}
	evidence := fmt.Sprintf("%d %% of %s used", usage[0].Percent(), usage[0].Of)
	if usage[0].Percent() >= nearLimit {
		return doctor.Warned(Limits, evidence, "above 100 % Meta refuses calls for a while", "see what calls the API so often with this app")
	}
	return doctor.Fine(Limits, "%s", evidence)
}

func named(name, id string) string {
	if name == "" {
		return id
	}
	return name + " (" + id + ")"
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
