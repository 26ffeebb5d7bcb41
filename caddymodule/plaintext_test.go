package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// greetingLogic is logic that sends what a user answered to an upstream, shows it,
// remembers it, and keeps an upstream's answer to it for other users.
const greetingLogic = `
screens:
  NAME:
    set: { who: form.name }
    fetch: { greeting: { upstream: api, path: "'/greet?name=' + urlEncode(form.name)", cache: 1h } }
    next: [ { screen: ROOM, data: { name: "string(fetch.greeting.body.text) + ' ' + form.name" } } ]
  ROOM:
    fetch: { room: { upstream: api, method: POST, path: "'/rooms'", body: { room: form.room, who: vars.who } } }
    next: [ { screen: CONFIRM, data: { name: vars.who, room: "fetch.room.ok ? form.room : 'none'" } } ]`

// wipedSite answers exchanges one by one and overwrites each one's plaintext as
// soon as it is over.
type wipedSite struct {
	*site
	handler *FlowHandler
	pem     []byte
}

func newWipedSite(t *testing.T, upstreamURL string) *wipedSite {
	t.Helper()
	s := &wipedSite{site: newSite(t)}
	dir := t.TempDir()
	var err error
	if s.pem, err = os.ReadFile("testdata/flow.pem"); err != nil {
		t.Fatal(err)
	}
	if err := errorsOf(
		os.MkdirAll(filepath.Join(dir, "booking"), 0o700),
		os.WriteFile(filepath.Join(dir, "booking", "flow.json"), bookingJSON(t), 0o600),
		os.WriteFile(filepath.Join(dir, "booking", "logic.yaml"), []byte(greetingLogic), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	app, err := json.Marshal(map[string]any{"upstreams": map[string]any{"api": map[string]string{"url": upstreamURL}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{appID: app}})
	if err != nil {
		t.Fatal(err)
	}
	s.handler = &FlowHandler{EndpointRaw: []byte(`{"name":"engine"}`), Flows: dir}
	if err := s.handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.handler.app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.handler.app.Cleanup() })
	return s
}

// answer answers an envelope, overwrites the plaintext, and opens the answer.
func (s *wipedSite) answer(e sealed) (body []byte, reply map[string]any) {
	s.t.Helper()
	key, err := flowcrypto.ReadPrivateKey(s.pem, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	x := &exchange{FlowHandler: s.handler, account: s.handler.only, credentials: s.handler.only.current.Load(), name: "booking", http: httptest.NewRequest(http.MethodPost, booking, nil), start: time.Now()}
	if x.envelope, err = flowcrypto.ParseEnvelope(e.body); err != nil {
		s.t.Fatal(err)
	}
	plaintext, sealer, err := x.envelope.Open(key)
	if err != nil {
		s.t.Fatal(err)
	}
	x.sealer = sealer
	if x.request, err = flow.ParseRequest(plaintext); err != nil {
		s.t.Fatal(err)
	}
	x.action = string(x.request.Action)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stored, err := x.reply(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range plaintext {
		plaintext[i] = 0xaa
	}
	return stored.Body, e.open(s.t, answer{status: stored.Status, body: stored.Body})
}

func TestNothingThatOutlivesARequestIsPartOfItsPlaintext(t *testing.T) {
	api := newService(t)
	api.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"text":"Good morning"}`) })
	s := newWipedSite(t, api.URL)
	steps := func(token string) {
		for _, step := range []struct {
			request request
			want    string
		}{
			{step("INIT", "", token, nil), `{"data":{},"screen":"NAME"}`},
			{step("data_exchange", "NAME", token, request{"name": privateAnswer}), `{"data":{"name":"Good morning ` + privateAnswer + `"},"screen":"ROOM"}`},
			{step("data_exchange", "ROOM", token, request{"room": "12"}), `{"data":{"name":"` + privateAnswer + `","room":"12"},"screen":"CONFIRM"}`},
			{step("data_exchange", "CONFIRM", token, request{"agreed": "yes"}),
				`{"data":{"extension_message_response":{"params":{"agreed":"yes","flow_token":"` + token + `","name":"` + privateAnswer + `","room":"12"}}},"screen":"SUCCESS"}`},
		} {
			e := seal(t, s.public, step.request)
			first, reply := s.answer(e)
			got, err := json.Marshal(reply)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != step.want {
				t.Errorf("answered %s, expected %s", got, step.want)
			}
			if again, _ := s.answer(e); !bytes.Equal(again, first) {
				t.Error("the same envelope has two answers")
			}
			// In a new envelope it is the same step again, unless it opens the flow.
			if step.request["action"] != "INIT" {
				if _, again := s.answer(seal(t, s.public, step.request)); !equalJSON(t, again, reply) {
					t.Errorf("asked again it answers %v, expected %v", again, reply)
				}
			}
		}
	}
	steps(privateToken)
	steps("tok-of-another-user")

	calls := map[string]int{}
	for _, c := range api.served() {
		calls[c.method+" "+c.uri+" "+c.body]++
	}
	greet, book := "GET /greet?name=Ada%20Lovelace ", `POST /rooms {"room":"12","who":"Ada Lovelace"}`
	if calls[greet] != 1 || calls[book] != 2 || len(calls) != 2 {
		t.Errorf("the upstream was asked %v, expected once %s and twice %s", calls, greet, book)
	}
	answers := map[string]int{}
	for _, e := range s.events() {
		step, err := event.DecodeStep(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range step.Answers {
			answers[key+" "+string(value)]++
		}
	}
	if len(answers) != 3 || answers[`name "`+privateAnswer+`"`] != 2 || answers[`room "12"`] != 2 || answers[`agreed "yes"`] != 2 {
		t.Errorf("the events hold %v", answers)
	}
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	first, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(first, second)
}
