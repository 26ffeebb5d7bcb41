package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

const (
	// eraseWait is how long an erasure waits for entries that are on their way
	// into the database. `worker erase` waits longer.
	eraseWait = 10 * time.Second
	// eraseTime bounds an erasure, the waiting included.
	eraseTime = 50 * time.Second
)

// Erasure is the report of an erasure.
type Erasure erase.Report

func registerErasures(a *api) {
	const tag = "Privacy"
	registerLong(a, huma.Operation{
		OperationID: "eraseOnePersonsData", Method: http.MethodPost, Path: "/api/erasures", Tags: []string{tag}, Summary: "Erase one person's data",
		Description: "Exactly one of phoneNumber, userId and flowToken says whose. Answers, sessions, steps, messages, deliveries and the person's parts of raw webhooks are gone after it, " +
			"here and in Redis; the report says what is left, until when, and which receivers were sent data. Doing it again is harmless.",
		RequestBody: exampleBody(map[string]any{"phoneNumber": "16505551234", "dryRun": true}),
		Errors:      []int{http.StatusUnsupportedMediaType},
	}, Admin, a.erase)
	register(a, readOperation("listErasures", "/api/erasures", tag, "List erasures",
		"The reports of what was erased, the latest first. They do not say who it was."), Read, a.listErasures)
}

type eraseInput struct {
	Body struct {
		PhoneNumber  string `json:"phoneNumber,omitempty" doc:"The number that the person has now, with its country code"`
		UserID       string `json:"userId,omitempty" doc:"A business-scoped user id, or the user id of a signed flow token"`
		FlowToken    string `json:"flowToken,omitempty" doc:"Only what came under this token"`
		WholeContact bool   `json:"wholeContact,omitempty" doc:"With a flow token: everything of whoever answered under it"`
		DryRun       bool   `json:"dryRun,omitempty" doc:"Count, and change nothing"`
	}
}

// request is what is asked for; exactly one value must be given.
func (in *eraseInput) request(account string) (erase.Request, error) {
	r := erase.Request{Account: account, WholeContact: in.Body.WholeContact, DryRun: in.Body.DryRun, Wait: eraseWait}
	given := 0
	for _, who := range []struct {
		by    erase.By
		value string
	}{{erase.PhoneNumber, in.Body.PhoneNumber}, {erase.UserID, in.Body.UserID}, {erase.FlowToken, in.Body.FlowToken}} {
		if who.value != "" {
			given++
			r.By, r.Value = who.by, who.value
		}
	}
	if given != 1 {
		return r, badRequest("Whose data? Give one of phoneNumber, userId and flowToken: %d came", given)
	}
	return r, nil
}

func (a *api) erase(ctx context.Context, in *eraseInput) (*answer[Erasure], error) {
	if a.Eraser == nil {
		return nil, unavailable("Erasing is not possible here: use worker erase")
	}
	account, err := a.account(ctx)
	if err != nil {
		return nil, err
	}
	request, err := in.request(account)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, eraseTime)
	defer cancel()
	report, err := a.Eraser.Erase(within, request)
	var mistake *erase.MistakeError
	switch {
	case errors.As(err, &mistake):
		return nil, badRequest("%s", sentence(mistake.Error()))
	case err != nil:
		return nil, err
	}
	a.note(ctx, zap.String("account", account), zap.Stringer("erasure", report.ID), zap.Bool("dry_run", report.DryRun), zap.Int64("erased", report.Total()))
	return ok(Erasure(*report)), nil
}

type listErasuresInput struct{ Page }

func (a *api) listErasures(ctx context.Context, in *listErasuresInput) (*list[Erasure], error) {
	const order = "at"
	place, err := placeOf(in.Page, order)
	if err != nil {
		return nil, err
	}
	found, err := erase.List(ctx, a.Pool, a.accounts(ctx), place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	rows := make([]Erasure, len(found))
	for i, r := range found {
		rows[i] = Erasure(r)
	}
	return listed(in.Page, rows, func(last Erasure) any { return records.Place{Order: order, At: last.At.Time, ID: last.ID} }), nil
}
