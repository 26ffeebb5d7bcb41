package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const engineSite = `
	whatsapp_webhook /webhooks/whatsapp
	whatsapp_flow /flows/endpoint* {
		endpoint engine
		flows testdata/flows
	}`

const booking = "/flows/endpoint/booking"

func TestAConversationWithTheEngine(t *testing.T) {
	s := newSite(t).load("", engineSite)
	a, reply := s.post(booking, request{"version": "3.0", "action": "ping"})
	if a.status != http.StatusOK || reply["data"].(map[string]any)["status"] != "active" {
		t.Fatalf("ping: status %d, %v", a.status, reply)
	}
	if got := a.header.Get("Content-Type"); got != "text/plain" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-transform") || !strings.Contains(got, "no-store") {
		t.Errorf("Cache-Control is %q", got)
	}

	s.want(booking, step("INIT", "", privateToken, nil), "NAME")
	data := s.want(booking, step("data_exchange", "NAME", privateToken, request{"name": privateAnswer}), "ROOM")
	if data["name"] != privateAnswer {
		t.Errorf("screen ROOM shows %v", data)
	}
	data = s.want(booking, step("data_exchange", "ROOM", privateToken, request{"room": "12"}), "CONFIRM")
	if data["name"] != privateAnswer || data["room"] != "12" {
		t.Errorf("screen CONFIRM shows %v", data)
	}
	data = s.want(booking, step("data_exchange", "CONFIRM", privateToken, request{"agreed": "yes"}), "SUCCESS")
	params := data["extension_message_response"].(map[string]any)["params"].(map[string]any)
	for key, value := range map[string]string{"name": privateAnswer, "room": "12", "agreed": "yes", "flow_token": privateToken} {
		if params[key] != value {
			t.Errorf("params hold %s = %v, expected %s", key, params[key], value)
		}
	}

	events := s.events()
	if len(events) != 4 {
		t.Fatalf("%d events, expected 4", len(events))
	}
	for i, e := range events {
		st, err := event.DecodeStep(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != event.KindStep || st.Version != int64(i+1) || st.Flow != "booking" || st.Token != privateToken || st.Attempt != 1 {
			t.Errorf("event %d: kind %s, %+v", i, e.Kind, st)
		}
	}
	last, _ := event.DecodeStep(events[3].Body)
	if last.Outcome != event.OutcomeComplete || len(last.Params) == 0 {
		t.Errorf("the last step is %+v", last)
	}
}
