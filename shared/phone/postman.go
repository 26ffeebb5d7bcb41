package phone

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// Postman delivers the webhooks of finished flows as Meta does: signed, and if
// asked to also more than once, late, and in any order. It is safe for
// concurrent use.
type Postman struct {
	Send      Transport
	AppSecret []byte
	// From says whose webhooks they are; MessageID, Time and Params are filled
	// in for each.
	From    Completion
	Copies  int            // how often each is sent; 0 is once
	Delay   time.Duration  // waited before each sending
	Shuffle *mathrand.Rand // holds all back until Flush, which sends them in any order; nil sends each at once
	Timeout time.Duration  // of one sending; 0 is DefaultTimeout
	Clock   func() time.Time
	// Pause waits before a sending.
	Pause func(context.Context, time.Duration) error
	// Sent is told each sending; nil tells nobody.
	Sent func(Sending)

	mu   sync.Mutex
	held []letter
}

// Sending is one webhook that was sent.
type Sending struct {
	MessageID string // wamid of the nfm_reply; copies have the same
	Copy      int    // 1 for the first
	Status    int    // of the receiver's answer; 0 without one
	Err       error  // why it did not arrive
}

type letter struct {
	id     string
	number int
	body   []byte
}

// Deliver sends the webhook of a flow that ended with params, with its copies,
// or holds them back until Flush. A user id names another user than From does.
// The error tells of each sending that was not answered by exactly 200.
func (p *Postman) Deliver(ctx context.Context, userID, name string, params json.RawMessage) error {
	c := p.From
	if userID != "" {
		c.UserID, c.Name = userID, name
	}
	c.MessageID, c.Time, c.Params = "wamid."+rand.Text(), p.Clock(), params
	body := CompletionWebhook(c)
	var letters []letter
	for i := range max(1, p.Copies) {
		letters = append(letters, letter{c.MessageID, i + 1, body})
	}
	if p.Shuffle != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = append(p.held, letters...)
		return nil
	}
	return p.sendAll(ctx, letters)
}

// Flush sends what was held back.
func (p *Postman) Flush(ctx context.Context) error {
	p.mu.Lock()
	letters := p.held
	p.held = nil
	if p.Shuffle != nil {
		p.Shuffle.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
	}
	p.mu.Unlock()
	return p.sendAll(ctx, letters)
}

func (p *Postman) sendAll(ctx context.Context, letters []letter) error {
	var errs []error
	for _, l := range letters {
		if p.Delay > 0 {
			if err := p.Pause(ctx, p.Delay); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
		status, err := p.send(ctx, l)
		if p.Sent != nil {
			p.Sent(Sending{l.id, l.number, status, err})
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Postman) send(ctx context.Context, l letter) (int, error) {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	header := map[string]string{"Content-Type": "application/json"}
	if len(p.AppSecret) > 0 {
		header["X-Hub-Signature-256"] = hubsignature.Sign(p.AppSecret, l.body)
	}
	status, _, err := p.Send(ctx, l.body, header)
	if err != nil {
		return status, fmt.Errorf("webhook %s, copy %d: %w", l.id, l.number, err)
	}
	if status != http.StatusOK {
		return status, fmt.Errorf("webhook %s, copy %d: status %d, expected exactly 200: Meta would send it again for days", l.id, l.number, status)
	}
	return status, nil
}
