package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// Load is one run.
type Load struct {
	Flow    string // its name, which signed flow tokens carry
	Screens *screen.Flow
	// Conversations are held in turn, each time with a flow token of its own.
	Conversations []conversation.Conversation
	// NewPhone makes the phone that has the flow token.
	NewPhone    func(token string) *phone.Phone
	TokenSecret []byte
	Postman     *phone.Postman // delivers the closing webhooks; nil delivers none

	Users    int           // conversations at a time
	Rate     float64       // requests a second of all users together; 0 is as many as go
	Duration time.Duration // after it no request is begun

	Clock func() time.Time
	Pause func(context.Context, time.Duration) error

	began    time.Time
	ended    time.Time    // zero while it runs
	slots    atomic.Int64 // requests that were given their time
	next     atomic.Int64 // conversations begun
	latency  Histogram
	requests atomic.Int64
	failed   atomic.Int64

	mu     sync.Mutex
	errors map[string]*Fault
	held   int
	broken int
}

// Fault is one kind of error.
type Fault struct {
	Count int    `json:"count"`
	First string `json:"first"` // what the first one said
}

// Snapshot is where a run stands.
type Snapshot struct {
	Took          time.Duration
	Requests      int           // answered, or failed
	Failed        int           // of them; see Errors
	Conversations int           // held to their end
	Broken        int           // conversations that an error ended
	P50, P95, P99 time.Duration // from sending a request to its answer, read
	Max           time.Duration
	Errors        map[string]Fault // by the client's error key
}

// Rate is how many requests a second there were.
func (s *Snapshot) Rate() float64 {
	if s.Took <= 0 {
		return 0
	}
	return float64(s.Requests) / s.Took.Seconds()
}

var errOver = errors.New("the time is over")

// Run has all users hold conversations until the time is over or ctx ends, and
// waits for the answers that are on their way.
func (l *Load) Run(ctx context.Context) (Snapshot, error) {
	if len(l.Conversations) == 0 || l.Users < 1 || l.Duration <= 0 {
		return Snapshot{}, errors.New("a load needs conversations, at least one user, and a duration")
	}
	l.mu.Lock()
	l.errors = map[string]*Fault{}
	l.began = l.Clock()
	l.mu.Unlock()
	var all sync.WaitGroup
	for range l.Users {
		all.Go(func() {
			for l.hold(ctx) {
			}
		})
	}
	all.Wait()
	l.mu.Lock()
	l.ended = l.Clock()
	l.mu.Unlock()
	var err error
	if l.Postman != nil {
		if err := l.Postman.Flush(ctx); err != nil {
			l.fault("webhook", err)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return l.Snapshot(), err
}

// hold holds one conversation and says whether there may be another.
func (l *Load) hold(ctx context.Context) bool {
	if ctx.Err() != nil || l.over() {
		return false
	}
	c := l.Conversations[int(l.next.Add(1)-1)%len(l.Conversations)]
	now := l.Clock()
	token, err := c.FlowToken(l.Flow, l.TokenSecret, now)
	if err != nil {
		l.fault("script", err)
		return false
	}
	p := l.NewPhone(token)
	p.Before = l.slot
	send := p.Send
	p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
		began := l.Clock()
		status, answer, err := send(ctx, body, header)
		l.latency.Add(l.Clock().Sub(began))
		l.requests.Add(1)
		return status, answer, err
	}
	// The end of the run cuts conversations short, which is nobody's fault.
	cut := func(err error) bool { return ctx.Err() != nil || errors.Is(err, errOver) }
	player := conversation.Player{Phone: p, Screens: l.Screens, Now: now}
	player.Say = func(said conversation.Said) {
		if said.Err != nil && !cut(said.Err) {
			l.failed.Add(1)
			l.fault(conversation.ErrorKey(said.Err), said.Err)
		}
	}
	outcome, err := player.Play(ctx, c)
	if cut(err) {
		return false
	}
	l.mu.Lock()
	if err != nil {
		l.broken++
	} else {
		l.held++
	}
	l.mu.Unlock()
	if err == nil && outcome.Params != nil && l.Postman != nil {
		if err := l.Postman.Deliver(ctx, outcome.Params); err != nil {
			l.fault("webhook", err)
		}
	}
	return true
}

func (l *Load) over() bool { return l.Clock().Sub(l.began) >= l.Duration }

// slot waits until the next request may be sent.
func (l *Load) slot(ctx context.Context) error {
	if l.Rate > 0 {
		due := time.Duration(float64(l.slots.Add(1)-1) / l.Rate * float64(time.Second))
		if due >= l.Duration {
			return errOver
		}
		if wait := due - l.Clock().Sub(l.began); wait > 0 {
			if err := l.Pause(ctx, wait); err != nil {
				return err
			}
		}
	}
	if l.over() {
		return errOver
	}
	return nil
}

// maxKinds bounds the kinds of errors that are told apart: they are few.
const maxKinds = 32

func (l *Load) fault(key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.errors[key]
	if !ok {
		if len(l.errors) >= maxKinds {
			return
		}
		f = &Fault{First: err.Error()}
		l.errors[key] = f
	}
	f.Count++
}

// Snapshot tells where the run stands; it may be called at any time.
func (l *Load) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Snapshot{
		Requests: int(l.requests.Load()), Failed: int(l.failed.Load()), Conversations: l.held, Broken: l.broken,
		P50: l.latency.Quantile(0.50), P95: l.latency.Quantile(0.95), P99: l.latency.Quantile(0.99), Max: l.latency.Max(),
		Errors: make(map[string]Fault, len(l.errors)),
	}
	switch {
	case !l.ended.IsZero():
		s.Took = l.ended.Sub(l.began)
	case !l.began.IsZero():
		s.Took = l.Clock().Sub(l.began)
	}
	for key, fault := range l.errors {
		s.Errors[key] = *fault
	}
	return s
}
