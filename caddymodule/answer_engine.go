package caddymodule

import (
	"context"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func init() {
	caddy.RegisterModule(new(Engine))
}

// Engine answers from the flow's definition alone: the routing model says which
// screen comes next, the data models what is shown on it. No application is
// needed.
type Engine struct{}

// CaddyModule returns the Caddy module information.
func (*Engine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: endpointNamespace + ".engine", New: func() caddy.Module { return new(Engine) }}
}

// Answer runs the built-in engine.
func (*Engine) Answer(_ context.Context, turn *Turn) ([]byte, error) {
	if turn.Definition == nil {
		return nil, errors.New("the engine has no definition of this flow")
	}
	reply, err := flow.Answer(turn.Definition, turn.Session, turn.Request)
	if err != nil {
		return nil, err
	}
	return reply.JSON(), nil
}

// Pure is true: the engine only computes.
func (*Engine) Pure() bool { return true }

// NeedsDefinition is true.
func (*Engine) NeedsDefinition() bool { return true }

// UnmarshalCaddyfile reads `engine`, which has no options.
func (*Engine) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// Interface guards
var (
	_ Endpoint              = (*Engine)(nil)
	_ caddyfile.Unmarshaler = (*Engine)(nil)
)
