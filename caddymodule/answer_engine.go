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

// Engine answers from the flow's definition: its logic, where it has any, else
// its routing model, says which screen comes next and what is shown on it. No
// application is needed; logic may fetch from the upstreams of the app.
type Engine struct{}

// CaddyModule returns the Caddy module information.
func (*Engine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: endpointNamespace + ".engine", New: func() caddy.Module { return new(Engine) }}
}

// Answer runs the built-in engine.
func (*Engine) Answer(ctx context.Context, turn *Turn) ([]byte, error) {
	if turn.Definition == nil {
		return nil, errors.New("the engine has no definition of this flow")
	}
	reply, err := flow.Answer(ctx, turn.Definition, turn.Session, turn.Request, flow.Env{
		Now: turn.Now, Fetch: turn.Fetch, Random: &choices{seed: turn.Seed},
	})
	if err != nil {
		return nil, err
	}
	return reply.JSON(), nil
}

// Pure is true: the engine computes, and what it fetches it fetches once (see
// Turn.Fetch).
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
