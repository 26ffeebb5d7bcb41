package conversation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// example is a flow of examples/ with its logic, and its conversations.
func example(t *testing.T, name string) (*flow.Definition, []conversation.Conversation) {
	t.Helper()
	dir := "../../examples/" + name + "/"
	read := func(file string) []byte {
		text, err := os.ReadFile(dir + file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	definition, err := flow.Load(read("flow.json"), read("logic.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	conversations, err := conversation.Read(read("conversation.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return definition, conversations
}

// clock goes on by a millisecond each time it is looked at.
func clock() func() time.Time {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
}

func runner(definition *flow.Definition, endpoint *phonetest.Endpoint) *conversation.Runner {
	return &conversation.Runner{
		Flow: "f", Screens: screen.Load(definition), Clock: clock(),
		NewPhone: func(token string) *phone.Phone {
			return &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: token, Flow: definition, Send: endpoint.Send}
		},
	}
}

func read(t *testing.T, steps string) []conversation.Conversation {
	t.Helper()
	conversations, err := conversation.Read([]byte("conversations: [{name: a, steps: [" + steps + "]}]"))
	if err != nil {
		t.Fatal(err)
	}
	return conversations
}

func TestARunOfAnExample(t *testing.T) {
	definition, conversations := example(t, "csat-feedback")
	report := runner(definition, &phonetest.Endpoint{Definition: definition}).Run(t.Context(), conversations)
	if !report.Passed() {
		for _, h := range report.Held {
			t.Error(h.Err)
		}
	}
	if len(report.Held) != len(conversations) || string(report.Held[3].Params) != `{"comment":"So so","contact_me":false,"flow_token":"unused","score":"3"}` {
		t.Errorf("%d conversations, params %s", len(report.Held), report.Held[3].Params)
	}
}

// What an endpoint of another maker does wrong, and under which of its own error
// keys the client says so.
func TestPlantedFaultsAreCaught(t *testing.T) {
	definition, _ := example(t, "csat-feedback")
	const (
		opens = `{do: init, shows: RATING}`
		goes  = opens + `, {do: exchange, from: RATING, send: {score: "5"}, shows: COMMENT, data: {score: "5"}}`
	)
	alter := func(answer string) phonetest.Fault {
		return phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
			if r.Action == flow.Init {
				return good
			}
			return []byte(answer)
		}}
	}
	for _, c := range []struct {
		name   string
		fault  phonetest.Fault
		steps  string
		key    string
		reason string
	}{
		{"none", phonetest.Fault{}, goes, "", ""},
		{"the vector reversed instead of inverted", phonetest.Fault{ReversedIV: true}, opens, "response-decryption-error", "not sealed under this request's key and inverted vector"},
		{"the request's own vector", phonetest.Fault{SameIV: true}, opens, "response-decryption-error", "inverted vector"},
		{"OAEP with SHA-1", phonetest.Fault{OAEPSHA1: true}, opens, "business-decryption-error", "status 421"},
		{"OAEP with SHA-256 but MGF1 with SHA-1", phonetest.Fault{MGF1SHA1: true}, opens, "business-decryption-error", "status 421"},
		{"an answer in clear text", phonetest.Fault{Plain: true}, opens, "response-decryption-error", "not base64"},
		{"declared data missing", alter(`{"screen":"COMMENT","data":{}}`), goes, "payload-schema-error", "data.score: expected string, got nothing"},
		{"data of another type", alter(`{"screen":"COMMENT","data":{"score":5}}`), goes, "payload-schema-error", "data.score: expected string, got number"},
		{"data nobody declared", alter(`{"screen":"COMMENT","data":{"score":"5","extra":1}}`), goes, "payload-schema-error", "data.extra"},
		{"a null", alter(`{"screen":"COMMENT","data":{"score":null}}`), goes, "payload-schema-error", "data.score is null"},
		{"no data at all", alter(`{"screen":"COMMENT"}`), goes, "payload-schema-error", "data is missing"},
		{"an error_message that is a number", alter(`{"screen":"COMMENT","data":{"score":"5","error_message":1}}`), goes, "payload-schema-error", "data.error_message is a number"},
		{"no JSON", alter(`screen: COMMENT`), goes, "payload-schema-error", "the answer is no JSON"},
		{"a transition no edge allows", alter(`{"screen":"THANKS","data":{"score":"5","comment":""}}`), goes, "invalid-screen-transition", `from screen "RATING" led to "THANKS"`},
		{"a screen the flow does not have", alter(`{"screen":"ELSEWHERE","data":{}}`), goes, "invalid-screen-transition", "expected a screen of the flow"},
		{"success in lower case", alter(`{"screen":"success","data":{}}`), goes, "invalid-screen-transition", "led to"},
		{"a first screen that is no entry", phonetest.Fault{Alter: func(*flow.Request, []byte) []byte { return []byte(`{"screen":"COMMENT","data":{"score":"5"}}`) }}, opens, "invalid-screen-transition", "expected an entry screen"},
		{"status 201", phonetest.Fault{Status: 201}, opens, "unexpected_http_status_code", "status 201, expected exactly 200"},
		{"status 432", phonetest.Fault{Status: 432}, opens, "unexpected_http_status_code", "the app secret is probably another one"},
		{"status 404", phonetest.Fault{Status: 404}, opens, "unexpected_http_status_code", "nothing answers this URL, or the endpoint has no such flow"},
		{"status 204", phonetest.Fault{Status: 204}, opens, "unexpected_http_status_code", "status 204"},
		{"status 500", phonetest.Fault{Status: 500}, opens, "unexpected_http_status_code", "status 500"},
		{"427 in clear text", phonetest.Fault{Status: 427, Plain: true, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"over"}`) }}, opens, "response-decryption-error", "status 427"},
		{"427 as it should be", phonetest.Fault{Status: 427, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"over"}`) }}, opens, "token-invalid", "over"},
		{"another screen than the script has", alter(`{"screen":"RATING","data":{}}`), goes, "unexpected", "expected the screen COMMENT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := runner(definition, &phonetest.Endpoint{Definition: definition, Fault: c.fault}).Run(t.Context(), read(t, c.steps))
			err := report.Held[0].Err
			if key := conversation.ErrorKey(err); key != c.key {
				t.Fatalf("the key is %q (%v), want %q", key, err, c.key)
			}
			if err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("it says %q, want %q", err, c.reason)
			}
			if report.Passed() != (c.key == "") {
				t.Errorf("passed is %v", report.Passed())
			}
		})
	}
}

