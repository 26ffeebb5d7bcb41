// Package api is the worker's HTTP API: flows, what was collected with them, and
// where it is delivered.
//
// It keeps the paths, the envelope and the error names of whatsapp-flows-server,
// so that its clients go on working. Every operation is registered with
// register, which adds what all of them share: the token and its scope, the
// account, refusal of unknown parameters, the log line of a write and the entry
// in the OpenAPI document.
package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// Config is what the API needs.
type Config struct {
	Pool *pgxpool.Pool
	Log  *zap.Logger
	// Tokens are those that are let in. Without any, every path of the API
	// answers 403: nothing is open by default.
	Tokens []settings.APIToken
	// Origins are the origins a browser may call from; "*" alone is all of them.
	// Empty: none.
	Origins []string
	Version string
	// Changed is called after a change of a flow was committed.
	Changed func()
	Metrics prometheus.Registerer // nil: nobody reads them
	Eraser  *erase.Eraser         // nil: nothing can be erased through the API

	// Callbacks are what the environment says about callback endpoints, and Pinger
	// tries one.
	Callbacks endpoint.Rules
	Pinger    Pinger
	// Redis and Keys are where dead entries are put back.
	Redis redis.UniversalClient
	Keys  keyspace.Keys

	answerWithin time.Duration // 0: answerTime
	now          func() time.Time
}

type api struct {
	Config
	huma huma.API
	mux  *http.ServeMux
	keys tokenKeys

	checks, large *turns
	metrics       *metrics
	refusals      refusedTokens
}

// New returns the handler of /api/, /docs, /docs.json and /openapi.json.
func New(c Config) http.Handler { return newAPI(c).outer() }

func newAPI(c Config) *api {
	a := &api{Config: c, mux: http.NewServeMux(), keys: hashTokens(c.Tokens), checks: newTurns(checksAtOnce), large: newTurns(largeAtOnce),
		refusals: refusedTokens{last: make(map[refusedKind]*refusedCount)}}
	if a.answerWithin == 0 {
		a.answerWithin = answerTime
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.metrics = a.newMetrics(c.Metrics)
	a.huma = humago.New(a.mux, a.humaConfig())
	registerAccounts(a)
	registerFlowCheck(a)
	registerFlowWrites(a)
	registerFlowReads(a)
	registerFlowVersions(a)
	registerRecords(a)
	registerCallbacks(a)
	registerDeliveries(a)
	registerDeadEntries(a)
	registerErasures(a)
	a.serveDocs()
	return a
}

// Scope is what a token must be allowed to do for an operation.
type Scope int

// The scopes.
const (
	Read Scope = iota
	Admin
)

// register adds an operation under its path, which begins with /api/, and under
// the same path of one account: /api/accounts/{account}/….
//
// handler returns the answer's body in an envelope (ok, created, listed), or an
// error of this package (notFound, badRequest…). Any other error is logged and
// becomes a 500 that says nothing of it. The context of handler ends after
// answerTime.
func register[I, O any](a *api, op huma.Operation, scope Scope, handler func(context.Context, *I) (*O, error)) {
	registerLong(a, op, scope, func(ctx context.Context, in *I) (*O, error) {
		within, cancel := context.WithTimeout(ctx, a.answerWithin)
		defer cancel()
		return handler(within, in)
	})
}

// registerLong is register for an operation that has limits of its own.
func registerLong[I, O any](a *api, op huma.Operation, scope Scope, handler func(context.Context, *I) (*O, error)) {
	guarded := func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		return out, a.presentable(ctx, op.OperationID, err)
	}
	documentOperation(&op, scope)
	op.Middlewares = append(huma.Middlewares{a.admit(scope)}, op.Middlewares...)
	rest, below := strings.CutPrefix(op.Path, "/api/")
	ofAccount := op
	ofAccount.Responses, ofAccount.Parameters = maps.Clone(op.Responses), slices.Clone(op.Parameters)
	huma.Register(a.huma, op, guarded)
	if below && rest != "accounts" {
		ofAccount.Path, ofAccount.Hidden = "/api/accounts/{account}/"+rest, true
		huma.Register(a.huma, ofAccount, guarded)
	}
}

// presentable makes an error one that may be shown.
func (a *api) presentable(ctx context.Context, operation string, err error) error {
	var known huma.StatusError
	if err == nil || errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		return unavailable("The request was given up") // nobody reads it
	}
	a.Log.Error("an operation of the API failed", zap.String("operation", operation), zap.Error(storeError(err)))
	if store.Stale(err) {
		a.Pool.Reset() // the next one gets a connection to the server that is to be used now
	}
	if unstorable(err) {
		return badRequest("The request holds text that the database cannot store, such as the character U+0000")
	}
	if databaseAway(err) {
		return unavailable("The database does not answer: try again in a moment")
	}
	return internal()
}

const (
	// bodyTime is how long a client may take to send a body.
	bodyTime = 60 * time.Second

	// answerTime is how long an answer may take once the body is there: more than
	// any takes while Postgres answers, and less than clients commonly wait.
	answerTime = 20 * time.Second
)
