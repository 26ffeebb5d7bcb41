package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

const endpointNamespace = appID + ".endpoints"

// Endpoint decides what a flow shows next. Guest modules in the namespace
// whatsapp_flows.endpoints implement it; everything around it (encryption,
// signatures, sessions, repeated requests, the check of the reply) is done for
// them.
type Endpoint interface {
	// Answer returns the plaintext JSON of the reply, {"screen": …, "data": …}.
	//
	// With an error the user gets the fallback, except for two kinds of it: a
	// *DeadTokenError closes the flow (427), and a caddyhttp.HandlerError is
	// returned to Caddy as it is.
	Answer(ctx context.Context, turn *Turn) ([]byte, error)

	// Pure says that Answer has no effect of its own, so that it may be run
	// again when another request has moved the session in the meantime.
	Pure() bool

	// NeedsDefinition says that a flow without a definition is unknown (404).
	NeedsDefinition() bool
}

// Turn is one request to a flow, decrypted and checked.
type Turn struct {
	Account    string
	Flow       string
	Definition *flow.Definition // nil when the flow has none here
	// Session, as it is with this request's answers, and Request end with Answer:
	// the plaintext they are parts of is overwritten when the reply has been
	// sealed. An endpoint copies what it keeps for longer.
	Session *flow.Session
	Request *flow.Request

	// IdempotencyKey is the same whenever the same step is asked again.
	IdempotencyKey string
	// Fetch asks the configured upstreams. What one request has fetched is not
	// asked for again when Answer runs once more.
	Fetch flow.Fetcher
	// Now is the time of the request, and Seed makes what every random choice of
	// an answer comes from, 256 bits nobody can guess: they are the same when
	// Answer runs once more, and the seed also whenever the same step is asked
	// again. It fails only where the app secret is too short for FIPS 140.
	Now  time.Time
	Seed func() ([32]byte, error)
	// MaxReply bounds the reply in bytes.
	MaxReply int64

	// HTTP is the request as the next handler is to see it, Next that handler.
	HTTP *http.Request
	Next caddyhttp.Handler
}

// DeadTokenError says that the flow token is no longer valid. The phone shows
// the message, closes the flow and disables the button of the chat message.
type DeadTokenError struct {
	Message string // the account's own message when empty
}

func (e *DeadTokenError) Error() string { return "the flow token is no longer valid" }

func endpointNames() []string {
	var names []string
	for _, module := range caddy.GetModules(endpointNamespace) {
		names = append(names, module.ID.Name())
	}
	return names
}

// infrastructure marks a fault of the site itself, for Caddy's error log and
// handle_errors. Without handle_errors its body is empty.
func infrastructure(status int, err error) error { return caddyhttp.Error(status, err) }

// isInfrastructure says that an endpoint's error goes to Caddy as it is.
func isInfrastructure(err error) bool {
	var fault caddyhttp.HandlerError
	return errors.As(err, &fault)
}
