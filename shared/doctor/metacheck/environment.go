package metacheck

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Environment is what META_… variables say.
type Environment struct {
	token, url, version string
	http                *http.Client
}

// ReadEnvironment reads META_ACCESS_TOKEN, META_GRAPH_URL and META_GRAPH_VERSION.
func ReadEnvironment(src setting.Source, client *http.Client) (e Environment, err error) {
	e.http = client
	for _, variable := range []struct {
		name string
		to   *string
	}{{"META_ACCESS_TOKEN", &e.token}, {"META_GRAPH_URL", &e.url}, {"META_GRAPH_VERSION", &e.version}} {
		if *variable.to, _, err = src.Lookup(variable.name); err != nil {
			return e, err
		}
	}
	return e, nil
}

// HasToken says whether Meta can be asked.
func (e Environment) HasToken() bool { return e.token != "" }

// Token is the access token, to be kept out of a report.
func (e Environment) Token() string { return e.token }

// Client is a client with the token. Few tries: a report must not be long in
// coming.
func (e Environment) Client() (*graph.Client, error) { return e.As(e.token) }

// As is a client with another token.
func (e Environment) As(token string) (*graph.Client, error) {
	return graph.New(graph.Config{HTTP: e.http, Token: token, URL: e.url, Version: e.version, Tries: 2})
}

// FlowsOf are the Flow JSONs of one account out of the documents that edges serve,
// by account/flow.
func FlowsOf(account string, documents map[string][]byte) map[string][]byte {
	flows := map[string][]byte{}
	for field, document := range documents {
		if name, ok := strings.CutPrefix(field, account+"/"); ok {
			if definition, err := flow.ParseDocument(document); err == nil {
				flows[name] = definition.FlowJSON()
			}
		}
	}
	return flows
}

// Strays are the ids, by account, whose account is not one of ours.
func Strays(variable string, ids map[string][]string, ours func(account string) bool) (strays []string) {
	for _, account := range slices.Sorted(maps.Keys(ids)) {
		if !ours(account) {
			for _, id := range ids[account] {
				strays = append(strays, variable+" "+account+"="+id)
			}
		}
	}
	return strays
}
