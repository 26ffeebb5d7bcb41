package play

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
)

// Upstreams are the systems that flows ask, all played by one HTTP server: each
// answers what the step at hand says, and notes what it was asked beyond that.
type Upstreams struct {
	listener net.Listener
	server   *http.Server

	mu      sync.Mutex
	words   *conversation.Words
	fetches []*expected
	surplus []string
}

type expected struct {
	conversation.Fetch
	seen int
}

// NewUpstreams listens on a free port of 127.0.0.1.
func NewUpstreams() (*Upstreams, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &Upstreams{listener: listener}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = u.server.Serve(listener) }() // ends with ErrServerClosed
	return u, nil
}

// URL is the address of the upstream of that name.
func (u *Upstreams) URL(name string) string {
	return "http://" + u.listener.Addr().String() + "/" + name
}

// Close ends the server.
func (u *Upstreams) Close() error { return u.server.Close() }

// Expect sets what may be asked from now on.
func (u *Upstreams) Expect(w *conversation.Words, fetches []conversation.Fetch) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.words, u.fetches, u.surplus = w, nil, nil
	for _, f := range fetches {
		u.fetches = append(u.fetches, &expected{Fetch: f})
	}
}

// Check says what was not asked though expected, or asked though not.
func (u *Upstreams) Check() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.surplus {
		return fmt.Errorf("an upstream got a request that nobody expected: %s", s)
	}
	for _, f := range u.fetches {
		if f.seen == 0 && !f.Cached {
			return fmt.Errorf("the upstream %s did not get %s", f.Upstream, f.Request)
		}
	}
	return nil
}

func (u *Upstreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the caller has gone
	}
	f, ok := u.find(r, body)
	if !ok {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if f.Down {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	status := f.Status
	if status == 0 {
		status = http.StatusOK
	}
	if f.Reply == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(conversation.Compact(f.Reply)))
}

// find takes the expected fetch that a request is.
func (u *Upstreams) find(r *http.Request, body []byte) (conversation.Fetch, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var near error
	for _, f := range u.fetches {
		// One that is down may be asked again: the HTTP client saw no answer.
		if f.Upstream != name || f.seen > 0 && !f.Down {
			continue
		}
		if err := u.fits(f, r, "/"+path, body); err != nil {
			near = err
			continue
		}
		f.seen++
		filled, err := u.words.Fill(f.Reply)
		if err != nil {
			near = err
			break
		}
		answer := f.Fetch
		answer.Reply = filled
		return answer, true
	}
	surplus := fmt.Sprintf("%s: %s /%s", name, r.Method, path)
	if r.URL.RawQuery != "" {
		surplus += "?" + r.URL.RawQuery
	}
	if len(body) > 0 {
		surplus += " with " + string(body)
	}
	if near != nil {
		surplus += " (" + near.Error() + ")"
	}
	u.surplus = append(u.surplus, surplus)
	return conversation.Fetch{}, false
}

func (u *Upstreams) fits(f *expected, r *http.Request, path string, body []byte) error {
	request, err := u.words.FillString(f.Request)
	if err != nil {
		return err
	}
	method, target, err := conversation.SplitRequest(request)
	if err != nil {
		return err
	}
	if r.Method != method || path != target.Path || !reflect.DeepEqual(r.URL.Query(), target.Query()) {
		return fmt.Errorf("expected %s", request)
	}
	if f.Body == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var sent any
	if err := decoder.Decode(&sent); err != nil {
		return fmt.Errorf("the body is no JSON: %w", err)
	}
	return u.words.Match("body", f.Body, sent)
}
