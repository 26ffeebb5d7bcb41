package api

import (
	"context"
	"errors"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

func registerWebhookEvents(s *stored) {
	const tag = "Webhooks"
	register(s.api, readOperation("listWebhookEvents", "/api/webhook-events", tag, "List webhooks",
		"What WhatsApp sent, the latest first, without the bodies."), Read, s.listWebhookEvents)
	register(s.api, readOperation("getWebhookEvent", "/api/webhook-events/{id}", tag, "Get a webhook",
		"With its body byte for byte: it holds personal data of everyone whose messages are in it."), Read, s.getWebhookEvent)
}

type listWebhookEventsInput struct {
	Page
	Wamid   string `query:"wamid" doc:"Those with this message, or a status of it"`
	Phone   string `query:"phone" doc:"Those with messages of whoever has this number now, such as 16505551234"`
	UserID  string `query:"userId" doc:"Those with messages of this business-scoped user id"`
	Problem string `query:"problem" enum:"true" doc:"Only those that could not be read completely"`
	Since   moment `query:"since" doc:"Received at this time or later"`
	Until   moment `query:"until" doc:"Received before this time"`
}

func (s *stored) listWebhookEvents(ctx context.Context, in *listWebhookEventsInput) (*list[records.WebhookEvent], error) {
	f := records.WebhookFilter{Wamid: in.Wamid, Phone: in.Phone, UserID: in.UserID, Problem: in.Problem == "true"}
	var errReceived error
	f.Received, errReceived = span(in.Since, in.Until)
	place, errPlace := placeOf(in.Page, f.Order())
	if err := errors.Join(checkTexts(in), errReceived, errPlace); err != nil {
		return nil, err
	}
	rows, err := s.records.WebhookEvents(ctx, records.Accounts(s.accounts(ctx)), f, place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, rows, func(last records.WebhookEvent) any { return f.Place(&last) }), nil
}

func (s *stored) getWebhookEvent(ctx context.Context, in *recordPath) (*answer[records.WebhookBody], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	webhook, err := s.records.WebhookEvent(ctx, records.Accounts(s.accounts(ctx)), id)
	if err != nil {
		return nil, missing(err, "webhook", in.ID)
	}
	return ok(*webhook), nil
}
