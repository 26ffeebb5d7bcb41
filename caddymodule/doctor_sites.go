package caddymodule

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// target is what --url says.
type target struct {
	base string // scheme and host; empty: not given
	path string // of the endpoint; empty: as the configuration has it
}

func parseTarget(text string) (target, error) {
	if text == "" {
		return target{}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return target{}, errors.New("--url is no URL, expected one such as https://flows.example.com, or that of a flow's endpoint")
	}
	t := target{base: u.Scheme + "://" + u.Host}
	if u.Path != "" && u.Path != "/" {
		t.path = u.RequestURI()
	}
	return t, nil
}

// place is where one of our handlers is served.
type place struct {
	base    string   // scheme and host; empty when the site has no name
	paths   []string // of the matcher; empty: all
	webhook bool
	account string
	flow    string // fixed
	flows   string // a directory of its own
	next    bool   // another handler answers
}

// sites are the places of a configuration, in its order.
type sites []place

// sitesOf finds our handlers in a configuration. It reads what the Caddyfile
// adapter writes; in JSON of another shape it may find none, and --url is needed.
func sitesOf(config *caddy.Config) (all sites) {
	var app struct {
		HTTPPort int `json:"http_port"`
		Servers  map[string]struct {
			Listen  []string          `json:"listen"`
			Routes  []siteRoute       `json:"routes"`
			TLS     []json.RawMessage `json:"tls_connection_policies"`
			Automat struct {
				Disable bool     `json:"disable"`
				Skip    []string `json:"skip"`
			} `json:"automatic_https"`
		} `json:"servers"`
	}
	if json.Unmarshal(config.AppsRaw["http"], &app) != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		port := ""
		for _, listen := range server.Listen {
			if address, err := caddy.ParseNetworkAddress(listen); err == nil && !address.IsUnixNetwork() {
				port = strconv.Itoa(int(address.StartPort))
				break
			}
		}
		base := func(host string) string {
			if host == "" || port == "" {
				return ""
			}
			plain := port == strconv.Itoa(cmp.Or(app.HTTPPort, 80)) || len(server.TLS) == 0 && (server.Automat.Disable || slices.Contains(server.Automat.Skip, host))
			switch {
			case plain && port == "80":
				return "http://" + host
			case plain:
				return "http://" + net.JoinHostPort(host, port)
			case port == "443":
				return "https://" + host
			}
			return "https://" + net.JoinHostPort(host, port)
		}
		for _, route := range server.Routes {
			route.walk("", nil, func(host string, p place) {
				p.base = base(host)
				all = append(all, p)
			})
		}
	}
	return all
}

// siteRoute is a route as far as it says where something is served.
type siteRoute struct {
	Match []struct {
		Host []string `json:"host"`
		Path []string `json:"path"`
	} `json:"match"`
	Handle []json.RawMessage `json:"handle"`
}

func (r siteRoute) walk(host string, paths []string, found func(string, place)) {
	for _, match := range r.Match {
		for _, name := range match.Host {
			if host == "" && !strings.ContainsAny(name, "*{") {
				host = name
			}
		}
		if len(match.Path) > 0 {
			paths = match.Path
		}
	}
	for _, raw := range r.Handle {
		var h struct {
			Handler  string      `json:"handler"`
			Routes   []siteRoute `json:"routes"`
			Account  string      `json:"account"`
			Flow     string      `json:"flow"`
			Flows    string      `json:"flows"`
			Endpoint struct {
				Name string `json:"name"`
			} `json:"endpoint"`
		}
		if json.Unmarshal(raw, &h) != nil {
			continue
		}
		switch h.Handler {
		case flowDirective, webhookDirective:
			found(host, place{paths: paths, webhook: h.Handler == webhookDirective, account: h.Account, flow: h.Flow, flows: h.Flows, next: cmp.Or(h.Endpoint.Name, "next") == "next"})
		default:
			for _, inner := range h.Routes {
				inner.walk(host, paths, found)
			}
		}
	}
}

// of is the first place of a kind that serves an account, if there is one that has
// a name.
func (s sites) of(a *examinedAccount, webhook bool) (found place, ok bool) {
	for _, p := range s {
		if p.webhook != webhook || p.account != "" && p.account != a.name {
			continue
		}
		if p.base != "" {
			return p, true
		}
		if !ok {
			found, ok = p, true
		}
	}
	return found, ok
}

// base is scheme and host under which an account's handlers of a kind are reached.
func (s sites) base(a *examinedAccount, webhook bool, t target) string {
	if t.base != "" {
		return t.base
	}
	p, _ := s.of(a, webhook)
	return p.base
}

