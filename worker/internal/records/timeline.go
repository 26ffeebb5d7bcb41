package records

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// maxSteps bounds a timeline: a real user takes tens of steps.
	maxSteps = 1000

	// maxResponses bounds the answers of a session that are shown: the latest.
	maxResponses = 200

	// timelineSlack is how far outside a session's known time its steps are
	// looked for: steps may be stored late, and errors of the client come after
	// the last of them. It keeps the search to the partitions of those days.
	timelineSlack = 8 * 24 * time.Hour
)

// Step is one interaction of a user's phone with a flow.
type Step struct {
	ID           uuid.UUID       `json:"id" format:"uuid"`
	At           Timestamp       `json:"at"`
	Kind         string          `json:"kind" enum:"step,client_error" doc:"client_error: the phone refused what the endpoint had answered"`
	Version      *int64          `json:"version" doc:"Running number within the session"`
	Attempt      *int            `json:"attempt"`
	Action       string          `json:"action" doc:"What the phone asked for: INIT, data_exchange, BACK …"`
	From         *string         `json:"from" doc:"Screen the user was on"`
	To           *string         `json:"to" doc:"Screen that was shown"`
	Outcome      string          `json:"outcome" enum:"next,same,back,complete,close,error" doc:"close: SUCCESS without params, so no message follows; error: see errorKey"`
	Answers      json.RawMessage `json:"answers" doc:"What this request posted, by the payload's keys"`
	Params       json.RawMessage `json:"params" doc:"What a completing reply sent"`
	Incomplete   bool            `json:"incomplete"`
	Milliseconds int64           `json:"milliseconds" doc:"Time to the answer at the edge"`
	Definition   *string         `json:"definition"`
	FlowVersion  *int            `json:"flowVersion"`
	ErrorKey     *string         `json:"errorKey" doc:"WhatsApp's name of a client error"`
	ErrorMessage *string         `json:"errorMessage"`
}

// Timeline is one user's whole way through one session.
type Timeline struct {
	Session   Session       `json:"session"`
	Steps     []Step        `json:"steps" doc:"In the order of their time"`
	Truncated bool          `json:"truncated" doc:"There are more steps than these 1000, the earliest"`
	Responses []ResponseWay `json:"responses" doc:"The answers received of this session, and their deliveries"`
}

var stepsOfSession = `
	SELECT t.id, t.at, t.kind, t.version, t.attempt, t.action, t.from_screen, t.to_screen, t.outcome, t.answers, t.params,
		t.incomplete, t.milliseconds, t.definition, ` + versionOf("t") + `, t.error_key, t.error_message
	FROM flow_sessions s JOIN flow_steps t ON t.account = s.account AND t.token_hash = s.token_hash AND t.flow = s.flow
	WHERE s.id = $1 AND t.at >= $2 AND t.at <= $3
	ORDER BY t.at, t.version, t.id LIMIT $4`

// Timeline is every step of a session, the answers received of it and their
// deliveries; ErrNotFound when there is no such session. What was stateless has
// no session and no timeline.
func (r *Records) Timeline(ctx context.Context, accounts Accounts, id uuid.UUID) (*Timeline, error) {
	s, err := r.Session(ctx, accounts, id)
	if err != nil {
		return nil, err
	}
	t := &Timeline{Session: *s}
	from, to := s.begin().Add(-timelineSlack), s.LastActivityAt.Add(timelineSlack)
	rows, err := r.pool.Query(ctx, stepsOfSession, s.ID, from, to, maxSteps+1)
	if err != nil {
		return nil, fmt.Errorf("reading the steps of a session: %w", err)
	}
	if t.Steps, err = pgx.CollectRows(rows, scanStep); err != nil {
		return nil, fmt.Errorf("reading the steps of a session: %w", err)
	}
	if t.Truncated = len(t.Steps) > maxSteps; t.Truncated {
		t.Steps = t.Steps[:maxSteps]
	}
	latest, err := r.Responses(ctx, Accounts{s.Account}, ResponseFilter{Session: s.ID}, nil, maxResponses)
	if err != nil {
		return nil, err
	}
	slices.Reverse(latest) // as the steps
	t.Responses, err = r.ways(ctx, s.Account, latest)
	return t, err
}

// begin is the earliest moment known of a session: a later attempt moves
// StartedAt on, and the id holds the time at which the session was first stored.
func (s *Session) begin() time.Time {
	if s.ID.Version() == 7 {
		seconds, nanoseconds := s.ID.Time().UnixTime()
		if stored := time.Unix(seconds, nanoseconds); stored.Before(s.StartedAt.Time) {
			return stored
		}
	}
	return s.StartedAt.Time
}

func scanStep(row pgx.CollectableRow) (s Step, err error) {
	err = row.Scan(&s.ID, &s.At, &s.Kind, &s.Version, &s.Attempt, &s.Action, &s.From, &s.To, &s.Outcome,
		rawJSON(&s.Answers), rawJSON(&s.Params), &s.Incomplete, &s.Milliseconds, &s.Definition, &s.FlowVersion, &s.ErrorKey, &s.ErrorMessage)
	return s, err
}
