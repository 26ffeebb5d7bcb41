package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

// Pinger sends a test event to a callback endpoint, once and at once, whatever
// its status; nothing of it is stored. The error says that nothing could be
// sent, such as that the endpoint is gone.
type Pinger func(ctx context.Context, endpoint uuid.UUID) (endpoint.Ping, error)

func registerCallbackStates(a *api) {
	base := func(id, path, summary, text string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: "/api/callbacks/{name}/" + path, Tags: []string{callbackTagName},
			Summary: summary, Description: text, Errors: errs}
	}
	register(a, base("rotateCallbackSecret", "rotate-secret", "Change a callback endpoint's secret",
		"The new one signs from now on, and for overlapSeconds the former ones beside it: the receiver may change whenever it likes in that time. The answer holds the new secret.", 409, 412, 415), Admin, a.rotateCallbackSecret)
	register(a, base("pauseCallback", "pause", "Pause a callback endpoint",
		"Nothing is sent until it is resumed. Its deliveries are created and wait.", 409, 412, 415), Admin, a.pauseCallback)
	register(a, base("resumeCallback", "resume", "Resume a callback endpoint",
		"Whatever stopped it: a pause, 410 Gone, days of failures, the breaker. What waited is sent.", 409, 412), Admin, a.resumeCallback)
	register(a, base("testCallback", "test", "Send a test event",
		"At once and once, signed as any other. The answer says what the receiver did with it. Nothing is stored."), Admin, a.testCallback)
}

type rotateCallbackInput struct {
	CallbackPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the endpoint was changed meanwhile"`
	Body    *RotateCallback
}

// RotateCallback is how a secret is changed.
type RotateCallback struct {
	Secret         string `json:"secret,omitempty" maxLength:"255" doc:"The new one; left out: one is made"`
	OverlapSeconds *int   `json:"overlapSeconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long the former ones go on signing beside it. Default 86400" example:"86400"`
}

func (a *api) rotateCallbackSecret(ctx context.Context, in *rotateCallbackInput) (*callbackAnswer, error) {
	secret, overlap := "", endpoint.DefaultOverlap
	if in.Body != nil {
		secret = in.Body.Secret
		if in.Body.OverlapSeconds != nil {
			overlap = time.Duration(*in.Body.OverlapSeconds) * time.Second
		}
	}
	if secret == "" {
		secret = callback.NewSecret()
	}
	if err := callback.CheckSecret(secret); err != nil {
		return nil, badRequest("%s", sentence(err.Error()))
	}
	out, err := a.changeOneCallback(ctx, in.CallbackPath, in.IfMatch, func(tx pgx.Tx, e *endpoint.Endpoint) error {
		if e.Ours() && a.Callbacks.FixedSecrets {
			return conflict("The secrets of this endpoint are those of CALLBACK_SECRET: put a new one before them there, and start the workers again")
		}
		return callbackError(e.Rotate(ctx, tx, secret, overlap), e.Name)
	})
	if err != nil {
		return nil, err
	}
	return out.withSecret(secret), nil
}

type pauseCallbackInput struct {
	CallbackPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the endpoint was changed meanwhile"`
	Body    *PauseCallback
}

// PauseCallback says why nothing is sent.
type PauseCallback struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For whoever asks why"`
}

func (a *api) pauseCallback(ctx context.Context, in *pauseCallbackInput) (*callbackAnswer, error) {
	reason := ""
	if in.Body != nil {
		reason = strings.ReplaceAll(in.Body.Reason, "\x00", "")
	}
	return a.changeOneCallback(ctx, in.CallbackPath, in.IfMatch, func(tx pgx.Tx, e *endpoint.Endpoint) error {
		return callbackError(e.Pause(ctx, tx, reason), e.Name)
	})
}

type resumeCallbackInput struct {
	CallbackPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the endpoint was changed meanwhile"`
}

func (a *api) resumeCallback(ctx context.Context, in *resumeCallbackInput) (*callbackAnswer, error) {
	return a.changeOneCallback(ctx, in.CallbackPath, in.IfMatch, func(tx pgx.Tx, e *endpoint.Endpoint) error {
		a.note(ctx, zap.String("status_before", string(e.Status)))
		return callbackError(e.Resume(ctx, tx), e.Name)
	})
}

// CallbackTest is what came of a test event.
type CallbackTest struct {
	Delivered    bool    `json:"delivered" doc:"The receiver answered 2xx"`
	Status       *int    `json:"status" doc:"Its HTTP status; null when none came"`
	Error        *string `json:"error" doc:"Why it counts as failed"`
	Milliseconds int64   `json:"milliseconds"`
	Response     string  `json:"response" doc:"The beginning of what the receiver answered"`
}

func (a *api) testCallback(ctx context.Context, in *callbackPathInput) (*answer[CallbackTest], error) {
	e, err := a.callback(ctx, in.CallbackPath)
	if err != nil {
		return nil, err
	}
	if e.URL == "" {
		return nil, callbackError(endpoint.ErrOff, e.Name)
	}
	a.noteCallback(ctx, e)
	ping, err := a.Pinger(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	test := CallbackTest{Delivered: ping.Delivered(), Milliseconds: ping.Took.Milliseconds(), Response: ping.ResponseText()}
	if ping.Status != 0 {
		test.Status = &ping.Status
	}
	if ping.Problem != "" {
		test.Error = &ping.Problem
	}
	return ok(test), nil
}