// definitions are the Flow JSONs that the edge serves for an account, by name; nil
// when that is not known.
func (s sites) definitions(a *examinedAccount, documents map[string][]byte) map[string][]byte {
	var all map[string][]byte
	add := func(flows map[string][]byte) {
		if all == nil {
			all = map[string][]byte{}
		}
		maps.Copy(all, flows)
	}
	for _, p := range s {
		switch {
		case p.webhook || p.next || p.account != "" && p.account != a.name:
		case p.flows != "":
			definitions, err := loadDirectory(p.flows)
			if err != nil {
				continue // the configuration's finding says so
			}
			flows := map[string][]byte{}
			for name, definition := range definitions {
				flows[name] = definition.FlowJSON()
			}
			add(flows)
		case documents != nil:
			add(metacheck.FlowsOf(a.name, documents))
		}
	}
	if len(s) == 0 && documents != nil { // configuration of another shape
		add(metacheck.FlowsOf(a.name, documents))
	}
	return all
}

// flowsElsewhere says that there are directives, and none needs a published
// definition.
func (s sites) flowsElsewhere() bool {
	some := false
	for _, p := range s {
		if !p.webhook && p.flows == "" && !p.next {
			return false
		}
		some = some || !p.webhook
	}
	return some
}

// path makes a path of a matcher's patterns: the usual one if it fits.
func (p place) path(a *examinedAccount, usual, end string) string {
	prefix := ""
	if p.account == "" && !a.single {
		prefix = "/a/" + a.name
	}
	if len(p.paths) == 0 || slices.ContainsFunc(p.paths, func(pattern string) bool { return strings.HasPrefix(pattern, usual) || pattern == "*" }) {
		if end != "" {
			end = "/" + end
		}
		return prefix + usual + end
	}
	first, wild := strings.CutSuffix(p.paths[0], "*")
	if first = prefix + first; wild && end != "" {
		return strings.TrimSuffix(first, "/") + "/" + end
	}
	return first
}

func (s sites) endpointPath(a *examinedAccount, flow string) string {
	p, _ := s.of(a, false)
	if p.flow != "" {
		flow = ""
	}
	return p.path(a, "/flows/endpoint", flow)
}

func (s sites) webhookPath(a *examinedAccount) string {
	p, _ := s.of(a, true)
	return p.path(a, "/webhooks/whatsapp", "")
}

// webhook is the URL of an account's webhook; empty when it is not known.
func (s sites) webhook(a *examinedAccount, t target) string {
	base := s.base(a, true, t)
	if _, ok := s.of(a, true); !ok || base == "" {
		return ""
	}
	return base + s.webhookPath(a)
}

// public is what the checks from outside need of one account.
func (d examination) public(a *examinedAccount, t target, served sites, documents map[string][]byte) publiccheck.Config {
	c := publiccheck.Config{Now: d.now, PublicKey: a.publicKey(), AppSecrets: a.credentials.appSecrets, VerifyToken: string(a.credentials.verifyToken)}
	if !a.single {
		c.Account = a.name
	}
	c.Webhook = served.webhook(a, t)
	base := served.base(a, false, t)
	if base == "" {
		return c
	}
	if p, ok := served.of(a, false); ok || t.path != "" {
		c.Endpoint = base + served.endpointPath(a, d.flowOf(a, p, documents))
		if t.path != "" {
			c.Endpoint = base + t.path
		}
	}
	return c
}

// flowOf is the flow whose health check is made.
func (d examination) flowOf(a *examinedAccount, p place, documents map[string][]byte) string {
	if d.flow != "" || p.flow != "" {
		return d.flow
	}
	if p.flows != "" {
		if definitions, err := loadDirectory(p.flows); err == nil {
			for _, name := range slices.Sorted(maps.Keys(definitions)) {
				return name
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(documents)) {
		if name, ok := strings.CutPrefix(field, keyspace.IndexField(a.name, "")); ok {
			return name
		}
	}
	return a.defaultFlow
}

// authorities are those whose certificates are trusted, the one of --ca among them.
func (d examination) authorities() (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if d.ca == "" {
		return roots, nil
	}
	text, err := os.ReadFile(d.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", d.ca)
	}
	return roots, nil
}

// client calls what is at the URLs (empty: nothing). When all are on this machine,
// which is for trying out, it trusts Caddy's own authority too.
func client(roots *x509.CertPool, urls ...string) *http.Client {
	if !slices.ContainsFunc(urls, func(text string) bool {
		u, err := url.Parse(text)
		return text != "" && (err != nil || !isLoopback(u.Hostname()))
	}) {
		if text, err := os.ReadFile(filepath.Join(caddy.AppDataDir(), "pki", "authorities", "local", "root.crt")); err == nil {
			roots = roots.Clone()
			roots.AppendCertsFromPEM(text)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
