package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// keepBudget is what storing an answer may take once the request's own budget
// is gone.
const keepBudget = 200 * time.Millisecond

// reasonOf says budget when the time ran out, else what else went wrong.
func reasonOf(ctx context.Context, reason string) string {
	if ctx.Err() != nil {
		return "budget"
	}
	return reason
}

// failed turns an endpoint's error into an answer.
func (x *exchange) failed(ctx context.Context, c *claim, session *flow.Session, err error) (state.Stored, error) {
	var dead *DeadTokenError
	switch {
	case errors.As(err, &dead):
		message := dead.Message
		if message == "" {
			message = x.account.expired
		}
		return x.tokenDead(c, message, err)
	case ctx.Err() == nil && isInfrastructure(err):
		x.release(c)
		x.outcome = "failed"
		return state.Stored{}, err
	}
	return x.fall(c, session, reasonOf(ctx, "logic"), err)
}

// fall answers when there is no reply: the same screen with a message, if the
// phone would accept it, else 503. It is stored for this envelope, but it is no
// step: the same request in a new envelope runs again.
func (x *exchange) fall(c *claim, session *flow.Session, reason string, cause error) (state.Stored, error) {
	def := x.def
	if session != nil && session.Definition != "" && (def == nil || def.Hash() != session.Definition) {
		if older, ok := loaded.Load(session.Definition); ok {
			def = older.(*flow.Definition)
		}
	}
	reply, ok := flow.Fallback(def, session, x.request, x.fallback)
	if !ok {
		fallbacksTotal.WithLabelValues(x.account.name, reason).Inc()
		x.release(c)
		x.outcome = "unavailable"
		return state.Stored{}, infrastructure(http.StatusServiceUnavailable, fmt.Errorf("no reply (%s) and no fallback: %w", reason, cause))
	}
	answer := x.sealed(http.StatusOK, reply.JSON())
	kept := x.keep(c, answer)
	if !bytes.Equal(kept.Body, answer.Body) {
		// Redis has the real answer after all: a commit whose own answer got
		// lost, or another process that was faster.
		x.outcome = "replayed"
		return kept, nil
	}
	fallbacksTotal.WithLabelValues(x.account.name, reason).Inc()
	x.logger.Warn("answered with the fallback",
		zap.String("account", x.account.name), zap.String("flow", x.name), zap.String("action", x.action),
		zap.String("screen", clip(x.request.Screen)), zap.String("reason", reason),
		zap.String("token_hash", x.tokenHash()), zap.Error(cause))
	x.outcome = "fallback"
	return kept, nil
}

// keep stores an answer that moves no session and returns the one to send: an
// earlier answer to the same envelope wins. Without Redis only this process keeps
// it, see recentAnswers.
func (x *exchange) keep(c *claim, answer state.Stored) state.Stored {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.http.Context()), keepBudget)
	defer cancel()
	kept, err := x.backend.store.Keep(ctx, c.lookup, c.id, answer)
	if err != nil {
		return answer
	}
	return kept
}

// release gives the claim back when there is nothing to store.
func (x *exchange) release(c *claim) {
	if c.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.http.Context()), keepBudget)
	defer cancel()
	// It ends by itself with the request's budget if this fails.
	_ = x.backend.store.Release(ctx, c.lookup, c.id)
}
