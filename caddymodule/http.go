package caddymodule

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
)

const signatureHeader = "X-Hub-Signature-256"

// trustedLength is the Content-Length up to which a body's memory is taken at
// once: nearly every request is smaller.
const trustedLength = 256 << 10

// errBody is a body that could not be read: the client went away, was too slow,
// or sent less than it announced.
var errBody = errors.New("the body cannot be read")

// readBody reads the raw bytes of a request, which the signature is over. What
// is over limit is a 413; an outer request_body directive's own 413 is passed
// on. A body that has not come within the time given is an errBody: nobody who
// cannot sign shall hold memory, or outlast the Redis client of a configuration
// that was replaced.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) ([]byte, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(within)) // best effort: an outer handler's writer may not know it

	tooLarge := func() error {
		return infrastructure(http.StatusRequestEntityTooLarge, fmt.Errorf("the body is over %d bytes", limit))
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	var (
		body []byte
		err  error
	)
	// A length that is only announced must not cost its memory.
	if r.ContentLength >= 0 && r.ContentLength <= trustedLength {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
	}
	var outer caddyhttp.HandlerError
	if errors.As(err, &outer) {
		return nil, err
	}
	if err != nil {
		return nil, errBody // with its deadline: nor shall the server wait for the rest
	}
	_ = connection.SetReadDeadline(time.Time{})
	if int64(len(body)) > limit {
		return nil, tooLarge()
	}
	return body, nil
}

// writeStatus answers with a status and no body. It returns nil so that a
// site's handle_errors cannot make a page of it: these statuses are answers.
func writeStatus(w http.ResponseWriter, status int) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return nil
}

// writeAnswer writes a sealed answer. no-transform keeps an outer encode from
// compressing it: only the body reaches the phone, never Content-Encoding.
func writeAnswer(w http.ResponseWriter, answer state.Stored) error {
	if len(answer.Body) == 0 {
		return writeStatus(w, answer.Status)
	}
	return writeText(w, answer.Status, answer.Body)
}

func writeText(w http.ResponseWriter, status int, body []byte) error {
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; its answer is stored
	return nil
}

// traceparent returns the request's W3C trace context when it has the shape of
// one (https://www.w3.org/TR/trace-context/, version 00), so that the worker
// can join the trace. Anything else is dropped: it goes into Redis.
func traceparent(r *http.Request) string {
	value := r.Header.Get("Traceparent")
	parts := strings.Split(value, "-")
	if len(value) != 55 || len(parts) != 4 || parts[0] != "00" ||
		len(parts[1]) != 32 || len(parts[2]) != 16 || value != strings.ToLower(value) ||
		strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return ""
	}
	for _, part := range parts {
		if _, err := hex.DecodeString(part); err != nil {
			return ""
		}
	}
	return value
}
