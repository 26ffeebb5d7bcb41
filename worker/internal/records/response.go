package records

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Response is what a finished flow sent.
type Response struct {
	ID             uuid.UUID       `json:"id" format:"uuid"`
	Account        string          `json:"account"`
	Source         string          `json:"source" enum:"nfm_reply,endpoint" doc:"nfm_reply: a message brought it; endpoint: the flow ended without one"`
	Flow           *string         `json:"flow" doc:"Name of the flow; null when nothing tells"`
	FlowID         *uuid.UUID      `json:"flowId" format:"uuid"`
	FlowVersion    *int            `json:"flowVersion" doc:"The version that the user saw: of the session's definition, else the one of that time"`
	SessionID      *uuid.UUID      `json:"sessionId" format:"uuid"`
	Attempt        *int            `json:"attempt"`
	FlowToken      *string         `json:"flowToken"`
	PhoneNumber    *string         `json:"phoneNumber" doc:"Null for a user without a number: see userId"`
	UserID         *string         `json:"userId" doc:"Business-scoped user id, or the user of a signed flow token"`
	PhoneNumberID  *string         `json:"phoneNumberId" doc:"The business's number that received it"`
	Wamid          *string         `json:"wamid"`
	ContextID      *string         `json:"contextId" doc:"wamid of the flow message that was answered"`
	ResponseData   json.RawMessage `json:"responseData" doc:"The answers as they came; null when what came is no JSON"`
	Raw            *string         `json:"raw" doc:"What came, when it is no JSON object"`
	Titles         Titles          `json:"titles" doc:"By key of responseData, what the user read on the options chosen"`
	Incomplete     bool            `json:"incomplete" doc:"Answers are known to be missing"`
	WebhookEventID *uuid.UUID      `json:"webhookEventId" format:"uuid"`
	AnsweredAt     Timestamp       `json:"answeredAt" format:"date-time" doc:"WhatsApp's time of the message, else the edge's"`
	ReceivedAt     Timestamp       `json:"receivedAt" format:"date-time" doc:"When it was stored"`

	definition *string // of the session
}

// Titles are, by key of an answer, the title of the option that was chosen, or a
// list of titles where several can be. Only keys of which the flow holds the
// options are in it; options that an endpoint supplies it does not.
type Titles map[string]any

// ResponseFilter narrows a list of responses; what is zero does not.
type ResponseFilter struct {
	Flow       string // name or id
	Token      string // the flow token itself
	Phone      string
	UserID     string
	Session    uuid.UUID
	Wamid      string
	Source     string // nfm_reply or endpoint
	Incomplete *bool
	Answered   Span
	Received   Span
	// ByReceived orders by the time of storing instead of that of the answer.
	ByReceived bool
}

const responseColumns = `r.id, r.account, r.source, r.flow, r.flow_id, r.session_id, r.attempt, r.flow_token, r.phone_number, r.user_id,
	r.phone_number_id, r.wamid, r.context_id, r.response_data, r.response_raw, r.incomplete, r.webhook_event_id, r.answered_at, r.received_at,
	s.definition`

func (r *Response) scan(row pgx.Rows) error {
	var raw []byte
	err := row.Scan(&r.ID, &r.Account, &r.Source, &r.Flow, &r.FlowID, &r.SessionID, &r.Attempt, &r.FlowToken, &r.PhoneNumber, &r.UserID,
		&r.PhoneNumberID, &r.Wamid, &r.ContextID, rawJSON(&r.ResponseData), &raw, &r.Incomplete, &r.WebhookEventID, &r.AnsweredAt, &r.ReceivedAt,
		&r.definition)
	if r.Raw = nil; raw != nil {
		text := legible(raw)
		r.Raw = &text
	}
	return err
}

// Order names the order of the list.
func (f *ResponseFilter) Order() string {
	if f.ByReceived {
		return "receivedAt"
	}
	return "answeredAt"
}

func (f *ResponseFilter) column() string {
	if f.ByReceived {
		return "received_at"
	}
	return "answered_at"
}

// Place is where a page ends that ends with r.
func (f *ResponseFilter) Place(r *Response) Place {
	if f.ByReceived {
		return Place{Order: f.Order(), At: r.ReceivedAt.Time, ID: r.ID}
	}
	return Place{Order: f.Order(), At: r.AnsweredAt.Time, ID: r.ID}
}

// Responses lists at most limit responses, the latest first, behind a place.
func (r *Records) Responses(ctx context.Context, accounts Accounts, f ResponseFilter, from *Place, limit int) ([]Response, error) {
	sql, args := f.sql(accounts, from, limit)
	return r.responses(ctx, sql, args)
}

// Response is one response and its deliveries; ErrNotFound when there is none.
func (r *Records) Response(ctx context.Context, accounts Accounts, id uuid.UUID) (*ResponseWay, error) {
	q := &query{}
	q.and("r.id = %s", id)
	q.allowed("r.account", accounts)
	list, err := r.responses(ctx, "SELECT "+responseColumns+" FROM flow_responses r LEFT JOIN flow_sessions s ON s.id = r.session_id WHERE "+q.conditions(), q.args)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	ways, err := r.ways(ctx, list[0].Account, list)
	if err != nil {
		return nil, err
	}
	return &ways[0], nil
}

func (r *Records) responses(ctx context.Context, sql string, args []any) ([]Response, error) {
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading responses: %w", err)
	}
	defer rows.Close()
	var list []Response
	for rows.Next() {
		list = append(list, Response{})
		if err := list[len(list)-1].scan(rows); err != nil {
			return nil, fmt.Errorf("reading responses: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading responses: %w", err)
	}
	for i := range list {
		if err := r.titles.addTo(ctx, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (f *ResponseFilter) sql(accounts Accounts, from *Place, limit int) (string, []any) {
	q := &query{account: "a.account"}
	known := q.accountsOf(accounts, "flow_responses")
	q.and("t.account = a.account")
	f.narrow(q, "t")
	q.after("t."+f.column(), "t.id", from)
	return fmt.Sprintf(`
		SELECT %s FROM (
			SELECT r.* FROM (%s) a CROSS JOIN LATERAL (
				SELECT * FROM flow_responses t WHERE %s ORDER BY t.%s DESC, t.id DESC LIMIT %d) r
			ORDER BY r.%[4]s DESC, r.id DESC LIMIT %[5]d) r
		LEFT JOIN flow_sessions s ON s.id = r.session_id
		ORDER BY r.%[4]s DESC, r.id DESC`,
		responseColumns, known, q.conditions(), f.column(), limit), q.args
}

// narrow adds the filter's conditions on the rows of table.
func (f *ResponseFilter) narrow(q *query, table string) {
	q.flow(table, f.Flow)
	if f.Token != "" {
		hash := q.arg(keyspace.TokenHash(f.Token))
		q.and(table + ".token_hash = " + hash)
	}
	if f.Phone != "" {
		// What came from the number, and what its owner sent without one.
		phone := q.arg(f.Phone)
		q.and("(" + table + ".phone_number = " + phone + " OR " + table + ".user_id = " + q.userOfPhone(phone) + ")")
	}
	q.andText(table+".user_id = %s", f.UserID)
	if f.Session != uuid.Nil {
		q.and(table+".session_id = %s", f.Session)
	}
	q.andText(table+".wamid = %s", f.Wamid)
	q.andText(table+".source = %s", f.Source)
	if f.Incomplete != nil {
		q.and(table+".incomplete = %s", *f.Incomplete)
	}
	q.within(table+".answered_at", f.Answered)
	q.within(table+".received_at", f.Received)
}
