package caddymodule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	flowDirective    = "whatsapp_flow"
	webhookDirective = "whatsapp_webhook"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appID, parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective(flowDirective, parseFlowDirective)
	httpcaddyfile.RegisterHandlerDirective(webhookDirective, parseWebhookDirective)
	// Outside of both: what sees ciphertext, such as request_body and logs.
	// Inside: what answers plaintext, such as respond and reverse_proxy.
	httpcaddyfile.RegisterDirectiveOrder(flowDirective, httpcaddyfile.After, "encode")
	httpcaddyfile.RegisterDirectiveOrder(webhookDirective, httpcaddyfile.After, "encode")
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Errf("a second %s block: write everything into one", appID)
	}
	d.Reset()
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(app, nil)}, nil
}

func parseFlowDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(FlowHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

func parseWebhookDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(WebhookHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the global option:
//
//	whatsapp_flows {
//	    redis <url> [{ … }]
//	    redis sentinel|cluster { … }
//	    prefix <text>
//	    shards <number>
//	    account <name> { … }
//	    upstream <name> <url> [{ … }]
//	}
//
// See [Redis], [Account] and [Upstream] for their blocks.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	app := block{of: appID, repeat: []string{"account", "upstream"}}
	return app.options(d, map[string]func() error{
		"redis":    func() error { a.Redis = new(Redis); return a.Redis.unmarshal(d, a, &app) },
		"prefix":   func() error { return one(d, &a.Prefix) },
		"shards":   func() error { return number(d, &a.Shards, 1) },
		"account":  func() error { return a.unmarshalAccount(d) },
		"upstream": func() error { return a.unmarshalUpstream(d) },
	})
}

// unmarshal reads
//
//	redis <url> {
//	    wait <replicas> <duration>
//	    prefix <text>
//	}
//	redis sentinel {
//	    address <host:port...>
//	    master <name>
//	    username <text>
//	    password <text>
//	    sentinel_username <text>
//	    sentinel_password <text>
//	    db <number>
//	    tls
//	    wait <replicas> <duration>
//	    prefix <text>
//	}
//	redis cluster {
//	    address <host:port...>
//	    username <text>
//	    password <text>
//	    tls
//	    wait <replicas> <duration>
//	    prefix <text>
//	}
func (r *Redis) unmarshal(d *caddyfile.Dispenser, a *App, app *block) error {
	if !d.NextArg() {
		return d.Errf("redis: expected a URL, sentinel { … } or cluster { … }")
	}
	allowed := map[string]func() error{
		"wait": func() error { return r.unmarshalWait(d) },
		"prefix": func() error {
			if app.seen["prefix"] {
				return d.Errf("option prefix of %s is given twice", appID)
			}
			app.seen["prefix"] = true
			return one(d, &a.Prefix)
		},
	}
	nodes := func() {
		allowed["address"] = func() error { return some(d, &r.Addresses) }
		allowed["username"] = func() error { return one(d, &r.Username) }
		allowed["password"] = func() error { return one(d, &r.Password) }
		allowed["tls"] = func() error { return toggle(d, &r.TLS) }
	}
	of := "redis"
	switch word := d.Val(); word {
	case redisSentinel:
		r.Mode, of = word, "redis sentinel"
		nodes()
		allowed["master"] = func() error { return one(d, &r.Master) }
		allowed["sentinel_username"] = func() error { return one(d, &r.SentinelUsername) }
		allowed["sentinel_password"] = func() error { return one(d, &r.SentinelPassword) }
		allowed["db"] = func() error { return number(d, &r.DB, 0) }
	case redisCluster:
		r.Mode, of = word, "redis cluster"
		nodes()
	default:
		if !strings.Contains(word, "://") && !strings.Contains(word, "{") {
			return d.Errf("redis: %q is neither a URL (redis://host:6379) nor one of: %s, %s", word, redisSentinel, redisCluster)
		}
		r.URL = word
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	options := block{of: of, repeat: []string{"address"}}
	if err := options.options(d, allowed); err != nil {
		return err
	}
	if r.Mode != "" && len(r.Addresses) == 0 {
		return d.Errf("%s: no address, expected at least one host:port", of)
	}
	if r.Mode == redisSentinel && r.Master == "" {
		return d.Errf("%s: no master, expected the name of the master that the sentinels watch", of)
	}
	return nil
}

func (r *Redis) unmarshalWait(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("wait: expected a number of replicas and a duration, such as wait 1 50ms")
	}
	replicas, err := strconv.Atoi(args[0])
	if err != nil || replicas < 1 {
		return d.Errf("wait: %q is no number of replicas, expected at least 1", args[0])
	}
	timeout, err := caddy.ParseDuration(args[1])
	if err != nil || timeout <= 0 {
		return d.Errf("wait: %q is no duration, expected one such as 50ms", args[1])
	}
	r.Wait, r.WaitTimeout = replicas, caddy.Duration(timeout)
	return nil
}

// unmarshalAccount reads
//
//	account <name> {
//	    app_secret <secret...>
//	    verify_token <text>
//	    private_key <pem> [<passphrase>]
//	    private_keys <dir> [<passphrase>]
//	    token_secret <secret...>
//	    require_signed_tokens
//	    single_use_tokens
//	    default_flow <flow>
//	    token_expired_message <text>
//	}
//
// app_secret, private_key and token_secret may be repeated; the first is the
// current one.
func (a *App) unmarshalAccount(d *caddyfile.Dispenser) error {
	var name string
	if !d.NextArg() {
		return d.Errf("account: expected a name")
	}
	name = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	if !accountName.MatchString(name) {
		return d.Errf("account name %q: expected 1 to 64 of a-z, 0-9, _ and -", name)
	}
	if _, exists := a.Accounts[name]; exists {
		return d.Errf("account %s is given twice", name)
	}
	account := new(Account)
	if a.Accounts == nil {
		a.Accounts = make(map[string]*Account)
	}
	a.Accounts[name] = account
	options := block{of: "account " + name, repeat: []string{"app_secret", "private_key", "token_secret"}}
	return options.options(d, map[string]func() error{
		"app_secret":   func() error { return some(d, &account.AppSecrets) },
		"verify_token": func() error { return one(d, &account.VerifyToken) },
		"private_key": func() error {
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 || slices.Contains(args, "") {
				return d.Errf("private_key: expected the PEM text and, for an encrypted key, its passphrase: private_key {file.PATH} [{file.PATH}]")
			}
			key := PrivateKey{PEM: args[0]}
			if len(args) == 2 {
				key.Passphrase = args[1]
			}
			account.PrivateKeys = append(account.PrivateKeys, key)
			return nil
		},
		"private_keys": func() error {
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 || slices.Contains(args, "") {
				return d.Errf("private_keys: expected a directory and, for keys that have no passphrase beside them, one that opens them: private_keys DIR [{file.PATH}]")
			}
			account.KeyDirectory = &KeyDirectory{Path: args[0]}
			if len(args) == 2 {
				account.KeyDirectory.Passphrase = args[1]
			}
			return nil
		},
		"token_secret":          func() error { return some(d, &account.TokenSecrets) },
		"require_signed_tokens": func() error { return toggle(d, &account.RequireSignedTokens) },
		"single_use_tokens":     func() error { return toggle(d, &account.SingleUseTokens) },
		"default_flow":          func() error { return one(d, &account.DefaultFlow) },
		"token_expired_message": func() error { return one(d, &account.TokenExpiredMessage) },
	})
}

// Interface guards
var _ caddyfile.Unmarshaler = (*App)(nil)
