package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// people fills a database: A rates csat and completes, B is in the middle of
// it, C has no number and closed a survey, D answered a static flow.
func people(t *testing.T) *collected {
	c := collect(t)
	c.flow("default", "csat")
	c.step("default", 0, event.Step{Token: "tA", Version: 1, Attempt: 1, Outcome: event.OutcomeNext, Definition: "d-glad", To: "A"})
	c.step("default", 1, event.Step{Token: "tA", Version: 2, Attempt: 1, Outcome: event.OutcomeComplete, Definition: "d-glad", From: "A",
		StartedAt: c.began, Params: json.RawMessage(`{"score":"5"}`)})
	c.answer("default", 2, "wamid.A", `"wa_id":"1650","user_id":"US.A"`, `{"score":"5", "extras":["c","x","t"],"big":12345678901234567890,"text":"<é\u00e9\u0000>","flow_token":"tA"}`)
	c.step("default", 10, event.Step{Token: "tB", Version: 1, Attempt: 1, Outcome: event.OutcomeNext, User: "US.B", Definition: "d-happy", To: "A"})
	c.step("default", 20, event.Step{Flow: "survey", Token: "tC", Version: 1, Attempt: 1, Outcome: event.OutcomeClose, User: "US.C",
		Incomplete: true, Collected: map[string]json.RawMessage{"q": json.RawMessage(`1`)}})
	c.answer("default", 30, "wamid.C", `"user_id":"US.C"`, `{"a":1}`)
	c.answer("default", 40, "wamid.D", `"wa_id":"1999","user_id":"US.D"`, `[1]`)
	return c
}

func TestSessionFilters(t *testing.T) {
	c := people(t)
	for query, want := range map[string]string{
		"":                                      "tC tB tA",
		"flow=csat":                             "tB tA",
		"flow=nothing":                          "",
		"status=completed":                      "tC tA",
		"status=active":                         "tB",
		"token=tB":                              "tB",
		"token=unused":                          "",
		"userId=US.C":                           "tC",
		"phone=1650":                            "tA",
		"phone=US.B":                            "tB", // a signed token may name a user by anything
		"phone=000":                             "",
		"since=2026-11-20T08:05:00Z":            "tC tB",
		"until=2026-11-20T08:05:00Z":            "tA",
		"since=2026-11-20":                      "tC tB tA",
		"until=2026-11-20":                      "",
		"since=2026-11-20T09:05:00%2B01:00":     "tC tB",
		"since=2026-11-20T09:05:00+01:00":       "tC tB",
		"activeSince=2026-11-20T08:15:00Z":      "tC",
		"activeUntil=2026-11-20T08:01:00Z":      "",
		"sort=lastActivityAt&status=completed":  "tC tA",
		"account=default&flow=csat&phone=1650":  "tA",
		"account=shop":                          "",
		"flow=csat&status=active&userId=US.B":   "tB",
		"flow=survey&status=active&userId=US.C": "",
	} {
		if got := c.get("/api/sessions?" + query).ids("flowToken"); got != want {
			t.Errorf("sessions %s: %q, want %q", query, got, want)
		}
	}
	var sessions []struct{ FlowID, ID string }
	c.get("/api/sessions?token=tA").data(&sessions)
	if got := c.get("/api/sessions?flow=" + sessions[0].FlowID).ids("flowToken"); got != "tB tA" {
		t.Errorf("by the flow's id: %s", got)
	}
	var one map[string]any
	c.get("/api/sessions/" + sessions[0].ID).is(200).data(&one)
	if fmt.Sprintf("%v %v %v %v %v", one["answers"], one["flowVersion"], one["status"], one["startedAt"], one["userId"]) !=
		"map[score:5] 1 completed 2026-11-20T08:00:00.000Z <nil>" {
		t.Errorf("session %v", one)
	}
}

