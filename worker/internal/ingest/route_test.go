package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

const flowStatus = `{"entry":[{"id":"waba-1","time":1674160476,"changes":[{"field":"flows","value":{"event":"FLOW_STATUS_CHANGE","message":"m","flow_id":"691","old_status":"DRAFT","new_status":"PUBLISHED"}}]}]}`
const flowAlert = `{"entry":[{"id":"waba-1","changes":[{"field":"flows","value":{"event":"ENDPOINT_ERROR_RATE","message":"high","flow_id":"692","error_rate":14.28,"threshold":10,"alert_state":"ACTIVATED","errors":[{"error_type":"TIMEOUT","error_rate":33.33,"error_count":1}]}}]}]}`

func TestEachEventGoesToTheEndpointsThatWantIt(t *testing.T) {
	step := event.Step{Flow: "csat", Token: "T", Version: 1, Attempt: 1, Opened: true, Action: "INIT", To: "RATE", Outcome: event.OutcomeNext}
	tests := map[string]struct {
		entry func(*suite) stream.Entry
		types string // for those who want everything
		flow  string // "" for an event of no flow
	}{
		"a user opens a flow":   {func(s *suite) stream.Entry { return s.step(step) }, "flow.screen flow.started", "csat"},
		"a user sends a screen": {func(s *suite) stream.Entry { b := step; b.Version, b.Opened = 2, false; return s.step(b) }, "flow.screen", "csat"},
		"a stateless screen":    {func(s *suite) stream.Entry { return s.stateless(event.Step{Outcome: event.OutcomeNext}) }, "flow.screen", "csat"},
		"the phone refuses a reply": {func(s *suite) stream.Entry {
			b := event.Step{Flow: "csat", Action: "INIT", Outcome: event.OutcomeError, ErrorKey: "k"}
			return s.entry(event.KindClientError, "h", b.Encode())
		}, "flow.error", "csat"},
		"a message":                 {func(s *suite) stream.Entry { return s.hook(textBody("w", "1")) }, "message.received webhook.received", ""},
		"a status":                  {func(s *suite) stream.Entry { return s.hook(statusBody("w", "read", "1")) }, "message.status webhook.received", ""},
		"a finished form":           {func(s *suite) stream.Entry { return s.hook(completionBody("w", "1", `{}`)) }, "flow.completed message.received webhook.received", ""},
		"a flow is published":       {func(s *suite) stream.Entry { return s.hook(flowStatus) }, "flow.status_changed webhook.received", "691"},
		"a flow fails too often":    {func(s *suite) stream.Entry { return s.hook(flowAlert) }, "flow.alert webhook.received", "692"},
		"a webhook that is no JSON": {func(s *suite) stream.Entry { return s.hook("{") }, "webhook.received", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.subscriber("all", "*", []string{"*"}, nil)
			s.subscriber("account", "default", []string{"flow.*", "message.*"}, nil)
			s.subscriber("other", "other", []string{"*"}, nil)
			s.subscriber("flow", "*", []string{"*"}, []string{"csat", "691"})
			s.subscriber("nothing", "*", []string{"endpoint.disabled"}, nil)
			s.endpoint("*", false)
			entry := test.entry(s)
			s.write(entry)
			s.write(entry) // stored once, delivered once
			want := []string{"all: " + test.types}
			if account := strings.TrimSpace(strings.ReplaceAll(test.types, "webhook.received", "")); account != "" {
				want = append(want, "account: "+account)
			}
			if test.flow == "csat" || test.flow == "691" {
				want = append(want, "flow: "+strings.TrimSpace(strings.ReplaceAll(test.types, "webhook.received", "")))
			}
			got := s.delivered()
			if len(strings.Split(got, "; ")) != len(want) {
				t.Errorf("got %q, expected %q", got, want)
			}
			for _, line := range want {
				if !strings.Contains("; "+got+";", "; "+line+";") {
					t.Errorf("got %q, expected %q in it", got, line)
				}
			}
		})
	}
}

func TestTheSameEventHasTheSameIDForEveryEndpoint(t *testing.T) {
	s := newSuite(t)
	s.subscriber("a", "*", []string{"*"}, nil)
	s.subscriber("b", "*", []string{"*"}, nil)
	s.write(s.hook(completionBody("w", "1", `{"flow_token":"T"}`)), s.hook(textBody("w2", "1")))
	s.expect("5", "SELECT count(DISTINCT event_id) FROM deliveries") // 2 webhooks, 2 messages, 1 answer
	s.expect("10", "SELECT count(*) FROM deliveries")
	var answer, delivered uuid.UUID
	if err := s.pool.QueryRow(t.Context(), `SELECT r.id, d.event_id FROM flow_responses r JOIN deliveries d ON d.subject_id = r.id LIMIT 1`).Scan(&answer, &delivered); err != nil {
		t.Fatal(err)
	}
	if want := eventtype.ID(eventtype.FlowCompleted, answer, 0); delivered != want {
		t.Errorf("event id %s, expected %s", delivered, want)
	}
}

