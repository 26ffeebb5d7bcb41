package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// check asks Postgres and Redis at the same time.
func (s *Server) check(ctx context.Context) (postgres, redis error) {
	var both sync.WaitGroup
	both.Go(func() { postgres = s.config.Postgres(ctx) })
	both.Go(func() { redis = s.config.Redis(ctx) })
	both.Wait()
	return postgres, redis
}

// health is the answer of whatsapp-flows-server, to which redis, version and
// edges were added. Uptime is in seconds, responseTime in milliseconds.
type health struct {
	Status       string  `json:"status"` // healthy | unhealthy
	Timestamp    string  `json:"timestamp"`
	Version      string  `json:"version"`
	Uptime       float64 `json:"uptime"`
	Environment  string  `json:"environment"`
	Database     string  `json:"database"` // connected | disconnected
	Redis        string  `json:"redis"`    // connected | disconnected
	ResponseTime int64   `json:"responseTime"`
	// Edges that run; null when they could not be read. None is no illness of
	// the worker's: its load balancer must not take it out for that.
	Edges []edge `json:"edges"`
}

// edge is one edge. Its host is not here: anyone may read /health.
type edge struct {
	ID                string `json:"id"`
	Version           string `json:"version"`
	PrivateKeyBackend string `json:"private_key_backend"`
	Started           string `json:"started"`
	SeenSecondsAgo    int64  `json:"seen_seconds_ago"`
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	var running []edge
	var reading sync.WaitGroup
	reading.Go(func() { running = s.edges(ctx) })
	postgres, redis := s.check(ctx)
	reading.Wait()
	answer := health{
		Status: "healthy", Timestamp: timestamp(), Version: s.config.Version,
		Uptime:      time.Since(s.started).Round(time.Millisecond).Seconds(),
		Environment: s.config.Environment, Database: connected(postgres), Redis: connected(redis),
		ResponseTime: time.Since(started).Milliseconds(),
		Edges:        running,
	}
	status := http.StatusOK
	if postgres != nil || redis != nil {
		answer.Status, status = "unhealthy", http.StatusServiceUnavailable
	}
	write(w, status, answer)
}

// edges is nil when they cannot be read, whatever the reason: the checks say
// whether Redis is away.
func (s *Server) edges(ctx context.Context) []edge {
	running, err := s.config.Edges(ctx)
	if err != nil {
		return nil
	}
	all := make([]edge, len(running))
	for i, e := range running {
		all[i] = edge{
			ID: e.ID, Version: e.Version, PrivateKeyBackend: e.PrivateKeyBackend,
			Started: isoTime(e.Started), SeenSecondsAgo: int64(e.SeenAgo.Seconds()),
		}
	}
	return all
}

func connected(err error) string {
	if err != nil {
		return "disconnected"
	}
	return "connected"
}

// livez answers as long as the process does: a restart would not help against
// a database that is away.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]string{"status": "alive"})
}

// readiness names every check and what is wrong with it; "ok" otherwise.
type readiness struct {
	Status string            `json:"status"` // ready | not ready
	Checks map[string]string `json:"checks"`
}

// readyz means progress: not that goroutines were started, but that each
// stream's reader has had an answer lately and no part is down.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	postgres, redis := s.check(ctx)
	answer := readiness{Status: "ready", Checks: map[string]string{
		"postgres": "ok", "redis": "ok", "readers": "ok", "parts": "ok",
	}}
	// The errors themselves name hosts and users; they are in the log.
	if postgres != nil {
		answer.Checks["postgres"] = "disconnected"
	}
	if redis != nil {
		answer.Checks["redis"] = "disconnected"
	}
	switch last := s.config.Progress(); {
	case last.IsZero():
		answer.Checks["readers"] = "no stream has been read yet"
	case time.Since(last) > stalledAfter:
		answer.Checks["readers"] = fmt.Sprintf("no progress for %d s", int(time.Since(last).Seconds()))
	}
	for i, f := range s.config.Failing() {
		if i == 0 {
			answer.Checks["parts"] = "being started again: " + f.Part
		} else {
			answer.Checks["parts"] += ", " + f.Part
		}
	}
	if s.config.Stopping() {
		answer.Checks["parts"] = "stopping"
	}
	status := http.StatusOK
	for _, check := range answer.Checks {
		if check != "ok" {
			answer.Status, status = "not ready", http.StatusServiceUnavailable
		}
	}
	write(w, status, answer)
}
