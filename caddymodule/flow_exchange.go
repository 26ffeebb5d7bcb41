package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/admission"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

var (
	pong         = []byte(`{"data":{"status":"active"}}`)
	acknowledged = []byte(`{"data":{"acknowledged":true}}`)
)

// exchange is one request to the flow endpoint on its way through the handler.
type exchange struct {
	*FlowHandler
	account *Account
	// credentials are those that the account had when the request came.
	credentials *credentials

	name  string // the flow; empty when the request names none
	http  *http.Request
	next  caddyhttp.Handler
	start time.Time

	envelope *flowcrypto.Envelope
	sealer   *flowcrypto.Sealer
	request  *flow.Request
	def      *flow.Definition // the current one
	named    identity         // see identity()
	fetches  fetches          // of this request's logic
	seed     seed             // of its random choices; set when the endpoint is first asked
	opened   bool             // it begins an attempt

	body   body   // as WhatsApp sent it
	replay replay // of it, for whatever runs after us

	action  string // metric labels
	outcome string
}

// refuse ends the exchange with a status of the Flow protocol and no body.
func (x *exchange) refuse(status int, reason string) (state.Stored, error) {
	x.outcome = "refused"
	refused.get(pair{x.account.name, reason}).Inc()
	refusals.report(x.logger, "flow request", x.account.name, reason, status, time.Now(), zap.String("flow", x.name))
	return state.Stored{Status: status}, nil
}

// serve does steps 1 to 5 of a flow request: everything up to knowing what is
// asked.
func (x *exchange) serve(w http.ResponseWriter) (state.Stored, error) {
	x.outcome = "failed"
	if x.hopeless() {
		return x.shed(w, reasonOverloaded)
	}
	defer countBody(x.http)()
	var err error
	x.body, err = readBody(w, x.http, x.MaxBody, x.timeout)
	if errors.Is(err, admission.ErrFull) {
		return x.shed(w, reasonMemory)
	}
	if errors.Is(err, errBody) {
		return x.refuse(http.StatusBadRequest, "body")
	}
	if err != nil {
		refused.get(pair{x.account.name, "too_large"}).Inc()
		return state.Stored{}, err
	}
	if _, ok := x.credentials.signatures.Verify(x.http.Header.Get(signatureHeader), x.body.bytes); !ok {
		return x.refuse(statusBadSignature, "signature")
	}
	if x.envelope, err = flowcrypto.ParseEnvelope(x.body.bytes); err != nil {
		return x.refuse(http.StatusBadRequest, "envelope")
	}
	// The budget is ours, not the connection's: an answer that is worked out
	// although the connection broke is there when the phone asks again.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(x.http.Context()), x.start.Add(x.timeout))
	defer cancel()
	plaintext, sealer, key, err := x.open(ctx)
	if errors.Is(err, errOverloaded) {
		return x.shed(w, reasonOverloaded)
	}
	if errors.Is(err, flowcrypto.ErrCannotDecrypt) {
		return x.refuse(http.StatusMisdirectedRequest, "decryption")
	}
	if err != nil {
		return state.Stored{}, infrastructure(http.StatusInternalServerError, err)
	}
	x.sealer = sealer
	defer sealer.Wipe()
	defer clear(plaintext)
	key.use.count(x.start)
	// Whatever runs after us, on an error too, sees what WhatsApp sent.
	x.replay.Reset(x.body.bytes)
	x.http.Body = &x.replay

	if x.request, err = flow.ParseRequest(plaintext); err != nil {
		if entry := x.logger.Check(zapcore.DebugLevel, "flow request refused"); entry != nil {
			entry.Write(zap.String("account", x.account.name), zap.Int("status", http.StatusBadRequest), zap.Error(err))
		}
		return x.refuse(http.StatusBadRequest, "request")
	}
	x.action = string(x.request.Action)
	if x.name == "" {
		return x.refuse(http.StatusNotFound, "no_flow")
	}
	if x.request.Action == flow.Ping {
		return x.ping()
	}
	if key, message, ok := x.request.ErrorNotification(); ok {
		return x.acknowledge(ctx, key, message)
	}
	return x.reply(ctx)
}

