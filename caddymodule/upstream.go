package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/upstream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

const (
	defaultUpstreamTimeout = time.Second
	defaultUpstreamBody    = 1 << 20
	maxUpstreamBody        = 16 << 20
)

// Upstream is a service of your own that a flow's logic may fetch from, under
// the name it has there. Only the path below the URL is the flow's to choose, so
// that who writes flows can reach nothing else. It speaks JSON; redirects are
// not followed, and no proxy of the environment is used.
type Upstream struct {
	// URL is http or https with a host and, if need be, a base path, which a
	// fetch cannot leave: `https://calendar.internal:9000/api`.
	URL string `json:"url,omitempty"`

	// Headers are sent with every fetch, such as
	// `Authorization: Bearer {file./run/secrets/calendar}`.
	Headers http.Header `json:"headers,omitempty"`

	// Timeout is the most a fetch may take; a flow may allow less. What is left
	// of the request's own budget bounds it too. Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// MaxBody bounds an answer in bytes, uncompressed. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
}

func (u *Upstream) provision(name string) (*upstream.Upstream, error) {
	address, err := resolveText("the URL", u.URL)
	if err != nil {
		return nil, err
	}
	if address = strings.TrimSpace(address); address == "" {
		return nil, errors.New("no URL, expected one such as https://calendar.internal:9000/api")
	}
	headers := make(http.Header, len(u.Headers))
	for field, values := range u.Headers {
		for _, value := range values {
			resolved, err := resolvePlaceholders(value)
			if err != nil {
				return nil, fmt.Errorf("header %s: %w", field, err)
			}
			headers[field] = append(headers[field], strings.TrimSpace(resolved))
		}
	}
	timeout, maxBody := time.Duration(u.Timeout), u.MaxBody
	if timeout == 0 {
		timeout = defaultUpstreamTimeout
	}
	if timeout < minTimeout || timeout > maxTimeout {
		return nil, fmt.Errorf("timeout is %s, expected at least %s and at most %s: WhatsApp gives up after 10s", timeout, minTimeout, maxTimeout)
	}
	if maxBody == 0 {
		maxBody = defaultUpstreamBody
	}
	if maxBody < 0 || maxBody > maxUpstreamBody {
		return nil, fmt.Errorf("max_body is %d bytes, expected 1 to %d", maxBody, maxUpstreamBody)
	}
	return upstream.New(name, address, headers, timeout, maxBody)
}

// provisionUpstreams builds the pool of upstreams. It opens no connection.
func (a *App) provisionUpstreams() error {
	upstreams := make(map[string]*upstream.Upstream, len(a.Upstreams))
	for _, name := range slices.Sorted(maps.Keys(a.Upstreams)) {
		if !isFlowName(name) {
			return fmt.Errorf("upstream name %q: expected %s", name, flowNameRule)
		}
		configured := a.Upstreams[name]
		if configured == nil {
			configured = new(Upstream)
		}
		provisioned, err := configured.provision(name)
		if err != nil {
			return fmt.Errorf("upstream %s: %w", name, err)
		}
		upstreams[name] = provisioned
	}
	a.pool = upstream.NewPool(upstreams, upstreamMetrics{})
	return nil
}

// releaseUpstreams closes the connections, now and once no request of this
// configuration can be using one any more.
func (a *App) releaseUpstreams() {
	if a.pool == nil {
		return
	}
	pool := a.pool
	pool.CloseIdle()
	if !caddy.Exiting() {
		time.AfterFunc(closeGrace, pool.CloseIdle)
	}
}

// missingUpstreams says what a definition fetches from in vain, or nil.
func (a *App) missingUpstreams(def *flow.Definition) error {
	missing := a.pool.Missing(def.Upstreams())
	if len(missing) == 0 {
		return nil
	}
	known := "none"
	if len(a.Upstreams) > 0 {
		known = quoteNames(a.Upstreams)
	}
	return fmt.Errorf("its logic fetches from %s, but the global option whatsapp_flows defines as upstream: %s", strings.Join(missing, ", "), known)
}

// warnOfUpstreams says once, when a published definition is first met, that some
// of its fetches can only fail. The flow is served: it may have fallbacks.
func (a *App) warnOfUpstreams(name string, def *flow.Definition) {
	if _, known := a.checkedUpstreams.LoadOrStore(def, true); known {
		return
	}
	if err := a.missingUpstreams(def); err != nil {
		a.logger.Warn("a flow's fetches will take their fallback", zap.String("flow", name),
			zap.String("definition", def.Hash()[:12]), zap.Error(err))
	}
}