// What a data model cannot say, and the client cannot draw.
func TestScreensThatCannotBeDrawn(t *testing.T) {
	definition, _ := example(t, "appointment-booking")
	for _, c := range []struct{ name, departments, reason string }{
		{"nothing wrong", `[{"id":"a","title":"A"},{"id":"b","title":"B"}]`, ""},
		{"an id twice", `[{"id":"a","title":"A"},{"id":"a","title":"B"}]`, "RadioButtonsGroup department: option 2 has the id of an option before it"},
		{"no id", `[{"id":"","title":"A"}]`, "option 1 has no id"},
		{"images and colors", `[{"id":"a","title":"A","image":"x"},{"id":"b","title":"B","color":"ffffff"}]`, "images and colors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			endpoint := &phonetest.Endpoint{Definition: definition, Fault: phonetest.Fault{Alter: func(*flow.Request, []byte) []byte {
				return []byte(`{"screen":"DEPARTMENT","data":{"greeting":"","departments":` + c.departments + `}}`)
			}}}
			report := runner(definition, endpoint).Run(t.Context(), read(t, `{do: init, shows: DEPARTMENT}`))
			err := report.Held[0].Err
			if c.reason == "" && err != nil || c.reason != "" && (conversation.ErrorKey(err) != phone.KeyComponents || !strings.Contains(err.Error(), c.reason)) {
				t.Errorf("got %v, want %q", err, c.reason)
			}
		})
	}
}

