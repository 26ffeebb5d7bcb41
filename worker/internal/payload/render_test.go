package payload

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	person  = "01a20978-302d-7d9a-b7bb-000000000001"
	answerA = "01a20978-302d-7d9a-b7bb-000000000002"
	stepA   = "01a20978-302d-7d9a-b7bb-000000000003"
	hookA   = "01a20978-302d-7d9a-b7bb-000000000004"
	alertA  = "01a20978-302d-7d9a-b7bb-000000000005"
	noticeA = "01a20978-302d-7d9a-b7bb-000000000006"
	place   = "01a20978-302d-7d9a-b7bb-000000000007"
	stepB   = "01a20978-302d-7d9a-b7bb-000000000008"
)

// plenty is a budget that nothing here reaches.
const plenty = 1 << 20

var at = time.Date(2026, 11, 23, 12, 0, 0, 5_000_000, time.UTC)

// hookBody is one webhook with two messages and a status, spaces where Meta might
// put some.
const hookBody = `{"object": "whatsapp_business_account", "entry": [{"id":"1","changes":[{"field":"messages","value":{
	"messages":[{"id":"wamid.1", "type":"text","text":{"body":"<hi>"}}, {"id":"wamid.2","type":"text"}],
	"statuses":[{"id":"wamid.3", "status":"failed"}]}}]}]}`

