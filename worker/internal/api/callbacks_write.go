package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

const callbackTagName = "Callbacks"

func registerCallbackWrites(a *api) {
	base := func(id, method, path, summary, text string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{callbackTagName}, Summary: summary, Description: text,
			SkipValidateBody: true, Errors: errs}
	}
	const one = "/api/callbacks/{name}"
	create := base("createCallback", http.MethodPost, "/api/callbacks", "Create a callback endpoint",
		"From now on it gets the events it wants. The answer holds its secret, which no other answer does.", 409, 415)
	create.DefaultStatus = http.StatusCreated
	create.RequestBody = exampleBody(callbackExample)
	register(a, create, Admin, a.createCallback)
	register(a, base("changeCallback", http.MethodPatch, one, "Change a callback endpoint",
		"What is left out stays as it is, null means the default. It counts for deliveries that wait as well. Of the endpoint `env`, url, timeoutMs and maxAttempts belong to the worker's environment.", 409, 412, 415),
		Admin, a.changeCallback)
	register(a, base("deleteCallback", http.MethodDelete, one, "Delete a callback endpoint",
		"What was still to be delivered there is cancelled, and stays in the list of deliveries.", 409, 412), Admin, a.deleteCallback)
}

var callbackExample = map[string]any{
	"name": "crm", "url": "https://crm.example.com/whatsapp", "events": []string{"flow.completed", "message.*"},
}

type createCallbackInput struct {
	IfNoneMatch string `header:"If-None-Match" doc:"The value * is understood: POST never overwrites an endpoint"`
	Body        callbackBody
}

func (a *api) createCallback(ctx context.Context, in *createCallbackInput) (*callbackAnswer, error) {
	account, err := a.callbackAccount(ctx, &in.Body)
	if err != nil {
		return nil, err
	}
	s, err := in.Body.fresh()
	if err != nil {
		return nil, err
	}
	if err := callbackError(s.Validate(a.Callbacks), s.Name); err != nil {
		return nil, err
	}
	secret := callback.NewSecret()
	if err := take(&in.Body, "secret", &secret, secret); err != nil {
		return nil, err
	}
	if err := callback.CheckSecret(secret); err != nil {
		return nil, badRequest("%s", sentence(err.Error()))
	}
	if account == eventtype.AnyAccount && s.Name == endpoint.EnvironmentName {
		return nil, conflict("The endpoint env of every account belongs to CALLBACK_WEBHOOK_URL: choose another name")
	}
	var out *callbackAnswer
	err = a.changeCallbacks(ctx, func(tx pgx.Tx) error {
		e, err := endpoint.Create(ctx, tx, account, s, secret)
		if err != nil {
			return callbackError(err, s.Name)
		}
		a.noteCallback(ctx, e)
		out = answerCallback(http.StatusCreated, e).withSecret(secret)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Location = "/api/callbacks/" + url.PathEscape(out.Body.Data.ID)
	return out, nil
}

// callbackAccount is the account of a new endpoint.
func (a *api) callbackAccount(ctx context.Context, b *callbackBody) (string, error) {
	named := ""
	if err := take(b, "account", &named, ""); err != nil {
		return "", err
	}
	c := callOf(ctx)
	switch {
	case named == eventtype.AnyAccount && c.token.Accounts != nil:
		return "", forbidden("This token is not for every account, so neither may its endpoints be")
	case named == eventtype.AnyAccount && c.asked == "":
		return named, nil
	}
	account, err := a.account(ctx)
	if err == nil && named != "" && named != account {
		err = badRequest("The body names the account %.64q, and this goes to the account %s: add ?account=", named, account)
	}
	return account, err
}

type changeCallbackInput struct {
	CallbackPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the endpoint was changed meanwhile"`
	Body    callbackBody
}

func (a *api) changeCallback(ctx context.Context, in *changeCallbackInput) (*callbackAnswer, error) {
	if in.Body.fields["secret"] != nil {
		return nil, badRequest("The secret is changed by POST /api/callbacks/{name}/rotate-secret")
	}
	if !in.Body.changes() {
		return nil, badRequest("At least one field must be provided for update")
	}
	return a.changeOneCallback(ctx, in.CallbackPath, in.IfMatch, func(tx pgx.Tx, e *endpoint.Endpoint) error {
		s, err := in.Body.settings(e.Settings)
		if err != nil {
			return err
		}
		if e.Ours() && in.Body.fields["maxAttempts"] == nil {
			s.MaxAttempts = e.MaxAttempts // a schedule does not bring its own number there
		}
		if err := callbackError(e.Check(s, a.Callbacks), s.Name); err != nil || e.Same(s) {
			return err
		}
		return callbackError(e.Change(ctx, tx, s), s.Name)
	})
}

type deleteCallbackInput struct {
	CallbackPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the endpoint was changed meanwhile"`
}

// DeletedCallback is what was deleted with a callback endpoint.
type DeletedCallback struct {
	Cancelled int64 `json:"cancelled" doc:"Deliveries that were still to be made"`
}

func (a *api) deleteCallback(ctx context.Context, in *deleteCallbackInput) (*answer[DeletedCallback], error) {
	key, err := a.callbackKey(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	cancelled, err := endpoint.Remove(ctx, a.Pool, key, func(e *endpoint.Endpoint) error {
		a.noteCallback(ctx, e)
		return callbackMatches(in.IfMatch, e)
	})
	if err != nil {
		return nil, callbackError(err, in.Name)
	}
	a.note(ctx, zap.Int64("cancelled", cancelled))
	return ok(DeletedCallback{cancelled}), nil
}

// changeOneCallback runs do with an endpoint locked, and answers with it.
func (a *api) changeOneCallback(ctx context.Context, path CallbackPath, ifMatch string, do func(pgx.Tx, *endpoint.Endpoint) error) (*callbackAnswer, error) {
	key, err := a.callbackKey(ctx, path.Name)
	if err != nil {
		return nil, err
	}
	var out *callbackAnswer
	err = a.changeCallbacks(ctx, func(tx pgx.Tx) error {
		e, err := endpoint.Lock(ctx, tx, key)
		if err != nil {
			return callbackError(err, path.Name)
		}
		if err := callbackMatches(ifMatch, e); err != nil {
			return err
		}
		a.noteCallback(ctx, e)
		if err := do(tx, e); err != nil {
			return err
		}
		out = answerCallback(http.StatusOK, e)
		return nil
	})
	return out, err
}

func (a *api) changeCallbacks(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, a.Pool, do)
}

func (a *api) noteCallback(ctx context.Context, e *endpoint.Endpoint) {
	a.note(ctx, zap.String("account", e.Account), zap.String("callback", e.Name))
}

func callbackMatches(ifMatch string, e *endpoint.Endpoint) error {
	if ifMatch != "" && !names(ifMatch, callbackTag(e)) {
		return preconditionFailed("The callback endpoint was changed meanwhile: its ETag is %s now. Read it again", callbackTag(e))
	}
	return nil
}
