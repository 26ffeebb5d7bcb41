package seed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
)

// seedSession is a row of flow_sessions.
type seedSession struct {
	id, flow                 uuid.UUID
	token                    string
	phone, screen, data      *string
	status                   string
	started, active          *time.Time
	completed                *time.Time
	failed                   bool    // it has an error message
	answer                   *string // of its latest response
	account, name, tokenHash string  // here
	flowHere                 uuid.UUID
}

func (s *seedSession) key() uuid.UUID { return s.id }

func (i *importer) importSessions(ctx context.Context) error {
	s := i.source
	const t = "flow_sessions"
	answer := "NULL::text"
	if s.has("flow_responses") && s.columns["flow_responses"]["session_id"] != "" {
		answer = "(SELECT r.response_data::text FROM " + s.name("flow_responses") + " r WHERE r.session_id = t.id" + s.latest() + " LIMIT 1)"
	}
	return move(ctx, i, table[*seedSession]{
		name: t,
		query: "SELECT t.id::uuid, t.flow_id::uuid, t.flow_token::text, " + strings.Join([]string{
			s.text(t, "phone_number"), s.text(t, "current_screen"), s.text(t, "session_data"), "coalesce(" + s.text(t, "status") + ", 'active')",
			s.at(t, "started_at", "last_activity_at", "completed_at", "updated_at"), s.at(t, "last_activity_at", "completed_at", "started_at", "updated_at"),
			s.at(t, "completed_at"), s.text(t, "error_message") + " IS NOT NULL", answer}, ", ") +
			" FROM " + s.name(t) + " t ORDER BY 8 NULLS FIRST, t.id",
		scan: func(row pgx.CollectableRow) (*seedSession, error) {
			r := new(seedSession)
			var flow pgtype.UUID
			err := row.Scan((*[16]byte)(&r.id), &flow, &r.token, &r.phone, &r.screen, &r.data, &r.status, &r.started, &r.active, &r.completed, &r.failed, &r.answer)
			r.flow = flow.Bytes
			return r, err
		},
		refuse: i.refuseSession,
		note:   (*seedSession).note,
		store:  i.storeSessions,
		exist: func(ctx context.Context, rows []*seedSession) (map[uuid.UUID]bool, error) {
			flows, hashes := sessionKeys(rows)
			return i.exists(ctx, `SELECT k.id FROM unnest($2::uuid[], $3::text[], $4::text[]) AS k(id, flow, hash)
				WHERE EXISTS (SELECT FROM flow_sessions s WHERE s.account = $1 AND s.flow = k.flow AND s.token_hash = k.hash)
				OR EXISTS (SELECT FROM flow_sessions s WHERE s.id = k.id)`, i.Account, uuids(keys(rows)), flows, hashes)
		},
		stored: func(ctx context.Context, rows []*seedSession) error {
			_, hashes := sessionKeys(rows)
			return i.past.Join(ctx, i.Pool, hashes)
		},
		again: i.refreshSessions,
	})
}

// latest orders responses from the newest one on.
func (s *source) latest() string {
	if s.columns["flow_responses"]["received_at"] == "" {
		return " ORDER BY r.id"
	}
	return " ORDER BY r.received_at DESC NULLS LAST, r.id"
}

// refuseSession also completes the session with what it is here.
func (i *importer) refuseSession(s *seedSession) string {
	f, known := i.flows[s.flow]
	s.account, s.name, s.flowHere, s.tokenHash = i.Account, f.name, f.id, ingest.TokenHash(s.token)
	switch {
	case !ingest.Usable(s.token):
		return "its flow token is that of everybody, so that it is no one user's: its answers were taken over without a session"
	case !known:
		return "its flow is not here"
	}
	return ""
}

// note is what of a session has no place here.
func (s *seedSession) note() string {
	var all []string
	if s.status != "active" && s.status != "completed" {
		all = append(all, "its status "+cutStatus(s.status)+" is active here, where no session expires or fails")
	}
	if s.failed {
		all = append(all, "its error message has no place here")
	}
	if s.started == nil {
		all = append(all, "it has no time: it got that of the import")
	}
	return strings.Join(all, "; ")
}

// cutStatus is one of the seed's two others.
func cutStatus(s string) string {
	if s == "expired" || s == "error" {
		return s
	}
	return "(unknown)"
}

// answers is what the session's latest completion sent, as far as the seed knows:
// its latest response, else what it had collected.
func (s *seedSession) answers() pgtype.Text {
	if s.status == "completed" && s.answer != nil && isObject(*s.answer) {
		return pgtype.Text{String: *s.answer, Valid: true}
	}
	if s.data != nil && isObject(*s.data) && *s.data != "{}" {
		return pgtype.Text{String: *s.data, Valid: true}
	}
	return pgtype.Text{}
}

// isObject is for the text of a jsonb.
func isObject(jsonb string) bool { return strings.HasPrefix(jsonb, "{") }

func sessionKeys(rows []*seedSession) (flows, hashes []string) {
	for _, r := range rows {
		flows, hashes = append(flows, r.name), append(hashes, r.tokenHash)
	}
	return flows, hashes
}

