package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

func registerCallbacks(a *api) {
	base := func(id, path, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{callbackTagName}, Summary: summary, Description: text}
	}
	register(a, base("listCallbacks", "/api/callbacks", "List callback endpoints",
		"By account and name, without anything secret. Those of every account (`*`) are in the list of a token of all accounts."), Read, a.listCallbacks)
	register(a, revalidated(base("getCallback", "/api/callbacks/{name}", "Get a callback endpoint", "Without secrets, values of headers and authorization.")), Read, a.getCallback)
	register(a, base("getCallbackSecrets", "/api/callbacks/{name}/secrets", "Get a callback endpoint's secrets",
		"Those that sign what is sent now, the current one first."), Admin, a.getCallbackSecrets)
	register(a, base("listCallbackEvents", "/api/callbacks/{name}/events", "List what happened to a callback endpoint",
		"When and why it was disabled and enabled, the latest first; at most 100."), Read, a.listCallbackEvents)
	registerCallbackWrites(a)
	registerCallbackStates(a)
}

type listCallbacksInput struct{ Page }

type callbackPlace struct {
	Account string `json:"a"`
	Name    string `json:"n"`
}

func (a *api) listCallbacks(ctx context.Context, in *listCallbacksInput) (*list[Callback], error) {
	var place callbackPlace
	var after *endpoint.Key
	if further, err := in.after(&place); err != nil {
		return nil, err
	} else if further {
		after = &endpoint.Key{Account: place.Account, Name: place.Name}
	}
	found, err := endpoint.List(ctx, a.Pool, a.accounts(ctx), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	all := make([]Callback, len(found))
	for i, e := range found {
		all[i] = callbackOf(e)
	}
	return listed(in.Page, all, func(last Callback) any { return callbackPlace{last.Account, last.Name} }), nil
}

type getCallbackInput struct {
	CallbackPath
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of what the client has: 304 if it still holds"`
}

func (a *api) callback(ctx context.Context, path CallbackPath) (*endpoint.Endpoint, error) {
	key, err := a.callbackKey(ctx, path.Name)
	if err != nil {
		return nil, err
	}
	e, err := endpoint.Get(ctx, a.Pool, key)
	return e, callbackError(err, path.Name)
}

func (a *api) getCallback(ctx context.Context, in *getCallbackInput) (*callbackAnswer, error) {
	e, err := a.callback(ctx, in.CallbackPath)
	if err != nil {
		return nil, err
	}
	if err := unchanged(in.IfNoneMatch, callbackTag(e)); err != nil {
		return nil, err
	}
	return answerCallback(http.StatusOK, e), nil
}

// CallbackSecret is a secret that signs.
type CallbackSecret struct {
	Secret    string     `json:"secret" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`
	ExpiresAt *Timestamp `json:"expiresAt" doc:"When it stops signing; null: never"`
}

type callbackPathInput struct{ CallbackPath }

// uncached is an answer that nobody on the way keeps.
type uncached[T any] struct {
	CacheControl string `header:"Cache-Control" hidden:"true"`
	Body         envelope[T]
}

func (a *api) getCallbackSecrets(ctx context.Context, in *callbackPathInput) (*uncached[[]CallbackSecret], error) {
	e, err := a.callback(ctx, in.CallbackPath)
	if err != nil {
		return nil, err
	}
	a.noteCallback(ctx, e)
	all := make([]CallbackSecret, len(e.Secrets))
	for i, s := range e.Secrets {
		all[i] = CallbackSecret{s.Value, optionalTime(s.ExpiresAt)}
	}
	return &uncached[[]CallbackSecret]{"no-store", ok(all).Body}, nil
}

// CallbackEvent is a change of status that nobody asked for, or its end.
type CallbackEvent struct {
	ID     string    `json:"id" format:"uuid"`
	At     Timestamp `json:"at"`
	Kind   string    `json:"kind" enum:"disabled,enabled"`
	Reason *string   `json:"reason"`
}

const callbackEventsShown = 100

func (a *api) listCallbackEvents(ctx context.Context, in *callbackPathInput) (*answer[[]CallbackEvent], error) {
	e, err := a.callback(ctx, in.CallbackPath)
	if err != nil {
		return nil, err
	}
	found, err := endpoint.Events(ctx, a.Pool, e.ID, callbackEventsShown)
	if err != nil {
		return nil, err
	}
	all := make([]CallbackEvent, len(found))
	for i, event := range found {
		all[i] = CallbackEvent{event.ID.String(), Timestamp(event.At), event.Kind, event.Reason}
	}
	return ok(all), nil
}
