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

// Fail lets the next calls of a kind fail, one for each failure. call is a
// method and a path, such as "POST 123/flows"; a part of the path may be *.
func (s *Server) Fail(call string, failures ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[call] = append(s.failures[call], failures...)
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

// request is a call that is being answered; s.mu is held meanwhile.
type request struct {
	*Server
	Call
	token Token
	key   string // the token itself
	head  http.Header
}

// refused is an answer in Meta's form of an error.
type refused struct {
	status, code, subcode int
	message               string
	details               string
	transient             bool
}

func (r *refused) Error() string { return r.message }

func bad(format string, args ...any) error {
	return &refused{status: 400, code: 100, message: "(#100) " + fmt.Sprintf(format, args...)}
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

func writeError(w http.ResponseWriter, r *refused) {
	e := map[string]any{"message": r.message, "type": "OAuthException", "code": r.code, "fbtrace_id": "Atrace"}
	if r.subcode != 0 {
		e["error_subcode"] = r.subcode
	}
	if r.transient {
		e["is_transient"] = true
	}
	if r.details != "" {
		e["error_data"] = map[string]string{"messaging_product": "whatsapp", "details": r.details}
	}
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(map[string]any{"error": e}) //nolint:errcheck // the client went away
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

// route finds the endpoint.
func (r request) route() (any, error) {
	if r.Path == "debug_token" {
		return r.debugToken()
	}
	id, edge, _ := strings.Cut(r.Path, "/")
	var endpoint func() (any, error)
	switch {
	case r.accounts[id] != nil:
		a := r.accounts[id]
		if r.token.Accounts != nil && !slices.Contains(r.token.Accounts, id) {
			break
		}
		endpoint = map[string]func() (any, error){
			"GET ": r.account(a), "GET phone_numbers": r.listNumbers(a), "GET flows": r.listFlows(a), "POST flows": r.createFlow(a),
			"GET subscribed_apps": r.subscribedApps(a), "POST subscribed_apps": r.subscribe(a),
		}[r.Method+" "+edge]
	case r.numbers[id] != nil:
		n := r.numbers[id]
		endpoint = map[string]func() (any, error){
			"GET ": r.number(n), "GET whatsapp_business_encryption": r.getKey(n), "POST whatsapp_business_encryption": r.setKey(n),
			"POST messages": r.send(n),
		}[r.Method+" "+edge]
	case r.flows[id] != nil:
		f := r.flows[id]
		if r.token.Accounts != nil && !slices.Contains(r.token.Accounts, f.account.ID) {
			break
		}
		endpoint = map[string]func() (any, error){
			"GET ": r.flow(f), "POST ": r.updateFlow(f), "GET assets": r.assets(f), "POST assets": r.upload(f),
			"POST publish": r.publish(f), "POST deprecate": r.deprecate(f),
		}[r.Method+" "+edge]
	case r.apps[id] != nil:
		a := r.apps[id]
		endpoint = map[string]func() (any, error){"GET subscriptions": r.subscriptions(a), "POST subscriptions": r.subscribeFields(a)}[r.Method+" "+edge]
	}
	if endpoint == nil {
		return nil, &refused{status: 400, code: 100, subcode: 33, message: fmt.Sprintf("Unsupported %s request. Object with ID '%s' does not exist, cannot be loaded due to missing permissions, or does not support this operation", strings.ToLower(r.Method), id)}
	}
	return endpoint()
}

// needs refuses a token without a scope.
func (r request) needs(scope string) error {
	if !slices.Contains(r.token.Scopes, scope) {
		return &refused{status: 403, code: 200, message: "(#200) You do not have the necessary permissions required to call this API: " + scope}
	}
	return nil
}

// parameters refuses other parameters in the query, and a body of another type
// or, if kind is empty, any.
func (r request) parameters(kind string, allowed ...string) error {
	for name := range r.Query {
		if !slices.Contains(allowed, name) {
			return bad("unexpected parameter %s", name)
		}
	}
	if r.Kind != kind || kind == "" && len(r.Body) > 0 {
		return bad("the body is of the type %q, expected %q", r.Kind, kind)
	}
	return nil
}

// object decodes a body of JSON without keys that v has not.
func (r request) object(v any) error {
	if err := r.parameters("application/json"); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return bad("the body: %v", err)
	}
	return nil
}

// form decodes a body that is urlencoded.
func (r request) form(allowed ...string) (url.Values, error) {
	if err := r.parameters("application/x-www-form-urlencoded"); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return nil, bad("the body: %v", err)
	}
	for name := range values {
		if !slices.Contains(allowed, name) {
			return nil, bad("unexpected parameter %s", name)
		}
	}
	return values, nil
}

// pick keeps the fields that were asked for, and id, as Meta does.
func (r request) pick(all map[string]any, node string) (map[string]any, error) {
	picked := map[string]any{"id": all["id"]}
	for _, name := range strings.Split(r.Query.Get("fields"), ",") {
		if name == "" {
			continue
		}
		value, known := all[name]
		if !known {
			return nil, bad("Tried accessing nonexisting field (%s) on node type (%s)", name, node)
		}
		if value != nil {
			picked[name] = value
		}
	}
	return picked, nil
}

// page is one page of a list, with Meta's cursors.
func page[T any](r request, all []T) (any, error) {
	limit, after := 25, 0
	if text := r.Query.Get("limit"); text != "" {
		if _, err := fmt.Sscan(text, &limit); err != nil || limit < 1 {
			return nil, bad("limit is %q", text)
		}
	}
	if r.PageSize > 0 {
		limit = min(limit, r.PageSize)
	}
	if text := r.Query.Get("after"); text != "" {
		if _, err := fmt.Sscanf(text, "cursor%d", &after); err != nil || after > len(all) {
			return nil, bad("the cursor after is %q", text)
		}
	}
	end := min(after+limit, len(all))
	answer := map[string]any{"data": all[after:end]}
	if end > after {
		paging := map[string]any{"cursors": map[string]string{"before": fmt.Sprintf("cursor%d", after), "after": fmt.Sprintf("cursor%d", end)}}
		if end < len(all) {
			paging["next"] = fmt.Sprintf("%s/%s/%s?access_token=%s&after=cursor%d", r.URL(), r.Version, r.Path, url.QueryEscape(r.key), end)
		}
		answer["paging"] = paging
	}
	return answer, nil
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
