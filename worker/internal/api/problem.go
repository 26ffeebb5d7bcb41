package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// problem is the error envelope of whatsapp-flows-server. Codes that it had keep
// its names, which are those of its classes; new ones are in capitals.
type problem struct {
	Success   bool         `json:"success" doc:"Always false"`
	Fault     problemFault `json:"error"`
	Timestamp Timestamp    `json:"timestamp"`

	status int
	header http.Header
}

type problemFault struct {
	Message string `json:"message" doc:"A sentence for people: what came, what was expected, what to do"`
	Code    string `json:"code" doc:"For programs; it does not change" example:"NotFoundError"`
	Details any    `json:"details,omitempty" doc:"A list of the single mistakes, if there are several"`
}

// detail is one mistake of a request.
type detail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"Where it is: query.limit, body.status" example:"query.limit"`
}

// Error implements error.
func (p *problem) Error() string { return p.Fault.Message }

// GetStatus implements huma.StatusError.
func (p *problem) GetStatus() int { return p.status }

// GetHeaders implements huma.HeadersError.
func (p *problem) GetHeaders() http.Header { return p.header }

// with adds details.
func (p *problem) with(details any) *problem {
	p.Fault.Details = details
	return p
}

func newProblem(status int, code, format string, args ...any) *problem {
	return &problem{status: status, Fault: problemFault{Code: code, Message: fmt.Sprintf(format, args...)}, Timestamp: now()}
}

// The errors of operations. Each takes a sentence without a full stop.

func badRequest(format string, args ...any) *problem {
	return newProblem(http.StatusBadRequest, "ValidationError", format, args...)
}

func unauthorized(format string, args ...any) *problem {
	p := newProblem(http.StatusUnauthorized, "UnauthorizedError", format, args...)
	p.header = http.Header{"Www-Authenticate": {`Bearer realm="whatsapp-flows"`}}
	return p
}

func forbidden(format string, args ...any) *problem {
	return newProblem(http.StatusForbidden, "ForbiddenError", format, args...)
}

func notFound(format string, args ...any) *problem {
	return newProblem(http.StatusNotFound, "NotFoundError", format, args...)
}

func conflict(format string, args ...any) *problem {
	return newProblem(http.StatusConflict, "ConflictError", format, args...)
}

func preconditionFailed(format string, args ...any) *problem {
	return newProblem(http.StatusPreconditionFailed, "PRECONDITION_FAILED", format, args...)
}

func unprocessable(code, format string, args ...any) *problem {
	return newProblem(http.StatusUnprocessableEntity, code, format, args...)
}

func internal() *problem {
	return newProblem(http.StatusInternalServerError, "INTERNAL_ERROR", "Internal server error")
}

func unavailable(format string, args ...any) *problem {
	p := newProblem(http.StatusServiceUnavailable, "UNAVAILABLE", format, args...)
	p.header = http.Header{"Retry-After": {"5"}}
	return p
}

// write answers with p where no operation does.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(p.status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(p) // the client is gone: nobody to tell
}

// huma makes its own errors through these two variables; they are meant to be
// replaced and shared by everything in the process.
func init() {
	huma.NewError = humaError
	huma.NewErrorWithContext = func(_ huma.Context, status int, message string, errs ...error) huma.StatusError {
		return humaError(status, message, errs...)
	}
}

// humaError is what huma has to say of a request, in the envelope. A parameter
// or body of the wrong form is 400, as the seed had it: 422 is for a document
// that was read and found wrong.
func humaError(status int, message string, errs ...error) huma.StatusError {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return newProblem(status, "PAYLOAD_TOO_LARGE", "The body is too large: %s", strings.TrimPrefix(message, "request body is too large "))
	case http.StatusRequestTimeout:
		return newProblem(status, "REQUEST_TIMEOUT", "The body did not arrive in time")
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
	case http.StatusInternalServerError:
		if message == "cannot read request body" {
			return badRequest("The body broke off")
		}
		return internal()
	default:
		return newProblem(status, strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_")), "%s", message)
	}
	var details []detail
	for _, err := range errs {
		d := detail{Message: err.Error()}
		var given huma.ErrorDetailer
		if errors.As(err, &given) { // its value is left out: it may be the whole body
			d = detail{Message: given.ErrorDetail().Message, Location: given.ErrorDetail().Location}
		}
		details = append(details, d)
	}
	switch len(details) {
	case 0:
		return badRequest("%s", sentence(message))
	case 1:
		if details[0].Location == "body" {
			return badRequest("%s", sentence(details[0].Message)).with(details)
		}
		return badRequest("%s: %s", details[0].Location, details[0].Message).with(details)
	}
	return badRequest("%d parts of the request are wrong, first %s: %s", len(details), details[0].Location, details[0].Message).with(details)
}

// sentence begins with a capital.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// databaseAway says whether trying again may help.
func databaseAway(err error) bool {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57014" || store.Stale(err) || store.FaultOf(err) == store.FaultCollision // 57014: statement_timeout
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err)
}

// unstorable says whether a value of the request is no text to Postgres.
func unstorable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "22021" || pg.Code == "22P05")
}

// storeError is what may be logged of err: what Postgres says may hold the value
// that it refused.
func storeError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return errors.New(store.Describe(err))
	}
	return err
}
