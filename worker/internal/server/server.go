// Package server is the worker's HTTP side: the API, which package api makes,
// and what watches the worker. /health answers as whatsapp-flows-server did,
// /livez and /readyz are for orchestrators, /metrics for Prometheus.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/edges"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/lifecycle"
)

const (
	// checkTimeout bounds a check of Postgres or Redis: an orchestrator's probe
	// commonly waits 5 s.
	checkTimeout = 2 * time.Second

	// stalledAfter is how old the last progress of the slowest reader may be.
	// An idle reader makes progress every second.
	stalledAfter = 30 * time.Second
)

// Config is what the server tells about.
type Config struct {
	Log         *zap.Logger
	Registry    *prometheus.Registry
	Version     string
	Environment string

	Postgres func(context.Context) error
	Redis    func(context.Context) error
	// Edges lists the edges that run.
	Edges func(context.Context) ([]edges.Edge, error)
	// Progress is when the slowest reader last got an answer from Redis; zero
	// when it never did.
	Progress func() time.Time
	// Failing lists the parts of the worker that are down.
	Failing func() []lifecycle.Failure
	// Stopping says that the worker was told to stop: it is not ready any more.
	Stopping func() bool
}

// Server answers on one address.
type Server struct {
	config   Config
	started  time.Time
	listener net.Listener
	http     *http.Server
	api      atomic.Pointer[http.Handler] // nil until Mount
	done     sync.WaitGroup
}

// Listen opens the address, so that one in use is known before anything
// starts, and answers from then on.
func Listen(address string, c Config) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, reason(err))
	}
	s := &Server{config: c, started: time.Now(), listener: listener}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(c.Log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}
	s.done.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("the HTTP server ended", zap.Error(err))
		}
	})
	return s, nil
}

// reason is the inner error of "listen tcp 127.0.0.1:80: bind: …".
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Mount has the API answered by handler from now on. It needs Postgres, which
// may come later than the probes.
func (s *Server) Mount(handler http.Handler) { s.api.Store(&handler) }

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Stop lets requests finish until ctx ends.
func (s *Server) Stop(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	s.done.Wait()
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.config.Registry, promhttp.HandlerOpts{Registry: s.config.Registry}))
	// A request's own limits are those of the API.
	for _, path := range []string{"/api", "/api/", "/docs", "/docs/", "/docs.json", "/openapi.json"} {
		mux.HandleFunc(path, s.serveAPI)
	}
	mux.Handle("/", http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health", "/livez", "/readyz", "/metrics":
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "This path answers GET")
		default:
			writeError(w, http.StatusNotFound, "NOT_FOUND", "Nothing is served under this path")
		}
	}), 1<<10))
	return mux
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	if api := s.api.Load(); api != nil {
		(*api).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "5")
	writeError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "The worker is starting: try again in a moment")
}

func timestamp() string { return isoTime(time.Now()) }

// isoTime is a time as JavaScript's toISOString writes it.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func write(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client is gone: nobody to tell
}

// writeError answers with the error envelope of whatsapp-flows-server.
func writeError(w http.ResponseWriter, status int, code, message string) {
	type problem struct {
		Message string `json:"message"`
		Code    string `json:"code"`
	}
	write(w, status, struct {
		Success   bool    `json:"success"`
		Error     problem `json:"error"`
		Timestamp string  `json:"timestamp"`
	}{false, problem{message, code}, timestamp()})
}