// A message names no flow: it becomes known when the session does.
func TestAnAnswerGoesToTheEndpointsOfItsFlow(t *testing.T) {
	answer := completionBody("w", "1", `{"flow_token":"T"}`)
	step := event.Step{Flow: "csat", Token: "T", Version: 1, Attempt: 1, Action: "data_exchange", To: "SUCCESS", Outcome: event.OutcomeComplete}
	tests := map[string]func(*suite){
		"the session was known":     func(s *suite) { s.write(s.step(step)); s.write(s.hook(answer)) },
		"the session comes later":   func(s *suite) { s.write(s.hook(answer)); s.write(s.step(step)) },
		"both come in one batch":    func(s *suite) { s.write(s.hook(answer), s.step(step)) },
		"and everything once again": func(s *suite) { s.write(s.hook(answer)); s.write(s.step(step)); s.write(s.hook(answer), s.step(step)) },
	}
	for name, write := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.subscriber("csat", "default", []string{"flow.completed"}, []string{"other", "csat"})
			s.subscriber("pattern", "*", []string{"flow.c*"}, []string{"csat"})
			s.subscriber("every", "*", []string{"flow.completed"}, nil)
			s.subscriber("survey", "*", []string{"*"}, []string{"survey"})
			s.subscriber("screens", "*", []string{"flow.screen"}, []string{"csat"})
			write(s)
			if got, want := s.delivered(), "csat: flow.completed; every: flow.completed; pattern: flow.completed; screens: flow.screen"; got != want {
				t.Errorf("got %q, expected %q", got, want)
			}
			s.expect("1", "SELECT count(DISTINCT event_id) FROM deliveries WHERE event_type = 'flow.completed'")
			s.expect("csat", "SELECT DISTINCT flow FROM deliveries")
			s.expect("7", "SELECT DISTINCT substr(id::text, 15, 1) FROM deliveries") // UUIDs of that version, in order of time
			s.expect("true", "SELECT bool_and(run_at <= now()) FROM deliveries")
		})
	}
}

func TestAnAnswerOfNoKnownFlowGoesToNoEndpointOfAFlow(t *testing.T) {
	s := newSuite(t)
	s.subscriber("csat", "*", []string{"*"}, []string{"csat"})
	s.subscriber("every", "*", []string{"flow.completed"}, nil)
	s.write(s.hook(completionBody("w", "1", `{}`)))
	if got := s.delivered(); got != "every: flow.completed" {
		t.Errorf("got %q", got)
	}
}

func TestOrderedEndpointsKnowTheToken(t *testing.T) {
	s := newSuite(t)
	s.subscriber("ordered", "*", []string{"flow.*"}, nil)
	s.exec("UPDATE callback_endpoints SET ordered = true")
	s.subscriber("any", "*", []string{"flow.*"}, nil)
	s.write(s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeComplete}), s.hook(completionBody("w", "1", `{"flow_token":"T"}`)))
	s.expect("2 1 2", `SELECT concat_ws(' ', count(*) FILTER (WHERE ordering_key IS NOT NULL), count(DISTINCT ordering_key), count(*) FILTER (WHERE ordering_key IS NULL)) FROM deliveries`)
}

// Meta's time of an answer has whole seconds, the screens before it have
// milliseconds; a flow that is opened is two events of one moment.
func TestAnOrderedEndpointIsToldInTheOrderOfWhatHappened(t *testing.T) {
	at := time.Unix(1749416383, 700_000_000)
	first := event.Step{Token: "T", Version: 1, Attempt: 1, Opened: true, Action: "INIT", To: "RATE", Outcome: event.OutcomeNext}
	last := event.Step{Token: "T", Version: 2, Attempt: 1, To: "SUCCESS", Outcome: event.OutcomeComplete}
	for name, flows := range map[string][]string{"the answer's flow does not matter": nil, "the answer waits for its flow": {"csat"}} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			for range 8 { // ids are random
				s.subscriber(testkit.Random(), "*", []string{"flow.*"}, flows)
			}
			s.exec("UPDATE callback_endpoints SET ordered = true")
			opened, finished := s.step(first), s.step(last)
			opened.Event.Time, finished.Event.Time = at.Add(-time.Second), at
			s.write(s.hook(completionBody("w", "1", `{"flow_token":"T"}`)))
			s.write(opened, finished)
			s.expect("8 flow.started flow.screen flow.screen flow.completed", `SELECT count(*) || ' ' || types FROM (
				SELECT string_agg(event_type, ' ' ORDER BY event_at, id) AS types FROM deliveries GROUP BY endpoint_id) o GROUP BY types`)
		})
	}
}

