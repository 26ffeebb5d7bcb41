// Package upstream asks the HTTP services that a flow's logic fetches from.
//
// Its errors say which upstream failed and how, but never hold the path, a
// header or a body: a path may carry what a user typed.
package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

const (
	dialTimeout = 3 * time.Second

	// idleFor is below the keep-alive of common servers and balancers, so that
	// it is seldom they who close a connection we are about to use.
	idleFor = 30 * time.Second

	// connectionsPerHost bounds what one slow upstream can hold: with 1 s each,
	// more would be 256 fetches a second.
	connectionsPerHost = 256
	idlePerHost        = 64

	maxResponseHeader = 64 << 10

	// Bounds of the cache of all upstreams together.
	cacheEntries = 1000
	cacheBytes   = 64 << 20

	// reserve is kept of a request's budget for what follows a fetch: the rules
	// and the second round trip to Redis. Of a short budget it is a fifth.
	reserve = 250 * time.Millisecond
)

// Result is what became of one fetch, as metrics name it.
type Result string

const (
	OK      Result = "ok"      // answered with a status of 2xx
	Cached  Result = "cached"  // taken from the cache
	Shared  Result = "shared"  // took the answer another user was waiting for
	Status  Result = "status"  // answered with a status of 4xx or 5xx
	Timeout Result = "timeout" // no answer in time
	Failed  Result = "error"   // no connection, no HTTP, a redirect, no JSON, too large
	Invalid Result = "invalid" // it was not sent: the flow asks for what cannot be
)

// Error is a fetch that has no answer.
type Error struct {
	Upstream string
	Result   Result // Timeout, Failed or Invalid
	Reason   string
}

func (e *Error) Error() string { return "upstream " + e.Upstream + ": " + e.Reason }

// Observer is told of every fetch, and how long each request that was really
// sent took. It must be safe for concurrent use.
type Observer interface {
	Fetched(upstream string, result Result)
	Sent(upstream string, took time.Duration)
}

// Pool is the upstreams of one configuration with their connections and their
// cache. It is safe for concurrent use.
type Pool struct {
	upstreams map[string]*Upstream
	client    *http.Client
	cache     *cache
	flights   singleflight.Group
	observer  Observer
}

// NewPool opens no connection.
func NewPool(upstreams map[string]*Upstream, observer Observer) *Pool {
	return &Pool{
		upstreams: upstreams,
		observer:  observer,
		cache:     newCache(cacheEntries, cacheBytes),
		client: &http.Client{
			// A redirect would send the headers, secrets among them, elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// No Proxy: like reverse_proxy, it does not read HTTP_PROXY.
			Transport: &http.Transport{
				DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: idleFor}).DialContext,
				TLSHandshakeTimeout:    dialTimeout,
				ForceAttemptHTTP2:      true,
				MaxConnsPerHost:        connectionsPerHost,
				MaxIdleConnsPerHost:    idlePerHost,
				IdleConnTimeout:        idleFor,
				MaxResponseHeaderBytes: maxResponseHeader,
			},
		},
	}
}

// Missing are those of the names that the pool does not have.
func (p *Pool) Missing(names []string) []string {
	var missing []string
	for _, name := range names {
		if p.upstreams[name] == nil {
			missing = append(missing, name)
		}
	}
	return missing
}

// CloseIdle closes the connections that no request is using.
func (p *Pool) CloseIdle() { p.client.CloseIdleConnections() }

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Fetch sends what a flow asks for, or finds it in the cache. It takes as long
// as the flow, the upstream and ctx allow, whichever is least. The idempotency
// key goes along with every method but GET. The error is an *Error.
func (p *Pool) Fetch(ctx context.Context, r flow.FetchRequest, idempotencyKey string) (flow.FetchResult, error) {
	u := p.upstreams[r.Upstream]
	if u == nil {
		p.observer.Fetched(unknown, Invalid)
		return flow.FetchResult{}, &Error{Upstream: r.Upstream, Result: Invalid, Reason: "the configuration has no upstream of this name"}
	}
	fetched, result, err := p.fetch(ctx, u, r, idempotencyKey)
	p.observer.Fetched(u.name, result)
	return fetched, err
}

// unknown is the metric label of an upstream that is not configured.
const unknown = "_unknown"

func (p *Pool) fetch(ctx context.Context, u *Upstream, r flow.FetchRequest, idempotencyKey string) (flow.FetchResult, Result, error) {
	if !slices.Contains(methods, r.Method) {
		return u.fail(Invalid, "the method is %q, expected one of %v", r.Method, methods)
	}
	if r.Method == http.MethodGet && r.Body != nil {
		return u.fail(Invalid, "a GET has no body: move its values into the path, or use POST")
	}
	if err := checkPath(r.Path); err != nil {
		return u.fail(Invalid, "the path %v", err)
	}
	within := u.within(ctx, r.Timeout)
	if within <= 0 {
		return u.fail(Timeout, "no time was left to ask it")
	}
	if r.Method == http.MethodGet && r.Cache > 0 {
		return p.fetchCached(ctx, u, r, within)
	}
	return p.send(ctx, u, r, within, idempotencyKey)
}

// within is how long a fetch may take.
func (u *Upstream) within(ctx context.Context, asked time.Duration) time.Duration {
	within := u.timeout
	if asked > 0 {
		within = min(within, asked)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		within = min(within, left-min(reserve, left/5))
	}
	return within
}

// fetchCached makes one request of what many users ask at the same time. That
// request belongs to none of them: it has the upstream's own timeout, and the
// first user's budget running out fails nobody else.
func (p *Pool) fetchCached(ctx context.Context, u *Upstream, r flow.FetchRequest, within time.Duration) (flow.FetchResult, Result, error) {
	key := u.name + "\x00" + r.Path
	if found, ok := p.cache.get(key, time.Now(), r.Cache); ok {
		return found, Cached, nil
	}
	type answer struct {
		fetched flow.FetchResult
		result  Result
		err     error
	}
	first := false // set before the answer is received, by the one call that is made
	waiting := p.flights.DoChan(key, func() (any, error) {
		// Another may have finished between the look above and here.
		if found, ok := p.cache.get(key, time.Now(), r.Cache); ok {
			return answer{fetched: found, result: Cached}, nil
		}
		first = true
		var a answer
		a.fetched, a.result, a.err = p.send(context.WithoutCancel(ctx), u, r, u.timeout, "")
		if a.err == nil && a.fetched.Status == http.StatusOK {
			p.cache.put(key, a.fetched, time.Now(), r.Cache)
		}
		return a, nil
	})
	patience, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case got := <-waiting:
		a := got.Val.(answer)
		if a.result == OK && !first {
			a.result = Shared
		}
		return a.fetched, a.result, a.err
	case <-patience.Done():
		return u.fail(Timeout, "no answer within %s", within.Round(time.Millisecond))
	}
}

func (u *Upstream) fail(result Result, format string, args ...any) (flow.FetchResult, Result, error) {
	return flow.FetchResult{}, result, &Error{Upstream: u.name, Result: result, Reason: fmt.Sprintf(format, args...)}
}
