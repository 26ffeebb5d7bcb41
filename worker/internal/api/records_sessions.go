package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// stored is the operations on what was collected.
type stored struct {
	*api
	records *records.Records
}

func registerRecords(a *api) {
	s := &stored{a, records.New(a.Pool)}
	registerSessions(s)
	registerResponses(s)
	registerWebhookEvents(s)
	registerMessages(s)
}

func readOperation(id, path, tag, summary, text string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{tag}, Summary: summary, Description: text}
}

func registerSessions(s *stored) {
	const tag = "Sessions"
	register(s.api, readOperation("listSessions", "/api/sessions", tag, "List sessions",
		"The latest first. A stateless request, one without a token of its own, has no session."), Read, s.listSessions)
	register(s.api, readOperation("getSession", "/api/sessions/{id}", tag, "Get a session",
		"With the answers of its latest completion."), Read, s.getSession)
	register(s.api, readOperation("getSessionSteps", "/api/sessions/{id}/steps", tag, "Get a session's timeline",
		"One user's whole way: every step in order, errors that the phone reported, the answers received, and their deliveries."), Read, s.getSessionSteps)
}

type listSessionsInput struct {
	Page
	Flow        string `query:"flow" doc:"Name or id of the flow"`
	Status      string `query:"status" enum:"active,completed"`
	Token       string `query:"token" doc:"The flow token itself"`
	UserID      string `query:"userId" doc:"The user that a signed flow token names"`
	Phone       string `query:"phone" doc:"Sessions that an answer came of from this number, such as 16505551234, or of the user who has it now"`
	Since       moment `query:"since" doc:"Started at this time or later"`
	Until       moment `query:"until" doc:"Started before this time"`
	ActiveSince moment `query:"activeSince" doc:"Last active at this time or later"`
	ActiveUntil moment `query:"activeUntil" doc:"Last active before this time"`
	Sort        string `query:"sort" enum:"startedAt,lastActivityAt" default:"startedAt" doc:"The order, the latest first"`
}

func (s *stored) listSessions(ctx context.Context, in *listSessionsInput) (*list[records.Session], error) {
	f := records.SessionFilter{Flow: in.Flow, Status: in.Status, Token: in.Token, UserID: in.UserID, Phone: in.Phone,
		ByActivity: in.Sort == "lastActivityAt"}
	var errStarted, errActive error
	f.Started, errStarted = span(in.Since, in.Until)
	f.Activity, errActive = span(in.ActiveSince, in.ActiveUntil)
	place, errPlace := placeOf(in.Page, f.Order())
	if err := errors.Join(checkTexts(in), errStarted, errActive, errPlace); err != nil {
		return nil, err
	}
	rows, err := s.records.Sessions(ctx, records.Accounts(s.accounts(ctx)), f, place, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, rows, func(last records.Session) any { return f.Place(&last) }), nil
}

func (s *stored) getSession(ctx context.Context, in *recordPath) (*answer[records.Session], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	session, err := s.records.Session(ctx, records.Accounts(s.accounts(ctx)), id)
	if err != nil {
		return nil, missing(err, "session", in.ID)
	}
	return ok(*session), nil
}

func (s *stored) getSessionSteps(ctx context.Context, in *recordPath) (*answer[records.Timeline], error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	timeline, err := s.records.Timeline(ctx, records.Accounts(s.accounts(ctx)), id)
	if err != nil {
		return nil, missing(err, "session", in.ID)
	}
	return ok(*timeline), nil
}

// missing says which record is not there, or not for this token: the answer is
// the same.
func missing(err error, what, id string) error {
	if errors.Is(err, records.ErrNotFound) {
		return notFound("There is no %s %s", what, id)
	}
	return err
}
