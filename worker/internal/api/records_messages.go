package api

import (
	"context"
	"errors"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

func registerMessages(s *stored) {
	const tag = "Webhooks"
	register(s.api, readOperation("listMessages", "/api/messages", tag, "List messages and statuses",
		"Each message, and each status of a message that was sent, that a webhook told of; the latest received first, without the text."), Read, s.listMessages)
	register(s.api, readOperation("listFlowEvents", "/api/flow-events", tag, "List what Meta reports of flows",
		"Changes of their status, and alerts of error rate, latency and availability, the latest first."), Read, s.listFlowEvents)
}

type listMessagesInput struct {
	Page
	Kind   string `query:"kind" enum:"message,status"`
	Type   string `query:"type" maxLength:"64" doc:"Type of the message, such as text or interactive, or the status: sent, delivered, read, failed"`
	Wamid  string `query:"wamid" doc:"This message, and its statuses"`
	Phone  string `query:"phone" doc:"Of whoever has this number now, such as 16505551234"`
	UserID string `query:"userId" doc:"Of this business-scoped user id"`
	Since  moment `query:"since" doc:"Received at this time or later"`
	Until  moment `query:"until" doc:"Received before this time"`
}

func (s *stored) listMessages(ctx context.Context, in *listMessagesInput) (*list[records.Message], error) {
	f := records.MessageFilter{Kind: in.Kind, Type: in.Type, Wamid: in.Wamid, Phone: in.Phone, UserID: in.UserID}
	var errReceived error
	f.Received, errReceived = span(in.Since, in.Until)
	place, errPlace := placeOf(in.Page, f.Order())
	if err := errors.Join(checkTexts(in), errReceived, errPlace); err != nil {
		return nil, err
	}
	rows, err := s.records.Messages(ctx, records.Accounts(s.accounts(ctx)), f, place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, rows, func(last records.Message) any { return f.Place(&last) }), nil
}

type listFlowEventsInput struct {
	Page
	MetaFlowID string `query:"metaFlowId" maxLength:"255" doc:"The flow's id at Meta"`
	Event      string `query:"event" maxLength:"64" doc:"FLOW_STATUS_CHANGE, CLIENT_ERROR_RATE, ENDPOINT_ERROR_RATE, ENDPOINT_LATENCY, ENDPOINT_AVAILABILITY, FLOW_VERSION_EXPIRY_WARNING"`
	NewStatus  string `query:"newStatus" maxLength:"64" doc:"PUBLISHED, THROTTLED, BLOCKED, DEPRECATED"`
	AlertState string `query:"alertState" maxLength:"64" doc:"ACTIVATED, DEACTIVATED"`
	Since      moment `query:"since" doc:"Of this time or later"`
	Until      moment `query:"until" doc:"Of before this time"`
}

func (s *stored) listFlowEvents(ctx context.Context, in *listFlowEventsInput) (*list[records.FlowEvent], error) {
	f := records.FlowEventFilter{MetaFlowID: in.MetaFlowID, Event: in.Event, NewStatus: in.NewStatus, AlertState: in.AlertState}
	var errAt error
	f.At, errAt = span(in.Since, in.Until)
	place, errPlace := placeOf(in.Page, f.Order())
	if err := errors.Join(checkTexts(in), errAt, errPlace); err != nil {
		return nil, err
	}
	rows, err := s.records.FlowEvents(ctx, records.Accounts(s.accounts(ctx)), f, place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, rows, func(last records.FlowEvent) any { return f.Place(&last) }), nil
}
