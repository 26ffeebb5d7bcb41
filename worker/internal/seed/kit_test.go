package seed

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a database and what is asked of it.
type site struct {
	*testing.T
	pool *pgxpool.Pool
}

// example is a flow that runs.
func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../examples/csat-feedback/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// oldSite is a database of whatsapp-flows-server with some users.
func oldSite(t *testing.T, users int) *site {
	t.Helper()
	t.Parallel()
	return &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, example(t), users))}
}

// variedSite has everything that its tables may hold.
func variedSite(t *testing.T) *site {
	t.Helper()
	s := oldSite(t, 2)
	s.exec(variety)
	return s
}

// variety is every status, columns that are null, JSON of every kind, what came
// twice, and what our engine refuses. The two users answered csat-feedback.
const variety = `
	INSERT INTO flows (id, name, version, flow_json, description, status, meta_flow_id, template_name, created_at, updated_at) VALUES
		('f10f0000-0000-4000-8000-000000000002', 'old-survey', '3.1', '{"version":"3.1","screens":[]}', 'Before', 'deprecated', '555', 'survey_tpl', '2025-06-01 08:00', '2025-07-01 08:00'),
		('f10f0000-0000-4000-8000-000000000003', 'Pesquisa de satisfação', '7.2', '["no object"]', NULL, 'inactive', NULL, NULL, NULL, NULL),
		('f10f0000-0000-4000-8000-000000000004', 'null', '7.2', 'null', NULL, 'active', NULL, NULL, '2026-01-01 08:00', 'infinity');
	INSERT INTO flow_sessions (id, flow_id, flow_token, phone_number, current_screen, session_data, status, started_at, completed_at, last_activity_at, error_message) VALUES
		('5e550000-0000-4000-8000-000000000101', 'f10f0000-0000-4000-8000-000000000002', 'open', NULL, 'RATING', '{"a":1}', 'active', '2026-02-02 10:00', NULL, '2026-02-02 10:05', NULL),
		('5e550000-0000-4000-8000-000000000102', 'f10f0000-0000-4000-8000-000000000002', 'late', '16505559999', NULL, NULL, 'expired', '2026-02-02 10:00', NULL, '2026-02-03 10:05', NULL),
		('5e550000-0000-4000-8000-000000000103', 'f10f0000-0000-4000-8000-000000000003', 'failed', NULL, 'A', '[1]', 'error', '2026-02-02 10:00', NULL, NULL, 'no such screen'),
		('5e550000-0000-4000-8000-000000000104', 'f10f0000-0000-4000-8000-000000000001', 'unused', '16505550001', 'B', '{"name":"Ada"}', 'completed', '2026-02-02 10:00', '2026-02-02 10:01', '2026-02-02 10:01', NULL),
		('5e550000-0000-4000-8000-000000000105', 'f10f0000-0000-4000-8000-000000000004', 'timeless', NULL, NULL, '{}', 'completed', NULL, NULL, NULL, NULL);
	INSERT INTO flow_responses (id, session_id, flow_id, flow_token, phone_number, response_data, raw_webhook_payload, received_at) VALUES
		-- the first user's message once more
		('a2500000-0000-4000-8000-000000000101', '5e550000-0000-4000-8000-000000000001', 'f10f0000-0000-4000-8000-000000000001', 'token-1', '16505550001',
			'{"flow_token":"token-1","score":"9","comment":"Answer 1"}', (SELECT raw_webhook_payload FROM flow_responses WHERE id = 'a2500000-0000-4000-8000-000000000001'), '2026-02-05 10:00'),
		-- of everybody's token
		('a2500000-0000-4000-8000-000000000102', '5e550000-0000-4000-8000-000000000104', 'f10f0000-0000-4000-8000-000000000001', 'unused', '16505550001',
			'{"flow_token":"unused","score":"1"}', '{"id":"wamid.unused","from":"16505550001","timestamp":"1770026460"}', '2026-02-02 10:01:01'),
		-- a message that was not kept, and no time
		('a2500000-0000-4000-8000-000000000103', '5e550000-0000-4000-8000-000000000105', 'f10f0000-0000-4000-8000-000000000004', 'timeless', NULL,
			'{"flow_token":"timeless","ok":true,"n":1.50}', NULL, NULL),
		-- no objects
		('a2500000-0000-4000-8000-000000000104', '5e550000-0000-4000-8000-000000000101', 'f10f0000-0000-4000-8000-000000000002', 'open', '', '["x", {"y": null}]', '[]', '2026-02-02 11:00'),
		('a2500000-0000-4000-8000-000000000105', '5e550000-0000-4000-8000-000000000101', 'f10f0000-0000-4000-8000-000000000002', 'open', NULL, 'null', '"text"', '2026-02-02 12:00'),
		('a2500000-0000-4000-8000-000000000106', '5e550000-0000-4000-8000-000000000101', 'f10f0000-0000-4000-8000-000000000002', 'open', NULL,
			'{"emoji":"\ud83d\ude00 é","flow_token":"open"}', '{"id":7,"from":["?"],"timestamp":"soon","from_user_id":"US.BOB"}', '2026-02-02 13:00');
	INSERT INTO webhook_events (id, event_type, raw_payload, signature_valid, processed, callback_sent, callback_error, received_at) VALUES
		-- the answer of the timeless session, which has no message there
		('e7e00000-0000-4000-8000-000000000101', 'messages', ` + answerOf + `'wamid.timeless', '16505550005', '{"n": 1.5, "ok": true, "flow_token": "timeless"}') , true, true, false, 'timeout of 5000ms exceeded', '2026-02-02 10:02'),
		-- an answer with a token nobody knew
		('e7e00000-0000-4000-8000-000000000102', 'messages', ` + answerOf + `'wamid.lost', '16505550006', '{"flow_token":"elsewhere","score":"3"}'), true, false, false, NULL, '2026-02-02 10:03'),
		-- the same again
		('e7e00000-0000-4000-8000-000000000103', 'messages', ` + answerOf + `'wamid.lost', '16505550006', '{"flow_token":"elsewhere","score":"3"}'), true, false, false, NULL, '2026-02-02 10:04'),
		-- forged
		('e7e00000-0000-4000-8000-000000000104', 'messages', ` + answerOf + `'wamid.forged', '16505550007', '{"flow_token":"token-2"}'), false, false, false, NULL, '2026-02-02 10:05'),
		('e7e00000-0000-4000-8000-000000000105', 'messages', '[]', NULL, NULL, NULL, NULL, '2026-02-02 10:06'),
		-- statuses, a health event, nothing at all, and no time
		('e7e00000-0000-4000-8000-000000000106', 'messages', '{"object":"whatsapp_business_account","entry":[{"id":"300","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"100"},
			"statuses":[{"id":"wamid.sent.1","status":"read","timestamp":"1770026460","recipient_id":"16505550001"}]}}]}]}', true, true, false, NULL, '2026-02-02 10:07'),
		('e7e00000-0000-4000-8000-000000000107', 'messages', '{"object":"whatsapp_business_account","entry":[{"id":"300","time":1770026460,"changes":[{"field":"flows",
			"value":{"event":"FLOW_STATUS_CHANGE","flow_id":"555","old_status":"DRAFT","new_status":"PUBLISHED"}}]}]}', true, true, false, NULL, '2026-02-02 10:08'),
		('e7e00000-0000-4000-8000-000000000108', 'messages', '{}', true, NULL, NULL, NULL, NULL);`