func fill(t *testing.T) *pgxpool.Pool {
	pool := testkit.Database(t)
	for _, sql := range []string{
		`INSERT INTO contacts (id, phone_number, user_id, username, name) VALUES ('` + person + `', '5511', 'BR.1', 'zé', 'José')`,
		`INSERT INTO flow_responses (id, source, flow, flow_token, wamid, context_id, phone_number, user_id, response_data, answered_at)
			VALUES ('` + answerA + `', 'nfm_reply', 'survey', 't-1', 'wamid.9', 'wamid.8', '5511', 'BR.1', '{"score": 9}', '2026-11-23T12:00:00.005Z')`,
		`INSERT INTO flow_sessions (id, flow, token_hash, flow_token, user_id, version, attempt, status, started_at, last_activity_at)
			VALUES (gen_random_uuid(), 'survey', 'h', 't-1', 'BR.1', 1, 1, 'active', now(), now())`,
		`INSERT INTO flow_steps (id, at, kind, flow, definition, token_hash, version, attempt, action, from_screen, to_screen, answers, outcome, milliseconds)
			VALUES ('` + stepA + `', '2026-11-23T12:00:00.005Z', 'step', 'survey', 'd', 'h', 3, 1, 'data_exchange', 'ONE', 'TWO', '{"a": 1}', 'ok', 7)`,
		`INSERT INTO flow_steps (id, at, kind, flow, action, outcome, error_key, error_message)
			VALUES ('` + stepB + `', '2026-11-23T12:00:00.005Z', 'client_error', 'survey', 'error', 'error', 'k', 'm')`,
		`INSERT INTO webhook_events (id, received_at, body) VALUES ('` + hookA + `', '2026-11-23T12:00:00.005Z', convert_to($body$` + hookBody + `$body$, 'UTF8'))`,
		`INSERT INTO webhook_messages (event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at)
			SELECT '` + hookA + `', '2026-11-23T12:00:00.005Z', p, k, y, w, '` + person + `', '77', '2026-11-23T11:59:00Z'
			FROM (VALUES (0, 'message', 'text', 'wamid.1'), (1, 'message', 'text', 'wamid.2'), (2, 'status', 'failed', 'wamid.3')) AS v (p, k, y, w)`,
		`UPDATE webhook_messages SET error_code = 131047, error_title = 'Re-engagement message', billable = false WHERE position = 2`,
		`INSERT INTO flow_events (id, webhook_event_id, received_at, position, at, meta_flow_id, event, old_status, new_status, error_rate, value)
			VALUES ('` + alertA + `', '` + hookA + `', now(), 0, now(), '9', 'FLOW_STATUS_CHANGE', 'DRAFT', 'PUBLISHED', 12.5, '{"x": 1}')`,
		`INSERT INTO callback_endpoints (id, name, url, secrets, timeout_ms, max_attempts) VALUES ('` + place + `', 'shop', 'https://a.example', '{}', 1, 1)`,
		`INSERT INTO endpoint_events (id, endpoint_id, name, kind, reason) VALUES ('` + noticeA + `', '` + place + `', 'shop', 'disabled', 'gone')`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	return pool
}

func TestEveryEventIsToldInOneRoundTrip(t *testing.T) {
	pool := fill(t)
	type subject = Subject
	cases := []struct {
		name    string
		kind    eventtype.Type
		form    Form
		subject subject
		data    string // of the envelope
	}{
		{"an answer", eventtype.FlowCompleted, Typed, subject{ID: uuid.MustParse(answerA)},
			`{"response_id":"` + answerA + `","flow":"survey","flow_id":null,"flow_token":"t-1","phone_number":"5511","user_id":"BR.1",` +
				`"wamid":"wamid.9","context_id":"wamid.8","source":"nfm_reply","incomplete":false,"answered_at":"2026-11-23T12:00:00.005Z",` +
				`"response":{"score": 9},"response_raw":null}`},
		{"a screen", eventtype.FlowScreen, Typed, subject{ID: uuid.MustParse(stepA), At: at},
			`{"step_id":"` + stepA + `","flow":"survey","flow_token":"t-1","user_id":"BR.1","definition":"d","version":3,"attempt":1,` +
				`"action":"data_exchange","from":"ONE","to":"TWO","outcome":"ok","incomplete":false,"answers":{"a": 1},"params":null,` +
				`"milliseconds":7,"error":null,"error_message":null}`},
		{"an error of a flow without a session", eventtype.FlowError, Typed, subject{ID: uuid.MustParse(stepB), At: at},
			`{"step_id":"` + stepB + `","flow":"survey","flow_token":null,"user_id":null,"definition":null,"version":null,"attempt":null,` +
				`"action":"error","from":null,"to":null,"outcome":"error","incomplete":false,"answers":null,"params":null,` +
				`"milliseconds":0,"error":"k","error_message":"m"}`},
		{"a message", eventtype.MessageReceived, Typed, subject{ID: uuid.MustParse(hookA), At: at},
			`{"wamid":"wamid.1","context_id":null,"type":"text","phone_number_id":"77","phone_number":"5511","user_id":"BR.1",` +
				`"username":"zé","name":"José","at":"2026-11-23T11:59:00.000Z","message":{"id":"wamid.1", "type":"text","text":{"body":"<hi>"}}}`},
		{"a status", eventtype.MessageStatus, Typed, subject{ID: uuid.MustParse(hookA), At: at, Position: 2},
			`{"wamid":"wamid.3","status":"failed","phone_number_id":"77","phone_number":"5511","user_id":"BR.1","at":"2026-11-23T11:59:00.000Z",` +
				`"error_code":131047,"error_title":"Re-engagement message","pricing_model":null,"pricing_type":null,"pricing_category":null,` +
				`"billable":false,"callback_data":null,"details":{"id":"wamid.3", "status":"failed"}}`},
		{"a flow's status", eventtype.FlowStatusChanged, Typed, subject{ID: uuid.MustParse(alertA)},
			`{"meta_flow_id":"9","waba_id":null,"event":"FLOW_STATUS_CHANGE","message":null,"warning":null,"old_status":"DRAFT",` +
				`"new_status":"PUBLISHED","alert_state":null,"threshold":null,"error_rate":12.5,"availability":null,"p50_latency_ms":null,` +
				`"p90_latency_ms":null,"requests_count":null,"value":{"x": 1}}`},
		{"an endpoint", eventtype.EndpointDisabled, Typed, subject{ID: uuid.MustParse(noticeA)},
			`{"endpoint":"shop","endpoint_id":"` + place + `","reason":"gone"}`},
		{"a webhook in the envelope", eventtype.WebhookReceived, Typed, subject{ID: uuid.MustParse(hookA), At: at}, hookBody},
		{"a webhook as it came", eventtype.WebhookReceived, Raw, subject{ID: uuid.MustParse(hookA), At: at}, ""},
		{"an answer as the seed told it", eventtype.FlowCompleted, Seed, subject{ID: uuid.MustParse(answerA)}, ""},
		{"a message that was deleted", eventtype.MessageReceived, Typed, subject{ID: uuid.MustParse(hookA), At: at, Position: 9}, "gone"},
		{"an answer that was deleted", eventtype.FlowCompleted, Seed, subject{ID: uuid.MustParse(person)}, "gone"},
	}
	var events []Event
	for _, c := range cases {
		happened := at
		if c.kind == eventtype.FlowCompleted {
			happened = at.Add(999 * time.Millisecond) // its place among others; told is when it was given
		}
		events = append(events, Event{
			ID: eventtype.ID(c.kind, c.subject.ID, c.subject.Position), Type: c.kind, At: happened, Account: "default", Form: c.form, Subject: c.subject,
		})
	}
	bodies, err := Render(t.Context(), pool, events, at, plenty)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := string(bodies[i].Bytes)
			want := `{"type":"` + string(c.kind) + `","version":1,"id":"` + events[i].ID.String() + `","timestamp":"2026-11-23T12:00:00.005Z","account":"default","data":` + c.data + `}`
			switch {
			case c.data == "gone":
				want = ""
			case c.form == Raw:
				want = hookBody
			case c.form == Seed:
				want = `{"event_type":"flow_completed","flow_token":"t-1","flow_id":null,"phone_number":"5511","response_data":{"score": 9},"timestamp":"2026-11-23T12:00:00.005Z"}`
			}
			if got != want {
				t.Errorf("body =\n%s\nwant\n%s", got, want)
			}
			if got != "" && !json.Valid(bodies[i].Bytes) {
				t.Error("not valid JSON")
			}
		})
	}
	// Its webhook is gone: the message is told without its element.
	if _, err := pool.Exec(t.Context(), `DELETE FROM webhook_events`); err != nil {
		t.Fatal(err)
	}
	bodies, err = Render(t.Context(), pool, events[3:4], at, plenty)
	if err != nil || !strings.HasSuffix(string(bodies[0].Bytes), `"message":null}}`) {
		t.Errorf("body = %s, %v", bodies[0].Bytes, err)
	}
}