// Version 0 is before any step of an edge, whose first is 1: what comes of the
// session here goes over it.
const insertSessions = `
	INSERT INTO flow_sessions (id, account, flow, flow_id, token_hash, flow_token, version, attempt, status, current_screen, answers,
		incomplete, started_at, last_activity_at, completed_at)
	SELECT id, $1, flow, flow_id, token_hash, flow_token, 0, 1, status, current_screen, answers::json, false, started_at, last_activity_at, completed_at
	FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[],
		$12::timestamptz[]) WITH ORDINALITY AS n(id, flow, flow_id, token_hash, flow_token, status, current_screen, answers, started_at, last_activity_at,
		completed_at, ord)
	ORDER BY flow, token_hash
	ON CONFLICT DO NOTHING
	RETURNING id`

func (i *importer) storeSessions(ctx context.Context, tx pgx.Tx, rows []*seedSession) ([]outcome, error) {
	c := columnsOfSessions(rows)
	inserted, err := tx.Query(ctx, insertSessions, append([]any{i.Account}, c...)...)
	if err != nil {
		return nil, fmt.Errorf("storing sessions: %w", err)
	}
	fresh := make(map[uuid.UUID]bool)
	var id [16]byte
	if _, err := pgx.ForEachRow(inserted, []any{&id}, func() error { fresh[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("storing sessions: %w", err)
	}
	all := make([]outcome, len(rows))
	for n, r := range rows {
		all[n] = outcome{id: r.id, result: takenOver, target: r.id, note: r.note()}
		if fresh[r.id] {
			continue
		}
		// The edge has a session under the token: a later one.
		all[n].result, all[n].note = wasThere, "a session under its flow token was here, and stays as it is"
		err := tx.QueryRow(ctx, `SELECT id FROM flow_sessions WHERE id = $4 OR account = $1 AND flow = $2 AND token_hash = $3 ORDER BY id = $4 DESC LIMIT 1`,
			i.Account, r.name, r.tokenHash, r.id).Scan((*[16]byte)(&all[n].target))
		if err != nil {
			return nil, fmt.Errorf("looking for the session that is here: %w", err)
		}
	}
	return all, nil
}

// refreshSessions follows sessions that went on after an import, unless they go
// on here already. Answers are joined once more, for an import that was killed
// between the commit of sessions and that.
func (i *importer) refreshSessions(ctx context.Context, rows []*seedSession, became map[uuid.UUID]uuid.UUID) error {
	var moved []*seedSession
	var hashes []string
	for _, r := range rows {
		if i.refuseSession(r) != "" {
			continue
		}
		hashes = append(hashes, r.tokenHash)
		if r.active != nil && became[r.id] == r.id {
			moved = append(moved, r)
		}
	}
	if err := i.past.Join(ctx, i.Pool, hashes); err != nil {
		return err
	}
	if len(moved) == 0 {
		return nil
	}
	_, err := i.Pool.Exec(ctx, `
		UPDATE flow_sessions s SET status = n.status, current_screen = n.current_screen, answers = n.answers::json,
			last_activity_at = n.last_activity_at, completed_at = n.completed_at
		FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[],
			$12::timestamptz[]) AS n(id, flow, flow_id, token_hash, flow_token, status, current_screen, answers, started_at, last_activity_at, completed_at)
		WHERE s.id = n.id AND s.account = $1 AND s.version = 0 AND s.last_activity_at < n.last_activity_at`,
		append([]any{i.Account}, columnsOfSessions(moved)...)...)
	if err != nil {
		return fmt.Errorf("bringing sessions up to date: %w", err)
	}
	return nil
}

func columnsOfSessions(rows []*seedSession) []any {
	var ids, flowIDs []pgtype.UUID
	var flows, hashes, tokens, statuses []string
	var screens, answers []pgtype.Text
	var started, active []time.Time
	var completed []pgtype.Timestamptz
	now := time.Now()
	for _, r := range rows {
		ids = append(ids, pgtype.UUID{Bytes: r.id, Valid: true})
		flowIDs = append(flowIDs, pgtype.UUID{Bytes: r.flowHere, Valid: true})
		flows, hashes, tokens = append(flows, r.name), append(hashes, r.tokenHash), append(tokens, r.token)
		status, ended := "active", pgtype.Timestamptz{}
		if r.status == "completed" {
			status, ended = "completed", pgtype.Timestamptz{Time: or(r.completed, or(r.active, now)), Valid: true}
		}
		statuses, completed = append(statuses, status), append(completed, ended)
		screens = append(screens, optional(r.screen))
		answers = append(answers, r.answers())
		started, active = append(started, or(r.started, now)), append(active, or(r.active, now))
	}
	return []any{ids, flows, flowIDs, hashes, tokens, statuses, screens, answers, started, active, completed}
}

func optional(s *string) pgtype.Text {
	if s == nil {
		return pgtype.Text{}
	}
	return pgtype.Text{String: *s, Valid: true}
}

func or(at *time.Time, otherwise time.Time) time.Time {
	if at == nil {
		return otherwise
	}
	return *at
}
