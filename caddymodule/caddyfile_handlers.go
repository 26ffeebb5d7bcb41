package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads the directive:
//
//	whatsapp_flow [<matcher>] [<account>] {
//	    flow             <name>
//	    endpoint         engine|next
//	    flows            <directory>
//	    timeout          <duration>
//	    max_body         <size>
//	    session_ttl      <duration>
//	    retry_window     <duration>
//	    fallback_message <text>
//	}
func (h *FlowHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := accountArgument(d, &h.Account); err != nil {
		return err
	}
	options := block{of: flowDirective}
	return options.options(d, map[string]func() error{
		"flow":             func() error { return h.unmarshalFlow(d) },
		"endpoint":         func() error { return h.unmarshalEndpoint(d) },
		"flows":            func() error { return one(d, &h.Flows) },
		"timeout":          func() error { return duration(d, &h.Timeout, minTimeout) },
		"max_body":         func() error { return size(d, &h.MaxBody, maxMaxBody) },
		"session_ttl":      func() error { return duration(d, &h.SessionTTL, minSessionTTL) },
		"retry_window":     func() error { h.RetryWindow = new(caddy.Duration); return duration(d, h.RetryWindow, 0) },
		"fallback_message": func() error { return one(d, &h.FallbackMessage) },
	})
}

func (h *FlowHandler) unmarshalFlow(d *caddyfile.Dispenser) error {
	if err := one(d, &h.Flow); err != nil {
		return err
	}
	if !strings.Contains(h.Flow, "{") && !isFlowName(h.Flow) {
		return d.Errf("flow is %q, expected %s", h.Flow, flowNameRule)
	}
	return nil
}

func (h *FlowHandler) unmarshalEndpoint(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("endpoint: expected one of: %s", strings.Join(endpointNames(), ", "))
	}
	name := d.Val()
	if _, err := caddy.GetModule(endpointNamespace + "." + name); err != nil {
		return d.Errf("unknown endpoint %q, expected one of: %s", name, strings.Join(endpointNames(), ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, endpointNamespace+"."+name)
	if err != nil {
		return err
	}
	h.EndpointRaw = caddyconfig.JSONModuleObject(module, "name", name, nil)
	return nil
}

// UnmarshalCaddyfile reads the directive:
//
//	whatsapp_webhook [<matcher>] [<account>]
func (h *WebhookHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := accountArgument(d, &h.Account); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unknown option %q of %s, which has none", d.Val(), webhookDirective)
	}
	return nil
}

func accountArgument(d *caddyfile.Dispenser, to *string) error {
	if !d.NextArg() {
		return nil
	}
	*to = d.Val()
	if !accountName.MatchString(*to) {
		return d.Errf("account name %q: expected 1 to 64 of a-z, 0-9, _ and -", *to)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// bare reads an endpoint that has no options.
func bare(d *caddyfile.Dispenser) error {
	d.Next() // "endpoint" has been eaten; this is the endpoint's name
	name := d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unknown option %q of endpoint %s, which has none", d.Val(), name)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*FlowHandler)(nil)
	_ caddyfile.Unmarshaler = (*WebhookHandler)(nil)
)