func TestResponseFilters(t *testing.T) {
	c := people(t)
	for query, want := range map[string]string{
		"":                                   "wamid.D wamid.C <nil> wamid.A",
		"flow=csat":                          "wamid.A",
		"token=tA":                           "wamid.A",
		"phone=1650":                         "wamid.A",
		"userId=US.C":                        "wamid.C <nil>",
		"phone=1999":                         "wamid.D",
		"wamid=wamid.C":                      "wamid.C",
		"source=endpoint":                    "<nil>",
		"incomplete=true":                    "<nil>",
		"incomplete=false":                   "wamid.D wamid.C wamid.A",
		"since=2026-11-20T08:30:00Z":         "wamid.D wamid.C",
		"until=2026-11-20T08:30:00Z":         "<nil> wamid.A",
		"receivedUntil=2026-11-20":           "",
		"sort=receivedAt":                    "wamid.D wamid.C <nil> wamid.A",
		"sort=receivedAt&until=2026-11-20":   "",
		"session=" + strings.Repeat("0", 32): "", // replaced below
	} {
		if strings.HasPrefix(query, "session=") {
			query = "session=" + c.get("/api/sessions?token=tC").ids("id")
			want = "<nil>"
		}
		if got := c.get("/api/responses?" + query).ids("wamid"); got != want {
			t.Errorf("responses %s: %q, want %q", query, got, want)
		}
	}
	// Whoever has the number now is found also by what they sent without it.
	c.exec("UPDATE contacts SET phone_number = '1777' WHERE user_id = 'US.C'")
	if got := c.get("/api/responses?phone=1777").ids("wamid"); got != "wamid.C <nil>" {
		t.Errorf("by a number that came to be known later: %s", got)
	}
	if got := c.get("/api/sessions?phone=1777").ids("flowToken"); got != "tC" {
		t.Errorf("sessions by that number: %s", got)
	}
}

func TestAnswersAreGivenBackAsTheyCame(t *testing.T) {
	c := people(t)
	body := string(c.get("/api/responses").body)
	for _, want := range []string{
		`"responseData":{"score":"5","extras":["c","x","t"],"big":12345678901234567890,"text":"<é\u00e9\u0000>","flow_token":"tA"}`,
		`"responseData":[1],"raw":"[1]"`, `"responseData":{"q":1}`, `"phoneNumber":null`,
		`"titles":{"extras":["Cake","x","Tea"],"score":"Very glad"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
}

func TestTitlesFollowTheVersionOfTheAnswersTime(t *testing.T) {
	c := collect(t)
	c.flow("default", "csat")
	// No session: a flow that WhatsApp runs without an endpoint.
	for i, minute := range []int{30, 90} {
		c.answer("default", minute, fmt.Sprint("wamid.", i), `"wa_id":"1650"`, `{"score":"4"}`)
	}
	c.exec("UPDATE flow_responses SET flow = 'csat'")
	var rows []struct {
		Titles      map[string]any
		FlowVersion int
	}
	c.get("/api/responses").is(200).data(&rows)
	if got := fmt.Sprint(rows); got != "[{map[score:Rather happy] 2} {map[score:Rather glad] 1}]" {
		t.Error(got)
	}
}

func TestTimelineShowsOneUsersWholeWay(t *testing.T) {
	c := collect(t)
	c.flow("default", "csat")
	c.exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
		VALUES (gen_random_uuid(), '*', 'crm', 'http://example.com', '{whsec_x}', 1000, 1)`)
	step := func(minute int, version int64, s event.Step) {
		s.Token, s.Version, s.StartedAt, s.Definition, s.Milliseconds = "T", version, c.began, "d-glad", 12
		s.Attempt = max(s.Attempt, 1)
		c.step("default", minute, s)
	}
	step(0, 1, event.Step{Action: "INIT", To: "A", Outcome: event.OutcomeNext})
	step(2, 3, event.Step{From: "A", Outcome: event.OutcomeComplete, Params: json.RawMessage(`{"score":"5"}`)})
	step(1, 2, event.Step{From: "A", To: "A", Outcome: event.OutcomeSame, Answers: map[string]json.RawMessage{"score": json.RawMessage(`"9"`)}}) // late
	c.entry(event.KindClientError, "default", "e", 3, (&event.Step{Flow: "csat", Token: "T", Action: "data_exchange", From: "A", Outcome: event.OutcomeError,
		ErrorKey: "invalid-screen-transition", ErrorMessage: "no such screen"}).Encode())
	c.step("default", 1, event.Step{Token: "somebody else", Version: 1, Attempt: 1, Outcome: event.OutcomeNext})
	c.step("default", 1, event.Step{Flow: "other", Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeNext})
	c.answer("default", 2, "wamid.1", `"wa_id":"1650"`, `{"score":"5","flow_token":"T"}`)
	c.exec(`INSERT INTO attempts (id, at, delivery_id, endpoint_id, number, status, milliseconds)
		SELECT gen_random_uuid(), now(), id, endpoint_id, 1, 503, 40 FROM deliveries`)

	var sessions []struct{ ID string }
	c.get("/api/sessions?token=T&flow=csat").data(&sessions)
	var got struct {
		Session struct{ FlowVersion int }
		Steps   []struct {
			Kind, Action, From, To, Outcome, ErrorKey, ErrorMessage string
			Version, FlowVersion, Milliseconds                      int
			Answers                                                 json.RawMessage
		}
		Responses []struct {
			Wamid      string
			Titles     map[string]any
			Deliveries []struct {
				Endpoint, State string
				Attempts        []struct{ Number, Status int }
			}
		}
		Truncated bool
	}
	c.get("/api/sessions/" + sessions[0].ID + "/steps").is(200).data(&got)
	var steps []string
	for _, s := range got.Steps {
		steps = append(steps, strings.Join(strings.Fields(fmt.Sprint(s.Kind, " ", s.Version, " ", s.FlowVersion, " ", s.Action, " ", s.From, " ", s.To, " ", s.Outcome, " ", s.ErrorKey, " ", string(s.Answers))), " "))
	}
	want := "step 1 1 INIT A next null|step 2 1 data_exchange A A same {\"score\":\"9\"}|step 3 1 data_exchange A complete null|client_error 0 0 data_exchange A error invalid-screen-transition null"
	if s := strings.Join(steps, "|"); s != want {
		t.Errorf("steps\n got %s\nwant %s", s, want)
	}
	if s := fmt.Sprint(got.Responses, got.Truncated, got.Session); s != "[{wamid.1 map[score:Very glad] [{crm due [{1 503}]}]}] false {1}" {
		t.Errorf("responses %s", s)
	}
	var one struct{ Deliveries []struct{ State string } }
	c.get("/api/responses/" + c.get("/api/responses").ids("id")).is(200).data(&one)
	if fmt.Sprint(one) != "{[{due}]}" {
		t.Errorf("deliveries of the response: %v", one)
	}
}

