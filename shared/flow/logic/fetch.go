package logic

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/common/types/ref"
)

// Fetcher calls the upstreams that the edge knows by name. It is used by one
// request at a time.
type Fetcher interface {
	// Fetch sends one request. The error says that no answer came, or none that
	// is JSON; an answer with another status than 2xx is no error.
	Fetch(ctx context.Context, r FetchRequest) (FetchResult, error)
}

// FetchRequest is what a flow's logic asks of an upstream.
type FetchRequest struct {
	// Name of the fetch with its screen, RECOMMEND.slots. What is not GET is sent once for a name
	// in one step, also when the step is answered once more and would ask for
	// another path or body; it is part of the Idempotency-Key.
	Name     string
	Upstream string          // its name in the edge's configuration
	Method   string          // GET, POST, PUT, PATCH, DELETE
	Path     string          // begins with "/"; relative to the upstream's address
	Body     json.RawMessage // nil when there is none
	Timeout  time.Duration   // the most it may take, which Fetch keeps to; 0: what the upstream allows
	Cache    time.Duration   // how long an answer may be used again; 0: not at all
}

// FetchResult is what an upstream answered.
type FetchResult struct {
	Status int
	Body   json.RawMessage // JSON; nil when the answer had no body
}

// maxPath bounds the path of a fetch in bytes.
const maxPath = 4096

// fetch is one call of an upstream as the rules have it.
type fetch struct {
	screen, name   string
	line, column   int
	upstream       string
	method         string
	path           *expression
	body           *expression   // nil when there is none
	bodyMembers    []*assignment // instead of body
	timeout, cache time.Duration
	fallback       ref.Val
	shape          *shape
	readsForm      bool // itself, or by another fetch
	used           bool
}

// fetched is what came of it.
type fetched struct {
	ok     bool
	status int
	body   ref.Val
}

// fetch runs a fetch, the first time an expression asks for it. A failure is a
// result: the rules decide what it means. The error is that of the expressions
// that make the request.
func (t *Turn) fetch(f *fetch) (*fetched, error) {
	if done := t.fetched[f]; done != nil {
		return done, nil
	}
	request, err := t.fetchRequest(f)
	if err != nil {
		return nil, err
	}
	result := &fetched{body: f.fallback}
	if t.in.Fetch != nil && t.ctx.Err() == nil {
		if answer, err := t.in.Fetch.Fetch(t.ctx, request); err == nil {
			result.status = answer.Status
			result.ok = answer.Status >= 200 && answer.Status <= 299
			if result.ok && len(answer.Body) > 0 {
				if body, err := untyped(answer.Body); err == nil {
					result.body = body
				} else {
					result.ok = false
				}
			}
		}
	}
	if t.fetched == nil {
		t.fetched = map[*fetch]*fetched{}
	}
	t.fetched[f] = result
	return result, nil
}

func (t *Turn) fetchRequest(f *fetch) (FetchRequest, error) {
	r := FetchRequest{Name: f.screen + "." + f.name, Upstream: f.upstream, Method: f.method, Timeout: f.timeout, Cache: f.cache}
	var err error
	if r.Path, err = t.text(f.path); err != nil {
		return r, err
	}
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		return r, t.fault(f.path, &ownError{"the path does not begin with /"})
	case len(r.Path) > maxPath:
		return r, t.fault(f.path, &ownError{fmt.Sprintf("the path has %d bytes, at most %d are allowed", len(r.Path), maxPath)})
	case strings.ContainsFunc(r.Path, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' || c == '\\' }):
		return r, t.fault(f.path, &ownError{"the path holds a space or another sign that no path has: build it with urlEncode"})
	}
	switch {
	case f.body != nil:
		if r.Body, err = t.json(f.body); err == nil && r.Body == nil {
			r.Body = json.RawMessage("null")
		}
	case f.bodyMembers != nil:
		var members map[string]json.RawMessage
		if members, err = t.object(f.bodyMembers); err == nil {
			r.Body, err = json.Marshal(members)
		}
	}
	return r, err
}
