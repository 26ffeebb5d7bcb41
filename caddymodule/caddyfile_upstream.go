package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalUpstream reads
//
//	upstream <name> <url> {
//	    header   <name> <value...>
//	    timeout  <duration>
//	    max_body <size>
//	}
//
// header may be repeated.
func (a *App) unmarshalUpstream(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("upstream: expected a name and a URL, such as upstream calendar https://calendar.internal:9000/api")
	}
	name, address := args[0], args[1]
	if !isFlowName(name) {
		return d.Errf("upstream name %q: expected %s", name, flowNameRule)
	}
	if _, exists := a.Upstreams[name]; exists {
		return d.Errf("upstream %s is given twice", name)
	}
	if !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") && !strings.Contains(address, "{") {
		return d.Errf("upstream %s: the URL begins with neither http:// nor https://", name)
	}
	u := &Upstream{URL: address}
	if a.Upstreams == nil {
		a.Upstreams = make(map[string]*Upstream)
	}
	a.Upstreams[name] = u
	options := block{of: "upstream " + name, repeat: []string{"header"}}
	return options.options(d, map[string]func() error{
		"header": func() error {
			args := d.RemainingArgs()
			if len(args) < 2 || slices.Contains(args, "") {
				return d.Errf("header: expected a name and a value, such as header Authorization \"Bearer {file.PATH}\"")
			}
			if u.Headers == nil {
				u.Headers = make(http.Header)
			}
			for _, value := range args[1:] {
				u.Headers.Add(args[0], value)
			}
			return nil
		},
		"timeout":  func() error { return duration(d, &u.Timeout, minTimeout) },
		"max_body": func() error { return size(d, &u.MaxBody, maxUpstreamBody) },
	})
}
