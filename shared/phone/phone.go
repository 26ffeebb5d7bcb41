// Package phone is a WhatsApp client in code, for tests, demonstrations and
// checks of a running endpoint. It seals requests as a phone does, has them
// signed as Meta does, opens the answers, and refuses what the real client
// refuses, under the client's own error keys.
//
// It does its own cryptography and checks, rather than borrow those of the
// endpoint, so that a fault there does not cancel itself out here. Only the data
// models of screens are judged by flow.Guard.
//
// The rules are those of Meta's page "Implementing Endpoints for Flows" and of
// the Flows runtime of WhatsApp Web.
package phone

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

const (
	// DefaultTimeout is how long WhatsApp waits for an answer.
	DefaultTimeout = 10 * time.Second

	// refreshPause is what the client waits between fetching the public key
	// again and sending again.
	refreshPause = 500 * time.Millisecond

	statusCannotDecrypt = 421
	statusTokenInvalid  = 427
)

// Transport posts body to the endpoint and returns the whole answer. It must
// not follow redirects, because Meta's proxy does not.
type Transport func(ctx context.Context, body []byte, header map[string]string) (status int, respBody []byte, err error)

// Phone is one user with one flow message open. Its methods are not for
// concurrent use, except Seal and Post.
type Phone struct {
	PublicKey *rsa.PublicKey // the business's public key, as uploaded to Meta
	AppSecret []byte         // with which Meta signs; empty sends no signature
	Token     string         // flow token of the message; empty sends none, as some iOS clients do
	Send      Transport

	// Flow is the definition the phone judges transitions and data by. Without
	// it only the rules hold that need none.
	Flow *flow.Definition

	// Version is the data API version of requests; empty takes the flow's, else
	// "3.0".
	Version string

	// TokenSignature replaces the flow_token_signature. Without it Meta's is
	// sent when there is a token and an app secret and the flow is one that
	// gets it: Flow JSON 7.3 or newer with data API 4.0 or newer.
	TokenSignature string

	// KeySource fetches the business's public key after a 421. Without it a 421
	// is final at once, as in the Flow Builder's preview.
	KeySource func(context.Context) (*rsa.PublicKey, error)

	// Keys gives AES keys that were wrapped ahead for that public key, each once;
	// nil, or a key that is nil, has the phone make one.
	Keys func(*rsa.PublicKey) *SessionKey

	// Before is called before each exchange, outside of its timeout; an error of
	// it ends the exchange as it is. nil is nothing.
	Before func(context.Context) error

	// Random is where AES keys and vectors come from; nil is crypto/rand.
	Random io.Reader

	// Timeout bounds one sending and its answer, each of two after a 421; 0 is
	// DefaultTimeout.
	Timeout time.Duration

	// Pause waits before the retry after a 421; nil waits in real time.
	Pause func(context.Context, time.Duration) error

	screen string
}

// Reply is an answer the client accepts.
type Reply struct {
	Screen       string                     // the screen now shown, or SUCCESS
	Data         map[string]json.RawMessage // as answered, with error_message if there is one
	ErrorMessage string                     // shown as a snackbar when not empty
	Ended        bool                       // the screen is SUCCESS
	Params       json.RawMessage            // what goes into the chat as nfm_reply; nil when the flow closes silently
	Plaintext    []byte                     // the decrypted answer
	Sealed       []byte                     // the answer's body as it came
}

// Screen is the screen the phone shows; empty before the first, SUCCESS after
// the last.
func (p *Phone) Screen() string { return p.screen }

// request is the plaintext of a request, in the order clients write it.
type request struct {
	Version        string         `json:"version"`
	Action         flow.Action    `json:"action"`
	Screen         *string        `json:"screen,omitempty"`
	Data           map[string]any `json:"data,omitzero"`
	Token          string         `json:"flow_token,omitempty"`
	TokenSignature string         `json:"flow_token_signature,omitempty"`
}

// Ping is Meta's health check. Any answer but {"data":{"status":"active"}} makes
// it red in WhatsApp Manager.
func (p *Phone) Ping(ctx context.Context) (*Reply, error) {
	reply, err := p.ask(ctx, request{Version: p.version(), Action: flow.Ping}, true)
	if err != nil {
		return nil, err
	}
	if err := judgeData(reply, "status", `"active"`); err != nil {
		return nil, err
	}
	return reply, nil
}

// Init opens the flow as a message sent with flow_action data_exchange does.
func (p *Phone) Init(ctx context.Context) (*Reply, error) {
	return p.step(ctx, flow.Init, "", map[string]any{})
}

// InitOn opens the flow when the message names its first screen.
func (p *Phone) InitOn(ctx context.Context, screen string) (*Reply, error) {
	return p.step(ctx, flow.Init, screen, map[string]any{})
}

// Exchange submits data from screen. screen need not be the one the endpoint
// answered last: the client navigates between screens on its own.
func (p *Phone) Exchange(ctx context.Context, screen string, data map[string]any) (*Reply, error) {
	if data == nil {
		data = map[string]any{}
	}
	return p.step(ctx, flow.DataExchange, screen, data)
}

// Back leaves screen, which has refresh_on_back.
func (p *Phone) Back(ctx context.Context, screen string) (*Reply, error) {
	return p.step(ctx, flow.Back, screen, map[string]any{})
}

