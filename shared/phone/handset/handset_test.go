package handset_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// A flow that mixes what the phone does by itself with what it asks for: FIRST
// navigates to SECOND, which asks on back, and asks which screen comes next.
const mixed = `{"version":"7.3","data_api_version":"4.0","routing_model":{"FIRST":["SECOND"],"SECOND":["LAST"],"LAST":[]},"screens":[
	{"id":"FIRST","layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextInput","name":"name","label":"Name","required":true},
		{"type":"EmbeddedLink","text":"Skip","on-click-action":{"name":"navigate","next":{"type":"screen","name":"SECOND"},"payload":{"name":""}}},
		{"type":"EmbeddedLink","text":"Broken","on-click-action":{"name":"navigate","next":{"type":"screen","name":"SECOND"},"payload":{}}},
		{"type":"EmbeddedLink","text":"Jump","on-click-action":{"name":"navigate","next":{"type":"screen","name":"LAST"},"payload":{}}},
		{"type":"Footer","label":"Go","on-click-action":{"name":"navigate","next":{"type":"screen","name":"SECOND"},"payload":{"name":"${form.name}"}}}]}},
	{"id":"SECOND","refresh_on_back":true,"data":{"name":{"type":"string","__example__":""}},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextBody","text":"` + "`'Hi ' ${data.name}`" + `"},
		{"type":"Footer","label":"Ask","on-click-action":{"name":"data_exchange","payload":{"name":"${screen.FIRST.form.name}","later":"${screen.LAST.form.x}"}}}]}},
	{"id":"LAST","terminal":true,"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextInput","name":"x","label":"X"},
		{"type":"Footer","label":"End","enabled":"` + "`${form.x} == 'ok'`" + `","on-click-action":{"name":"complete","payload":{"x":"${form.x}"}}}]}}]}`

func take(t *testing.T) (*handset.Handset, *phonetest.Endpoint) {
	t.Helper()
	definition, err := flow.Load([]byte(mixed), nil)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := &phonetest.Endpoint{Definition: definition}
	p := &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: "tok", Flow: definition, Send: endpoint.Send}
	return handset.New(p, screen.Load(definition)), endpoint
}

