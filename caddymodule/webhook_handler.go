package caddymodule

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/admission"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const (
	// webhookMaxBody is above Meta's own limit of 3 MB.
	webhookMaxBody = 4 << 20
	webhookTimeout = 5 * time.Second
	maxChallenge   = 4096
)

func init() {
	caddy.RegisterModule(new(WebhookHandler))
}

// WebhookHandler receives WhatsApp's webhooks: it answers the handshake that
// Meta makes when the URL is set, verifies signatures, and puts each webhook,
// byte for byte, into Redis for the worker. Only when Redis has it does Meta
// get a 200; otherwise 503, on which Meta delivers again for up to 7 days.
type WebhookHandler struct {
	// Account is the name of the account. When left out it is taken from a
	// path that begins `/a/{account}/`, else the only account.
	Account string `json:"account,omitempty"`

	logger   *zap.Logger
	backend  *backend
	accounts map[string]*Account
	only     *Account
}

// CaddyModule returns the Caddy module information.
func (*WebhookHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + webhookDirective, New: func() caddy.Module { return new(WebhookHandler) }}
}

// Provision looks the account up.
func (h *WebhookHandler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	h.backend, h.accounts = app.backend, app.Accounts
	served, err := app.served(h.Account)
	if err != nil {
		return err
	}
	for _, account := range served {
		if err := account.requireVerifyToken(); err != nil {
			return err
		}
	}
	if h.Account != "" || len(served) == 1 {
		h.only = served[0]
	}
	return nil
}

// ServeHTTP answers Meta's handshake (GET) or takes a webhook (POST).
func (h *WebhookHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method == http.MethodGet {
		// The verify token is in the URL, which an access log would hold.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	account, _ := routeAccount(h.accounts, h.only, h.Account != "", r.URL.Path)
	if account == nil {
		webhooks.get(pair{unknownAccount, "unknown_account"}).Inc()
		return writeStatus(w, http.StatusNotFound)
	}
	switch r.Method {
	case http.MethodGet:
		return h.handshake(w, r, account)
	case http.MethodPost:
		return h.receive(w, r, account)
	default:
		w.Header().Set("Allow", "GET, POST")
		return writeStatus(w, http.StatusMethodNotAllowed)
	}
}

// handshake echoes the challenge to whoever knows the verify token.
func (h *WebhookHandler) handshake(w http.ResponseWriter, r *http.Request, account *Account) error {
	query := r.URL.Query()
	if reason := handshakeProblem(query, string(account.current.Load().verifyToken)); reason != "" {
		webhooks.get(pair{account.name, "handshake_refused"}).Inc()
		refusals.report(h.logger, "webhook handshake", account.name, reason, http.StatusForbidden, time.Now())
		return writeStatus(w, http.StatusForbidden)
	}
	webhooks.get(pair{account.name, "handshake"}).Inc()
	h.logger.Info("webhook handshake accepted", zap.String("account", account.name))
	return writeText(w, http.StatusOK, []byte(query.Get("hub.challenge")))
}

// handshakeProblem is why a handshake is refused, as hints has it; nothing when
// it is not. Who does not know the token learns nothing of the rest.
func handshakeProblem(query url.Values, verifyToken string) string {
	given, challenge := query.Get("hub.verify_token"), query.Get("hub.challenge")
	// Equal lengths, so that the comparison tells nothing of the token's.
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(verifyToken))
	switch {
	case given == "":
		return "no_verify_token"
	case subtle.ConstantTimeCompare(a[:], b[:]) != 1:
		return "verify_token"
	case query.Get("hub.mode") != "subscribe":
		return "mode"
	case challenge == "":
		return "no_challenge"
	case len(challenge) > maxChallenge:
		return "challenge"
	}
	return ""
}

func (h *WebhookHandler) receive(w http.ResponseWriter, r *http.Request, account *Account) error {
	defer countBody(r)()
	body, err := readBody(w, r, webhookMaxBody, webhookTimeout)
	defer body.release() // the store has done with it when it returns
	if errors.Is(err, admission.ErrFull) {
		webhooks.get(pair{account.name, "unavailable"}).Inc()
		return infrastructure(http.StatusServiceUnavailable, err)
	}
	if errors.Is(err, errBody) {
		webhooks.get(pair{account.name, "unreadable"}).Inc()
		return writeStatus(w, http.StatusBadRequest)
	}
	if err != nil {
		webhooks.get(pair{account.name, "too_large"}).Inc()
		return err
	}
	mac, ok := account.current.Load().signatures.Verify(r.Header.Get(signatureHeader), body.bytes)
	if !ok {
		webhooks.get(pair{account.name, "bad_signature"}).Inc()
		refusals.report(h.logger, "webhook", account.name, "signature", http.StatusUnauthorized, time.Now())
		return writeStatus(w, http.StatusUnauthorized)
	}
	if err := h.store(r, account, mac, body.bytes); err != nil {
		webhooks.get(pair{account.name, "unavailable"}).Inc()
		return infrastructure(http.StatusServiceUnavailable, err)
	}
	webhooks.get(pair{account.name, "stored"}).Inc()
	return writeStatus(w, http.StatusOK)
}

var errRedisFull = errors.New("redis uses over 80 % of its maxmemory: the worker does not keep up, or is stopped")

// store appends the webhook as it came. It fails closed: Meta delivers again
// what is not stored, and the worker drops what is stored twice.
func (h *WebhookHandler) store(r *http.Request, account *Account, mac [32]byte, body []byte) error {
	if err := h.backend.usable(); err != nil {
		return err
	}
	if h.backend.store.Full() {
		return errRedisFull
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), webhookTimeout)
	defer cancel()
	id := sha256.Sum256(body)
	return h.backend.store.Append(ctx, h.backend.keys.DigestShard(mac[:]), event.Entry{
		Kind: event.KindWebhook, Account: account.name, ID: hex.EncodeToString(id[:]), Time: time.Now(),
		Traceparent: traceparent(r), Body: body,
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*WebhookHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*WebhookHandler)(nil)
)
