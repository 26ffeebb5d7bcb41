package graphtest

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// Failure is what a call gets instead of its answer.
type Failure struct {
	Status     int
	Code       int
	Subcode    int
	Message    string
	Transient  bool
	RetryAfter string // header
	Body       string // instead of Meta's form of an error

	// CarriedOut fails the call after it was carried out.
	CarriedOut bool
	// Hangup closes the connection instead of answering.
	Hangup bool
	// Hold delays the answer until it is closed, or the client is gone.
	Hold <-chan struct{}
}

// Fail lets the next calls of a kind fail, one for each failure. call is a
// method and a path, such as "POST 123/flows"; a part of the path may be *.
func (s *Server) Fail(call string, failures ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[call] = append(s.failures[call], failures...)
}

// failure takes the next failure that was planned for c; s.mu is held.
func (s *Server) failure(c Call) *Failure {
	for pattern, list := range s.failures {
		if len(list) > 0 && matches(pattern, c.String()) {
			s.failures[pattern] = list[1:]
			return &list[0]
		}
	}
	return nil
}

func matches(pattern, call string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(call, "/")
	return slices.EqualFunc(want, got, func(w, g string) bool {
		return w == g || w == "*" || w == "POST *" && strings.HasPrefix(g, "POST ") || w == "GET *" && strings.HasPrefix(g, "GET ")
	})
}

func (f *Failure) write(w http.ResponseWriter) {
	if f.Hangup {
		panic(http.ErrAbortHandler)
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	status := f.Status
	if status == 0 {
		status = 400
	}
	if f.Body != "" || f.Code == 0 {
		w.WriteHeader(status)
		io.WriteString(w, f.Body) //nolint:errcheck // the client went away
		return
	}
	writeError(w, &refused{status: status, code: f.Code, subcode: f.Subcode, message: f.Message, transient: f.Transient})
}
