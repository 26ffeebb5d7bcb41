package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

func init() {
	caddy.RegisterModule(new(Next))
}

// Next hands Meta's plaintext JSON to the next handler, such as reverse_proxy,
// php_fastcgi or respond, as a POST of application/json, and takes the
// plaintext JSON it answers with status 200. Any language can write a flow.
//
// The handler gets an `Idempotency-Key` header, equal for a repeated step, and
// the placeholders `{http.whatsapp_flow.account}`, `.flow`, `.action`,
// `.screen` and `.token_hash`. It may answer status 427 with
// `{"error_msg": "…"}` to say that the flow token is no longer valid; any other
// status is a 502. `encode` and the like belong outside of the directive.
type Next struct{}

// CaddyModule returns the Caddy module information.
func (*Next) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: endpointNamespace + ".next", New: func() caddy.Module { return new(Next) }}
}

// Pure is false: an application may have stored what it was told.
func (*Next) Pure() bool { return false }

// NeedsDefinition is false: the application knows its flows.
func (*Next) NeedsDefinition() bool { return false }

// UnmarshalCaddyfile reads `next`, which has no options.
func (*Next) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// Answer calls the next handler.
func (*Next) Answer(ctx context.Context, turn *Turn) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response := &innerResponse{header: make(http.Header), limit: turn.MaxReply, overflow: cancel}

	request, restore := turn.decrypted(ctx)
	defer restore() // also when the handler panics
	err := serveInner(turn.Next, response, request)

	if response.tooLarge {
		return nil, infrastructure(http.StatusBadGateway, fmt.Errorf("the next handler's reply is over %d bytes", turn.MaxReply))
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		var fault caddyhttp.HandlerError
		if errors.As(err, &fault) && fault.StatusCode >= http.StatusInternalServerError {
			return nil, err
		}
		return nil, infrastructure(http.StatusBadGateway, fmt.Errorf("the next handler failed: %w", err))
	}
	return response.reply()
}

// serveInner runs the next handler. reverse_proxy panics with ErrAbortHandler
// when its upstream breaks off, which would reset the connection to Meta.
func serveInner(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch recovered := recover(); recovered {
		case nil:
		case http.ErrAbortHandler:
			err = infrastructure(http.StatusBadGateway, errors.New("the upstream broke off its reply"))
		default:
			panic(recovered)
		}
	}()
	return next.ServeHTTP(w, r)
}

// decrypted returns the request as the next handler is to see it, and what
// undoes it: neither a later handler nor the site's handle_errors may see the
// plaintext.
//
// Caddy's placeholders are bound to the request as it came, so that one is
// changed too, field by field. The next handler gets a shallow copy, with the
// context of the budget and a body of its own: a transport may go on reading it
// after the handler has returned, while this one is being restored.
func (t *Turn) decrypted(ctx context.Context) (inner *http.Request, restore func()) {
	r := t.HTTP
	body, length, header, encoding, getBody := r.Body, r.ContentLength, r.Header, r.TransferEncoding, r.GetBody
	restore = func() {
		r.Body, r.ContentLength, r.Header, r.TransferEncoding, r.GetBody = body, length, header, encoding, getBody
	}

	// A copy: a transport that goes on reading may outlive the request, whose
	// plaintext is then overwritten.
	plaintext := bytes.Clone(t.Request.Raw)
	r.Header = header.Clone()
	r.Body = io.NopCloser(bytes.NewReader(plaintext))
	// FastCGI reads the header, reverse_proxy the field.
	r.ContentLength = int64(len(plaintext))
	r.Header.Set("Content-Length", strconv.Itoa(len(plaintext)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", t.IdempotencyKey)
	r.TransferEncoding, r.GetBody = nil, nil
	for _, name := range []string{
		"Accept-Encoding", // a compressed reply would be sealed as it is
		"Content-Encoding", "Transfer-Encoding", "Trailer", "Expect", "Range",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
		"X-Hub-Signature", "X-Hub-Signature-256", // of the ciphertext
	} {
		r.Header.Del(name)
	}
	if replacer, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Set("http.whatsapp_flow.account", t.Account)
		replacer.Set("http.whatsapp_flow.flow", t.Flow)
		replacer.Set("http.whatsapp_flow.action", string(t.Request.Action))
		replacer.Set("http.whatsapp_flow.screen", t.Request.Screen)
		replacer.Set("http.whatsapp_flow.token_hash", tokenHash(t.Request.Token))
	}
	inner = r.WithContext(ctx)
	inner.Body = io.NopCloser(bytes.NewReader(plaintext))
	return inner, restore
}

// tokenHash names a flow token where the token itself must not show.
func tokenHash(token string) string {
	if token == "" {
		return ""
	}
	return keyspace.TokenHash(token)[:12]
}

// innerResponse takes the next handler's reply. Its header map is its own, so
// that no inner header (Content-Length, Content-Encoding, ETag, Set-Cookie)
// reaches the sealed answer or an error page. It offers neither ReadFrom, which
// would walk round the limit, nor Unwrap, which would walk round all of it.
type innerResponse struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	limit    int64
	tooLarge bool
	overflow func()
}

func (w *innerResponse) Header() http.Header { return w.header }

func (w *innerResponse) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // 1xx announce, they do not answer
		w.status = status
	}
}

// Write swallows what is over the limit: with an error, reverse_proxy would
// abort the connection instead of returning.
func (w *innerResponse) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.tooLarge || int64(w.body.Len())+int64(len(p)) > w.limit {
		if !w.tooLarge {
			w.tooLarge = true
			w.body.Reset()
			w.overflow()
		}
		return len(p), nil
	}
	return w.body.Write(p)
}

// Flush does nothing: the reply is sealed as a whole.
func (w *innerResponse) Flush() {}

func (w *innerResponse) reply() ([]byte, error) {
	refuse := func(format string, args ...any) ([]byte, error) {
		return nil, infrastructure(http.StatusBadGateway, fmt.Errorf(format, args...))
	}
	if w.status == 0 {
		return refuse("nobody answered: a whatsapp_flow with `endpoint next` needs a handler after it, such as reverse_proxy, or `endpoint engine`")
	}
	if encoding := w.header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse("the next handler's reply has Content-Encoding %s, expected none", clip(encoding))
	}
	if length := w.header.Get("Content-Length"); length != "" && length != strconv.Itoa(w.body.Len()) {
		return refuse("the next handler's reply is %d bytes, but its Content-Length is %s", w.body.Len(), clip(length))
	}
	switch w.status {
	case http.StatusOK:
		return w.body.Bytes(), nil
	case statusTokenDead:
		var dead struct {
			Message string `json:"error_msg"`
		}
		_ = json.Unmarshal(w.body.Bytes(), &dead) // without one the account's message is shown
		return nil, &DeadTokenError{Message: dead.Message}
	default:
		return refuse("the next handler answered status %d, expected 200 with JSON, or 427", w.status)
	}
}

// Interface guards
var (
	_ Endpoint              = (*Next)(nil)
	_ caddyfile.Unmarshaler = (*Next)(nil)
	_ http.Flusher          = (*innerResponse)(nil)
)
