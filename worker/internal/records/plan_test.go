package records

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// Every list is read from the index that has its order, or that finds its few
// rows, so that it takes no longer when there are more of them.
func TestListsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.NewWithConfig(t.Context(), store.Reading(testkit.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, sql := range []string{
		`INSERT INTO flows (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'csat'), ('00000000-0000-7000-8000-000000000002', 'rare')`,
		`INSERT INTO flow_sessions (id, account, flow, flow_id, token_hash, flow_token, user_id, version, attempt, status, started_at, last_activity_at)
			SELECT gen_random_uuid(), CASE WHEN i % 50 = 0 THEN 'shop' ELSE 'default' END, f.name, f.id, i::text, i::text, 'US.' || i % 5000, 1, 1, 'active',
				now() - i * interval '1 minute', now() - i * interval '1 minute'
			FROM generate_series(1, 20000) i JOIN flows f ON f.name = CASE WHEN i % 500 = 7 THEN 'rare' ELSE 'csat' END`,
		`INSERT INTO flow_responses (id, account, source, wamid, session_id, flow, flow_id, token_hash, phone_number, user_id, response_data, answered_at, received_at)
			SELECT gen_random_uuid(), account, 'nfm_reply', 'w' || flow_token, id, flow, flow_id, token_hash, substr(user_id, 4), user_id, '{"a":1}', started_at, started_at
			FROM flow_sessions`,
		`INSERT INTO webhook_events (id, account, received_at, body, problem) SELECT id, account, received_at, 'x', CASE WHEN wamid = 'w7' THEN 'x' END FROM flow_responses`,
		`INSERT INTO contacts (id, account, user_id, phone_number) SELECT gen_random_uuid(), 'default', 'US.' || i, i::text FROM generate_series(1, 4999) i`,
		`INSERT INTO webhook_messages (account, event_id, event_at, position, kind, wamid, contact_id)
			SELECT r.account, r.id, r.received_at, 0, 'message', r.wamid, c.id FROM flow_responses r LEFT JOIN contacts c ON c.user_id = r.user_id`,
		`ANALYZE`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	hour := Span{time.Now().Add(-2 * time.Hour), time.Now().Add(-time.Hour)}
	session := func(f SessionFilter) (string, []any) { return f.sql(nil, nil, 51) }
	response := func(f ResponseFilter) (string, []any) { return f.sql(nil, nil, 51) }
	found := func(f WebhookFilter) (string, []any) { return f.found(nil, nil, 51) }
	during := func(a Accounts, f WebhookFilter) (string, []any) {
		return f.during(a, Span{time.Now().Add(-time.Hour * 9000), time.Now()}, nil, 51)
	}
	const rare = "00000000-0000-7000-8000-000000000002"
	tests := map[string]struct {
		index string
		sql   func() (string, []any)
	}{
		"sessions":                  {"flow_sessions_started", func() (string, []any) { return session(SessionFilter{}) }},
		"sessions of some accounts": {"flow_sessions_started", func() (string, []any) { return SessionFilter{}.sql(Accounts{"shop"}, nil, 51) }},
		"the next page of sessions": {"flow_sessions_started", func() (string, []any) { return SessionFilter{}.sql(nil, &Place{At: hour.Since}, 51) }},
		"sessions by activity":      {"flow_sessions_activity", func() (string, []any) { return session(SessionFilter{ByActivity: true}) }},
		"sessions active then":      {"flow_sessions_activity", func() (string, []any) { return session(SessionFilter{ByActivity: true, Activity: hour}) }},
		"sessions of a flow":        {"flow_sessions_flow", func() (string, []any) { return session(SessionFilter{Flow: "rare"}) }},
		"sessions of a flow's id":   {"flow_sessions_flow_id", func() (string, []any) { return session(SessionFilter{Flow: rare}) }},
		"sessions of a user":        {"flow_sessions_user", func() (string, []any) { return session(SessionFilter{UserID: "US.7"}) }},
		"sessions of a number":      {"flow_responses_phone", func() (string, []any) { return session(SessionFilter{Phone: "7"}) }},
		"the session of a token":    {"flow_sessions_token", func() (string, []any) { return session(SessionFilter{Token: "7"}) }},
		"responses":                 {"flow_responses_answered", func() (string, []any) { return response(ResponseFilter{}) }},
		"responses of then":         {"flow_responses_answered", func() (string, []any) { return response(ResponseFilter{Answered: hour}) }},
		"responses by arrival":      {"flow_responses_received", func() (string, []any) { return response(ResponseFilter{ByReceived: true}) }},
		"responses of a flow":       {"flow_responses_flow", func() (string, []any) { return response(ResponseFilter{Flow: "rare"}) }},
		"responses of a flow's id":  {"flow_responses_flow_id", func() (string, []any) { return response(ResponseFilter{Flow: rare}) }},
		"responses of a user":       {"flow_responses_user", func() (string, []any) { return response(ResponseFilter{UserID: "US.7"}) }},
		"responses of a number":     {"flow_responses_phone", func() (string, []any) { return response(ResponseFilter{Phone: "7"}) }},
		"responses of a session":    {"flow_responses_session", func() (string, []any) { return response(ResponseFilter{Session: uuid.New()}) }},
		"the response of a message": {"flow_responses_wamid", func() (string, []any) { return response(ResponseFilter{Wamid: "w7"}) }},
		"the response of a token":   {"flow_responses_token", func() (string, []any) { return response(ResponseFilter{Token: "7"}) }},
		"webhooks":                  {"webhook_events_default_pkey", func() (string, []any) { return during(nil, WebhookFilter{}) }},
		"webhooks of an account":    {"webhook_events_default_account", func() (string, []any) { return during(Accounts{"shop"}, WebhookFilter{}) }},
		"broken webhooks":           {"webhook_events_default_received_at_id_idx", func() (string, []any) { return during(nil, WebhookFilter{Problem: true}) }},
		"the webhook of a message":  {"webhook_messages_default_account_wamid_idx", func() (string, []any) { return found(WebhookFilter{Wamid: "w7"}) }},
		"webhooks of a person":      {"webhook_messages_default_contact_id_idx", func() (string, []any) { return found(WebhookFilter{UserID: "US.7"}) }},
	}
	for name, test := range tests {
		sql, args := test.sql()
		rows, err := pool.Query(t.Context(), "EXPLAIN "+sql, args...)
		if err != nil {
			t.Fatal(name, err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			plan.WriteString(line + "\n")
		}
		if rows.Err() != nil {
			t.Fatal(name, rows.Err())
		}
		for _, table := range []string{"flow_sessions", "flow_responses", "webhook_events_default", "webhook_messages_default"} {
			if strings.Contains(plan.String(), "Seq Scan on "+table+" ") {
				t.Errorf("%s reads all of %s:\n%s", name, table, plan.String())
			}
		}
		if !strings.Contains(plan.String(), " "+test.index+" ") && !strings.Contains(plan.String(), " "+test.index+"\n") && !strings.Contains(plan.String(), " "+test.index+"_") {
			t.Errorf("%s does not use %s:\n%s", name, test.index, plan.String())
		}
	}
}
