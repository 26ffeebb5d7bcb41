package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const (
	defaultTimeout     = 2500 * time.Millisecond
	minTimeout         = time.Millisecond
	maxTimeout         = 9 * time.Second // WhatsApp gives up after 10 s
	defaultMaxBody     = 10 << 20        // Meta allows 10 MB of payload
	maxMaxBody         = 64 << 20
	defaultSessionTTL  = 72 * time.Hour
	minSessionTTL      = time.Second
	defaultRetryWindow = 15 * time.Second
	defaultFallback    = "Something went wrong. Please try again."
)

// Statuses of the Flow protocol that are not in net/http.
const (
	statusTokenDead    = 427
	statusBadSignature = 432
)

const flowNameRule = "1 to 128 of A-Z, a-z, 0-9, ., _ and -"

// isFlowName says whether a name keeps flowNameRule.
func isFlowName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 128
}

func init() {
	caddy.RegisterModule(new(FlowHandler))
}

// FlowHandler is the endpoint of WhatsApp Flows. It verifies and decrypts
// WhatsApp's requests, keeps the session, has the endpoint answer, checks the
// answer by the phone's own rules, and encrypts it.
//
// Its statuses are those of the Flow protocol, with an empty body unless said
// otherwise: 200 (encrypted reply), 400 (malformed), 404 (unknown account or
// flow), 405, 421 (no private key fits: the phone fetches the public key
// again), 427 (dead flow token; encrypted message), 432 (wrong or missing
// signature), 503 (more requests come than can be decrypted in time). Faults of
// the site itself are 413, 502, 503 and 504, which `handle_errors` sees.
type FlowHandler struct {
	// Account is the name of the account. When left out it is taken from a
	// path that begins `/a/{account}/`, else the only account.
	Account string `json:"account,omitempty"`

	// Flow is the name of the flow; it may hold placeholders. When left out it
	// is taken from the path `/flows/endpoint/{flow}`, else from `?flow=`, else
	// it is the account's default flow.
	Flow string `json:"flow,omitempty"`

	// EndpointRaw says who answers: `engine`, or `next` (the default).
	EndpointRaw json.RawMessage `json:"endpoint,omitempty" caddy:"namespace=whatsapp_flows.endpoints inline_key=name"`

	// Flows is a directory of definitions, NAME/flow.json or NAME.json. When
	// left out, those are used that the worker has published to Redis.
	Flows string `json:"flows,omitempty"`

	// Timeout bounds a request as a whole. At most 9s, because WhatsApp gives
	// up after 10. Default: FLOW_ENDPOINT_TIMEOUT in milliseconds, else 2500ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// MaxBody bounds a request, and the reply of the next handler, in bytes.
	// Default: 10 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// SessionTTL is how long a session is kept after its last step.
	// Default: 72h.
	SessionTTL caddy.Duration `json:"session_ttl,omitempty"`

	// RetryWindow is how long an equal request counts as a repetition of the
	// last step and gets the same reply. 0 turns that off. Default: 15s.
	RetryWindow *caddy.Duration `json:"retry_window,omitempty"`

	// FallbackMessage is what a user reads on the same screen when no reply can
	// be given. Default: "Something went wrong. Please try again."
	FallbackMessage string `json:"fallback_message,omitempty"`

	logger      *zap.Logger
	app         *App
	backend     *backend
	only        *Account // of Account
	accounts    map[string]*Account
	endpoint    Endpoint
	source      source
	timeout     time.Duration
	retryWindow time.Duration
	fallback    string
	fixedFlow   bool // Flow holds no placeholder
}

// CaddyModule returns the Caddy module information.
func (*FlowHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + flowDirective, New: func() caddy.Module { return new(FlowHandler) }}
}

// Provision sets the defaults and does all that serving needs: Caddy may serve
// requests before the app is started.
func (h *FlowHandler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	h.app, h.backend, h.accounts = app, app.backend, app.Accounts
	served, err := app.served(h.Account)
	if err != nil {
		return err
	}
	for _, account := range served {
		if err := account.requireKeys(); err != nil {
			return err
		}
	}
	if h.Account != "" || len(served) == 1 {
		h.only = served[0]
	}

	h.endpoint = new(Next)
	if len(h.EndpointRaw) > 0 {
		module, err := ctx.LoadModule(h, "EndpointRaw")
		if err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
		endpoint, ok := module.(Endpoint)
		if !ok {
			return fmt.Errorf("endpoint: a %T does not answer flows", module)
		}
		h.endpoint = endpoint
	}
	if err := h.provisionSource(); err != nil {
		return err
	}
	return h.provisionLimits()
}