const answerOf = `pg_temp.answer(`

// answerFunction makes a webhook that brings an answer.
const answerFunction = `
	CREATE FUNCTION pg_temp.answer(wamid text, phone text, response text) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '300', 'changes', jsonb_build_array(
			jsonb_build_object('field', 'messages', 'value', jsonb_build_object('metadata', jsonb_build_object('phone_number_id', '100'),
				'contacts', jsonb_build_array(jsonb_build_object('wa_id', phone)),
				'messages', jsonb_build_array(jsonb_build_object('id', wamid, 'from', phone, 'timestamp', '1770026460', 'type', 'interactive',
					'interactive', jsonb_build_object('type', 'nfm_reply', 'nfm_reply', jsonb_build_object('name', 'flow', 'response_json', response))))))))))
	$$;`

// exec runs statements, in which pg_temp.answer makes webhooks.
func (s *site) exec(sql string) {
	s.Helper()
	conn, err := s.pool.Acquire(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(s.Context(), answerFunction+sql+"; DROP FUNCTION pg_temp.answer"); err != nil {
		s.Fatal(err)
	}
}

// one reads a single value as text; "<null>" for null.
func (s *site) one(sql string, args ...any) string {
	s.Helper()
	var v *string
	if err := s.pool.QueryRow(s.Context(), "SELECT ("+sql+")::text", args...).Scan(&v); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	if v == nil {
		return "<null>"
	}
	return *v
}

func (s *site) expect(want, sql string, args ...any) {
	s.Helper()
	if got := s.one(sql, args...); got != want {
		s.Errorf("%s\n got %q\nwant %q", sql, got, want)
	}
}

// imports runs an import that must succeed.
func (s *site) imports(change func(*Config)) *Report {
	s.Helper()
	c := Config{Pool: s.pool, Account: "default", TimeZone: "UTC"}
	if change != nil {
		change(&c)
	}
	r, err := Run(s.Context(), c)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// counts are the numbers of a report.
func counts(r *Report) string {
	type line struct {
		Name                           string
		Found, Taken, There, NotMapped int
	}
	var all []line
	for _, t := range r.Tables {
		all = append(all, line{t.Name, t.Found, t.TakenOver, t.AlreadyThere, t.NotMapped})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
