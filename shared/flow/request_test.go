package flow

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

type jsonValue = json.RawMessage

func TestParseRequest(t *testing.T) {
	tests := []struct{ name, plain, err string }{
		{"a ping", `{"version":"3.0","action":"ping"}`, ""},
		{"a version that is a number, as in error notifications", `{"version":300,"action":"INIT","screen":""}`, ""},
		{"data is null", `{"action":"BACK","screen":"A","data":null}`, ""},
		{"unknown fields", `{"action":"INIT","new":{"x":[1]}}`, ""},
		{"null where a text may be", `{"action":"INIT","screen":null,"flow_token":null}`, ""},
		{"not JSON", `hello`, "the request is not a JSON object: syntax error at byte 1"},
		{"empty", ``, "the request is not a JSON object: syntax error at byte 0"},
		{"an array", `[]`, "the request is not a JSON object: it is an array"},
		{"null", `null`, "the request is not a JSON object: it is null"},
		{"no action", `{"version":"3.0"}`, "the request has no action, expected ping, INIT, data_exchange or BACK"},
		{"another case", `{"Action":"ping"}`, "the request has no action, expected ping, INIT, data_exchange or BACK"},
		{"an unknown action", `{"action":"dance"}`, `the request's action is "dance", expected ping, INIT, data_exchange or BACK`},
		{"an action that is no text", `{"action":7}`, "the request's action is a number, expected a string"},
		{"a screen that is no text", `{"action":"BACK","screen":{}}`, "the request's screen is an object, expected a string"},
		{"a token that is no text", `{"action":"BACK","flow_token":[]}`, "the request's flow_token is an array, expected a string"},
		{"data that is no object", `{"action":"BACK","data":"secret"}`, "the request's data is a string, expected an object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, err := ParseRequest([]byte(test.plain))
			if test.err != "" {
				if err == nil {
					t.Fatal("accepted")
				}
				equal(t, "error", err.Error(), test.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if req.Data == nil || string(req.Raw) != test.plain {
				t.Errorf("data %v, raw %s", req.Data, req.Raw)
			}
		})
	}
	req, err := ParseRequest([]byte("{\"action\":\"data_exchange\",\"data\":{\"a\":\"\xff\"}}"))
	if err != nil || string(req.Data["a"]) != "\"\ufffd\"" {
		t.Errorf("bytes that are no UTF-8: %v, %q", err, req.Data["a"])
	}
}

func TestErrorNotification(t *testing.T) {
	tests := []struct {
		name, data   string
		key, message string
		ok           bool
	}{
		{"Meta's", `{"error":"payload-schema-error","error_message":"bad data"}`, "payload-schema-error", "bad data", true},
		{"a key of tomorrow with a message", `{"error":"new-error","error_message":"x"}`, "new-error", "x", true},
		{"a known key without a message", `{"error":"invalid-screen-transition"}`, "invalid-screen-transition", "", true},
		{"an author's field called error", `{"error":"the lamp blinks"}`, "", "", false},
		{"an author's field that is no text", `{"error":true,"error_message":"x"}`, "", "", false},
		{"error_key, which an old page of Meta has", `{"error_key":"payload-schema-error"}`, "", "", false},
		{"an ordinary answer", `{"score":"5"}`, "", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, message, ok := request(t, DataExchange, "A", "tok", test.data).ErrorNotification()
			if key != test.key || message != test.message || ok != test.ok {
				t.Errorf("got %q, %q, %v", key, message, ok)
			}
		})
	}
}

func TestRequestHash(t *testing.T) {
	base := request(t, DataExchange, "A", "tok", `{"a":"x","b":{"c":1,"d":[true,"é"]}}`).Hash("flow")
	same := map[string]*Request{
		"another order of keys":           request(t, DataExchange, "A", "tok", `{"b":{"d":[true,"é"],"c":1},"a":"x"}`),
		"white space and other escapes":   request(t, DataExchange, "A", "tok", `{"a" : "\u0078", "b":{"c": 1,"d":[ true,"\u00e9"]}}`),
		"another token, same step":        request(t, DataExchange, "A", "other", `{"a":"x","b":{"c":1,"d":[true,"é"]}}`),
		"a member twice, the last counts": request(t, DataExchange, "A", "tok", `{"a":"y","a":"x","b":{"c":1,"d":[true,"é"]}}`),
	}
	for name, req := range same {
		if req.Hash("flow") != base {
			t.Errorf("%s: another hash", name)
		}
	}
	other := map[string]*Request{
		"another answer":    request(t, DataExchange, "A", "tok", `{"a":"y","b":{"c":1,"d":[true,"é"]}}`),
		"another number":    request(t, DataExchange, "A", "tok", `{"a":"x","b":{"c":2,"d":[true,"é"]}}`),
		"another order":     request(t, DataExchange, "A", "tok", `{"a":"x","b":{"c":1,"d":["é",true]}}`),
		"another screen":    request(t, DataExchange, "B", "tok", `{"a":"x","b":{"c":1,"d":[true,"é"]}}`),
		"another action":    request(t, Back, "A", "tok", `{"a":"x","b":{"c":1,"d":[true,"é"]}}`),
		"keys run together": request(t, DataExchange, "A", "tok", `{"ax":{"c":1,"d":[true,"é"]}}`),
	}
	for name, req := range other {
		if req.Hash("flow") == base {
			t.Errorf("%s: the same hash", name)
		}
	}
	if request(t, DataExchange, "A", "tok", `{"a":"x","b":{"c":1,"d":[true,"é"]}}`).Hash("flow2") == base {
		t.Error("another flow: the same hash")
	}
}

