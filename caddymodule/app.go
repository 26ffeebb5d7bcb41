package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/upstream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const appID = "whatsapp_flows"

func init() {
	caddy.RegisterModule(new(App))
}

// App holds what all handlers of WhatsApp Flows share: the connection to Redis,
// the accounts with their secrets and keys, and the upstreams of flows.
//
// Every value may hold placeholders such as `{file./run/secrets/app_secret}` or
// `{env.APP_SECRET}`. They are replaced when the configuration is loaded, never
// while it is adapted, so that no secret shows in `GET /config/`; one that
// comes out empty is an error. A value left out is read from the environment:
// from a variable X, or from the file that X_FILE names.
type App struct {
	// Redis says where sessions, events and published flows are. When left
	// out, the URL is read from REDIS_URL.
	Redis *Redis `json:"redis,omitempty"`

	// Prefix begins every Redis key. Default: REDIS_PREFIX, else `waf:`.
	Prefix string `json:"prefix,omitempty"`

	// Shards is the number of event streams. It cannot change once the Redis
	// is in use. Default: REDIS_SHARDS, else 16.
	Shards int `json:"shards,omitempty"`

	// Accounts are the WhatsApp accounts by name: lower-case letters, digits,
	// `_` and `-`, at most 64. Without any, one account named `default` is
	// made from the environment.
	Accounts map[string]*Account `json:"accounts,omitempty"`

	// Upstreams are the services that the logic of flows may fetch from, by the
	// name it has for them: 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`. They
	// serve all accounts.
	Upstreams map[string]*Upstream `json:"upstreams,omitempty"`

	ctx     caddy.Context
	logger  *zap.Logger
	env     setting.Source
	backend *backend
	poolKey string

	pool             *upstream.Pool
	checkedUpstreams sync.Map // *flow.Definition → true
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appID, New: func() caddy.Module { return new(App) }}
}

var accountName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// Provision resolves every placeholder and builds the accounts and the Redis
// client. It opens no connection, so that `caddy validate` needs no network.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.env = setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile}

	if len(a.Accounts) == 0 {
		a.Accounts = map[string]*Account{defaultAccount: {}}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		if !accountName.MatchString(name) {
			return fmt.Errorf("account name %q: expected 1 to 64 of a-z, 0-9, _ and -", name)
		}
		account := a.Accounts[name]
		if account == nil {
			account = new(Account)
			a.Accounts[name] = account
		}
	}
	if err := a.provisionAccounts(); err != nil {
		return err
	}

	if err := a.provisionUpstreams(); err != nil {
		return err
	}
	keys, err := a.keys()
	if err != nil {
		return err
	}
	if a.Redis == nil {
		a.Redis = new(Redis)
	}
	options, err := a.Redis.resolve(a.env)
	if err != nil {
		return err
	}
	a.backend, a.poolKey, err = acquireBackend(options, keys)
	if err != nil {
		return err
	}
	return registerMetrics(ctx.GetMetricsRegistry(), a.backend)
}

// keys are the Redis keys under the configured prefix and number of shards.
func (a *App) keys() (prefixedKeys, error) {
	prefix, err := resolveText("prefix", a.Prefix)
	if err != nil {
		return prefixedKeys{}, err
	}
	if prefix == "" {
		if prefix, _, err = a.env.Lookup("REDIS_PREFIX"); err != nil {
			return prefixedKeys{}, err
		}
	}
	shards := a.Shards
	if shards == 0 {
		value, from, err := a.env.Lookup("REDIS_SHARDS")
		if err != nil {
			return prefixedKeys{}, err
		}
		if value != "" {
			if shards, err = strconv.Atoi(value); err != nil || shards < 1 {
				return prefixedKeys{}, fmt.Errorf("%s is %q, expected a number of shards of at least 1", from, value)
			}
		}
	}
	if shards < 0 {
		return prefixedKeys{}, fmt.Errorf("shards is %d, expected at least 1", shards)
	}
	keys := keyspace.New(prefix, shards)
	return prefixedKeys{Keys: keys, prefix: prefix}, nil
}

// logKeys names the keys in use, so that an operator can compare them with what
// WhatsApp has.
func (a *App) logKeys() {
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		keys := a.Accounts[name].current.Load().keys
		fingerprints := make([]string, len(keys))
		for i, key := range keys {
			fingerprints[i] = short(key.fingerprint)
		}
		a.logger.Info("account", zap.String("account", name), zap.Strings("public_key_sha256", fingerprints),
			zap.String("private_key_backend", keyBackend()))
	}
}

// Start launches the background work on Redis. It fails only when the Redis is
// in use with another number of shards; one that cannot be reached is tried
// again while requests are answered without it.
func (a *App) Start() error {
	a.logKeys()
	err := a.backend.start(a.ctx)
	if mismatch := new(shardMismatch); errors.As(err, &mismatch) {
		return err
	}
	if err != nil {
		a.logger.Warn("redis cannot be reached yet: health checks are answered, webhooks get 503 until it can",
			zap.String("redis", a.backend.where), zap.Error(err))
		return nil
	}
	a.logger.Info("using redis", zap.String("redis", a.backend.where),
		zap.Int("shards", a.backend.keys.Shards()), zap.Int("accounts", len(a.Accounts)))
	return nil
}

// Stop does nothing: requests of this configuration may still be running, and
// the Redis client outlives them.
func (a *App) Stop() error { return nil }

// Cleanup gives up this configuration's hold on the private keys, the Redis
// client and the connections to upstreams.
func (a *App) Cleanup() error {
	a.retire()
	a.releaseUpstreams()
	if a.backend == nil {
		return nil // Provision failed before the client was taken
	}
	a.backend = nil
	return releaseBackend(a.poolKey)
}

// served are the accounts a handler with this account argument may serve.
func (a *App) served(name string) ([]*Account, error) {
	if name != "" {
		account, ok := a.Accounts[name]
		if !ok {
			return nil, fmt.Errorf("unknown account %q: the global option whatsapp_flows defines %s", name, quoteNames(a.Accounts))
		}
		return []*Account{account}, nil
	}
	accounts := make([]*Account, 0, len(a.Accounts))
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		accounts = append(accounts, a.Accounts[name])
	}
	return accounts, nil
}

// loadApp returns the app of this configuration, made from the environment
// when the configuration has none.
func loadApp(ctx caddy.Context) (*App, error) {
	module, err := ctx.App(appID)
	if err != nil {
		return nil, fmt.Errorf("loading the app %s: %w", appID, err)
	}
	app, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("the app %s is a %T", appID, module)
	}
	return app, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