func TestAMessageIsNeverTakenForAnothers(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name string
		hook string
		m    message
		want string
	}{
		{"the one at its place", hookBody, message{position: 1, kind: "message", wamid: text("wamid.2")}, `{"id":"wamid.2","type":"text"}`},
		{"one whose place was counted without a broken neighbour",
			`{"entry":[{"changes":[{"value":{"messages":["x", {"id":"w"}]}}]}]}`, message{position: 0, kind: "message", wamid: text("w")}, `{"id":"w"}`},
		{"two changes", `{"entry":[{"changes":[{"value":{"messages":[{"id":"v"}]}}]},{"changes":[{"value":{"messages":[{"id":"w"}]}}]}]}`,
			message{position: 1, kind: "message", wamid: text("w")}, `{"id":"w"}`},
		{"a status of the same message", `{"entry":[{"changes":[{"value":{"statuses":[{"id":"w","status":"sent"},{"id":"w","status":"read"}]}}]}]}`,
			message{position: 1, kind: "status", wamid: text("w"), typ: text("read")}, `{"id":"w","status":"read"}`},
		{"one that moved up when its neighbour was erased", `{"entry":[{"changes":[{"value":{"messages":[{"id":"v"},{"id":"w"}]}}]}]}`,
			message{position: 2, kind: "message", wamid: text("w")}, `{"id":"w"}`},
		{"another's message at its place", hookBody, message{position: 0, kind: "message", wamid: text("wamid.7")}, ``},
		{"no webhook that could be read", `nonsense`, message{kind: "message"}, ``},
		{"no webhook", ``, message{kind: "message"}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &hook{body: []byte(c.hook)}
			if got := string(h.element(&c.m)); got != c.want {
				t.Errorf("element = %s, want %s", got, c.want)
			}
		})
	}
}

func TestPingsInEveryForm(t *testing.T) {
	id := uuid.MustParse(answerA)
	for form, want := range map[Form]string{
		Seed:  `{"event_type":"endpoint_ping","flow_token":null,"flow_id":null,"phone_number":null,"response_data":{},"timestamp":"2026-11-23T12:00:00.005Z"}`,
		Typed: `{"type":"endpoint.ping","version":1,"id":"` + answerA + `","timestamp":"2026-11-23T12:00:00.005Z","account":"a","data":{"endpoint":"shop","endpoint_id":"` + place + `","reason":null}}`,
		Raw:   `{"object":"whatsapp_business_account","entry":[]}`,
	} {
		if got := string(Ping(form, id, "a", "shop", uuid.MustParse(place), at)); got != want {
			t.Errorf("%s: %s\nwant %s", form, got, want)
		}
	}
}
