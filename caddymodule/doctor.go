package caddymodule

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// The names of the edge's own findings; those of accounts have the account's name
// behind them when there are several.
const (
	configurationName = "configuration"
	literalsName      = "configuration: secrets"
	redisName         = "configuration: Redis"
	secretsName       = "account: secrets"
	keysName          = "account: private keys"
	modesName         = "secret files: modes"
	runningName       = "edge: running keys"
)

// examination is one run of the edge's doctor.
type examination struct {
	config, adapter string
	url, flow, ca   string

	now   func() time.Time
	env   setting.Source
	stat  func(string) (fs.FileInfo, error)
	admin func(config, adapter, path string) (io.ReadCloser, error)
}

// examined is what the configuration gave to the other checks.
type examined struct {
	app      *App
	accounts []*examinedAccount // by name
	hide     []string
}

type examinedAccount struct {
	*Account
	credentials *credentials
	single      bool // the only one
}

func (a *examinedAccount) label(name string) string {
	if a.single {
		return name
	}
	return name + " (account " + a.name + ")"
}

func (a *examinedAccount) publicKey() *rsa.PublicKey {
	if len(a.credentials.keys) == 0 {
		return nil
	}
	return a.credentials.keys[0].public
}

func (a *examinedAccount) fingerprints() (all []string) {
	for _, key := range a.credentials.keys {
		all = append(all, key.fingerprint)
	}
	return all
}

// run examines everything. Its error is a mistake of the command line.
func (d examination) run(ctx context.Context) (doctor.Report, error) {
	target, err := parseTarget(d.url)
	if err != nil {
		return doctor.Report{}, err
	}
	config, err := d.load()
	if err != nil {
		return doctor.Report{Findings: []doctor.Finding{
			doctor.Failed(configurationName, err.Error(), "the edge does not start with it", "mend the file, or name another with --config"),
			doctor.Skip("everything else", "there is no configuration to go by"),
		}}, nil
	}
	e, report, err := d.parts(config)
	if err != nil {
		return doctor.Report{Findings: []doctor.Finding{doctor.Failed(configurationName, err.Error(), "the edge does not start with it", "mend the block of whatsapp_flows")}}, nil
	}
	defer func() {
		for _, a := range e.accounts {
			a.credentials.closeKeys(nil)
		}
	}()
	trusted, err := d.authorities()
	if err != nil {
		return report, err
	}
	sound := report.Worst() != doctor.Fail
	served := sitesOf(config)

	documents, findings, ok := d.redis(ctx, e, served)
	report.Findings = append(report.Findings, findings...)
	whole := d.whole(ctx, config, sound && ok)
	whole.Add(report)

	checks := []doctor.Check{{Name: runningName, Run: func(context.Context) []doctor.Finding { return d.running(e) }}}
	for _, a := range e.accounts {
		p := d.public(a, target, served, documents)
		p.HTTP, p.PrivateCA = client(trusted, p.Endpoint, p.Webhook), d.ca != ""
		defer p.HTTP.CloseIdleConnections()
		checks = append(checks, publiccheck.Checks(p)...)
	}
	whole.Add(doctor.Examine(ctx, checks...))
	whole.Add(doctor.Examine(ctx, d.meta(e, target, served, documents, whole)))
	whole.Hide(e.hide...)
	return whole, nil
}

// redis looks at the Redis of the configuration, and reads which flows are
// published in it. ok says that the edge would start with its settings.
func (d examination) redis(ctx context.Context, e *examined, served sites) (documents map[string][]byte, found []doctor.Finding, ok bool) {
	options, err := e.app.Redis.resolve(d.env)
	var keys prefixedKeys
	if err == nil {
		keys, err = e.app.keys()
	}
	var client redis.UniversalClient
	if err == nil {
		client, err = options.client()
	}
	e.hide = append(e.hide, options.URL, passwordOf(options.URL), options.Password, options.SentinelPassword)
	if err != nil {
		return nil, []doctor.Finding{doctor.Failed(redisName, err.Error(), "the edge does not start", "set what is named"), doctor.Skip(redischeck.Reachable, "see "+redisName)}, false
	}
	defer client.Close() //nolint:errcheck // only read
	c := redischeck.Config{Client: client, Keys: keys.Keys, Where: options.where(), Now: d.now, FlowsElsewhere: served.flowsElsewhere(), Wait: options.Wait}
	report := doctor.Examine(ctx, redischeck.Check(c))
	if report.Find(redischeck.Reachable).Status == doctor.OK {
		reading, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		documents, _ = c.Published(reading) // redischeck says what is wrong
	}
	return documents, report.Findings, true
}

func passwordOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}

// load reads the configuration as `caddy validate` does.
func (d examination) load() (*caddy.Config, error) {
	text, file, _, err := caddycmd.LoadConfig(d.config, d.adapter)
	if err != nil {
		return nil, err
	}
	if file == "" {
		return nil, fmt.Errorf("there is no Caddyfile in this directory: name a configuration with --config")
	}
	var config *caddy.Config
	if err := caddy.StrictUnmarshalJSON(caddy.RemoveMetaFields(text), &config); err != nil {
		return nil, fmt.Errorf("decoding the configuration: %w", err)
	}
	if config == nil {
		return nil, fmt.Errorf("%s is null, expected a configuration of Caddy", file)
	}
	return config, nil
}

