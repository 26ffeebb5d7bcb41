// Package graphtest is Meta's Graph API for tests: the endpoints that package
// graph calls, with state, on 127.0.0.1. It is stricter than Meta: what Meta
// passes over, such as a field it does not know or a body of another type, is
// refused, so that a test fails where a call is not as Meta's pages have it.
//
// Sources: the pages named in package graph, Meta's Postman collection "WhatsApp
// Flows API".
package graphtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Token is an access token the server knows.
type Token struct {
	AppID   string
	Scopes  []string // nil: management and messaging
	Expires int64    // seconds since the Unix epoch; 0: never
	Invalid bool     // it was revoked
	// Accounts are the WhatsApp Business Accounts it may use; nil: all.
	Accounts []string
}

// Call is a request that came.
type Call struct {
	Method string
	Path   string // below the version, without a leading slash
	Query  url.Values
	Kind   string // media type of the body
	Body   []byte
}

// String is the call in one line, such as "POST 123/flows".
func (c Call) String() string { return c.Method + " " + c.Path }

// Server is the API. Its methods are for concurrent use.
type Server struct {
	// Version is the only one it speaks.
	Version string
	// Check returns Meta's validation errors of a Flow JSON; nil is our validator.
	Check func(flowJSON []byte) []validate.Problem
	// Header goes with every answer, such as rate limits. Set it before calls.
	Header http.Header
	// PageSize bounds a page of any list; 0: what was asked for.
	PageSize int

	http *httptest.Server

	mu       sync.Mutex
	next     int
	log      []Call
	failures map[string][]Failure
	tokens   map[string]Token
	accounts map[string]*account
	numbers  map[string]*number
	flows    map[string]*flow
	apps     map[string]*app
	messages []Message
	links    map[string][]byte // what may be downloaded
}

// New starts a server. Close it.
func New() *Server {
	s := &Server{Version: graph.DefaultVersion, next: 600_000_000_000_000, failures: map[string][]Failure{}, tokens: map[string]Token{},
		accounts: map[string]*account{}, numbers: map[string]*number{}, flows: map[string]*flow{}, apps: map[string]*app{}, links: map[string][]byte{}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close ends the server.
func (s *Server) Close() { s.http.Close() }

// URL is the base URL for graph.Config.
func (s *Server) URL() string { return s.http.URL }

// HTTP is a client that reaches the server and leaves nothing running once the
// server is closed.
func (s *Server) HTTP() *http.Client { return s.http.Client() }

// AddToken makes a token known.
func (s *Server) AddToken(token string, t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Scopes == nil {
		t.Scopes = []string{graph.ScopeManagement, graph.ScopeMessaging}
	}
	s.tokens[token] = t
}

// Log is all that came, in order.
func (s *Server) Log() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Writes are the calls that may have changed something.
func (s *Server) Writes() []Call {
	return slices.DeleteFunc(s.Log(), func(c Call) bool { return c.Method == http.MethodGet })
}

// id makes an id as Meta's are; s.mu is held.
func (s *Server) id() string {
	s.next += 7
	return fmt.Sprint(s.next)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if file, isLink := strings.CutPrefix(r.URL.Path, "/download/"); isLink {
		s.download(w, r, file)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return // the client went away
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	call := Call{Method: r.Method, Path: path, Query: r.URL.Query(), Kind: kind, Body: body}

	s.mu.Lock()
	s.log = append(s.log, call)
	failure := s.failure(call)
	var answer any
	if failure == nil || failure.CarriedOut {
		answer, err = s.answer(version, request{Server: s, Call: call, head: r.Header})
	}
	s.mu.Unlock()

	if failure != nil && failure.Hold != nil {
		select {
		case <-failure.Hold:
		case <-r.Context().Done():
		}
	}
	maps.Copy(w.Header(), s.Header)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	var no *refused
	switch {
	case failure != nil:
		failure.write(w)
		return
	case err == nil:
		json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client went away
		return
	}
	if no, _ = err.(*refused); no == nil { //nolint:errorlint // never wrapped
		no = &refused{status: 500, code: 1, message: err.Error()}
	}
	writeError(w, no)
}

// answer checks what all calls have in common.
func (s *Server) answer(version string, r request) (any, error) {
	if version != s.Version {
		return nil, &refused{status: 400, code: 2635, message: "(#2635) You are calling version " + version + ", expected " + s.Version}
	}
	if r.Query.Has("access_token") || bytes.Contains(r.Body, []byte("access_token")) {
		return nil, bad("the token must come in the header")
	}
	key, isBearer := strings.CutPrefix(r.head.Get("Authorization"), "Bearer ")
	if !isBearer || key == "" {
		return nil, &refused{status: 401, code: 104, message: "An access token is required to request this resource."}
	}
	r.key = key
	if id, secret, isApp := strings.Cut(key, "|"); isApp {
		if known := s.apps[id]; known == nil || known.Secret != secret {
			return nil, &refused{status: 400, code: 190, message: "Invalid OAuth access token signature."}
		}
		r.token = Token{AppID: id, Scopes: []string{}}
	} else {
		token, known := s.tokens[key]
		switch {
		case !known:
			return nil, &refused{status: 401, code: 190, message: "Malformed access token " + key}
		case token.Invalid:
			return nil, &refused{status: 401, code: 190, subcode: 467, message: "Error validating access token: the session was invalidated."}
		case token.Expires != 0 && token.Expires < time.Now().Unix():
			return nil, &refused{status: 401, code: 190, subcode: 463, message: "Error validating access token: Session has expired."}
		}
		r.token = token
	}
	return r.route()
}

func (s *Server) download(w http.ResponseWriter, r *http.Request, file string) {
	s.mu.Lock()
	body, known := s.links[file]
	s.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		w.WriteHeader(http.StatusBadRequest) // a token has no business there
	case !known:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Write(body) //nolint:errcheck // the client went away
	}
}

var done = map[string]any{"success": true}
