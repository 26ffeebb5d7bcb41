package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// maxSession bounds a session in bytes: a client may post new keys at every step,
// and each step writes the whole session. Uploaded files are posted as links, so
// that real sessions stay far below.
const maxSession = 512 << 10

// reply does steps 6 to 10 of a flow request, and sees to it that one envelope
// has one answer.
func (x *exchange) reply(ctx context.Context) (state.Stored, error) {
	answer, err := x.turn(ctx)
	if err != nil || len(answer.Body) == 0 {
		return answer, err
	}
	return recentAnswers.put(x.envelope.Hash, answer, time.Now()), nil
}

// turn is the token, the first round trip, the answer and the second round trip.
func (x *exchange) turn(ctx context.Context) (state.Stored, error) {
	if err := x.backend.usable(); err != nil {
		x.outcome = "unavailable"
		return state.Stored{}, infrastructure(http.StatusServiceUnavailable, err)
	}
	def, err := x.source.lookup(ctx, x.account.name, x.name)
	x.met(def)
	if err != nil && x.needsDefinition() {
		if errors.Is(err, errUnknownFlow) {
			return x.refuse(http.StatusNotFound, "unknown_flow")
		}
		x.outcome = "unavailable"
		return state.Stored{}, infrastructure(http.StatusServiceUnavailable,
			fmt.Errorf("the definition of flow %s cannot be read: %w", x.name, err))
	}

	if stored, ok := recentAnswers.get(x.envelope.Hash, time.Now()); ok {
		x.outcome = "replayed"
		return stored, nil
	}

	claims, dead := x.verifyToken(time.Now())
	lookup := x.lookup(ctx, dead != nil)
	opened, err := x.backend.store.Open(ctx, lookup)
	if err != nil {
		return x.fall(&claim{lookup: lookup}, nil, reasonOf(ctx, "redis"), err)
	}
	c := &claim{lookup: lookup, id: opened.ClaimID}
	switch opened.Verdict {
	case state.Replied:
		x.outcome = "replayed"
		return opened.Stored, nil
	case state.Repeat:
		x.outcome = "repeated"
		return x.keep(c, x.sealed(http.StatusOK, opened.Reply)), nil
	}
	if dead != nil {
		return x.tokenDead(c, x.account.expired, dead)
	}
	return x.answer(ctx, c, claims, opened.Version, opened.Session)
}

// claim is the right to answer, as it stands in Redis.
type claim struct {
	lookup state.Lookup
	id     string // empty when another request holds it, or Redis is down
}

// verifyToken checks the flow token. The result is remembered but not answered
// yet: an envelope that has its answer gets that one, whatever the time is now.
func (x *exchange) verifyToken(now time.Time) (claims flowtoken.Claims, dead error) {
	token := x.request.Token
	switch {
	case flowtoken.IsSigned(token):
		var err error
		if claims, err = flowtoken.Verify(x.credentials.tokenSecrets, token, now); err != nil {
			return flowtoken.Claims{}, err
		}
		if claims.Flow != "" && claims.Flow != x.name {
			return flowtoken.Claims{}, errors.New("the flow token was made for another flow")
		}
		if claims.Account != "" && claims.Account != x.account.name {
			return flowtoken.Claims{}, errors.New("the flow token was made for another account")
		}
	case x.account.RequireSignedTokens:
		return flowtoken.Claims{}, errors.New("the flow token is not signed, and the account requires it")
	}
	// Some iOS clients leave the token out but send its signature. Without a
	// token there is no session to protect: the request is stateless.
	if x.request.TokenSignature != "" && token != "" {
		if err := flowtoken.VerifySignature(x.request.TokenSignature, token, x.credentials.appSecrets); err != nil {
			return flowtoken.Claims{}, err
		}
	}
	return claims, nil
}

// lookup names the state of this request. One with a dead token is not let near
// the session; its shard is the same, so that a replay finds its answer.
func (x *exchange) lookup(ctx context.Context, dead bool) state.Lookup {
	keys, id := x.backend.keys, x.identity()
	l := state.Lookup{Shard: id.shard, EnvelopeHash: id.envelope, RetryWindow: x.retryWindow, ClaimTTL: x.timeout}
	if deadline, ok := ctx.Deadline(); ok {
		l.ClaimTTL = max(time.Until(deadline), time.Millisecond)
	}
	if dead || x.request.Stateless() {
		l.Claim = keys.Claim(id.shard, id.envelope)
		return l
	}
	l.StepHash = keyspace.Hex(x.request.Hash(x.name))
	l.Session = keys.Session(id.shard, x.account.name, x.name, x.request.Token)
	l.Claim = keys.Claim(id.shard, id.session+":"+l.StepHash)
	return l
}

