package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/edges"

	workerdoctor "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type doctorCommand struct {
	Format string `default:"text" enum:"text,json" help:"text or json."`
	URL    string `help:"Where the edge is reached, such as https://flows.example.com: compared with what Meta has. The edge's own doctor looks at the site itself."`
}

// exitWith ends a command that has said all there is to say.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Run looks at everything the worker needs and changes nothing.
func (c doctorCommand) Run(p *process) error {
	redis.SetLogger(redisLog{zap.NewNop()})
	report, err := c.examine(p)
	if err != nil {
		return err
	}
	if err := report.Write(p.stdout, c.Format); err != nil {
		return err
	}
	if code := report.ExitCode(); code != 0 {
		return exitWith(code)
	}
	return nil
}

func (c doctorCommand) examine(p *process) (doctor.Report, error) {
	site, err := siteOf(c.URL)
	if err != nil {
		return doctor.Report{}, err
	}
	checks := []doctor.Check{
		{Name: workerdoctor.Configuration, Run: func(context.Context) []doctor.Finding {
			return append(workerdoctor.Configured(p.source), workerdoctor.SecretFilesOf(p.source, os.Stat))
		}},
	}
	r, err := settings.ReadRedis(p.source)
	var documents map[string][]byte
	if err != nil {
		checks = append(checks, skipped(redischeck.Reachable, "REDIS_URL: see "+workerdoctor.Configuration))
	} else {
		client := redis.NewUniversalClient(commandOptions(r))
		defer client.Close() //nolint:errcheck // only read
		config := redischeck.Config{Client: client, Keys: r.Keys, Where: r.Address(), Now: time.Now}
		checks = append(checks, redischeck.Check(config), edgesOf(client, r.Keys.Edges()))
		reading, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		documents, _ = config.Published(reading) // redischeck says what is wrong
		cancel()
	}
	d, err := settings.ReadDatabase(p.source)
	if err != nil {
		checks = append(checks, skipped(workerdoctor.Reachable, "DATABASE_URL: see "+workerdoctor.Configuration))
	} else {
		checks = append(checks, workerdoctor.Postgres{URL: d.URL, Now: time.Now, Room: workerdoctor.Room}.Check())
	}
	checks = append(checks, c.meta(p, site, documents))
	report := doctor.Examine(p.ctx, checks...)
	report.Hide(workerdoctor.Secrets(p.source)...)
	return report, nil
}

func skipped(name, reason string) doctor.Check {
	return doctor.Check{Name: name, Run: func(context.Context) []doctor.Finding { return []doctor.Finding{doctor.Skip(name, reason)} }}
}

// siteOf is scheme and host of a URL.
func siteOf(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("--url is no URL, expected one such as https://flows.example.com")
	}
	return u.Scheme + "://" + u.Host, nil
}

const edgesName = "edges"

// edgesOf looks whether an edge shows that it runs.
func edgesOf(client redis.UniversalClient, key string) doctor.Check {
	return doctor.Check{Name: edgesName, Run: func(ctx context.Context) []doctor.Finding {
		running, err := edges.Running(ctx, client, key)
		switch {
		case err != nil:
			return []doctor.Finding{doctor.Skip(edgesName, "Redis does not tell")}
		case len(running) == 0:
			return []doctor.Finding{doctor.Warned(edgesName, "none shows that it runs", "no flow opens and no webhook is taken", "start one with the same REDIS_URL and REDIS_PREFIX, and see its log")}
		}
		return []doctor.Finding{doctor.Fine(edgesName, "%d running", len(running))}
	}}
}

// meta asks Meta when there is a token.
func (c doctorCommand) meta(p *process, site string, documents map[string][]byte) doctor.Check {
	return doctor.Check{Name: metacheck.Token, Within: 3 * time.Minute, Run: func(ctx context.Context) []doctor.Finding {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		config, found := metaConfig(p, &http.Client{Transport: transport}, site, documents)
		if found != nil {
			return found
		}
		return metacheck.Check(config).Run(ctx)
	}}
}

func metaConfig(p *process, client *http.Client, site string, documents map[string][]byte) (metacheck.Config, []doctor.Finding) {
	var config metacheck.Config
	wrong := func(err error) (metacheck.Config, []doctor.Finding) {
		return config, []doctor.Finding{doctor.Failed(metacheck.Token, oneLine(err), "Meta cannot be asked", "mend the variable")}
	}
	e, err := metacheck.ReadEnvironment(p.source, client)
	if err != nil {
		return wrong(err)
	}
	if !e.HasToken() {
		return config, metacheck.Skipped("neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set")
	}
	if config.Client, err = e.Client(); err != nil {
		return wrong(err)
	}
	config.Now = time.Now
	wabas, err := p.source.IDs("META_WABA_ID")
	if err != nil {
		return wrong(err)
	}
	numbers, err := p.source.IDs("META_PHONE_NUMBER_ID")
	if err != nil {
		return wrong(err)
	}
	fingerprints, err := publicKey(p)
	if err != nil {
		return wrong(err)
	}
	names := slices.Collect(maps.Keys(wabas))
	for name := range numbers {
		if wabas[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a := metacheck.Account{Name: name, WABAs: wabas[name], Numbers: numbers[name], Fingerprints: fingerprints, Site: site}
		if documents != nil {
			a.Flows = metacheck.FlowsOf(name, documents)
		}
		config.Accounts = append(config.Accounts, a)
	}
	return config, nil
}

// publicKey is the fingerprint of PUBLIC_KEY, by which the worker, which has no
// private key, can judge what WhatsApp has.
func publicKey(p *process) ([]string, error) {
	text, from, err := p.source.Lookup("PUBLIC_KEY")
	if err != nil || text == "" {
		return nil, err
	}
	key, err := flowcrypto.ReadPublicKey([]byte(text))
	if key == nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return []string{flowcrypto.Fingerprint(key)}, nil
}