func TestWebhookEvents(t *testing.T) {
	c := people(t)
	c.entry(event.KindWebhook, "default", "h1", 50, []byte("{\"entry\":"))
	c.entry(event.KindWebhook, "default", "h2", -60*24*100, []byte("\x00\xff")) // of a hundred days before
	for query, want := range map[string]string{
		"":                           "5",
		"wamid=wamid.C":              "1",
		"phone=1650":                 "1",
		"userId=US.C":                "1",
		"phone=1650&userId=x":        "0",
		"problem=true":               "2",
		"since=2026-11-20":           "4",
		"until=2026-11-20":           "1",
		"wamid=wamid.C&limit=1":      "1",
		"problem=true&wamid=wamid.C": "0",
		"account=shop":               "0",
		"account=default":            "5",
	} {
		got := c.get("/api/webhook-events?" + query).ids("id")
		if n := fmt.Sprint(len(strings.Fields(got))); n != want {
			t.Errorf("webhooks %s: %s, want %s", query, n, want)
		}
	}
	var one struct {
		Body, BodyBase64 string
		Size             int
		Messages         []struct{ Wamid, UserID, Type string }
	}
	c.get("/api/webhook-events/" + c.get("/api/webhook-events?wamid=wamid.C").ids("id")).is(200).data(&one)
	if !strings.HasPrefix(one.Body, `{"object"`) || one.Size != len(one.Body) || fmt.Sprint(one.Messages) != "[{wamid.C US.C interactive}]" {
		t.Errorf("%+v", one)
	}
	c.get("/api/webhook-events/" + c.get("/api/webhook-events?until=2026-11-20").ids("id")).is(200).data(&one)
	if raw, err := base64.StdEncoding.DecodeString(one.BodyBase64); err != nil || string(raw) != "\x00\xff" {
		t.Errorf("a body that is no UTF-8: %q", one.BodyBase64)
	}
}