// errUsed is the end of a token of an account with single-use tokens.
var errUsed = errors.New("the flow is completed, and the account's tokens are for single use")

// tokenDead answers 427. The message is encrypted: in clear text the phone would
// report a decryption error and leave the button of the message enabled.
func (x *exchange) tokenDead(c *claim, message string, why error) (state.Stored, error) {
	x.outcome = "token_dead"
	refused.get(pair{x.account.name, "token"}).Inc()
	if errors.Is(why, flowtoken.ErrExpired) || errors.Is(why, errUsed) { // as tokens end
		x.logger.Debug("dead flow token", zap.String("account", x.account.name), zap.String("flow", x.name),
			zap.String("token_hash", x.tokenHash()), zap.NamedError("reason", why))
	} else {
		refusals.report(x.logger, "flow request", x.account.name, "token", statusTokenDead, time.Now(),
			zap.String("flow", x.name), zap.String("token_hash", x.tokenHash()), zap.Error(why))
	}
	body, err := json.Marshal(map[string]string{"error_msg": message})
	if err != nil {
		return state.Stored{}, infrastructure(http.StatusInternalServerError, err)
	}
	return x.keep(c, x.sealed(statusTokenDead, body)), nil
}

// answer runs the endpoint and commits what it said. When another request has
// moved the session in the meantime a pure endpoint runs once more; what any
// other said is applied to the newer session, because it must not be asked twice.
func (x *exchange) answer(ctx context.Context, c *claim, claims flowtoken.Claims, version int64, stored []byte) (state.Stored, error) {
	var said []byte
	for attempt := 0; ; attempt++ {
		prev := x.previous(stored)
		if prev != nil && prev.Completed && x.account.SingleUseTokens {
			return x.tokenDead(c, x.account.expired, errUsed)
		}
		def, err := x.definition(ctx, prev, claims)
		if err != nil {
			return x.fall(c, prev, reasonOf(ctx, "redis"), err)
		}
		session, err := flow.Begin(prev, def, x.request, time.Now())
		if err != nil {
			x.release(c)
			return x.refuse(http.StatusBadRequest, "unknown_screen")
		}
		session.Version = version + 1
		x.opened = flow.NewAttempt(prev, def, x.request)
		if claims.User != "" {
			session.User = claims.User
		}
		if claims.Name != "" {
			session.UserName = claims.Name
		}

		if said == nil || x.endpoint.Pure() {
			if said, err = x.ask(ctx, c, def, session); err != nil {
				return x.failed(ctx, c, session, err)
			}
		}
		reply, err := flow.Guard(def, x.request, said)
		if err != nil {
			return x.fall(c, session, "reply_refused", err)
		}
		begun := *session // finish moves it on; a fallback shows where it stood
		step := x.finish(c, def, session, version, reply)
		if len(step.Session) > maxSession {
			return x.fall(c, &begun, "session_too_large", fmt.Errorf("the session would be %d bytes, at most %d are kept", len(step.Session), maxSession))
		}
		committed, err := x.backend.store.Commit(ctx, step)
		switch {
		case err != nil:
			return x.fall(c, &begun, reasonOf(ctx, "redis"), err)
		case committed.Existing != nil:
			x.outcome = "replayed"
			return *committed.Existing, nil
		case !committed.Conflict:
			return step.Stored, nil
		case attempt > 0:
			return x.fall(c, &begun, "conflict", errors.New("other requests moved the session twice meanwhile"))
		}
		version, stored = committed.Version, committed.Session
	}
}

// previous reads the stored session. One that cannot be read begins anew: the
// user can still finish, and the answers so far are in the events.
func (x *exchange) previous(stored []byte) *flow.Session {
	if len(stored) == 0 || x.request.Stateless() {
		return nil
	}
	prev, err := flow.ParseSession(stored)
	if err != nil {
		x.logger.Error("a session cannot be read and begins anew", zap.String("account", x.account.name),
			zap.String("flow", x.name), zap.String("token_hash", x.tokenHash()), zap.Error(err))
		return nil
	}
	return prev
}

