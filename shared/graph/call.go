package graph

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxBody bounds what is read of an answer, in bytes: a Flow JSON has at most
// 10 MB, and so has the largest page of a list.
const maxBody = 16 << 20

const firstPause = time.Second

// call is one request to the API.
type call struct {
	method string
	path   string // below the version, without a leading slash
	query  url.Values
	kind   string // Content-Type of body
	body   []byte

	// repeatable says that carrying it out twice is like carrying it out once.
	repeatable bool
}

func (c call) String() string { return c.method + " /" + c.path }

// get reads into v.
func (c *Client) get(ctx context.Context, path string, query url.Values, v any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path, query: query, repeatable: true}, v)
}

// postJSON sends value, which may be nil for none.
func (c *Client) postJSON(ctx context.Context, path string, value any, repeatable bool, v any) error {
	r := call{method: http.MethodPost, path: path, repeatable: repeatable}
	if value != nil {
		body, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		r.kind, r.body = "application/json", body
	}
	return c.do(ctx, r, v)
}

func (c *Client) postForm(ctx context.Context, path string, form url.Values, v any) error {
	return c.do(ctx, call{method: http.MethodPost, path: path, kind: "application/x-www-form-urlencoded", body: []byte(form.Encode()), repeatable: true}, v)
}

// succeeded is Meta's answer to most writes.
type succeeded struct {
	Success bool `json:"success"`
}

func (s succeeded) check(what string) error {
	if !s.Success {
		return fmt.Errorf("%s: Meta answered without an error, but not with success either: look whether it was done before you repeat it", what)
	}
	return nil
}

// do tries r until it is answered, refused for good, or out of tries.
func (c *Client) do(ctx context.Context, r call, v any) error {
	for try := 1; ; try++ {
		failed, err := c.try(ctx, r, v)
		if err == nil || !failed.again(r) {
			return err
		}
		pause := firstPause << (try - 1)
		if failed.after > 0 {
			pause = failed.after
		}
		if try >= c.tries || pause > longestPause {
			return triedOften(err, try)
		}
		if c.pause(ctx, pause) != nil {
			return err // told to stop: what went wrong before says more
		}
	}
}

func triedOften(err error, tries int) error {
	if tries > 1 {
		return fmt.Errorf("%w (tried %d times)", err, tries)
	}
	return err
}

// failure is what is known of a try that failed.
type failure struct {
	undone  bool // Meta surely has not carried it out, and may another time
	passing bool // it may have been carried out; another try may succeed
	after   time.Duration
}

func (f failure) again(r call) bool { return f.undone || f.passing && r.repeatable }

// try makes one request.
func (c *Client) try(ctx context.Context, r call, v any) (failure, error) {
	target := c.base.JoinPath(r.path)
	target.RawQuery = r.query.Encode()
	// Without a connection nothing was sent.
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(traced, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return failure{}, fmt.Errorf("%s: %w", r, c.hide(err))
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Accept", "application/json")
	if r.kind != "" {
		request.Header.Set("Content-Type", r.kind)
	}
	response, err := c.http.Do(request)
	if err != nil {
		sent := connected.Load()
		f := failure{undone: !sent, passing: sent}
		if ctx.Err() != nil || hopeless(err) {
			f = failure{}
		}
		return f, c.unreachable(r, sent, err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	regain := c.note(response.Header)
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return failure{passing: ctx.Err() == nil}, c.unreachable(r, true, err)
	}
	if len(body) > maxBody {
		return failure{}, r.undecided(fmt.Errorf("%s: Meta's answer has more than %d MiB, which is more than this program reads", r, maxBody>>20))
	}
	if refused := c.refusal(r, response, body); refused != nil {
		if refused.RetryAfter == 0 && refused.limited() {
			refused.RetryAfter = regain
		}
		f := failure{undone: refused.limited(), passing: refused.passing(), after: refused.RetryAfter}
		refused.Undecided = f.passing && !f.undone && !r.repeatable
		return f, refused
	}
	if v == nil {
		return failure{}, nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return failure{}, r.undecided(fmt.Errorf("%s: Meta answered %d with what is not the JSON expected: is META_GRAPH_URL the Graph API? %w", r, response.StatusCode, c.hide(err)))
	}
	return failure{}, nil
}

// hopeless errors are the same at the next try.
func hopeless(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

func (c *Client) unreachable(r call, sent bool, err error) error {
	if sent && !r.repeatable {
		return fmt.Errorf("%s: no answer came, so %s: %w", r, lookFirst, c.hide(err))
	}
	return fmt.Errorf("%s: Meta's Graph API at %s did not answer: %w", r, c.base.Host, c.hide(err))
}

// undecided is the error of an answer that says too little of what became of c.
func (c call) undecided(err error) error {
	if c.repeatable {
		return err
	}
	return fmt.Errorf("%w; %s", err, lookFirst)
}

// hide keeps the token out of an error of net/http, whose URL may hold it.
func (c *Client) hide(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if text := c.redact(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// tokenForm is how Meta's tokens look. Meta repeats a malformed one in its error.
var tokenForm = regexp.MustCompile(`EA[A-Za-z0-9]{20,}`)

func (c *Client) redact(text string) string {
	text = strings.NewReplacer(c.token, "[token]", url.QueryEscape(c.token), "[token]").Replace(text)
	return tokenForm.ReplaceAllString(text, "[token]")
}

// refusal is nil if the answer is none.
func (c *Client) refusal(r call, response *http.Response, body []byte) *Error {
	var answer struct {
		Error *wireError `json:"error"`
	}
	said := json.Unmarshal(body, &answer) == nil && answer.Error != nil
	if !said && response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	e := &Error{Call: r.String(), Status: response.StatusCode, RetryAfter: retryAfter(response.Header)}
	switch {
	case said:
		answer.Error.into(e, c.redact)
	case response.StatusCode >= 300 && response.StatusCode < 400:
		e.Message = "a redirect, which is not followed: it would carry the token elsewhere"
	}
	e.Meaning = meaning(e)
	return e
}

// retryAfter reads seconds, or a date as seen from the answer's own Date.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds), 7*24*3600) * time.Second
	}
	at, err := http.ParseTime(value)
	now, errNow := http.ParseTime(header.Get("Date"))
	if err == nil && errNow == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
