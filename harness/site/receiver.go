package site

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Receiver is somebody's own system: an HTTP server that takes callbacks as the
// Standard Webhooks specification asks a receiver to.
type Receiver struct {
	listener net.Listener
	server   *http.Server
	key      []byte

	mu        sync.Mutex
	callbacks []Callback
	answer    int           // status for the next callbacks
	arrived   chan struct{} // closed and renewed at each callback
}

// Callback is one request that came.
type Callback struct {
	ID   string // webhook-id
	Body []byte
	At   time.Time
	Err  error // why it would be refused: its signature, its headers
}

// NewReceiver listens on a free port of 127.0.0.1. secret is a whsec_….
func NewReceiver(secret string) (*Receiver, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return nil, fmt.Errorf("the callback secret: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Receiver{listener: listener, key: key, answer: http.StatusOK, arrived: make(chan struct{})}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(listener) }() // ends with ErrServerClosed
	return r, nil
}

// URL is where callbacks are to be sent.
func (r *Receiver) URL() string { return "http://" + r.listener.Addr().String() + "/callbacks" }

// Close ends the server.
func (r *Receiver) Close() error { return r.server.Close() }

// Answer sets the status of the answers from now on.
func (r *Receiver) Answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = status
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err == nil {
		err = r.verify(request, body)
	}
	r.mu.Lock()
	r.callbacks = append(r.callbacks, Callback{ID: request.Header.Get("Webhook-Id"), Body: body, At: time.Now(), Err: err})
	close(r.arrived)
	r.arrived = make(chan struct{})
	status := r.answer
	r.mu.Unlock()
	if err != nil {
		status = http.StatusUnauthorized
	}
	w.WriteHeader(status)
}

// verify follows https://www.standardwebhooks.com: the signature is HMAC-SHA256
// over "<id>.<timestamp>.<body>", one of a list, and the timestamp is recent.
func (r *Receiver) verify(request *http.Request, body []byte) error {
	id, timestamp := request.Header.Get("Webhook-Id"), request.Header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("webhook-timestamp is %q, expected seconds since 1970", timestamp)
	}
	if age := time.Since(time.Unix(seconds, 0)); age.Abs() > 5*time.Minute {
		return fmt.Errorf("webhook-timestamp is %s off", age)
	}
	want := "v1," + r.sign(id, timestamp, body)
	for _, signature := range strings.Fields(request.Header.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return nil
		}
	}
	return errors.New("no signature in webhook-signature fits")
}

func (r *Receiver) sign(id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Callbacks are those that have come so far.
func (r *Receiver) Callbacks() []Callback {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Callback(nil), r.callbacks...)
}

// Wait returns once done is satisfied with what has come.
func (r *Receiver) Wait(ctx context.Context, done func([]Callback) bool) error {
	for {
		r.mu.Lock()
		arrived, ok := r.arrived, done(r.callbacks)
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return fmt.Errorf("%d callbacks came, not those expected: %w", len(r.Callbacks()), ctx.Err())
		}
	}
}