func TestAWayThroughAFlow(t *testing.T) {
	h, endpoint := take(t)
	at := func(id string) {
		t.Helper()
		if h.Screen() == nil || h.Screen().ID != id {
			t.Fatalf("the phone shows %v, want %s", h.Screen(), id)
		}
	}
	tap := func(label string) *handset.Outcome {
		t.Helper()
		outcome, err := h.Tap(t.Context(), label)
		if err != nil {
			t.Fatal(err)
		}
		return outcome
	}
	if _, err := h.OpenOn("FIRST", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Enter(t.Context(), "name", "Ann"); err != nil {
		t.Fatal(err)
	}
	tap("")
	at("SECOND")
	if text := h.Screen().Items()[0].Text; text != "Hi Ann" {
		t.Errorf("it says %q", text)
	}
	if len(endpoint.Requests()) != 0 {
		t.Error("the endpoint was asked for a navigate")
	}
	if _, err := h.Back(t.Context()); err != nil { // SECOND asks
		t.Fatal(err)
	}
	at("FIRST")
	if requests := endpoint.Requests(); len(requests) != 1 || requests[0].Action != flow.Back || requests[0].Screen != "SECOND" {
		t.Errorf("requests: %+v", requests)
	}
	if in, err := h.Screen().Input("name"); err != nil || in.Value != "Ann" {
		t.Errorf("what was entered is %v (%v)", in, err)
	}
	tap("Skip") // a link is tapped whatever the form holds
	outcome := tap("Ask")
	at("LAST")
	if !outcome.Asked || outcome.Sent["name"] != "Ann" || len(outcome.Sent) != 1 {
		t.Errorf("sent %v, want the name alone: a screen that was not shown has no form", outcome.Sent)
	}
	if _, err := h.Tap(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "End: it is not enabled") {
		t.Errorf("a footer that is not enabled: %v", err)
	}
	if _, err := h.Enter(t.Context(), "x", "ok"); err != nil {
		t.Fatal(err)
	}
	outcome = tap("")
	if !outcome.Reply.Ended || string(outcome.Reply.Params) != `{"flow_token":"tok","x":"ok"}` || outcome.Asked {
		t.Errorf("it ends with %s", outcome.Reply.Params)
	}
	if h.Screen() != nil {
		t.Error("a screen is shown after the end")
	}
	if _, err := h.Tap(t.Context(), ""); err == nil {
		t.Error("something was tapped after the end")
	}
}

// What the client cannot draw leaves it where it was, with what it showed.
func TestARefusedAnswerMovesNothing(t *testing.T) {
	definition, err := flow.Load([]byte(`{"version":"7.3","data_api_version":"3.0","routing_model":{"A":["B"],"B":[]},"screens":[
		{"id":"A","data":{"list":{"type":"array","items":{"type":"object"},"__example__":[]}},"layout":{"type":"SingleColumnLayout","children":[
			{"type":"Dropdown","name":"x","label":"X","data-source":"${data.list}"},
			{"type":"Footer","label":"Go","on-click-action":{"name":"data_exchange","payload":{}}}]}},
		{"id":"B","terminal":true,"refresh_on_back":true,"layout":{"type":"SingleColumnLayout","children":[{"type":"Footer","label":"Go","on-click-action":{"name":"data_exchange","payload":{}}}]}}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := ""
	endpoint := &phonetest.Endpoint{Definition: definition, Fault: phonetest.Fault{Alter: func(*flow.Request, []byte) []byte { return []byte(answer) }}}
	h := handset.New(&phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: "tok", Flow: definition, Send: endpoint.Send}, screen.Load(definition))
	const good, twice = `{"screen":"A","data":{"list":[{"id":"1","title":"One"}]}}`, `{"screen":"A","data":{"list":[{"id":"2","title":"Two"},{"id":"2","title":"Two"}]}}`
	shows := func(id, option string) {
		t.Helper()
		if h.Screen() == nil || h.Screen().ID != id {
			t.Fatalf("it shows %v, want %s", h.Screen(), id)
		}
		if in, err := h.Screen().Input("x"); option != "" && (err != nil || len(in.Options) != 1 || in.Options[0].ID != option) {
			t.Errorf("it offers %+v (%v)", in, err)
		}
	}
	refused := func(err error) {
		t.Helper()
		if refusal, ok := errors.AsType[*phone.RefusalError](err); !ok || refusal.Key != phone.KeyComponents {
			t.Errorf("got %v, want %s", err, phone.KeyComponents)
		}
	}
	answer = good
	if _, err := h.Open(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	answer = twice
	_, err = h.Tap(t.Context(), "")
	refused(err)
	shows("A", "1")
	answer = `{"screen":"B","data":{}}`
	if _, err := h.Tap(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	answer = twice
	_, err = h.Back(t.Context())
	refused(err)
	shows("B", "")
	answer = good
	if _, err := h.Back(t.Context()); err != nil {
		t.Fatal(err)
	}
	shows("A", "1")
}

func TestTheClientHoldsItsOwnStepsAgainstTheFlow(t *testing.T) {
	for _, c := range []struct{ name, link, key string }{
		{"data that the next screen declares is missing", "Broken", phone.KeyPayloadSchema},
		{"no edge leads there", "Jump", phone.KeyInvalidTransition},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := take(t)
			if _, err := h.OpenOn("FIRST", nil); err != nil {
				t.Fatal(err)
			}
			_, err := h.Tap(t.Context(), c.link)
			if refusal, ok := errors.AsType[*phone.RefusalError](err); !ok || refusal.Key != c.key {
				t.Errorf("got %v, want %s", err, c.key)
			}
			if h.Screen().ID != "FIRST" {
				t.Errorf("it shows %s", h.Screen().ID)
			}
		})
	}
	h, _ := take(t)
	if _, err := h.OpenOn("SECOND", map[string]any{"name": "x"}); err == nil || !strings.Contains(err.Error(), "expected an entry screen: FIRST") {
		t.Errorf("a message that opens no entry screen: %v", err)
	}
	if _, err := h.OpenOn("FIRST", nil); err != nil {
		t.Fatal(err)
	}
	var invalid *handset.InvalidError
	if _, err := h.Tap(t.Context(), ""); !errors.As(err, &invalid) || invalid.Inputs["name"] == "" {
		t.Errorf("a required input: %v", err)
	}
	if _, err := h.Back(t.Context()); err == nil {
		t.Error("there was a screen before the first")
	}
}