// definition is the one this step runs on: a session ends on the definition it
// began with, while a new attempt takes the current one. If the token names an
// older one with another Flow JSON, the phone shows its screens, and the attempt
// runs on that. The error says that Redis could not be asked.
func (x *exchange) definition(ctx context.Context, prev *flow.Session, claims flowtoken.Claims) (*flow.Definition, error) {
	if x.def == nil {
		return nil, nil
	}
	begun := prev != nil && !flow.NewAttempt(prev, x.def, x.request)
	wanted := claims.Version
	if begun {
		wanted = prev.Definition
	}
	if wanted == "" || wanted == x.def.Hash() {
		return x.def, nil
	}
	older, err := x.source.byHash(ctx, wanted)
	var unusable *unusableDefinition
	switch {
	case err == nil && !begun && bytes.Equal(older.FlowJSON(), x.def.FlowJSON()):
		return x.def, nil // only the rules are others, and the newest are meant
	case err == nil:
		return older, nil
	case errors.As(err, &unusable), errors.Is(err, errUnknownFlow):
		x.logger.Warn("the definition that a session began with, or that its token was made for, is gone: it goes on with the current one",
			zap.String("flow", x.name), zap.String("definition", clip(wanted)), zap.Error(err))
		return x.def, nil
	default:
		return nil, fmt.Errorf("the definition a session began with, or its token was made for, cannot be read: %w", err)
	}
}

// ask has the endpoint answer.
func (x *exchange) ask(ctx context.Context, c *claim, def *flow.Definition, session *flow.Session) ([]byte, error) {
	key := x.idempotencyKey(c, session)
	if x.seed.secret == nil { // asked once more, it stays what it was
		x.seed = seed{x.credentials.appSecrets[0], key, session.Started}
	}
	return x.endpoint.Answer(ctx, &Turn{
		Account: x.account.name, Flow: x.name, Definition: def, Session: session, Request: x.request,
		IdempotencyKey: key, Fetch: x.fetcher(key), Now: x.start, Seed: x.seed.bytes, MaxReply: x.MaxBody,
		HTTP: x.http, Next: x.next,
	})
}

// idempotencyKey is the same for every request that asks the same step of the
// same session; of a stateless request, for the same envelope.
func (x *exchange) idempotencyKey(c *claim, session *flow.Session) string {
	if x.request.Stateless() {
		return c.lookup.EnvelopeHash
	}
	var room [160]byte // two digests and a number
	b := append(x.identity().appendStep(room[:0], session.Version), ':')
	return keyspace.Hex(sha256.Sum256(append(b, c.lookup.StepHash...)))
}

// finish turns a reply into what is committed.
func (x *exchange) finish(c *claim, def *flow.Definition, session *flow.Session, version int64, reply flow.Reply) state.Step {
	outcome := session.Finish(x.request, reply)
	x.outcome = string(outcome)

	step := x.newStep()
	if def != nil {
		step.Definition = def.Hash()
	}
	step.To, step.Outcome, step.Incomplete, step.User = reply.Screen, outcome, session.Incomplete, session.User
	step.Answers = x.request.Answers()
	step.Params, _ = reply.Params()
	if outcome == event.OutcomeClose {
		step.Collected = session.Collected()
	}

	plaintext := reply.JSON()
	committing := state.Step{
		Lookup: c.lookup, ClaimID: c.id, SessionTTL: time.Duration(x.SessionTTL),
		Reply: plaintext, Stored: x.sealed(http.StatusOK, plaintext),
	}
	if x.request.Stateless() {
		step.Opened = x.request.Action == flow.Init // nothing else tells a beginning without a session
		committing.Event = x.entry(event.KindStatelessStep, c.lookup.EnvelopeHash, &step)
		return committing
	}
	step.Version, step.Attempt, step.StartedAt, step.Opened = session.Version, session.Attempt, session.Started, x.opened
	committing.ExpectVersion, committing.Version = version, session.Version
	committing.Session = session.Encode()
	committing.Event = x.entry(event.KindStep, x.identity().step(session.Version), &step)
	return committing
}
