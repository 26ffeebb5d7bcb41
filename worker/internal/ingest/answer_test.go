package ingest

import (
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

func TestEveryAnswerIsKept(t *testing.T) {
	tests := map[string]struct {
		response string // what response_json holds
		data     string
		raw      string
		token    string
		hash     bool // the token can be a key
		params   bool // params_hash is set instead
	}{
		"with a token":               {response: `{"flow_token":"T","a":1}`, data: `{"flow_token":"T","a":1}`, raw: "<null>", token: "T", hash: true},
		"without a token":            {response: `{"a":1}`, data: `{"a":1}`, raw: "<null>", token: "<null>", params: true},
		"with the token unused":      {response: `{"flow_token":"unused","a":1}`, data: `{"flow_token":"unused","a":1}`, raw: "<null>", token: "unused", params: true},
		"with a token of a number":   {response: `{"flow_token":7}`, data: `{"flow_token":7}`, raw: "<null>", token: "<null>", params: true},
		"that is a list":             {response: `[1,2]`, data: `[1,2]`, raw: `[1,2]`, token: "<null>"},
		"that is null":               {response: `null`, data: `null`, raw: `null`, token: "<null>"},
		"that is no JSON":            {response: `it broke`, data: "<null>", raw: `it broke`, token: "<null>"},
		"that is empty":              {response: ``, data: "<null>", raw: ``, token: "<null>"},
		"with an escaped NUL":        {response: `{"flow_token":"T","a":"x\u0000y"}`, data: `{"flow_token":"T","a":"x\u0000y"}`, raw: "<null>", token: "T", hash: true},
		"with a NUL in its token":    {response: `{"flow_token":"T\u0000"}`, data: `{"flow_token":"T\u0000"}`, raw: "<null>", token: "T\uFFFD", hash: true},
		"with half a surrogate pair": {response: `{"flow_token":"T","a":"\ud83d"}`, data: `{"flow_token":"T","a":"\ud83d"}`, raw: "<null>", token: "T", hash: true},
		"nested too deep":            {response: strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000), data: "<null>", raw: strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000), token: "<null>"},
	}
	s := newSuite(t)
	s.endpoint("*", true)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, pool: s.pool, writer: s.writer}
			wamid := "wamid." + strings.ReplaceAll(name, " ", "-")
			if dead := s.write(s.hook(completionBody(wamid, "16505551234", test.response))); len(dead) > 0 {
				t.Fatalf("dead: %s", dead[0].Reason)
			}
			of := " FROM flow_responses WHERE wamid = $1"
			s.expect(test.data, "SELECT response_data"+of, wamid)
			s.expect(test.raw, "SELECT convert_from(response_raw, 'UTF8')"+of, wamid)
			s.expect(test.token, "SELECT flow_token"+of, wamid)
			hash := "<null>"
			if test.hash {
				hash = keyspace.TokenHash(strings.ReplaceAll(test.token, "\uFFFD", "\x00"))
			}
			s.expect(hash, "SELECT token_hash"+of, wamid)
			s.expect(map[bool]string{true: "true", false: "false"}[test.params], "SELECT params_hash IS NOT NULL"+of, wamid)
			s.expect("16505551234 US.16505551234 wamid.flow 1065 nfm_reply",
				"SELECT concat_ws(' ', phone_number, user_id, context_id, phone_number_id, source)"+of, wamid)
			s.expect("2025-06-08 20:59:43+00", "SELECT answered_at AT TIME ZONE 'UTC' || '+00'"+of, wamid)
			// With a usable token the session may still come; without one nothing will.
			s.expect(map[bool]string{true: "true", false: "false"}[test.hash],
				"SELECT run_at > now() + interval '5 seconds' FROM deliveries WHERE subject_id = (SELECT id"+of+")", wamid)
		})
	}
	s.expect("1", "SELECT count(*) FROM contacts")
}

func TestAnswerAmongBrokenMessages(t *testing.T) {
	s := newSuite(t)
	good := func(id string) string {
		return `{"from":"1","id":"` + id + `","timestamp":"1749416383","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{}"}}}`
	}
	s.write(
		s.hook(in("1065", `"messages":[`+good("a")+`,5,{"id":{"no":"id"},"type":"interactive"},`+good("b")+`]`)),
		s.hook(`{"entry":`),
		s.hook("\x00\xff"),
		s.hook(in("1065", `"messages":[`+good("c")+`,{"id":"d","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"address_message","response_json":"{}"}}}]`)),
	)
	s.expect("a b c", "SELECT string_agg(wamid, ' ' ORDER BY wamid) FROM flow_responses")
	s.expect("4", "SELECT count(*) FROM webhook_events")
	s.expect("3", "SELECT count(*) FROM webhook_events WHERE problem IS NOT NULL")
	s.expect("5", "SELECT count(*) FROM webhook_messages")
	s.expect(`\x00ff`, "SELECT body FROM webhook_events WHERE length(body) = 2")
}