func (h *FlowHandler) provisionSource() error {
	h.source = published{h.backend}
	if h.Flows != "" {
		path, err := resolveText("flows", h.Flows)
		if err != nil {
			return err
		}
		definitions, err := loadDirectory(path)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(definitions)) {
			if err := h.app.missingUpstreams(definitions[name]); err != nil && h.endpoint.NeedsDefinition() {
				return fmt.Errorf("flows %s: flow %s: %w", path, name, err)
			}
		}
		h.source = definitions
	}
	h.fixedFlow = h.Flow != "" && !strings.Contains(h.Flow, "{")
	if h.fixedFlow {
		if !isFlowName(h.Flow) {
			return fmt.Errorf("flow is %q, expected %s", h.Flow, flowNameRule)
		}
		if definitions, ok := h.source.(directory); ok && definitions[h.Flow] == nil {
			return fmt.Errorf("flow %q is not in %s, which holds %s", h.Flow, h.Flows, quoteNames(definitions))
		}
	}
	return nil
}

func (h *FlowHandler) provisionLimits() error {
	var err error
	from := "timeout"
	if h.timeout = time.Duration(h.Timeout); h.timeout == 0 {
		if h.timeout, from, err = timeoutOf(h.app.env); err != nil {
			return err
		}
	}
	if h.timeout < minTimeout || h.timeout > maxTimeout {
		return fmt.Errorf("%s is %s, expected at least %s and at most %s: WhatsApp gives up after 10s", from, h.timeout, minTimeout, maxTimeout)
	}
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.MaxBody < 0 || h.MaxBody > maxMaxBody {
		return fmt.Errorf("max_body is %d bytes, expected 1 to %d", h.MaxBody, maxMaxBody)
	}
	if h.SessionTTL == 0 {
		h.SessionTTL = caddy.Duration(defaultSessionTTL)
	}
	if ttl := time.Duration(h.SessionTTL); ttl < minSessionTTL {
		return fmt.Errorf("session_ttl is %s, expected at least %s", ttl, minSessionTTL)
	}
	h.retryWindow = defaultRetryWindow
	if h.RetryWindow != nil {
		h.retryWindow = time.Duration(*h.RetryWindow)
	}
	if h.retryWindow < 0 {
		return fmt.Errorf("retry_window is %s, expected a duration such as 15s, or 0 for none", h.retryWindow)
	}
	if h.fallback, err = resolveText("fallback_message", h.FallbackMessage); err == nil && h.fallback == "" {
		h.fallback = defaultFallback
	}
	return err
}

// timeoutOf is the timeout that the environment sets, and by which variable,
// else the default.
func timeoutOf(env setting.Source) (timeout time.Duration, from string, err error) {
	value, from, err := env.Lookup("FLOW_ENDPOINT_TIMEOUT")
	if err != nil || value == "" {
		return defaultTimeout, from, err
	}
	ms, err := strconv.Atoi(value)
	if err != nil || ms < 1 {
		return 0, from, fmt.Errorf("%s is %q, expected milliseconds such as 2500", from, value)
	}
	return time.Duration(ms) * time.Millisecond, from, nil
}

// ServeHTTP answers one request of WhatsApp.
func (h *FlowHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	start := time.Now()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return writeStatus(w, http.StatusMethodNotAllowed)
	}
	account, path := h.route(r.URL.Path)
	if account == nil {
		refused.get(pair{unknownAccount, "account"}).Inc()
		return writeStatus(w, http.StatusNotFound)
	}
	x := &exchange{FlowHandler: h, account: account, credentials: account.current.Load(), http: r, next: next, start: start}
	x.name = h.flowOf(r, account, path)
	answer, err := x.serve(w)
	x.observe()
	if err != nil {
		return err // without forgetting the body: handle_errors may show it
	}
	err = writeAnswer(w, answer)
	x.forget()
	return err
}

// route finds the account and the path without the account's part.
func (h *FlowHandler) route(path string) (*Account, string) {
	return routeAccount(h.accounts, h.only, h.Account != "", path)
}

// routeAccount takes the account from the directive, else from a path that
// begins /a/{account}/, else the only one there is.
func routeAccount(accounts map[string]*Account, only *Account, fixed bool, path string) (*Account, string) {
	rest, named := strings.CutPrefix(path, "/a/")
	name, below, _ := strings.Cut(rest, "/")
	switch {
	case !named:
		return only, path
	case fixed:
		return only, "/" + below
	default:
		return accounts[name], "/" + below
	}
}

// flowOf is the name of the flow a request is for; empty when it names none, or
// none that could exist.
func (h *FlowHandler) flowOf(r *http.Request, account *Account, path string) string {
	name := h.Flow
	if name != "" && !h.fixedFlow {
		if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			name = replacer.ReplaceAll(name, "")
		}
	}
	if name == "" {
		if below, ok := strings.CutPrefix(path, "/flows/endpoint/"); ok {
			name = strings.TrimSuffix(below, "/")
		}
	}
	if name == "" && r.URL.RawQuery != "" {
		name = r.URL.Query().Get("flow")
	}
	if name == "" {
		name = account.defaultFlow
	}
	if !isFlowName(name) {
		return ""
	}
	return name
}

// Interface guards
var (
	_ caddy.Provisioner           = (*FlowHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*FlowHandler)(nil)
)
