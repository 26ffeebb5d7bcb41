package api

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

func registerResponses(s *stored) {
	const tag = "Responses"
	register(s.api, readOperation("listResponses", "/api/responses", tag, "List responses",
		"What finished flows sent, the latest first. titles tells what the user read on the options chosen."), Read, s.listResponses)
	register(s.api, readOperation("getResponse", "/api/responses/{id}", tag, "Get a response",
		"With its deliveries to callback endpoints."), Read, s.getResponse)
	registerExport(s, tag)
}

// ResponseFilter is what lists and exports of responses can be narrowed by.
type ResponseFilter struct {
	Flow          string `query:"flow" doc:"Name or id of the flow"`
	Token         string `query:"token" doc:"The flow token itself"`
	Phone         string `query:"phone" doc:"What came from this number, such as 16505551234, or from the user who has it now"`
	UserID        string `query:"userId" doc:"Business-scoped user id, or the user of a signed flow token"`
	Session       string `query:"session" format:"uuid" doc:"Id of a session"`
	Wamid         string `query:"wamid" doc:"Id of the message that brought it"`
	Source        string `query:"source" enum:"nfm_reply,endpoint" doc:"nfm_reply: a message brought it; endpoint: the flow ended without one"`
	Incomplete    string `query:"incomplete" enum:"true,false" doc:"Whether answers are known to be missing"`
	Since         moment `query:"since" doc:"Answered at this time or later"`
	Until         moment `query:"until" doc:"Answered before this time"`
	ReceivedSince moment `query:"receivedSince" doc:"Stored at this time or later"`
	ReceivedUntil moment `query:"receivedUntil" doc:"Stored before this time"`
	Sort          string `query:"sort" enum:"answeredAt,receivedAt" default:"answeredAt" doc:"The order"`
}

func (in *ResponseFilter) filter() (records.ResponseFilter, error) {
	f := records.ResponseFilter{Flow: in.Flow, Token: in.Token, Phone: in.Phone, UserID: in.UserID, Wamid: in.Wamid, Source: in.Source,
		ByReceived: in.Sort == "receivedAt"}
	if in.Incomplete != "" {
		incomplete := in.Incomplete == "true"
		f.Incomplete = &incomplete
	}
	var errSession, errAnswered, errReceived error
	if in.Session != "" {
		if f.Session, errSession = uuid.Parse(in.Session); errSession != nil {
			errSession = badRequest("query.session is no id, expected a UUID")
		}
	}
	f.Answered, errAnswered = span(in.Since, in.Until)
	f.Received, errReceived = span(in.ReceivedSince, in.ReceivedUntil)
	return f, errors.Join(checkTexts(in), errSession, errAnswered, errReceived)
}

type listResponsesInput struct {
	Page
	ResponseFilter
}

func (s *stored) listResponses(ctx context.Context, in *listResponsesInput) (*list[records.Response], error) {
	f, err := in.filter()
	place, errPlace := placeOf(in.Page, f.Order())
	if err := errors.Join(err, errPlace); err != nil {
		return nil, err
	}
	rows, err := s.records.Responses(ctx, records.Accounts(s.accounts(ctx)), f, place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, rows, func(last records.Response) any { return f.Place(&last) }), nil
}

func (s *stored) getResponse(ctx context.Context, in *recordPath) (*answer[records.ResponseWay], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	response, err := s.records.Response(ctx, records.Accounts(s.accounts(ctx)), id)
	if err != nil {
		return nil, missing(err, "response", in.ID)
	}
	return ok(*response), nil
}
