package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/upstream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// fetches are what one request has asked of upstreams. When the engine runs once
// more because the session has moved on, what was asked is not asked again; that
// is what makes an engine that fetches pure.
type fetches struct {
	of   *exchange
	step string // the idempotency key of the step

	mu   sync.Mutex
	made map[string]func() (flow.FetchResult, error)
}

// Fetch makes a request, or returns what it gave before.
func (f *fetches) Fetch(ctx context.Context, r flow.FetchRequest) (flow.FetchResult, error) {
	f.mu.Lock()
	if f.made == nil {
		f.made = make(map[string]func() (flow.FetchResult, error))
	}
	key := memoKey(r)
	once, asked := f.made[key]
	if !asked {
		once = sync.OnceValues(func() (flow.FetchResult, error) {
			fetched, err := f.of.app.pool.Fetch(ctx, r, fetchKey(f.step, r))
			if err != nil || fetched.Status >= 300 {
				f.of.fetchFailed(r, fetched, err)
			}
			return fetched, err
		})
		f.made[key] = once
	}
	f.mu.Unlock()
	return once()
}

// memoKey is what a fetch is recognised by within one request. A GET is its
// path: on a newer session it may rightly be another. What has an effect is its
// name alone, because a path or body with randomID() in it differs each time.
func memoKey(r flow.FetchRequest) string {
	if r.Method == http.MethodGet || r.Name == "" {
		return r.Method + "\x00" + r.Upstream + "\x00" + r.Path
	}
	return r.Method + "\x00" + r.Name
}

// fetchKey is the Idempotency-Key of a fetch: the same whenever the same step
// asks for it again, also from another request.
func fetchKey(step string, r flow.FetchRequest) string {
	return keyspace.Hex(sha256.Sum256([]byte(step + "\x00" + memoKey(r))))
}

// fetcher is what the logic of this request fetches with.
func (x *exchange) fetcher(step string) flow.Fetcher {
	x.fetches.of, x.fetches.step = x, step
	return &x.fetches
}

// failedFetches are logged like refusals: an upstream that is down fails every
// request.
var failedFetches minuteLog

// fetchFailed says in the log that a fetch gave nothing good.
func (x *exchange) fetchFailed(r flow.FetchRequest, fetched flow.FetchResult, err error) {
	result := strconv.Itoa(fetched.Status)
	fields := []zap.Field{
		zap.String("account", x.account.name), zap.String("flow", x.name), zap.String("screen", clip(x.request.Screen)),
		zap.String("fetch", r.Name), zap.String("upstream", r.Upstream),
	}
	if err == nil {
		fields = append(fields, zap.Int("status", fetched.Status))
	} else {
		fields = append(fields, zap.Error(err))
		if failure := new(upstream.Error); errors.As(err, &failure) {
			result = string(failure.Result)
		}
	}
	if more, due := failedFetches.due(kind{r.Upstream, result}, time.Now()); due {
		x.logger.Warn("a fetch failed", append(fields, zap.Int("more_since_last_logged", more))...)
	}
}