func TestAScriptMayExpectTheRefusal(t *testing.T) {
	definition, _ := example(t, "csat-feedback")
	over := phonetest.Fault{Status: 427, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"This form is closed."}`) }}
	for _, c := range []struct {
		name, steps string
		fault       phonetest.Fault
		problem     string
	}{
		{"a refusal", `{do: init, refused: response-decryption-error}`, phonetest.Fault{ReversedIV: true}, ""},
		{"another refusal", `{do: init, refused: timeout_error}`, phonetest.Fault{ReversedIV: true}, "expected timeout_error"},
		{"a refusal that does not come", `{do: init, refused: payload-schema-error}`, phonetest.Fault{}, "the client takes the answer, expected that it refuses it"},
		{"a dead token", `{do: init, expired: This form is closed.}`, over, ""},
		{"a dead token with another message", `{do: init, expired: Bye}`, over, `expected "Bye"`},
		{"a token that is alive", `{do: init, expired: Bye}`, phonetest.Fault{}, "expected status 427"},
		{"a ping that fails", `{do: ping, refused: unexpected_http_status_code}`, phonetest.Fault{Status: 500}, ""},
		{"a report", `{do: report, from: RATING, error: payload-schema-error}`, phonetest.Fault{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := runner(definition, &phonetest.Endpoint{Definition: definition, Fault: c.fault}).Run(t.Context(), read(t, c.steps))
			err := report.Held[0].Err
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}

func TestThePhoneReportsWhatItRefuses(t *testing.T) {
	definition, _ := example(t, "csat-feedback")
	for _, reports := range []bool{true, false} {
		endpoint := &phonetest.Endpoint{Definition: definition, Fault: phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
			if _, _, reported := r.ErrorNotification(); !reported && r.Action == flow.DataExchange {
				return []byte(`{"screen":"COMMENT","data":{}}`)
			}
			return good
		}}}
		r := runner(definition, endpoint)
		r.Reports = reports
		r.Run(t.Context(), read(t, `{do: init, shows: RATING}, {do: exchange, from: RATING, send: {score: "5"}, shows: COMMENT}`))
		requests := endpoint.Requests()
		key, _, reported := requests[len(requests)-1].ErrorNotification()
		if reported != reports || reports && (key != "payload-schema-error" || requests[len(requests)-1].Screen != "RATING") {
			t.Errorf("reports %v: the last request is a report: %v, %s", reports, reported, key)
		}
	}
}

func TestTapsFillTheFormAsTheUserWould(t *testing.T) {
	definition, _ := example(t, "survey")
	for _, c := range []struct{ name, steps, problem string }{
		{"to the end", `
			{do: init, shows: VISITS},
			{do: tap, enter: {visits: rare}, shows: RARE},
			{do: tap, from: RARE, enter: {district: Alfama, reason: distance}, shows: FINISH, data: {summary: We will think of Alfama.}},
			{do: tap, enter: {ready: send, voucher: true}, completes: {visits: rare, reason: distance, district: Alfama, wish: "", voucher: true}}`, ""},
		{"a required input left empty", `{do: init, shows: VISITS}, {do: tap, invalid: {visits: it must be filled in}}`, ""},
		{"an input out of sight", `{do: init, shows: VISITS}, {do: tap, enter: {visits: rare}, shows: RARE}, {do: tap, enter: {reason: price, district: Alfama}, shows: FINISH}`,
			"the screen RARE shows no input district, expected one of reason"},
		{"no such option", `{do: init, shows: VISITS}, {do: tap, enter: {visits: daily}, invalid: {visits: "*"}}`, ""},
		{"too many", `{do: init, shows: VISITS}, {do: tap, enter: {visits: never}, shows: NEVER}, {do: tap, enter: {interests: [tasting, voucher, delivery]}, invalid: {interests: at most 2 may be chosen}}`, ""},
		{"valid where the script wants it not to be", `{do: init, shows: VISITS}, {do: tap, enter: {visits: rare}, invalid: {visits: "*"}}`, "the client sends what was entered"},
		{"no such button", `{do: init, shows: VISITS}, {do: tap, button: Go, shows: RARE}`, "nothing that says Go to tap, it has: Continue"},
		{"on another screen", `{do: init, shows: VISITS}, {do: tap, from: RARE, shows: FINISH}`, "the phone shows the screen VISITS, expected RARE"},
		{"without opening", `{do: tap, from: VISITS, enter: {visits: rare}, shows: RARE}`, "data.greeting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := runner(definition, &phonetest.Endpoint{Definition: definition}).Run(t.Context(), read(t, strings.ReplaceAll(c.steps, "\t", " ")))
			err := report.Held[0].Err
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}

func TestReportsForProgramsAndCIServers(t *testing.T) {
	definition, _ := example(t, "csat-feedback")
	r := runner(definition, &phonetest.Endpoint{Definition: definition})
	conversations := read(t, `{do: init, shows: RATING}`)
	conversations = append(conversations, conversation.Conversation{Name: "bad <\x01&>", Steps: []conversation.Step{{Do: "init", Shows: "COMMENT"}}})
	report := r.Run(t.Context(), conversations)
	var b bytes.Buffer
	if err := report.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Type    string `xml:"type,attr"`
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 2 || suite.Failures != 1 || suite.Cases[0].Failure != nil || suite.Cases[1].Name != "bad <&>" ||
		suite.Cases[1].Failure == nil || suite.Cases[1].Failure.Type != "unexpected" || !strings.Contains(suite.Cases[1].Failure.Message, "expected the screen COMMENT") {
		t.Errorf("JUnit is\n%s", b.String())
	}
	b.Reset()
	if err := report.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Passed        bool
		Failed        int
		Conversations []struct {
			Passed   bool
			ErrorKey string `json:"error_key"`
			Steps    []struct {
				Answer       json.RawMessage
				Milliseconds float64
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if out.Passed || out.Failed != 1 || !out.Conversations[0].Passed || out.Conversations[1].ErrorKey != "unexpected" || out.Conversations[0].Steps[0].Milliseconds != 1 {
		t.Errorf("JSON is\n%s", b.String())
	}
}

func TestARunThatIsEndedSaysSo(t *testing.T) {
	definition, conversations := example(t, "csat-feedback")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	report := runner(definition, &phonetest.Endpoint{Definition: definition}).Run(ctx, conversations)
	if report.Passed() || !errors.Is(report.Err, stop) || len(report.Held) != 0 {
		t.Errorf("passed %v, %v, %d held", report.Passed(), report.Err, len(report.Held))
	}
	var b bytes.Buffer
	if err := report.WriteJUnit(&b); err != nil || !strings.Contains(b.String(), `tests="1" failures="1"`) {
		t.Errorf("JUnit is %s (%v)", b.String(), err)
	}
}

func TestAStoredSessionBecomesAScript(t *testing.T) {
	const stored = `{"session":{"id":"s1","flow":"csat-feedback","userId":null},"truncated":false,"steps":[
		{"kind":"step","action":"INIT","from":null,"to":"RATING","outcome":"next"},
		{"kind":"step","action":"data_exchange","from":"RATING","to":"RATING","outcome":"same","answers":{"score":"9"}},
		{"kind":"client_error","action":"data_exchange","from":"RATING","outcome":"error","errorKey":"payload-schema-error"},
		{"kind":"step","action":"data_exchange","from":"RATING","to":"COMMENT","outcome":"next","answers":{"score":"4"}},
		{"kind":"step","action":"BACK","from":"COMMENT","to":"RATING","outcome":"back"},
		{"kind":"step","action":"data_exchange","from":"RATING","to":"COMMENT","outcome":"next","answers":{"score":"5"}},
		{"kind":"step","action":"data_exchange","from":"COMMENT","to":"THANKS","outcome":"next","answers":{"score":"5","comment":"2026-11-24"}},
		{"kind":"step","action":"data_exchange","from":"THANKS","to":"SUCCESS","outcome":"complete","answers":{"score":"5","comment":"2026-11-24","contact_me":true},
			"params":{"score":"5","comment":"2026-11-24","contact_me":true,"flow_token":"the old one"}}]}`
	var recorded conversation.Recorded
	if err := json.Unmarshal([]byte(stored), &recorded); err != nil {
		t.Fatal(err)
	}
	c, notes, err := conversation.FromSession(&recorded)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "Step 3 of the session is left out: the phone reported") {
		t.Errorf("notes: %q", notes)
	}
	text, err := conversation.Write([]conversation.Conversation{c}, notes)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "the old one") {
		t.Error("the script holds the session's flow token")
	}
	conversations, err := conversation.Read(text)
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	definition, _ := example(t, "csat-feedback")
	report := runner(definition, &phonetest.Endpoint{Definition: definition}).Run(t.Context(), conversations)
	if !report.Passed() {
		t.Errorf("%v:\n%s", report.Held[0].Err, text)
	}
}

// What is written is what is read, also where it is empty or looks like something
// else to YAML.
func TestScriptsAreReadAsTheyWereWritten(t *testing.T) {
	none := ""
	c := conversation.Conversation{Name: "all: of it", User: conversation.User{ID: "1e3", Name: "- Ann"}, Steps: []conversation.Step{
		{Do: "open", From: "A", Send: map[string]any{"no": "no", "day": "2026-11-24", "n": 1.5, "list": []any{}, "deep": map[string]any{"x": true}}, Shows: "A", Exactly: conversation.Members{}},
		{Do: "tap", Enter: map[string]any{"a": "0x10", "b": "two\nlines ", "c": "~"}, Button: "Go: on", Invalid: map[string]any{"a": "*"}},
		{Do: "tap", Expired: &none},
		{Do: "tap", Completes: conversation.Members{}},
	}}
	text, err := conversation.Write([]conversation.Conversation{c}, []string{"a note"})
	if err != nil {
		t.Fatal(err)
	}
	read, err := conversation.Read(text)
	if err != nil || !reflect.DeepEqual(read, []conversation.Conversation{c}) {
		t.Errorf("%v: read %+v of\n%s", err, read, text)
	}
	var recorded conversation.Recorded
	if err := json.Unmarshal([]byte(`{"session":{"id":"s"},"steps":[{"kind":"step","action":"data_exchange","from":"A","outcome":"complete","answers":{},"params":{"flow_token":"t"}}]}`), &recorded); err != nil {
		t.Fatal(err)
	}
	c, _, err = conversation.FromSession(&recorded)
	if err == nil {
		text, err = conversation.Write([]conversation.Conversation{c}, nil)
	}
	if err == nil {
		_, err = conversation.Read(text)
	}
	if err != nil {
		t.Errorf("a session that ends with nothing but its token: %v\n%s", err, text)
	}
}

func TestSessionsThatNothingCanBePlayedOf(t *testing.T) {
	for name, c := range map[string]struct{ step, note string }{
		"answers that are a list": {`{"kind":"step","action":"data_exchange","from":"A","to":"B","outcome":"next","answers":[1]}`, "its answers are no JSON object"},
		"an unknown action":       {`{"kind":"step","action":"DANCE","outcome":"next","to":"B"}`, `its action is "DANCE"`},
		"no screen":               {`{"kind":"step","action":"INIT","outcome":"next"}`, "the screen it led to is not stored"},
		"an error":                {`{"kind":"step","action":"INIT","outcome":"error","to":"B"}`, `its outcome is "error"`},
		"no params":               {`{"kind":"step","action":"data_exchange","from":"A","outcome":"complete","answers":{}}`, "its params are no JSON object"},
	} {
		var recorded conversation.Recorded
		if err := json.Unmarshal([]byte(`{"session":{"id":"s"},"steps":[`+c.step+`]}`), &recorded); err != nil {
			t.Fatal(err)
		}
		_, notes, err := conversation.FromSession(&recorded)
		if err == nil || len(notes) != 1 || !strings.Contains(notes[0], c.note) {
			t.Errorf("%s: %q (%v), want %q", name, notes, err, c.note)
		}
	}
}

// A flow that asks nobody is played without an endpoint: opened by its message,
// filled in, left backwards, ended on the phone.
const alone = `{"version":"7.3","screens":[
	{"id":"NAME","data":{"greeting":{"type":"string","__example__":"hi"}},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextInput","name":"name","label":"Name","required":true},
		{"type":"Footer","label":"Go","on-click-action":{"name":"navigate","next":{"type":"screen","name":"SURE"},"payload":{}}}]}},
	{"id":"SURE","terminal":true,"layout":{"type":"SingleColumnLayout","children":[
		{"type":"Footer","label":"Send","on-click-action":{"name":"complete","payload":{"name":"${screen.NAME.form.name}","greeting":"${screen.NAME.data.greeting}"}}}]}}]}`

func TestAFlowThatAsksNobody(t *testing.T) {
	definition, err := flow.Load([]byte(alone), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, steps, problem string }{
		{"to the end", `
			{do: open, from: NAME, send: {greeting: "Hello on {today}"}, shows: NAME, data: {greeting: Hello on 2026-11-23}},
			{do: tap, invalid: {name: "*"}},
			{do: tap, enter: {name: Ann}, shows: SURE},
			{do: back, from: SURE, shows: NAME},
			{do: tap, enter: {name: Bo}, shows: SURE},
			{do: tap, completes: {name: Bo, greeting: Hello on 2026-11-23}}`, ""},
		{"without the data that the first screen declares", `{do: open, from: NAME, shows: NAME}`, "data.greeting"},
		{"a message that is refused", `{do: open, from: NAME, refused: payload-schema-error}`, ""},
		{"on a screen that is no entry", `{do: open, from: SURE, refused: invalid-screen-transition}`, ""},
		{"back from the first screen", `{do: open, from: NAME, send: {greeting: x}, shows: NAME}, {do: back, from: NAME, shows: NAME}`, "this is the first screen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			endpoint := &phonetest.Endpoint{Definition: definition}
			report := runner(definition, endpoint).Run(t.Context(), read(t, strings.ReplaceAll(c.steps, "\t", " ")))
			err := report.Held[0].Err
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
			if n := len(endpoint.Requests()); n > 0 {
				t.Errorf("the endpoint got %d requests", n)
			}
		})
	}
}

func TestTheWebhookNamesTheUserOfItsConversation(t *testing.T) {
	definition, conversations := example(t, "csat-feedback")
	conversations = conversations[:1]
	conversations[0].Token, conversations[0].User = "", conversation.User{ID: "US.1", Name: "Ann"}
	r := runner(definition, &phonetest.Endpoint{Definition: definition})
	r.TokenSecret = []byte("signs the flow tokens of users")
	var body string
	r.Postman = &phone.Postman{Clock: clock(), From: phone.Completion{WABA: "1", UserID: "US.2", Name: "Bo"}, Send: func(_ context.Context, b []byte, _ map[string]string) (int, []byte, error) {
		body = string(b)
		return 200, nil, nil
	}}
	if report := r.Run(t.Context(), conversations); !report.Passed() || !strings.Contains(body, `"contacts":[{"profile":{"name":"Ann"},"user_id":"US.1"}]`) {
		t.Errorf("%v, the webhook is %s", report.Held[0].Err, body)
	}
}

func TestClosingWebhooks(t *testing.T) {
	definition, conversations := example(t, "csat-feedback")
	type sent struct {
		body   string
		signed bool
	}
	var got []sent
	status := 200
	var waited []time.Duration
	postman := func() *phone.Postman {
		got, waited = nil, nil
		return &phone.Postman{
			AppSecret: []byte("s"), Clock: clock(), From: phone.Completion{WABA: "1", PhoneNumberID: "2", Phone: "15550100"},
			Pause: func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil },
			Send: func(_ context.Context, body []byte, header map[string]string) (int, []byte, error) {
				got = append(got, sent{string(body), header["X-Hub-Signature-256"] != ""})
				return status, nil, nil
			},
		}
	}
	r := runner(definition, &phonetest.Endpoint{Definition: definition})
	r.Postman = postman()
	r.Postman.Copies, r.Postman.Delay = 2, time.Minute
	if report := r.Run(t.Context(), conversations); !report.Passed() {
		t.Fatal(report.Err)
	}
	// Three of the conversations end.
	if len(got) != 6 || len(waited) != 6 || got[0] != got[1] || got[1] == got[2] || !got[0].signed || waited[0] != time.Minute {
		t.Errorf("%d sendings, %d waits", len(got), len(waited))
	}

	r.Postman = postman()
	r.Postman.Copies, r.Postman.Shuffle = 3, phonetest.Dice(7)
	if report := r.Run(t.Context(), conversations); !report.Passed() {
		t.Fatal(report.Err)
	}
	count, moves := map[string]int{}, 0
	for i, s := range got {
		if count[s.body]++; i > 0 && got[i-1] != s {
			moves++
		}
	}
	if len(got) != 9 || len(count) != 3 || moves <= 2 {
		t.Errorf("%d sendings of %d webhooks, %d changes from one to the next: they are in order", len(got), len(count), moves)
	}

	status = 202
	r.Postman = postman()
	if report := r.Run(t.Context(), conversations[:1]); report.Passed() || !strings.Contains(report.Held[0].Err.Error(), "status 202, expected exactly 200") {
		t.Errorf("a receiver that answers 202: %v", report.Held[0].Err)
	}
}