func TestStateless(t *testing.T) {
	for token, want := range map[string]bool{"": true, "unused": true, "Unused": false, "wf1.x.y": false} {
		equal(t, "token "+token, request(t, Init, "", token, "").Stateless(), want)
	}
}

func TestSessionRoundTrip(t *testing.T) {
	u := &user{t: t, def: hotel(t), token: "tok"}
	u.send(DataExchange, "WELCOME", `{"name":"<Ann & Bö>","next_screen":"ROOM","price":10.50,"beds":"1"}`)
	u.send(DataExchange, "ROOM", `{"beds":"2"}`)
	s := u.session()
	equal(t, "stored twice", string(s.Encode()), string(u.stored))
	equal(t, "text", string(s.Collected()["name"]), `"<Ann & Bö>"`)
	equal(t, "number", string(s.Collected()["price"]), `10.50`)
	equal(t, "latest", string(s.Collected()["beds"]), `"2"`)
	if len(u.stored) > 600 {
		t.Errorf("a small session takes %d bytes", len(u.stored))
	}
	if _, err := ParseSession([]byte(`{"v":"secret"}`)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken session: %v", err)
	}
}

func TestSessionBounds(t *testing.T) {
	s := &Session{}
	for i := range 500 {
		s.arriveAt("S" + string(rune('A'+i%26)) + strings.Repeat("x", i))
	}
	equal(t, "length of the path", len(s.Path), 200)

	s.Finish(&Request{Action: DataExchange, Screen: "A"}, Reply{Screen: "B", Data: map[string]jsonValue{"image": jsonValue(`"` + strings.Repeat("x", 100_000) + `"`)}})
	if s.Shown != nil {
		t.Error("100 kB of screen data are kept in the session")
	}
}

func TestBeginLeavesTheOldSessionAlone(t *testing.T) {
	u := &user{t: t, def: feedback(t), token: "tok"}
	u.send(Init, "", "")
	u.send(DataExchange, "RATING", `{"score":"4"}`)
	prev := u.session()
	before := string(prev.Encode())
	for _, req := range []*Request{
		request(t, DataExchange, "COMMENT", "tok", `{"score":"1","comment":"x"}`),
		request(t, Back, "COMMENT", "tok", ""),
		request(t, DataExchange, "RATING", "tok", `{"score":"1"}`),
		request(t, Init, "", "tok", ""),
	} {
		s, err := Begin(prev, u.def, req, noon)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Answer(context.Background(), u.def, s, req, Env{Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		s.Finish(req, r)
		equal(t, "session after "+string(req.Action), string(prev.Encode()), before)
	}
}

func TestAnswerOfAnotherServerWithoutDefinition(t *testing.T) {
	var stored *Session
	for i, test := range []struct{ screen, reply, outcome string }{
		{"", `{"screen":"A","data":{"x":1}}`, "next"},
		{"A", `{"screen":"A","data":{"error_message":"no"}}`, "same"},
		{"A", `{"screen":"B","data":{}}`, "next"},
		{"B", `{"screen":"A","data":{}}`, "back"},
		{"A", `{"screen":"SUCCESS","data":{}}`, "close"},
	} {
		action := DataExchange
		if i == 0 {
			action = Init
		}
		req := request(t, action, test.screen, "tok", "")
		s, err := Begin(stored, nil, req, noon)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := Guard(nil, req, []byte(test.reply))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, test.reply, string(s.Finish(req, reply)), test.outcome)
		stored = s
	}
	equal(t, "completed", stored.Completed, true)
	equal(t, "definition", stored.Definition, "")
}

func TestNestingWithoutEndIsCheap(t *testing.T) {
	deep := strings.Repeat("[", 9000) + "null" + strings.Repeat("]", 9000)
	req := request(t, DataExchange, "RATING", "tok", `{"score":`+deep+`}`)
	if answer := string(req.Answers()["score"]); strings.Contains(answer, "null") {
		t.Error("a null nested deep is left")
	}
	_, err := Guard(nil, req, []byte(`{"screen":"RATING","data":{"score":`+deep+`}}`))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("a null nested deep: %v", err)
	}
}
