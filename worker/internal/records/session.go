package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Session is what one user did in one flow under one flow token.
type Session struct {
	ID             uuid.UUID       `json:"id" format:"uuid"`
	Account        string          `json:"account"`
	Flow           string          `json:"flow" doc:"Name of the flow in the endpoint's path"`
	FlowID         *uuid.UUID      `json:"flowId" format:"uuid" doc:"Null when no flow of that name was stored here"`
	FlowToken      string          `json:"flowToken"`
	UserID         *string         `json:"userId" doc:"The user a signed flow token names"`
	Definition     *string         `json:"definition" doc:"Hash of the definition the session is on; null when the edge had none"`
	FlowVersion    *int            `json:"flowVersion" doc:"Number of that definition among the flow's versions; null when it is none of them"`
	Version        int64           `json:"version" doc:"Number of the latest step"`
	Attempt        int             `json:"attempt" doc:"1 for the first; a flow opened again begins another"`
	Status         string          `json:"status" enum:"active,completed"`
	CurrentScreen  *string         `json:"currentScreen"`
	Answers        json.RawMessage `json:"answers" doc:"What the latest completion sent; null before one"`
	Incomplete     bool            `json:"incomplete" doc:"Answers are known to be missing: the session began on a screen that is no entry"`
	StartedAt      Timestamp       `json:"startedAt" doc:"Beginning of the latest attempt"`
	LastActivityAt Timestamp       `json:"lastActivityAt"`
	CompletedAt    *Timestamp      `json:"completedAt"`
}

// SessionFilter narrows a list of sessions; what is zero does not.
type SessionFilter struct {
	Flow     string // name or id
	Status   string // active or completed
	Token    string // the flow token itself
	UserID   string
	Phone    string
	Started  Span
	Activity Span
	// ByActivity orders by the last activity instead of the start.
	ByActivity bool
}

var sessionColumns = "s.id, s.account, s.flow, s.flow_id, s.flow_token, s.user_id, s.definition, " + versionOf("s") + `,
	s.version, s.attempt, s.status, s.current_screen, s.answers, s.incomplete, s.started_at, s.last_activity_at, s.completed_at`

func scanSession(row pgx.CollectableRow) (s Session, err error) {
	err = row.Scan(&s.ID, &s.Account, &s.Flow, &s.FlowID, &s.FlowToken, &s.UserID, &s.Definition, &s.FlowVersion,
		&s.Version, &s.Attempt, &s.Status, &s.CurrentScreen, rawJSON(&s.Answers), &s.Incomplete, &s.StartedAt, &s.LastActivityAt, &s.CompletedAt)
	return s, err
}

// Order names the order of the list.
func (f SessionFilter) Order() string {
	if f.ByActivity {
		return "lastActivityAt"
	}
	return "startedAt"
}

// Place is where a page ends that ends with s.
func (f SessionFilter) Place(s *Session) Place {
	if f.ByActivity {
		return Place{Order: f.Order(), At: s.LastActivityAt.Time, ID: s.ID}
	}
	return Place{Order: f.Order(), At: s.StartedAt.Time, ID: s.ID}
}

// Sessions lists at most limit sessions, the latest first, behind a place.
func (r *Records) Sessions(ctx context.Context, accounts Accounts, f SessionFilter, from *Place, limit int) ([]Session, error) {
	sql, args := f.sql(accounts, from, limit)
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading sessions: %w", err)
	}
	sessions, err := pgx.CollectRows(rows, scanSession)
	if err != nil {
		return nil, fmt.Errorf("reading sessions: %w", err)
	}
	return sessions, nil
}

func (f SessionFilter) sql(accounts Accounts, from *Place, limit int) (string, []any) {
	column := "started_at"
	if f.ByActivity {
		column = "last_activity_at"
	}
	q := &query{account: "a.account"}
	known := q.accountsOf(accounts, "flow_sessions")
	q.and("t.account = a.account")
	q.flow("t", f.Flow)
	q.andText("t.status = %s", f.Status)
	if f.Token != "" {
		q.and("t.token_hash = %s", keyspace.TokenHash(f.Token))
	}
	q.andText("t.user_id = %s", f.UserID)
	if f.Phone != "" {
		phone := q.arg(f.Phone)
		q.and(`t.id = ANY (ARRAY(
			SELECT r.session_id FROM flow_responses r WHERE r.account = a.account AND r.phone_number = ` + phone + ` AND r.session_id IS NOT NULL
			UNION SELECT u.id FROM flow_sessions u WHERE u.account = a.account AND u.user_id IN (` + phone + `, ` + q.userOfPhone(phone) + `)))`)
	}
	q.within("t.started_at", f.Started)
	q.within("t.last_activity_at", f.Activity)
	q.after("t."+column, "t.id", from)
	return fmt.Sprintf(`
		SELECT %s FROM (
			SELECT s.* FROM (%s) a CROSS JOIN LATERAL (
				SELECT * FROM flow_sessions t WHERE %s ORDER BY t.%s DESC, t.id DESC LIMIT %d) s
			ORDER BY s.%[4]s DESC, s.id DESC LIMIT %[5]d) s
		ORDER BY s.%[4]s DESC, s.id DESC`,
		sessionColumns, known, q.conditions(), column, limit), q.args
}

// Session is one session; ErrNotFound when there is none.
func (r *Records) Session(ctx context.Context, accounts Accounts, id uuid.UUID) (*Session, error) {
	q := &query{}
	q.and("s.id = %s", id)
	q.allowed("s.account", accounts)
	rows, err := r.pool.Query(ctx, "SELECT "+sessionColumns+" FROM flow_sessions s WHERE "+q.conditions(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("reading a session: %w", err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, scanSession)
	return found(&s, err, "session")
}

// found turns the absence of a row into ErrNotFound.
func found[T any](row *T, err error, what string) (*T, error) {
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("reading a %s: %w", what, err)
	}
	return row, nil
}