// ping answers Meta's health check without Redis. An unknown flow fails it, so
// that a typo in the endpoint's URL is found before users meet it; one that is
// only not known yet passes, because an edge that starts while Redis is down
// must not turn every flow red.
func (x *exchange) ping() (state.Stored, error) {
	def, known := x.source.current(x.account.name, x.name)
	x.met(def)
	if def == nil && x.needsDefinition() {
		if known {
			return x.refuse(http.StatusNotFound, "unknown_flow")
		}
		unknownPingsTotal.WithLabelValues(x.account.name).Inc()
		x.logger.Info("health check answered for a flow whose definition has not been read yet",
			zap.String("account", x.account.name), zap.String("flow", x.name))
	}
	x.outcome = "ok"
	return x.sealed(http.StatusOK, pong), nil
}

// needsDefinition says that a flow without a definition does not exist here.
func (x *exchange) needsDefinition() bool {
	_, fromFiles := x.source.(directory)
	return fromFiles || x.endpoint.NeedsDefinition()
}

// met takes note of the current definition.
func (x *exchange) met(def *flow.Definition) {
	x.def = def
	if def != nil && x.endpoint.NeedsDefinition() {
		x.app.warnOfUpstreams(x.name, def)
	}
}

// acknowledge takes the phone's report that it refused a reply. It is
// acknowledged even when it cannot be stored: the phone does not ask again.
func (x *exchange) acknowledge(ctx context.Context, key, message string) (state.Stored, error) {
	x.def, _ = x.source.current(x.account.name, x.name)
	x.action, x.outcome = "error_notification", "ok"
	x.logger.Warn("the phone refused a reply",
		zap.String("account", x.account.name), zap.String("flow", x.name), zap.String("screen", clip(x.request.Screen)),
		zap.String("error", clip(key)), zap.String("token_hash", x.tokenHash()))

	step := x.newStep()
	step.Outcome, step.ErrorKey, step.ErrorMessage = event.OutcomeError, key, message
	step.Action = string(x.request.Action)
	err := x.backend.usable()
	if err == nil {
		err = x.backend.store.Append(ctx, x.identity().shard, x.entry(event.KindClientError, x.identity().envelope, &step))
	}
	if err != nil {
		unacknowledgedTotal.WithLabelValues(x.account.name).Inc()
		x.logger.Error("an error notification was acknowledged but not stored", zap.Error(err))
	}
	return x.sealed(http.StatusOK, acknowledged), nil
}

// sealed seals a plaintext. At most one text sealed for an envelope may be sent.
func (x *exchange) sealed(status int, plaintext []byte) state.Stored {
	return state.Stored{Status: status, Body: x.sealer.Seal(plaintext)}
}

// tokenHash names the token in a log.
func (x *exchange) tokenHash() string {
	if x.request.Stateless() {
		return x.request.Token // "unused" or nothing: it names nobody
	}
	return tokenHash(x.request.Token)
}

// newStep is the part of an event that needs no session.
func (x *exchange) newStep() event.Step {
	step := event.Step{
		Flow: x.name, Action: x.action, From: x.request.Screen,
		Milliseconds: time.Since(x.start).Milliseconds(),
	}
	if x.def != nil {
		step.Definition = x.def.Hash()
	}
	if !x.request.Stateless() {
		step.Token = x.request.Token
	}
	return step
}

func (x *exchange) entry(kind event.Kind, id string, step *event.Step) event.Entry {
	return event.Entry{
		Kind: kind, Account: x.account.name, ID: id, Time: time.Now(),
		Traceparent: traceparent(x.http), Body: step.Encode(),
	}
}

// observe counts the exchange and adds it to Caddy's access log line.
func (x *exchange) observe() {
	name := otherFlow
	switch {
	case x.def != nil, x.fixedFlow, x.name != "" && x.name == x.account.defaultFlow:
		name = x.name
	}
	if x.action == "" {
		x.action = "unknown"
	}
	metrics := exchanges.get(exchangeLabels{x.account.name, name, x.action, x.outcome})
	metrics.total.Inc()
	metrics.seconds.Observe(time.Since(x.start).Seconds())
	if server, ok := x.http.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); !ok || server.Logs == nil {
		return // no access log
	}
	if extra, ok := x.http.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("whatsapp_account", x.account.name))
		extra.Set(zap.String("whatsapp_flow", name))
		extra.Set(zap.String("whatsapp_action", x.action))
		extra.Set(zap.String("whatsapp_outcome", x.outcome))
	}
}

// forget gives the body's memory back. Whoever still holds the body reads its end.
func (x *exchange) forget() {
	x.replay.Reset(nil)
	x.body.release()
}