func TestTheFirstAttemptWaitsAsTheScheduleSays(t *testing.T) {
	s := newSuite(t)
	s.subscriber("waits", "*", []string{"*"}, nil)
	s.subscriber("waits for a flow", "*", []string{"flow.completed"}, []string{"csat"})
	s.exec("UPDATE callback_endpoints SET schedule = '{3600, 60}'")
	s.write(s.hook(completionBody("w", "1", `{"flow_token":"T"}`)), s.hook(flowStatus))
	s.write(s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Opened: true, Outcome: event.OutcomeComplete}))
	s.expect("flow.completed flow.completed flow.screen flow.started flow.status_changed message.received webhook.received webhook.received",
		`SELECT string_agg(event_type, ' ' ORDER BY event_type) FROM deliveries
		WHERE run_at BETWEEN created_at + interval '3599 s' AND created_at + interval '3601 s'`)
}

func TestDeliveriesCarryTheTrace(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	s := newSuite(t)
	s.subscriber("all", "*", []string{"*"}, nil)
	traced := func(e stream.Entry) stream.Entry { e.Event.Traceparent = parent; return e }
	s.write(traced(s.hook(completionBody("w", "1", `{}`))), traced(s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeClose})), traced(s.hook(flowAlert)))
	s.expect("7 7", "SELECT count(*) || ' ' || count(*) FILTER (WHERE traceparent = '"+parent+"') FROM deliveries")
}

func TestWhatMetaReportsOfFlowsIsKept(t *testing.T) {
	s := newSuite(t)
	s.writer.config.Accounts = func(_, waba, fallback string) string {
		if waba == "waba-1" {
			return "shop"
		}
		return fallback
	}
	s.write(s.hook(flowStatus), s.hook(flowAlert), s.hook(flowStatus))
	s.expect("shop waba-1 691 FLOW_STATUS_CHANGE m DRAFT PUBLISHED 2023-01-19 20:34:36",
		`SELECT concat_ws(' ', account, waba_id, meta_flow_id, event, message, old_status, new_status, at AT TIME ZONE 'UTC') FROM flow_events WHERE meta_flow_id = '691'`)
	s.expect("ENDPOINT_ERROR_RATE ACTIVATED 14.28 10 TIMEOUT",
		`SELECT concat_ws(' ', event, alert_state, error_rate, threshold, value->'errors'->0->>'error_type') FROM flow_events WHERE meta_flow_id = '692'`)
	s.expect("2", "SELECT count(*) FROM flow_events")
}

func TestOddReportsOfFlowsAreKept(t *testing.T) {
	in := func(value string) string {
		return `{"entry":[{"id":"W","changes":[{"field":"flows","value":` + value + `}]}]}`
	}
	tests := map[string]struct{ value, want string }{
		"an unknown event":          {`{"event":"NEW_THING","flow_id":"1","x":[1]}`, `NEW_THING {"event":"NEW_THING","flow_id":"1","x":[1]}`},
		"a number that is a string": {`{"event":"E","threshold":"10","message":"m"}`, `E {"event":"E","threshold":"10","message":"m"}`},
		"a NUL":                     {"{\"event\":\"E\\u0000\"}", "E\uFFFD {\"event\":\"E\\u0000\"}"},
		"a value that is no object": {`[1]`, ` [1]`},
		"nested too deep":           {`{"event":"E","x":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`, `E {}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			if dead := s.write(s.hook(in(test.value))); len(dead) > 0 {
				t.Fatal(dead[0].Reason)
			}
			s.expect(test.want, "SELECT event || ' ' || value::text FROM flow_events")
		})
	}
}

func TestStatusDetails(t *testing.T) {
	s := newSuite(t)
	s.write(s.hook(in("1065", `"statuses":[{"id":"w","status":"failed","timestamp":"1749416383","recipient_id":"15","biz_opaque_callback_data":"order-7","errors":[{"code":131026,"title":"Message undeliverable"}]}]`)))
	s.expect("failed 131026 Message undeliverable order-7", "SELECT concat_ws(' ', type, error_code, error_title, callback_data) FROM webhook_messages")
}
