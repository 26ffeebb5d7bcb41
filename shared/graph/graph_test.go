package graph_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

const plainFlow = `{"version": "7.3", "screens": [
  {"id": "FIRST", "title": "First", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}
  ]}}
]}
`

func publicKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestAPublicKeyIsSetUrlencodedAndReadBack(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	if got, err := c.GetPublicKey(t.Context(), phone); err != nil || got != (graph.PublicKey{}) {
		t.Fatalf("before any was set: %+v, %v", got, err)
	}
	key := publicKey(t)
	if err := c.SetPublicKey(t.Context(), phone, key); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetPublicKey(t.Context(), phone); err != nil || got.PEM != key || got.Signature != graph.SignatureValid {
		t.Errorf("read back %+v, %v", got, err)
	}
	if w := s.Writes(); len(w) != 1 || w[0].Kind != "application/x-www-form-urlencoded" {
		t.Errorf("sent %+v", w)
	}
	for name, text := range map[string]string{
		"a private key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PKCS#1": "-----BEGIN RSA PUBLIC KEY-----\n", "nothing": "",
	} {
		if err := c.SetPublicKey(t.Context(), phone, text); err == nil || len(s.Writes()) != 1 {
			t.Errorf("%s was sent: %v", name, err)
		}
	}
}

// Meta answers with the key itself, or with a list of one.
func TestAPublicKeyIsReadInBothForms(t *testing.T) {
	s := start(t)
	s.Fail("GET "+phone+"/whatsapp_business_encryption", graphtest.Failure{Status: 200, Body: `{"data":[{"business_public_key":"K","business_public_key_signature_status":"MISMATCH"}]}`})
	got, err := s.client(t, token).GetPublicKey(t.Context(), phone)
	if err != nil || got.PEM != "K" || got.Signature != graph.SignatureMismatch {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAFlowFromCreationToItsEnd(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	id, err := c.CreateFlow(t.Context(), waba, graph.NewFlow{Name: "survey", Categories: []string{"SURVEY"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DownloadJSON(t.Context(), id); err == nil || !strings.Contains(err.Error(), "no Flow JSON") {
		t.Errorf("downloading before an upload: %v", err)
	}
	problems, err := c.UploadJSON(t.Context(), id, []byte(strings.Replace(plainFlow, `"title"`, `"titel"`, 1)))
	if err != nil || len(problems) != 1 || problems[0].Error != validate.InvalidPropertyKey || problems[0].LineStart != 2 || problems[0].Pointers[0].Path == "" {
		t.Fatalf("uploading a mistake: %+v, %v", problems, err)
	}
	if err := c.PublishFlow(t.Context(), id); !graph.HasCode(err, graph.CodeFlowCannotPublish) || !strings.Contains(err.Error(), "has errors") || !strings.Contains(err.Error(), "Meta wants") {
		t.Errorf("publishing it: %v", err)
	}
	if problems, err := c.UploadJSON(t.Context(), id, []byte(plainFlow)); err != nil || len(problems) != 0 {
		t.Fatal(problems, err)
	}
	if err := c.UpdateFlow(t.Context(), id, graph.Metadata{EndpointURI: "https://flows.example.com/x", ApplicationID: app}); err != nil {
		t.Fatal(err)
	}
	if text, err := c.DownloadJSON(t.Context(), id); err != nil || string(text) != plainFlow {
		t.Errorf("downloaded %q, %v", text, err)
	}
	if err := c.PublishFlow(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f, err := c.Flow(t.Context(), id)
	if err != nil || f.Name != "survey" || f.Status != graph.Published || !f.Live() || f.JSONVersion != "7.3" || f.EndpointURI != "https://flows.example.com/x" ||
		f.Application == nil || f.Application.Name != "Shop" || f.Account.ID != waba || f.Preview.URL == "" || f.Health.CanSend != graph.Available || !slices.Equal(f.Categories, []string{"SURVEY"}) {
		t.Errorf("%+v, %v", f, err)
	}
	if err := c.DeprecateFlow(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UploadJSON(t.Context(), id, []byte(plainFlow)); !graph.HasCode(err, graph.CodeFlowCannotUpdate) {
		t.Errorf("uploading to a deprecated flow: %v", err)
	}
	if _, err := c.CreateFlow(t.Context(), waba, graph.NewFlow{Name: "survey", Categories: []string{"SURVEY"}}); !graph.HasCode(err, graph.CodeInvalidParameter) {
		t.Errorf("the same name again: %v", err)
	}
	clone, err := c.CreateFlow(t.Context(), waba, graph.NewFlow{Name: "survey 2", Categories: []string{"SURVEY"}, CloneID: id})
	if err != nil || string(s.Flow(clone).JSON) != plainFlow || s.Flow(clone).Status != graph.Draft {
		t.Errorf("cloning: %+v, %v", s.Flow(clone), err)
	}
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	s := start(t)
	for i := range 7 {
		s.AddFlow(waba, graphtest.Flow{Name: fmt.Sprint("flow ", i), JSON: []byte(plainFlow)})
	}
	s.PageSize = 3
	flows, err := s.client(t, token).Flows(t.Context(), waba)
	if err != nil || len(flows) != 7 || flows[6].Name != "flow 6" {
		t.Errorf("%d flows, %v", len(flows), err)
	}
	for _, call := range s.Log() {
		if call.Query.Has("access_token") {
			t.Error("Meta's link to the next page, which holds the token, was followed")
		}
	}
	circle := graphtest.Failure{Status: 200, Body: `{"data":[],"paging":{"cursors":{"after":"x"},"next":"https://graph.facebook.com/"}}`}
	s.Fail("GET "+waba+"/flows", circle, circle)
	if _, err := s.client(t, token).Flows(t.Context(), waba); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("pages in a circle: %v", err)
	}
	s.Fail("GET "+waba+"/flows", graphtest.Failure{Status: 200, Body: `{}`})
	if _, err := s.client(t, token).Flows(t.Context(), waba); err == nil || !strings.Contains(err.Error(), "no data") {
		t.Errorf("no list: %v", err)
	}
}

func TestNumbersHealthAndTheToken(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	numbers, err := c.Numbers(t.Context(), waba)
	if err != nil || len(numbers) != 1 || numbers[0].ID != phone || numbers[0].Verification != "VERIFIED" || numbers[0].Quality != "GREEN" {
		t.Errorf("%+v, %v", numbers, err)
	}
	s.SetHealth(phone, graph.Health{CanSend: graph.Limited, Entities: []graph.Entity{{Type: "PHONE_NUMBER", ID: phone, CanSend: graph.Limited,
		Errors: []graph.HealthError{{Code: 141010, Description: "no display name", Solution: "ask for one"}}}}})
	h, err := c.HealthStatus(t.Context(), phone)
	if err != nil || h.CanSend != graph.Limited || len(h.Entities) != 1 || h.Entities[0].Errors[0].Solution != "ask for one" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := c.HealthStatus(t.Context(), "1"); !graph.NotFound(err) {
		t.Errorf("health of nothing: %v", err)
	}
	info, err := c.DebugToken(t.Context())
	if err != nil || !info.Valid || info.AppID != app || info.Application != "Shop" || len(info.Lacks()) != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	s.AddToken("EAAlittle", graphtest.Token{AppID: app, Scopes: []string{graph.ScopeMessaging}, Expires: 4_000_000_000})
	little := s.client(t, "EAAlittle")
	if info, err := little.DebugToken(t.Context()); err != nil || info.Expires != 4_000_000_000 || !slices.Equal(info.Lacks(), []string{graph.ScopeManagement}) {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := little.Numbers(t.Context(), waba); !graph.HasCode(err, 200) || !strings.Contains(err.Error(), "make a token with whatsapp_business_management") {
		t.Errorf("without the scope: %v", err)
	}
}

func TestSubscriptions(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	if apps, err := c.SubscribedApps(t.Context(), waba); err != nil || len(apps) != 0 {
		t.Errorf("%+v, %v", apps, err)
	}
	for range 2 {
		if err := c.SubscribeApp(t.Context(), waba); err != nil {
			t.Fatal(err)
		}
	}
	if apps, err := c.SubscribedApps(t.Context(), waba); err != nil || !slices.Equal(apps, []graph.Named{{ID: app, Name: "Shop"}}) {
		t.Errorf("%+v, %v", apps, err)
	}
	own := s.client(t, graph.AppToken(app, secret))
	if err := own.Subscribe(t.Context(), app, "https://flows.example.com/webhooks/whatsapp", "verify-me", []string{"messages", "flows"}); err != nil {
		t.Fatal(err)
	}
	subs, err := own.Subscriptions(t.Context(), app)
	if err != nil || len(subs) != 1 || subs[0].CallbackURL != "https://flows.example.com/webhooks/whatsapp" || !slices.Equal(subs[0].Fields, []string{"messages", "flows"}) {
		t.Errorf("%+v, %v", subs, err)
	}
	if _, err := c.Subscriptions(t.Context(), app); !graph.HasCode(err, 15) {
		t.Errorf("with another token than the app's: %v", err)
	}
	if err := own.Subscribe(t.Context(), app, "https://flows.example.com/webhooks/whatsapp", "another", []string{"messages"}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("with another verify token: %v", err)
	}
}

func TestFieldsOfASubscriptionInBothForms(t *testing.T) {
	var s graph.Subscription
	if err := json.Unmarshal([]byte(`{"object":"o","fields":["messages",{"name":"flows","version":"v25.0"}]}`), &s); err != nil || !slices.Equal(s.Fields, []string{"messages", "flows"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestMessages(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	flow := s.AddFlow(waba, graphtest.Flow{Name: "survey", Status: graph.Published, JSON: []byte(plainFlow)})
	draft := s.AddFlow(waba, graphtest.Flow{Name: "new", JSON: []byte(plainFlow)})
	base := graph.FlowMessage{To: "+49 151 (234)-5678", Header: "H", Body: "Please", Footer: "F", CTA: "Open", FlowID: flow, Token: "tok", Action: "data_exchange"}
	for _, step := range []struct {
		name   string
		change func(*graph.FlowMessage)
		check  func(graphtest.Message) bool
		fails  string
	}{
		{"an endpoint answers", func(*graph.FlowMessage) {}, func(m graphtest.Message) bool {
			return m.To == "491512345678" && m.Action == "data_exchange" && m.Screen == "" && m.Mode == "published" && m.Token == "tok" && m.FlowID == flow
		}, ""},
		{"the message names the screen", func(m *graph.FlowMessage) {
			m.Action, m.Screen, m.Data = "navigate", "FIRST", map[string]json.RawMessage{"a": json.RawMessage("1")}
		}, func(m graphtest.Message) bool { return m.Screen == "FIRST" && string(m.Data) == `{"a":1}` }, ""},
		{"no data at all", func(m *graph.FlowMessage) { m.Action = "navigate" }, func(m graphtest.Message) bool { return m.Action == "navigate" && m.Data == nil }, ""},
		{"a draft", func(m *graph.FlowMessage) { m.FlowID, m.Draft = draft, true }, func(m graphtest.Message) bool { return m.Mode == "draft" }, ""},
		{"a business-scoped user id", func(m *graph.FlowMessage) { m.To = "US.13491208655302741918" }, func(m graphtest.Message) bool { return m.To == "US.13491208655302741918" }, ""},
		{"a draft sent as published", func(m *graph.FlowMessage) { m.FlowID = draft }, nil, "131009"},
		{"data with data_exchange", func(m *graph.FlowMessage) { m.Screen = "FIRST" }, nil, "names no screen"},
		{"no action", func(m *graph.FlowMessage) { m.Action = "" }, nil, "expected data_exchange or navigate"},
		{"no body", func(m *graph.FlowMessage) { m.Body = "" }, nil, "needs a body"},
		{"no such user", func(m *graph.FlowMessage) { m.To = "geheim" }, nil, "neither a phone number"},
	} {
		m := base
		step.change(&m)
		before := len(s.Messages())
		id, err := c.SendFlow(t.Context(), phone, m)
		sent := s.Messages()[before:]
		switch {
		case step.fails != "":
			if err == nil || !strings.Contains(err.Error(), step.fails) || len(sent) != 0 || strings.Contains(err.Error(), "geheim") {
				t.Errorf("%s: %v, sent %d", step.name, err, len(sent))
			}
		case err != nil || len(sent) != 1 || id != sent[0].ID || !step.check(sent[0]):
			t.Errorf("%s: %s, %v, %+v", step.name, id, err, sent)
		}
	}
	id, err := c.SendTemplate(t.Context(), phone, graph.TemplateMessage{To: "4915112345678", Name: "survey_1", Language: "en_US", Body: []string{"Ann"}, Token: "tok", Data: map[string]json.RawMessage{"a": json.RawMessage(`"b"`)}})
	m := s.Messages()[len(s.Messages())-1]
	if err != nil || id != m.ID || m.Template != "survey_1/en_US" || m.Token != "tok" || m.Body != "Ann;" || string(m.Data) != `{"a":"b"}` {
		t.Errorf("template: %v, %+v", err, m)
	}
}

func TestRecipients(t *testing.T) {
	for from, want := range map[string]string{
		"+49 151 (234)-5678":     "491512345678",
		"4915112345678":          "4915112345678",
		" +1 555-078-3881 ":      "15550783881",
		"+49\u00a0151\u00a02345": "491512345",
		"US.1349120865530":       "US.1349120865530",
		"US.ENT.11815799212":     "US.ENT.11815799212",
	} {
		if got, err := graph.RecipientID(from); got != want || err != nil {
			t.Errorf("%q is %q, %v, expected %q", from, got, err, want)
		}
	}
	for from, want := range map[string]string{
		"":                   "neither a phone number",
		"+49 (0)151 9876543": "leave it out",
		"0049 151 9876543":   "begins with 0",
		"0151 9876543":       "begins with 0",
		"+0151 9876543":      "begins with 0",
		"49+1519876543":      "neither a phone number",
		"491519876543/9":     "neither a phone number",
		"1234567890123456":   "neither a phone number",
		"us.1349120865530":   "neither a phone number",
		"US.../../messages":  "neither a phone number",
	} {
		if got, err := graph.RecipientID(from); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "9876543") && !strings.Contains(err.Error(), "+4915119876543") {
			t.Errorf("%q: %q, %v, expected %q", from, got, err, want)
		}
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	busy := graphtest.Failure{Status: 503, Code: 2, Message: "down"}
	limited := graphtest.Failure{Status: 400, Code: 80007, Message: "rate"}
	for _, c := range []struct {
		name     string
		failures []graphtest.Failure
		write    bool // create, which must not be repeated; else read
		calls    int
		paused   []time.Duration
		fails    string
	}{
		{"a read, after 5xx, with longer pauses", []graphtest.Failure{busy, busy}, false, 3, []time.Duration{time.Second, 2 * time.Second}, ""},
		{"a read, until the tries are used up", []graphtest.Failure{busy, busy, busy, busy, busy}, false, 4, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, "tried 4 times"},
		{"a read, after a broken connection", []graphtest.Failure{{Hangup: true}}, false, 2, []time.Duration{time.Second}, ""},
		{"a read, when Meta says so", []graphtest.Failure{{Status: 400, Code: 100, Message: "x", Transient: true}}, false, 2, []time.Duration{time.Second}, ""},
		{"as late as Meta asks", []graphtest.Failure{{Status: 429, Code: 4, Message: "x", RetryAfter: "17"}}, false, 2, []time.Duration{17 * time.Second}, ""},
		{"not if Meta asks for long", []graphtest.Failure{{Status: 429, Code: 4, Message: "x", RetryAfter: "3600"}}, false, 1, nil, "wait for 1h"},
		{"not after a refusal", []graphtest.Failure{{Status: 400, Code: 100, Message: "no"}}, false, 1, nil, "no"},
		{"a write, after a rate limit", []graphtest.Failure{limited, {Status: 429, Code: 130429, Message: "x"}, {Status: 400, Code: 4, Message: "x"}}, true, 4, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, ""},
		{"a write, not after 5xx", []graphtest.Failure{{Status: 500, Code: 2, Message: "down", CarriedOut: true}}, true, 1, nil, "code 2"},
		{"a write, not after an answer that says nothing", []graphtest.Failure{{Status: 200, Body: "<html>", CarriedOut: true}}, true, 1, nil, "look before you repeat it"},
		{"a write that Meta refused", []graphtest.Failure{{Status: 400, Code: 100, Message: "no"}}, true, 1, nil, "code 100: no"},
		{"a write, not after a broken connection", []graphtest.Failure{{Hangup: true, CarriedOut: true}}, true, 1, nil, "carried out or not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			client := s.client(t, token)
			call := "GET " + waba + "/flows"
			if c.write {
				call = "POST " + waba + "/flows"
			}
			s.Fail(call, c.failures...)
			var err error
			if c.write {
				_, err = client.CreateFlow(t.Context(), waba, graph.NewFlow{Name: "n", Categories: []string{"OTHER"}})
			} else {
				_, err = client.Flows(t.Context(), waba)
			}
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, expected %q", err, c.fails)
			}
			if n := len(s.Log()); n != c.calls || !slices.Equal(s.paused, c.paused) {
				t.Errorf("%d calls with pauses %v, expected %d and %v", n, s.paused, c.calls, c.paused)
			}
		})
	}
}

// Whoever read "try again" would send the message twice.
func TestAnErrorOfWhatMayHaveBeenCarriedOutDoesNotSayToTryAgain(t *testing.T) {
	s := start(t)
	flow := s.AddFlow(waba, graphtest.Flow{Name: "survey", Status: graph.Published, JSON: []byte(plainFlow)})
	for _, failure := range []graphtest.Failure{
		{Status: 500, Code: 2, Message: "down", CarriedOut: true}, {Status: 503, Code: 131016, Message: "overloaded"}, {Status: 400, Code: 1, Message: "unknown"},
		{Status: 502, Body: "<html>"}, {Status: 200, Body: "<html>", CarriedOut: true}, {Hangup: true, CarriedOut: true},
	} {
		before := len(s.Log())
		s.Fail("POST "+phone+"/messages", failure)
		_, err := s.client(t, token).SendFlow(t.Context(), phone, graph.FlowMessage{To: "4915112345678", Body: "b", CTA: "c", FlowID: flow, Token: "t", Action: "navigate"})
		if err == nil || !strings.Contains(err.Error(), "it may have been carried out or not: look before you repeat it") || strings.Contains(err.Error(), "try again") {
			t.Errorf("%+v: %v", failure, err)
		}
		if n := len(s.Log()) - before; n != 1 {
			t.Errorf("%+v: sent %d times", failure, n)
		}
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client(t, token).Flows(ctx, waba); err == nil || len(s.paused) != 0 {
		t.Errorf("%v after pauses of %v", err, s.paused)
	}
}

func TestAnAddressWhereNobodyListens(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	s.Close()
	_, err := c.CreateFlow(t.Context(), waba, graph.NewFlow{Name: "n", Categories: []string{"OTHER"}})
	if err == nil || !strings.Contains(err.Error(), "did not answer") || len(s.paused) != 3 {
		t.Errorf("%v after pauses of %v", err, s.paused)
	}
}

func TestUsageIsReadFromHeaders(t *testing.T) {
	s := start(t)
	s.Header = http.Header{"X-App-Usage": {`{"call_count":28,"total_time":5,"total_cputime":3}`},
		"X-Business-Use-Case-Usage": {`{"109":[{"type":"whatsapp","call_count":95,"total_cputime":25,"total_time":25,"estimated_time_to_regain_access":0}]}`}}
	c := s.client(t, token)
	if _, err := c.Numbers(t.Context(), waba); err != nil {
		t.Fatal(err)
	}
	got := c.Usage()
	if len(got) != 2 || got[0].Of != "109 whatsapp" || got[0].Percent() != 95 || got[1] != (graph.Usage{Of: "app", Calls: 28, Time: 5, CPU: 3}) {
		t.Errorf("%+v", got)
	}
	s.Header = http.Header{"X-App-Usage": {`nonsense`}, "X-Business-Use-Case-Usage": {`{"109":[{"type":"whatsapp","call_count":100,"estimated_time_to_regain_access":19}]}`}}
	s.Fail("GET "+waba+"/flows", graphtest.Failure{Status: 400, Code: 80007, Message: "x"})
	if _, err := c.Flows(t.Context(), waba); err == nil || !strings.Contains(err.Error(), "wait for 19m") || len(s.paused) != 0 {
		t.Errorf("held back for 19 minutes: %v after pauses of %v", err, s.paused)
	}
	if got := c.Usage(); got[0].Regain != 19 || got[0].Percent() != 100 {
		t.Errorf("%+v", got)
	}
}

func TestTheTokenStandsInNoError(t *testing.T) {
	s := start(t)
	for name, call := range map[string]func(*graph.Client) error{
		"Meta repeats a token it does not know": func(c *graph.Client) error { _, err := c.Flows(t.Context(), waba); return err },
		"a broken connection, with the token in the URL": func(c *graph.Client) error {
			for range 4 {
				s.Fail("GET debug_token", graphtest.Failure{Hangup: true})
			}
			_, err := c.DebugToken(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(s.client(t, "EAAgeheim0123456789&?=x"))
			if err == nil || strings.Contains(fmt.Sprintf("%v %#v", err, err), "geheim") {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := graph.New(graph.Config{HTTP: s.HTTP(), Token: "geheim\nx"}); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a token of two lines: %v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := start(t)
	s.Fail("GET "+waba+"/flows", graphtest.Failure{Status: 302, Body: "moved"})
	if _, err := s.client(t, token).Flows(t.Context(), waba); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("%v", err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := start(t)
	s.Fail("GET "+waba+"/flows", graphtest.Failure{Status: 200, Body: strings.Repeat(" ", 16<<20) + "{}"})
	if _, err := s.client(t, token).Flows(t.Context(), waba); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("%v", err)
	}
}

func TestALinkToElsewhereIsNotFollowed(t *testing.T) {
	s := start(t)
	id := s.AddFlow(waba, graphtest.Flow{Name: "x", JSON: []byte(plainFlow)})
	for _, link := range []string{"http://169.254.169.254/latest", "file:///etc/passwd", ":"} {
		s.Fail("GET "+id+"/assets", graphtest.Failure{Status: 200, Body: `{"data":[{"asset_type":"FLOW_JSON","download_url":"` + link + `"}]}`})
		if _, err := s.client(t, token).DownloadJSON(t.Context(), id); err == nil || !strings.Contains(err.Error(), "does not begin with https") {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name    string
		failure graphtest.Failure
		want    []string
	}{
		{"a token that expired", graphtest.Failure{Status: 401, Code: 190, Subcode: 463, Message: "Session has expired"}, []string{"GET /" + waba + "/flows: Meta answered 401, code 190 (463): Session has expired", "does not expire", "fbtrace_id Atrace"}},
		{"an unknown subcode of it", graphtest.Failure{Status: 401, Code: 190, Subcode: 1, Message: "x"}, []string{"set META_ACCESS_TOKEN"}},
		{"integrity", graphtest.Failure{Code: 139000, Message: "x"}, []string{"verify it in Business Manager"}},
		{"a permission by another number", graphtest.Failure{Status: 403, Code: 230, Message: "x"}, []string{"lacks the permission"}},
		{"a code nobody knows", graphtest.Failure{Code: 987654, Message: "strange"}, []string{"code 987654: strange"}},
		{"a proxy's page", graphtest.Failure{Status: 404, Body: "<html>"}, []string{"no answer of the Graph API"}},
		{"a proxy's page with 200", graphtest.Failure{Status: 200, Body: "<html>"}, []string{"not the JSON expected"}},
	} {
		s.Fail("GET "+waba+"/flows", c.failure)
		_, err := s.client(t, token).Flows(t.Context(), waba)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, expected %q", c.name, err, want)
			}
		}
	}
}

func TestWhatAClientIsMadeOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		config graph.Config
		want   string
	}{
		{"no HTTP client", graph.Config{Token: "t"}, "no *http.Client"},
		{"no token", graph.Config{HTTP: http.DefaultClient}, "token is empty"},
		{"a version without v", graph.Config{HTTP: http.DefaultClient, Token: "t", Version: "25.0"}, "no version"},
		{"plain http over a network", graph.Config{HTTP: http.DefaultClient, Token: "t", URL: "http://graph.facebook.com"}, "expected https"},
		{"no URL", graph.Config{HTTP: http.DefaultClient, Token: "t", URL: "graph.facebook.com"}, "expected one such as https://graph.facebook.com"},
		{"a URL with a password", graph.Config{HTTP: http.DefaultClient, Token: "t", URL: "https://u:geheim@x"}, "expected one such as"},
	} {
		if _, err := graph.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
	for _, url := range []string{"", "http://127.0.0.1:8080", "http://localhost:1", "https://proxy.example.com/graph"} {
		if _, err := graph.New(graph.Config{HTTP: http.DefaultClient, Token: "t", URL: url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestIDsThatAreNone(t *testing.T) {
	s := start(t)
	c := s.client(t, token)
	for _, id := range []string{"", "me", "1/../2", "1?x", strings.Repeat("1", 33)} {
		_, err := c.Flow(t.Context(), id)
		if err == nil || len(s.Log()) != 0 {
			t.Errorf("%q: %v", id, err)
		}
	}
}
