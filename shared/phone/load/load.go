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

	Users int // conversations at a time
	// Rate is how many requests fall due in a second, of all users together; 0 is
	// as many as go, each user sending again when the answer is there.
	Rate     float64
	Duration time.Duration // after it no request is begun

	Clock func() time.Time
	Pause func(context.Context, time.Duration) error

	began    time.Time
	ended    time.Time    // zero while it runs
	slots    atomic.Int64 // requests that were given their time
	next     atomic.Int64 // conversations begun
	latency  Histogram
	sinceDue Histogram // of requests that a rate has given their time
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
	Requests      int // answered, or failed
	Failed        int // of them; see Errors
	Conversations int // held to their end
	Broken        int // conversations that an error ended
	Quantiles         // from sending a request to its answer, read
	// SinceDue is from the moment that the rate has given a request to its answer,
	// read. It tells what users who do not wait for each other would have seen of
	// an endpoint that was slow for a while: those who wait send less then, and so
	// measure less of it. Without a rate it is empty.
	SinceDue Quantiles
	Errors   map[string]Fault // by the client's error key
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
	if l.Postman != nil && ctx.Err() == nil {
		if err := l.Postman.Flush(ctx); err != nil && ctx.Err() == nil {
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
	var due time.Time // of the next request; zero when it has none of its own
	p.Before = func(ctx context.Context) (err error) {
		due, err = l.slot(ctx)
		return err
	}
	send, sent := p.Send, false
	p.Send = func(sending context.Context, body []byte, header map[string]string) (int, []byte, error) {
		began := l.Clock()
		status, answer, err := send(sending, body, header)
		if sent = true; ctx.Err() != nil { // cut off, not answered
			return status, answer, err
		}
		ended := l.Clock()
		l.latency.Add(ended.Sub(began))
		if !due.IsZero() {
			l.sinceDue.Add(ended.Sub(due))
			due = time.Time{} // one that is sent again after a 421 was not due
		}
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
		if err := l.Postman.Deliver(ctx, c.User.ID, c.User.Name, outcome.Params); err != nil && !cut(err) {
			l.fault("webhook", err)
		}
	}
	// A conversation that fails before it has sent anything does so each time:
	// it would keep a processor busy, and the endpoint idle.
	return sent
}

func (l *Load) over() bool { return l.Clock().Sub(l.began) >= l.Duration }

// slot waits until the next request may be sent, and says when it was due: the
// zero time without a rate.
func (l *Load) slot(ctx context.Context) (due time.Time, err error) {
	if l.Rate > 0 {
		after := time.Duration(float64(l.slots.Add(1)-1) / l.Rate * float64(time.Second))
		if after >= l.Duration {
			return due, errOver
		}
		due = l.began.Add(after)
		if wait := due.Sub(l.Clock()); wait > 0 {
			if err := l.Pause(ctx, wait); err != nil {
				return due, err
			}
		}
	}
	if l.over() {
		return due, errOver
	}
	return due, nil
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
		Quantiles: l.latency.Quantiles(), SinceDue: l.sinceDue.Quantiles(),
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