// The keys of what was stored are kept for a month, answers for ever: one that
// comes again after that changes nothing, and what comes with it is stored.
func TestAnswerThatComesAgainWhenItsKeyIsGone(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	answer := func(wamid string) stream.Entry {
		return s.hook(in("1065", `"messages":[{"from":"1","id":"`+wamid+`","timestamp":"1749416383","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{}"}}}]`))
	}
	s.write(answer("a"))
	s.exec("DELETE FROM event_keys")
	s.write(answer("a"), answer("b"))
	s.expect("a b", "SELECT string_agg(wamid, ' ' ORDER BY wamid) FROM flow_responses")
	s.expect("2", "SELECT count(*) FROM deliveries")
	s.expect("0", "SELECT count(*) FROM dead_entries")
	s.expect("3", "SELECT count(*) FROM webhook_events") // its bytes are there twice
}

func TestAnswerOfAUserWithoutANumber(t *testing.T) {
	s := newSuite(t)
	s.write(s.hook(in("1065", `"contacts":[{"profile":{"username":"ada"},"user_id":"US.77"}],"messages":[{"id":"w","timestamp":"1749416383","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{}"}}}]`)))
	s.expect("null US.77", "SELECT coalesce(phone_number, 'null') || ' ' || user_id FROM flow_responses")
	s.expect("ada", "SELECT c.username FROM flow_responses r JOIN contacts c ON c.id = r.contact_id")
}

func TestDuplicates(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	s.endpoint("default", true)
	s.endpoint("default", false)
	s.endpoint("other", true)
	first := s.hook(completionBody("wamid.1", "1", `{"flow_token":"T"}`))
	again := s.hook(completionBody("wamid.1", "1", `{"flow_token":"T"}`))
	elsewhere := s.hook(completionBody("wamid.1", "1", `{"flow_token":"T"} `)) // another webhook, the same message
	s.write(first, again)
	s.write(first)
	s.write(elsewhere, first)
	s.expect("1", "SELECT count(*) FROM flow_responses")
	s.expect("2", "SELECT count(*) FROM webhook_events")
	s.expect("2", "SELECT count(*) FROM webhook_messages") // both raw bodies hold the person's data
	s.expect("2", "SELECT count(*) FROM deliveries")       // '*' and 'default', the enabled ones
	if s.nudges.Load() != 1 {
		t.Errorf("nudged %d times, expected once", s.nudges.Load())
	}
}

func TestChangeBelongsToTheAccountThatNamesIt(t *testing.T) {
	s := newSuite(t)
	s.writer.config.Accounts = func(phoneNumberID, wabaID, fallback string) string {
		switch {
		case phoneNumberID == "2000":
			return "shop"
		case wabaID == "waba-9":
			return "bank"
		}
		return fallback
	}
	s.write(s.hook(`{"entry":[` +
		`{"id":"waba-1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"2000"},"messages":[{"id":"a","from":"1"}]}}]},` +
		`{"id":"waba-9","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"3"},"messages":[{"id":"b","from":"1"}]}}]},` +
		`{"id":"waba-1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"3"},"messages":[{"id":"c","from":"1"}]}}]}]}`))
	s.expect("shop bank default", "SELECT string_agg(account, ' ' ORDER BY wamid) FROM webhook_messages")
	s.expect("3", "SELECT count(*) FROM contacts") // one person, three accounts
}

func TestStatuses(t *testing.T) {
	s := newSuite(t)
	s.write(s.hook(statusBody("w", "sent", "15")), s.hook(statusBody("w", "delivered", "15")), s.hook(statusBody("w", "sent", "15")+" "))
	s.expect("2", "SELECT count(*) FROM event_keys WHERE kind = 'status' AND dedup ~ '^[0-9a-f]{64}$'") // no number in the clear
	s.expect("delivered sent sent", "SELECT string_agg(type, ' ' ORDER BY type) FROM webhook_messages")
	s.expect("PMP regular utility t", "SELECT DISTINCT concat_ws(' ', pricing_model, pricing_type, pricing_category, billable) FROM webhook_messages")
	s.expect("3", "SELECT count(*) FROM webhook_messages WHERE kind = 'status' AND contact_id IS NOT NULL")
	s.expect("1", "SELECT count(*) FROM contacts")
}