// whole provisions the configuration and starts nothing. What modules would keep
// or log meanwhile goes nowhere.
func (d examination) whole(ctx context.Context, config *caddy.Config, sound bool) doctor.Report {
	return doctor.Examine(ctx, doctor.Check{Name: configurationName, Within: time.Minute, Run: func(context.Context) []doctor.Finding {
		if !sound {
			return []doctor.Finding{doctor.Skip(configurationName, "parts of it do not hold, see below")}
		}
		err := provisionOnly(*config)
		switch {
		case errors.Is(err, errNoRoom):
			return []doctor.Finding{doctor.Skip(configurationName, err.Error()+": `caddy validate` tells whether it loads")}
		case err != nil:
			return []doctor.Finding{doctor.Failed(configurationName, err.Error(), "the edge does not start with it", "mend what is named")}
		}
		return []doctor.Finding{doctor.Fine(configurationName, "loads, with every placeholder filled")}
	}})
}

// parts reads our part of the configuration piece by piece, so that each mistake
// is found, not only the first.
func (d examination) parts(config *caddy.Config) (*examined, doctor.Report, error) {
	app := new(App)
	if raw := config.AppsRaw[appID]; raw != nil {
		if err := json.Unmarshal(raw, app); err != nil {
			return nil, doctor.Report{}, fmt.Errorf("%s: %w", appID, err)
		}
	}
	app.env = d.env
	if app.Redis == nil {
		app.Redis = new(Redis)
	}
	if len(app.Accounts) == 0 {
		app.Accounts = map[string]*Account{defaultAccount: {}}
	}
	e := &examined{app: app}
	var report doctor.Report
	var files []string
	for _, name := range slices.Sorted(maps.Keys(app.Accounts)) {
		account := app.Accounts[name]
		if account == nil {
			account = new(Account)
		}
		account.name = name
		a := &examinedAccount{account, &credentials{loadedAt: d.now()}, len(app.Accounts) == 1}
		e.accounts = append(e.accounts, a)
		report.Findings = append(report.Findings, a.secrets(d.env), a.keys(d.env))
		files = append(files, a.files(d.env)...)
		for _, secret := range slices.Concat(a.credentials.appSecrets, a.credentials.tokenSecrets) {
			e.hide = append(e.hide, string(secret))
		}
		e.hide = append(e.hide, string(a.credentials.verifyToken))
	}
	report.Findings = append(report.Findings, e.literals(), doctor.Modes(modesName, files, d.stat))
	return e, report, nil
}

// meta asks Meta when there is a token.
func (d examination) meta(e *examined, target target, served sites, documents map[string][]byte, so doctor.Report) doctor.Check {
	return doctor.Check{Name: metacheck.Token, Within: 3 * time.Minute, Run: func(ctx context.Context) []doctor.Finding {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		wrong := func(err error) []doctor.Finding {
			return []doctor.Finding{doctor.Failed(metacheck.Token, strings.Join(strings.Fields(err.Error()), " "), "Meta cannot be asked", "mend the variable")}
		}
		env, err := metacheck.ReadEnvironment(d.env, &http.Client{Transport: transport})
		if err != nil {
			return wrong(err)
		}
		if !env.HasToken() {
			return metacheck.Skipped("neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set")
		}
		e.hide = append(e.hide, env.Token())
		c := metacheck.Config{As: env.As, Now: d.now}
		if c.Client, err = env.Client(); err != nil {
			return wrong(err)
		}
		wabas, err := d.env.IDs("META_WABA_ID")
		if err != nil {
			return wrong(err)
		}
		numbers, err := d.env.IDs("META_PHONE_NUMBER_ID")
		if err != nil {
			return wrong(err)
		}
		ours := func(account string) bool {
			return slices.ContainsFunc(e.accounts, func(a *examinedAccount) bool { return a.name == account })
		}
		c.Strays = append(metacheck.Strays("META_WABA_ID", wabas, ours), metacheck.Strays("META_PHONE_NUMBER_ID", numbers, ours)...)
		for _, a := range e.accounts {
			of := metacheck.Account{Name: a.name, WABAs: wabas[a.name], Numbers: numbers[a.name], AppSecrets: a.credentials.appSecrets,
				Fingerprints: a.fingerprints(), Flows: served.definitions(a, documents), Site: served.base(a, false, target), Webhook: served.webhook(a, target),
				EndpointPath: func(flow string) string { return served.endpointPath(a, flow) }}
			if ping := so.Find(a.label(publiccheck.RoundTrip)); ping.Status != doctor.Skipped {
				answered := ping.Status == doctor.OK
				of.PingAnswered = &answered
			}
			c.Accounts = append(c.Accounts, of)
		}
		return metacheck.Check(c).Run(ctx)
	}}
}
