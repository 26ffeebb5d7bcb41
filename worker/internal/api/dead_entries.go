package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
)

const deadTag = "Dead entries"

func registerDeadEntries(a *api) {
	register(a, readOperation("listDeadEntries", "/api/dead", deadTag, "List dead entries",
		"What the edges handed over and could never be stored, the latest first."), Read, a.listDeadEntries)
	register(a, readOperation("getDeadEntry", "/api/dead/{id}", deadTag, "Get a dead entry",
		"With its fields as they came: they hold personal data."), Read, a.getDeadEntry)
	base := func(id, path, summary, text string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: "/api/dead/" + path, Tags: []string{deadTag},
			Summary: summary, Description: text, Errors: errs}
	}
	const harmless = " What is stored already is not stored a second time."
	register(a, base("requeueDeadEntry", "{id}/requeue", "Put a dead entry back into its stream",
		"A worker tries it once more, which helps when what was wrong is mended. One that was put back before is left alone."+harmless, 409), Admin, a.requeueDeadEntry)
	register(a, base("requeueDeadEntries", "requeue", "Put many dead entries back",
		"Those that were not put back before, the earliest first. Asked for once more, it goes on with what is left."+harmless, 415), Admin, a.requeueDeadEntries)
}

type listDeadInput struct {
	Page
	Kind     string `query:"kind" maxLength:"100" doc:"step, stateless_step, client_error, webhook, mark"`
	Stream   string `query:"stream" maxLength:"255" doc:"Key of the stream it was in"`
	Requeued string `query:"requeued" enum:"true,false" doc:"Whether it was put back"`
	Since    moment `query:"since" doc:"Given up at this time or later"`
	Until    moment `query:"until" doc:"Given up before this time"`
}

type deadPlace struct {
	At time.Time `json:"t"`
	ID uuid.UUID `json:"e"`
}

func (a *api) listDeadEntries(ctx context.Context, in *listDeadInput) (*list[deliveries.DeadEntry], error) {
	f := deliveries.DeadFilter{Accounts: a.accounts(ctx), Kind: in.Kind, Stream: in.Stream, Since: in.Since.time, Until: in.Until.time}
	if in.Requeued != "" {
		requeued := in.Requeued == "true"
		f.Requeued = &requeued
	}
	_, errSpan := span(in.Since, in.Until)
	if err := errors.Join(checkTexts(in), errSpan); err != nil {
		return nil, err
	}
	var place deadPlace
	var before *deliveries.DeadPlace
	if further, err := in.after(&place); err != nil {
		return nil, err
	} else if further {
		before = &deliveries.DeadPlace{At: place.At, ID: place.ID}
	}
	found, err := deliveries.ListDead(ctx, a.Pool, f, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, found, func(last deliveries.DeadEntry) any { return deadPlace{last.At.Time, last.ID} }), nil
}

func (a *api) getDeadEntry(ctx context.Context, in *recordPath) (*answer[deliveries.DeadDetail], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	d, err := deliveries.GetDead(ctx, a.Pool, a.accounts(ctx), id)
	if err != nil {
		return nil, deadError(err, in.ID)
	}
	return ok(*d), nil
}

func (a *api) requeuer() deliveries.Requeuer {
	return deliveries.Requeuer{Pool: a.Pool, Redis: a.Redis, Keys: a.Keys}
}

func (a *api) requeueDeadEntry(ctx context.Context, in *recordPath) (*answer[deliveries.DeadDetail], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	done, err := a.requeuer().Requeue(ctx, a.accounts(ctx), id)
	if err != nil {
		return nil, deadError(err, in.ID)
	}
	a.note(ctx, zap.Stringer("entry", id), zap.Bool("requeued", done))
	return a.getDeadEntry(ctx, in)
}

// RequeueInput says which dead entries are put back.
type RequeueInput struct {
	Kind   string `json:"kind,omitempty" maxLength:"100"`
	Stream string `json:"stream,omitempty" maxLength:"255"`
	Since  moment `json:"since,omitempty" doc:"Given up at this time or later"`
	Until  moment `json:"until,omitempty" doc:"Given up before this time"`
	Limit  int    `json:"limit,omitempty" minimum:"1" maximum:"10000" default:"1000" doc:"Most of them"`
}

type requeueInput struct{ Body RequeueInput }

// Requeued is what was put back.
type Requeued struct {
	Count   int  `json:"count" doc:"Entries that were put back"`
	Skipped int  `json:"skipped" doc:"Entries of streams that no worker of this installation reads: REDIS_PREFIX or REDIS_SHARDS were others then"`
	More    bool `json:"more" doc:"There are more: ask once more"`
}

func (a *api) requeueDeadEntries(ctx context.Context, in *requeueInput) (*answer[Requeued], error) {
	b := &in.Body
	if _, err := span(b.Since, b.Until); err != nil {
		return nil, err
	}
	f := deliveries.DeadFilter{Accounts: a.accounts(ctx), Kind: b.Kind, Stream: b.Stream, Since: b.Since.time, Until: b.Until.time}
	done, err := a.requeuer().RequeueAll(ctx, f, b.Limit)
	a.note(ctx, zap.Int("entries", done.Count))
	if err != nil && done.Count == 0 {
		return nil, deadError(err, "")
	}
	if err != nil {
		a.Log.Error("putting dead entries back broke off", zap.Int("entries", done.Count), zap.Error(storeError(err)))
		done.More = true
	}
	return ok(Requeued{done.Count, done.Skipped, done.More}), nil
}

func deadError(err error, id string) error {
	var foreign *deliveries.ForeignStreamError
	switch {
	case errors.Is(err, deliveries.ErrNotFound):
		return notFound("There is no dead entry %s", id)
	case errors.As(err, &foreign):
		return conflict("%s", sentence(foreign.Error()))
	case errors.Is(err, deliveries.ErrRedis):
		return unavailable("Redis does not take the entry, which is as it was: try again in a moment")
	}
	return err
}
