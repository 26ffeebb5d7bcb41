package chaos

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Receiver takes callbacks and remembers of each webhook-id what came when. It
// verifies signatures by the reference library of Standard Webhooks.
type Receiver struct {
	listener net.Listener
	server   *http.Server

	mu       sync.Mutex
	verifier []*standardwebhooks.Webhook
	posts    map[string]*posts
	total    int
	forged   []string // of requests whose signature or timestamp did not fit
	changed  []string // webhook-ids that came with another body
	answer   func(id string, total int) int
	after    func(id string, total int)
	delay    time.Duration
	anyTime  bool
}

// posts is what came under one webhook-id.
type posts struct {
	count, accepted int
	body            [sha256.Size]byte
	first, last     time.Time
}

// newReceiver listens on an address, port 0 for a free one. A signature by any of the secrets will do.
func newReceiver(address string, secrets ...string) (*Receiver, error) {
	r := &Receiver{posts: make(map[string]*posts), answer: func(string, int) int { return http.StatusOK }, after: func(string, int) {}}
	if err := r.Trust(secrets...); err != nil {
		return nil, err
	}
	var err error
	if r.listener, err = net.Listen("tcp", address); err != nil {
		return nil, err
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(r.listener) }() // ends with ErrServerClosed
	return r, nil
}

// Trust replaces the secrets by one of which a request must be signed.
func (r *Receiver) Trust(secrets ...string) error {
	var verifier []*standardwebhooks.Webhook
	for _, secret := range secrets {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return fmt.Errorf("a callback secret: %w", err)
		}
		verifier = append(verifier, w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verifier = verifier
	return nil
}

// URL is where callbacks are to be sent.
func (r *Receiver) URL() string { return "http://" + r.listener.Addr().String() + "/callbacks" }

func (r *Receiver) close() error { return r.server.Close() }

// Answer has status decide what each request gets; total counts it in.
func (r *Receiver) Answer(status func(id string, total int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = status
}

// Delay holds every answer back.
func (r *Receiver) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// AnyTime has signatures verified whatever their timestamp says: the sender's
// clock is wrong on purpose.
func (r *Receiver) AnyTime() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.anyTime = true
}

// After has do called once an answer is on its way.
func (r *Receiver) After(do func(id string, total int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after = do
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err != nil {
		return // the sender is gone
	}
	r.mu.Lock()
	delay := r.delay
	r.mu.Unlock()
	if err := pause(request.Context(), delay); err != nil {
		return // the sender is gone
	}
	id := request.Header.Get(standardwebhooks.HeaderWebhookID)
	status, total, after := r.note(id, body, request.Header)
	w.WriteHeader(status)
	if flush, ok := w.(http.Flusher); ok {
		flush.Flush()
	}
	after(id, total)
}

func (r *Receiver) note(id string, body []byte, header http.Header) (status, total int, after func(string, int)) {
	now, digest := time.Now(), sha256.Sum256(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if err := r.verify(body, header); err != nil {
		r.forged = append(r.forged, fmt.Sprintf("%s: %v", id, err))
	}
	p := r.posts[id]
	if p == nil {
		p = &posts{body: digest, first: now}
		r.posts[id] = p
	}
	if p.body != digest {
		r.changed = append(r.changed, id)
	}
	p.count++
	p.last = now
	if status = r.answer(id, r.total); status >= 200 && status < 300 {
		p.accepted++
	}
	return status, r.total, r.after
}

func (r *Receiver) verify(body []byte, header http.Header) (err error) {
	for _, v := range r.verifier {
		verify := v.Verify
		if r.anyTime {
			verify = v.VerifyIgnoringTimestamp
		}
		if err = verify(body, header); err == nil {
			return nil
		}
	}
	return err
}

// Total is how many requests came.
func (r *Receiver) Total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// Accepted are the webhook-ids that got a 2xx, with how often.
func (r *Receiver) Accepted() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	accepted := make(map[string]int, len(r.posts))
	for id, p := range r.posts {
		if p.accepted > 0 {
			accepted[id] = p.accepted
		}
	}
	return accepted
}
