package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// codeRules send a one-time code from the first screen and give away, in the
// end, what the session remembers.
const codeRules = `
screens:
  NAME:
    set: {code: randomDigits(9), id: randomID(), at: string(now)}
    fetch: {sms: {upstream: api, method: POST, path: "'/send'", body: {code: vars.code, id: vars.id, at: vars.at}}}
    check: {unless: fetch.sms.ok, message: "'No code could be sent'"}
  CONFIRM:
    complete: {params: {code: vars.code, id: vars.id, at: vars.at}}
`

type sentCode struct{ Code, ID, At string }

// remembered ends the flow and returns what its session remembers.
func (s *site) remembered(token string) sentCode {
	s.t.Helper()
	data := s.want(booking, step("data_exchange", "CONFIRM", token, nil), "SUCCESS")
	params := data["extension_message_response"].(map[string]any)["params"].(map[string]any)
	return sentCode{params["code"].(string), params["id"].(string), params["at"].(string)}
}

func codesOf(t *testing.T, calls []served) []sentCode {
	t.Helper()
	codes := make([]sentCode, len(calls))
	for i, call := range calls {
		if err := json.Unmarshal([]byte(call.body), &codes[i]); err != nil {
			t.Fatal(err)
		}
	}
	return codes
}

func TestTheCodeThatWasSentIsTheOneRememberedAfterAConflict(t *testing.T) {
	api := newService(t)
	var s *site
	meanwhile := moved(&s)
	api.answers(func(w http.ResponseWriter, _ *http.Request) {
		meanwhile()
		_, _ = io.WriteString(w, `{}`)
	})
	s = newSite(t)
	s.publishLogic("default", "booking", bookingJSON(t), []byte(codeRules))
	s.load(api.global("\t\t\ttimeout 5s"), publishedSite)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	s.want(booking, step("data_exchange", "NAME", "tok", request{"name": "x"}), "ROOM")
	sent := codesOf(t, api.served())
	for _, e := range s.events() {
		if strings.Contains(string(e.Body), sent[0].Code) || strings.Contains(string(e.Body), sent[0].ID) {
			t.Errorf("an event holds what set remembers: %s", e.Body)
		}
	}
	if got := s.remembered("tok"); len(sent) != 1 || got != sent[0] || len(got.Code) != 9 {
		t.Errorf("sent %v, remembered %v", sent, got)
	}
}

// The service has taken the first request, but its answer came too late. Who
// honours the Idempotency-Key sends nothing for the second one, or refuses it if
// it asks for something else.
func TestTheSameStepMakesTheSameCodeWhenItIsAskedAgain(t *testing.T) {
	api := newService(t)
	var late atomic.Bool
	late.Store(true)
	api.answers(func(w http.ResponseWriter, _ *http.Request) {
		if late.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{}`)
	})
	s := newSite(t)
	// Without the check a fetch that failed is a fault of the rules: no step.
	s.publishLogic("default", "booking", bookingJSON(t), []byte(`
screens:
  NAME:
    set: {code: randomDigits(9), id: randomID(), at: "'now'"}
    fetch: {sms: {upstream: api, method: POST, path: "'/send'", body: {code: vars.code, id: vars.id}}}
    next: {when: "1 / (fetch.sms.ok ? 1 : 0) == 1", screen: ROOM}
  CONFIRM:
    complete: {params: {code: vars.code, id: vars.id, at: vars.at}}
`))
	s.load(api.global(""), publishedSite)
	for _, token := range []string{"tok-a", "tok-b"} {
		late.Store(true)
		before := len(api.served())
		s.want(booking, step("INIT", "", token, nil), "NAME")
		s.want(booking, step("data_exchange", "NAME", token, request{"name": "x"}), "NAME") // the fallback
		s.want(booking, step("data_exchange", "NAME", token, request{"name": "x"}), "ROOM")
		s.want(booking, step("data_exchange", "ROOM", token, request{"room": "1"}), "CONFIRM")
		calls := api.served()[before:]
		sent := codesOf(t, calls)
		got := s.remembered(token)
		if len(sent) != 2 || sent[0] != sent[1] || calls[0].key != calls[1].key || got.Code != sent[1].Code || got.ID != sent[1].ID {
			t.Errorf("sent %v with keys %s, %s; remembered %v", sent, calls[0].key, calls[1].key, got)
		}
	}
	if codes := codesOf(t, api.served()); codes[0] == codes[2] {
		t.Errorf("two users have the code %v", codes[0])
	}
}