// Report tells the endpoint that an answer to action on screen was refused, as
// the client does after a *RefusalError with one of its four keys. It carries no
// flow_token_signature, and is sent once, whatever comes of it.
func (p *Phone) Report(ctx context.Context, action flow.Action, screen string, refusal *RefusalError) (*Reply, error) {
	r := request{
		Version: p.version(), Action: action, Screen: &screen, Token: p.Token,
		Data: map[string]any{"error": refusal.Key, "error_message": refusal.Reason},
	}
	reply, err := p.ask(ctx, r, false)
	if err != nil {
		return nil, err
	}
	if err := judgeData(reply, "acknowledged", `true`); err != nil {
		return nil, err
	}
	return reply, nil
}

func (p *Phone) step(ctx context.Context, action flow.Action, screen string, data map[string]any) (*Reply, error) {
	payload, err := p.Payload(action, screen, data)
	if err != nil {
		return nil, err
	}
	reply, err := p.exchange(ctx, payload, true)
	if err != nil {
		return nil, err
	}
	if err := p.judge(action, screen, reply); err != nil {
		return nil, err
	}
	p.screen = reply.Screen
	return reply, nil
}

// Payload is the plaintext of a request, for callers that Seal it themselves.
func (p *Phone) Payload(action flow.Action, screen string, data map[string]any) ([]byte, error) {
	r := request{Version: p.version(), Action: action, Screen: &screen, Data: data, Token: p.Token}
	r.TokenSignature = p.TokenSignature
	if r.TokenSignature == "" && p.Token != "" && len(p.AppSecret) > 0 && p.signsTokens() {
		r.TokenSignature = flowtoken.SignSignature(p.AppSecret, p.Token)
	}
	return encode(r)
}

func (p *Phone) ask(ctx context.Context, r request, again bool) (*Reply, error) {
	payload, err := encode(r)
	if err != nil {
		return nil, err
	}
	return p.exchange(ctx, payload, again)
}

// usually is what a status other than 200 mostly comes of, as far as Meta's pages
// give it a meaning.
var usually = map[int]string{
	http.StatusUnauthorized: ": the signature was refused, so the app secret is probably another one",
	http.StatusNotFound:     ": nothing answers this URL, or the endpoint has no such flow",
	432:                     ": the signature was refused, so the app secret is probably another one",
}

// exchange sends one payload, after a 421 a second time if again says so, and
// opens the answer. It applies the rules about statuses; those about the content
// come after it.
func (p *Phone) exchange(ctx context.Context, payload []byte, again bool) (*Reply, error) {
	if p.Before != nil {
		if err := p.Before(ctx); err != nil {
			return nil, err
		}
	}
	envelope, status, body, err := p.send(ctx, payload)
	if err == nil && status == statusCannotDecrypt && again && p.KeySource != nil {
		if p.PublicKey, err = p.freshKey(ctx); err != nil {
			return nil, &RefusalError{KeyPublicKeyMissing, "fetching the public key after a 421: " + err.Error()}
		}
		if err := p.pause(ctx); err != nil {
			return nil, refuseTransport(ctx, err)
		}
		envelope, status, body, err = p.send(ctx, payload)
	}
	if err != nil {
		return nil, err
	}

	switch status {
	case http.StatusOK: // and no other 2xx
	case statusCannotDecrypt:
		return nil, &RefusalError{KeyBusinessDecryption, "status 421: the endpoint cannot decrypt what was sealed for its public key: it has the private half of another one"}
	case statusTokenInvalid:
		return nil, tokenInvalid(envelope, body)
	default:
		return nil, &RefusalError{KeyUnexpectedStatus, fmt.Sprintf("status %d, expected exactly 200%s", status, usually[status])}
	}
	plaintext, err := envelope.Open(body)
	if err != nil {
		return nil, &RefusalError{KeyResponseDecryption, err.Error()}
	}
	return &Reply{Plaintext: plaintext, Sealed: body}, nil
}

func (p *Phone) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return DefaultTimeout
}

func (p *Phone) freshKey(ctx context.Context) (*rsa.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	return p.KeySource(ctx)
}

// send seals and sends a payload. The timeout is that of Meta's proxy, which
// knows of no sending before this one.
func (p *Phone) send(ctx context.Context, payload []byte) (*Envelope, int, []byte, error) {
	envelope, err := p.Seal(payload)
	if err != nil {
		return nil, 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	status, body, err := p.Post(ctx, envelope)
	if err != nil {
		return nil, 0, nil, refuseTransport(ctx, err)
	}
	return envelope, status, body, nil
}

// Post sends a sealed envelope, also one that was sent before, and returns the
// answer without judging it.
func (p *Phone) Post(ctx context.Context, envelope *Envelope) (status int, body []byte, err error) {
	header := map[string]string{"Content-Type": "application/json"}
	if len(p.AppSecret) > 0 {
		header["X-Hub-Signature-256"] = hubsignature.Sign(p.AppSecret, envelope.Body)
	}
	return p.Send(ctx, envelope.Body, header)
}

func (p *Phone) pause(ctx context.Context) error {
	if p.Pause != nil {
		return p.Pause(ctx, refreshPause)
	}
	timer := time.NewTimer(refreshPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Phone) version() string {
	switch {
	case p.Version != "":
		return p.Version
	case p.Flow != nil && p.Flow.Flow().DataAPIVersion != "":
		return p.Flow.Flow().DataAPIVersion
	default:
		return "3.0"
	}
}

func (p *Phone) signsTokens() bool {
	if p.Flow != nil && !atLeast(p.Flow.Flow().Version, 7, 3) {
		return false
	}
	return atLeast(p.version(), 4, 0)
}

func atLeast(version string, major, minor int) bool {
	var a, b int
	if n, err := fmt.Sscanf(version, "%d.%d", &a, &b); n != 2 || err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
