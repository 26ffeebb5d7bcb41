package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/admission"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
)

const signatureHeader = "X-Hub-Signature-256"

// smallBody is the Content-Length up to which a body's memory is taken at once,
// and is not counted against that of all bodies: no more than a connection costs
// anyway. Nearly every request is smaller, so nobody who sends large bodies can
// keep them out. A larger body takes memory as it comes: what is only announced
// costs nothing.
const smallBody = 32 << 10

// unreachableRate is in bytes per second.
const unreachableRate = 1 << 62

// errBody is a body that could not be read: the client went away, was too slow,
// or sent less than it announced.
var errBody = errors.New("the body cannot be read")

// readBody reads the raw bytes of a request, which the signature is over. What
// is over limit is a 413; an outer request_body directive's own 413 is passed
// on, and so is the admission.ErrFull of one for which there is no memory. A body
// that has not come within the time given is an errBody: nobody who
// cannot sign shall hold memory, or outlast the Redis client of a configuration
// that was replaced.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) (read body, err error) {
	idle, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	connection := http.NewResponseController(w)
	if idle != nil {
		// Caddy bounds each read by itself. At a rate that nobody reaches, its
		// bound is that of the whole body, and costs no timer of our own. It is
		// not put back: the body is ours, and the server shall not wait for the
		// rest of one that is refused.
		idle.Override(within, unreachableRate)
	} else {
		_ = connection.SetReadDeadline(time.Now().Add(within)) // best effort: an outer handler's writer may not know it
	}

	tooLarge := func() error {
		return infrastructure(http.StatusRequestEntityTooLarge, fmt.Errorf("the body is over %d bytes", limit))
	}
	if r.ContentLength > limit {
		return body{}, tooLarge()
	}
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		read = pooledBody(int(r.ContentLength))
		_, err = io.ReadFull(r.Body, read.bytes)
	} else {
		grows := bytes.NewBuffer(make([]byte, 0, smallBody))
		_, err = grows.ReadFrom(io.LimitReader(r.Body, limit+1))
		read.bytes = grows.Bytes()
	}
	if err != nil {
		read.release()
		var outer caddyhttp.HandlerError
		if errors.As(err, &outer) || errors.Is(err, admission.ErrFull) {
			return read, err
		}
		return read, errBody // with its deadline: nor shall the server wait for the rest
	}
	if idle == nil {
		_ = connection.SetReadDeadline(time.Time{})
	}
	if int64(len(read.bytes)) > limit {
		return read, tooLarge()
	}
	return read, nil
}

// writeStatus answers with a status and no body. It returns nil so that a
// site's handle_errors cannot make a page of it: these statuses are answers.
func writeStatus(w http.ResponseWriter, status int) error {
	w.Header()["Cache-Control"] = []string{"no-store"}
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
	// One allocation for all; not shared between answers, because an outer
	// `header` directive replaces in place.
	values := [...]string{"text/plain", strconv.Itoa(len(body)), "no-store, no-transform", "nosniff"}
	header["Content-Type"] = values[0:1:1]
	header["Content-Length"] = values[1:2:2]
	header["Cache-Control"] = values[2:3:3]
	header["X-Content-Type-Options"] = values[3:4:4]
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; its answer is stored
	return nil
}
