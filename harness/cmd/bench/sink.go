package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// sink is a receiver that takes every callback, checks its signature, and notes
// when each came.
type sink struct {
	server   *http.Server
	listener net.Listener
	verifier *standardwebhooks.Webhook

	mu       sync.Mutex
	ids      map[string]int // path and webhook-id to requests
	requests int
	refused  int               // whose signature does not fit
	arrived  map[int]time.Time // number of a message, see numbered, to its first arrival
}

func newSink(secret string) (*sink, error) {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: listener, verifier: verifier}
	s.reset()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // ends with ErrServerClosed
	return s, nil
}

func (s *sink) url() string { return "http://" + s.listener.Addr().String() }

func (s *sink) close() error { return s.server.Close() }

func (s *sink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids, s.arrived, s.requests, s.refused = make(map[string]int), make(map[int]time.Time), 0, 0
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = s.verifier.Verify(body, r.Header)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if err != nil {
		s.refused++
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.ids[r.URL.Path+" "+r.Header.Get("webhook-id")]++
	if n, ok := numberOf(body); ok {
		if _, again := s.arrived[n]; !again {
			s.arrived[n] = now
		}
	}
}

// distinct is how many callbacks have come, not counting repetitions.
func (s *sink) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func (s *sink) messages() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.arrived)
}

// check says whether everything that came was signed, and once.
func (s *sink) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused > 0 {
		return errors.New(strconv.Itoa(s.refused) + " callbacks were signed wrongly")
	}
	if s.requests != len(s.ids) {
		return errors.New(strconv.Itoa(s.requests-len(s.ids)) + " callbacks came twice though nothing failed")
	}
	return nil
}

// numbered is the wamid of message n.
const numbered = "wamid.bench."

// numberOf finds the number of the message that a callback is about.
func numberOf(body []byte) (int, bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"wamid":"`+numbered))
	if !ok {
		return 0, false
	}
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	n, err := strconv.Atoi(string(digits))
	return n, err == nil
}