// However small its pages, a list has every row once, also those of one moment.
func TestPagesHaveEveryRecordOnce(t *testing.T) {
	c := collect(t)
	for i := range 7 {
		account := []string{"default", "shop", "bank"}[i%3]
		c.step(account, i/3, event.Step{Token: fmt.Sprint("t", i), Version: 1, Attempt: 1, Outcome: event.OutcomeNext})
		c.answer(account, i/3, fmt.Sprint("wamid.", i), `"wa_id":"1"`, `{}`)
	}
	for _, list := range []string{"sessions?", "sessions?sort=lastActivityAt&", "responses?", "responses?sort=receivedAt&", "webhook-events?", "webhook-events?phone=1&"} {
		for _, token := range []string{rootToken, twoToken} {
			seen, cursor, pages := map[string]bool{}, "", 0
			for {
				r := c.as(token).get("/api/" + list + "limit=2" + cursor)
				for _, id := range strings.Fields(r.ids("id")) {
					if seen[id] {
						t.Errorf("%s: %s is there twice", list, id)
					}
					seen[id] = true
				}
				var page struct {
					Pagination struct {
						NextCursor *string `json:"next_cursor"`
					}
				}
				r.read(&page)
				if pages++; page.Pagination.NextCursor == nil || pages > 9 {
					break
				}
				cursor = "&cursor=" + *page.Pagination.NextCursor
			}
			if want := map[string]int{rootToken: 7, twoToken: 4}[token]; len(seen) != want {
				t.Errorf("%s: %d rows in %d pages, want %d", list, len(seen), pages, want)
			}
		}
	}
}

// A token of one account gets nothing of another, whatever it asks for.
func TestRecordsOfOtherAccountsAreInvisible(t *testing.T) {
	c := people(t)
	c.step("shop", 5, event.Step{Token: "tA", Version: 1, Attempt: 1, Outcome: event.OutcomeNext}) // the same token, by chance
	shop := c.as(shopToken)
	for _, query := range []string{"sessions", "sessions?token=tA", "sessions?flow=csat", "sessions?flow=" + firstOf(c, "sessions?token=tA&account=default", "flowId"), "sessions?phone=1650",
		"responses", "responses?token=tA", "responses?phone=1650", "responses?wamid=wamid.A", "responses?session=" + firstOf(c, "sessions?account=default&token=tA", "id"),
		"responses/export", "responses/export?format=csv", "webhook-events", "webhook-events?wamid=wamid.A", "webhook-events?phone=1650", "webhook-events?problem=true"} {
		r := shop.get("/api/" + query).is(200)
		for _, secret := range []string{"US.", "wamid.", "score", "1650", `"account":"default"`} {
			if strings.Contains(string(r.body), secret) {
				t.Errorf("%s shows %s: %s", query, secret, r.body)
			}
		}
	}
	for _, record := range []string{"sessions/%s", "sessions/%s/steps", "responses/%s", "webhook-events/%s"} {
		kind, _, _ := strings.Cut(record, "/")
		id := firstOf(c, kind+"?account=default", "id")
		c.get("/api/" + fmt.Sprintf(record, id)).is(200)
		shop.get("/api/"+fmt.Sprintf(record, id)).failed(404, "NotFoundError", id)
	}
	for _, list := range []string{"sessions", "responses", "responses/export", "webhook-events"} {
		shop.get("/api/"+list+"?account=default").failed(403, "ForbiddenError")
		shop.get("/api/accounts/default/"+list).failed(403, "ForbiddenError")
	}
	c.as(readerToken).get("/api/accounts/default/responses").is(200)
}

func firstOf(c *collected, query, field string) string {
	c.t.Helper()
	return strings.Fields(c.get("/api/" + query).ids(field))[0]
}

func TestBogusQuestionsAreRefused(t *testing.T) {
	c := collect(t)
	other := "eyJvIjoicmVjZWl2ZWRBdCIsInQiOiIyMDI2LTExLTIwVDA4OjAwOjAwWiIsImkiOiIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDAifQ"
	for query, word := range map[string]string{
		"sessions?status=done":                       "active",
		"sessions?colour=red":                        "activeSince",
		"sessions?limit=201":                         "200",
		"sessions?limit=0":                           "1",
		"sessions?sort=name":                         "lastActivityAt",
		"sessions?since=yesterday":                   "2026-11-23",
		"sessions?since=2026-11-21&until=2026-11-20": "earlier",
		"sessions?cursor=xyz":                        "cursor",
		"sessions?cursor=" + other:                   "cursor",
		"sessions?phone=%00":                         "phone",
		"sessions/1":                                 "uuid",
		"responses?incomplete=maybe":                 "true",
		"responses?session=1":                        "uuid",
		"responses?source=web":                       "nfm_reply",
		"responses?token=a&token=b":                  "token",
		"responses?flow=%ff":                         "flow",
		"responses/export?format=xlsx":               "csv",
		"responses/export?bom=true":                  "format=csv",
		"responses/export?limit=5":                   "columns",
		"webhook-events?problem=no":                  "true",
	} {
		c.get("/api/"+query).failed(400, "ValidationError", word)
	}
}
