package api

import (
	"cmp"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
)

// outer is everything around the operations, from the outside in.
func (a *api) outer() http.Handler {
	api := a.authenticate(http.HandlerFunc(a.route))
	return withoutSlash(a.recovered(a.cors(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
		} else {
			a.route(w, r)
		}
	}))))
}

// withoutSlash takes a path with a slash at its end for the same, as
// whatsapp-flows-server did.
func withoutSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.EscapedPath(), "/") {
			same, u := *r, *r.URL
			u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
			same.URL = &u
			r = &same
		}
		next.ServeHTTP(w, r)
	})
}

// route answers what no operation does in the envelope.
func (a *api) route(w http.ResponseWriter, r *http.Request) {
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	refused := refusal{header: http.Header{}}
	handler.ServeHTTP(&refused, r)
	if refused.status == http.StatusMethodNotAllowed {
		allow := refused.header.Get("Allow")
		w.Header().Set("Allow", allow)
		newProblem(refused.status, "METHOD_NOT_ALLOWED", "%s is not possible here, expected %s", r.Method, allow).write(w)
		return
	}
	newProblem(http.StatusNotFound, "NOT_FOUND", "Nothing is served under this path: /docs lists what is").write(w)
}

// refusal takes what http.ServeMux says of a request it has no handler for.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }

// recovered turns a panic into a 500 that says nothing, and a log line that says
// where; and it counts requests.
func (a *api) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked, began := &begun{ResponseWriter: w}, time.Now()
		_, pattern := a.mux.Handler(r)
		defer func() {
			switch v := recover(); {
			case v == nil:
				a.metrics.count(pattern, r, tracked.status, began)
			case v == http.ErrAbortHandler || tracked.status != 0: //nolint:errorlint // as net/http compares it
				a.metrics.count(pattern, r, 0, began)
				a.logPanic(v, r)
				panic(http.ErrAbortHandler) // the client must not take it for complete
			default:
				a.logPanic(v, r)
				internal().write(w)
				a.metrics.count(pattern, r, http.StatusInternalServerError, began)
			}
		}()
		next.ServeHTTP(tracked, r)
	})
}

func (a *api) logPanic(v any, r *http.Request) {
	if v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		a.Log.Error("a request made the API panic", zap.Any("panic", v), zap.String("method", r.Method), zap.ByteString("stack", debug.Stack()))
	}
}

// begun knows whether an answer has begun, and with which status.
type begun struct {
	http.ResponseWriter
	status int // 0: not yet
}

func (b *begun) WriteHeader(status int) {
	b.status = cmp.Or(b.status, status)
	b.ResponseWriter.WriteHeader(status)
}

func (b *begun) Write(p []byte) (int, error) {
	b.status = cmp.Or(b.status, http.StatusOK)
	return b.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }
