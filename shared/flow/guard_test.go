package flow

import (
	"errors"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	const item = `{"id":"1","title":"One","price":1.5,"tags":["a"]}`
	tests := []struct {
		name   string
		action Action
		screen string
		reply  string
		err    string // empty: accepted
	}{
		{"not JSON", DataExchange, "PLAIN", `{`, "the reply: expected a JSON object, got syntax error at byte 1"},
		{"not an object", DataExchange, "PLAIN", `["x"]`, "the reply: expected a JSON object, got it is an array"},
		{"null", DataExchange, "PLAIN", `null`, "the reply: expected a JSON object, got it is null"},
		{"empty", DataExchange, "PLAIN", ``, "the reply: expected a JSON object, got syntax error at byte 0"},
		{"Latin-1", DataExchange, "PLAIN", "{\"screen\":\"PLAIN\",\"data\":{\"a\":\"\xe9\"}}", "the reply: expected JSON in UTF-8, got another encoding"},
		{"no screen", DataExchange, "PLAIN", `{"data":{}}`, "screen: expected string, got nothing"},
		{"screen is a number", DataExchange, "PLAIN", `{"screen":1,"data":{}}`, "screen: expected string, got number"},
		{"Screen with a capital", DataExchange, "PLAIN", `{"Screen":"PLAIN","data":{}}`, "screen: expected string, got nothing"},
		{"screen is empty", DataExchange, "PLAIN", `{"screen":"","data":{}}`, "screen: expected the id of a screen, got an empty string"},
		{"no data", DataExchange, "PLAIN", `{"screen":"PLAIN"}`, "data: expected object, got nothing"},
		{"data is null", DataExchange, "PLAIN", `{"screen":"PLAIN","data":null}`, "data: expected object, got null"},
		{"data is an array, as PHP writes an empty object", DataExchange, "PLAIN", `{"screen":"PLAIN","data":[]}`, "data: expected object, got array"},
		{"a null deep inside", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"n"},{"id":"2","x":{"y":null}}],"title":"null"}}`,
			"data.items[1].x.y: expected a value, or the key left out, got null"},
		{"error_message is no text", DataExchange, "PLAIN", `{"screen":"PLAIN","data":{"error_message":{"a":1}}}`, "data.error_message: expected string, got object"},
		{"extension_message_response is no object", DataExchange, "DONE", `{"screen":"SUCCESS","data":{"extension_message_response":"x"}}`, "data.extension_message_response: expected object, got string"},
		{"params is no object", DataExchange, "DONE", `{"screen":"SUCCESS","data":{"extension_message_response":{"params":[]}}}`, "data.extension_message_response.params: expected object, got array"},
		{"a null in params", DataExchange, "DONE", `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":null}}}}`,
			"data.extension_message_response.params.a: expected a value, or the key left out, got null"},

		{"the same screen", DataExchange, "PLAIN", `{"screen":"PLAIN","data":{"error_message":"Try again"}}`, ""},
		{"the next screen", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[` + item + `],"title":"T"}}`, ""},
		{"back along an edge", DataExchange, "LIST", `{"screen":"PLAIN","data":{}}`, ""},
		{"the screen before on BACK", Back, "LIST", `{"screen":"PLAIN","data":{}}`, ""},
		{"a screen no edge leads to", DataExchange, "PLAIN", `{"screen":"DETAIL","data":{}}`, "screen: expected SUCCESS or PLAIN or LIST, got DETAIL"},
		{"a screen that does not exist", DataExchange, "PLAIN", `{"screen":"plain","data":{}}`, "screen: expected SUCCESS or PLAIN or LIST, got plain"},
		{"something that is no screen id", DataExchange, "PLAIN", `{"screen":"my secret, 42","data":{}}`, "screen: expected SUCCESS or PLAIN or LIST, got a string that is no screen id"},
		{"SUCCESS from anywhere", DataExchange, "PLAIN", `{"screen":"SUCCESS","data":{}}`, ""},
		{"success in small letters", DataExchange, "DONE", `{"screen":"success","data":{}}`, "screen: expected SUCCESS or DONE or DETAIL, got success"},
		{"INIT to the entry screen", Init, "", `{"screen":"PLAIN","data":{}}`, ""},
		{"INIT to another screen", Init, "", `{"screen":"LIST","data":{}}`, "screen: expected SUCCESS or PLAIN, got LIST"},
		{"INIT for a screen that is no entry", Init, "LIST", `{"screen":"LIST","data":{"items":[` + item + `],"title":"T"}}`,
			"screen: expected SUCCESS (the message opens LIST, which is no entry screen), got LIST"},

		{"a key where the screen declares none", DataExchange, "PLAIN", `{"screen":"PLAIN","data":{"a":1}}`, "data.a: expected no such key, screen PLAIN does not declare it, got number"},
		{"an extra key", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[` + item + `],"title":"T","more":true}}`, "data.more: expected no such key, screen LIST does not declare it, got boolean"},
		{"a missing key", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[` + item + `]}}`, "data.title: expected string, got nothing"},
		{"a wrong type", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[` + item + `],"title":3}}`, "data.title: expected string, got number"},
		{"a wrong type in an item", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"1"},{"id":"2"},{"id":"3","title":7}],"title":"T"}}`, "data.items[2].title: expected string, got number"},
		{"a wrong type two lists deep", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"1","tags":["a",{}]}],"title":"T"}}`, "data.items[0].tags[1]: expected string, got object"},
		{"an item that is no object", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":["x"],"title":"T"}}`, "data.items[0]: expected object, got string"},
		{"a required property is missing", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"title":"x"}],"title":"T"}}`, "data.items[0].id: expected string, got nothing"},
		{"an optional property is missing, an unknown one is there", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"x","more":1}],"title":"T"}}`, ""},
		{"too few items", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[],"title":"T"}}`, "data.items: expected at least 1 items, got 0"},
		{"too many items", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"1"},{"id":"2"},{"id":"3"},{"id":"4"}],"title":"T"}}`, "data.items: expected at most 3 items, got 4"},
		{"the same item twice", DataExchange, "PLAIN", `{"screen":"LIST","data":{"items":[{"id":"1","title":"a"},{ "title":"\u0061","id":"1"}],"title":"T"}}`, "data.items[1]: expected no item twice, got the same as item 0"},
	}
	def := catalog(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := request(t, test.action, test.screen, "tok", "")
			_, err := Guard(def, req, []byte(test.reply))
			var broken *GuardError
			switch {
			case err == nil:
				equal(t, "error", "", test.err)
			case !errors.As(err, &broken):
				t.Errorf("error is a %T, expected a *GuardError", err)
			default:
				equal(t, "error", err.Error(), test.err)
			}
		})
	}
}

func TestGuardWithoutDefinition(t *testing.T) {
	req := request(t, DataExchange, "ANY", "tok", "")
	if _, err := Guard(nil, req, []byte(`{"version":"3.0","screen":"OTHER","data":{"a":{"b":[1]}}}`)); err != nil {
		t.Errorf("any screen and any data: %v", err)
	}
	for _, reply := range []string{`{"screen":"OTHER","data":{"a":{"b":null}}}`, `{"screen":"OTHER"}`, `{"data":{}}`, `{"screen":"","data":{}}`} {
		if _, err := Guard(nil, req, []byte(reply)); err == nil {
			t.Errorf("%s is accepted", reply)
		}
	}
}

func TestGuardWithoutDefinitionOnINIT(t *testing.T) {
	for _, c := range []struct{ named, answered, err string }{
		{"", "ANY", ""},
		{"FIRST", "FIRST", ""},
		{"FIRST", "SUCCESS", ""},
		{"FIRST", "OTHER", "screen: expected SUCCESS or FIRST, got OTHER"},
	} {
		got := ""
		if _, err := Guard(nil, request(t, Init, c.named, "tok", ""), []byte(`{"screen":"`+c.answered+`","data":{}}`)); err != nil {
			got = err.Error()
		}
		equal(t, "INIT for "+c.named+" answered with "+c.answered, got, c.err)
	}
}

func TestGuardAddsTheTokenToTheParams(t *testing.T) {
	tests := []struct{ name, token, reply, want string }{
		{"missing", `t"<k>`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":1.0}}}}`,
			`{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":1.0,"flow_token":"t\"<k>"}}}}`},
		{"there already", "tok", `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"other"}}}}`,
			`{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"other"}}}}`},
		{"the request has none", "", `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{}}}}`,
			`{"screen":"SUCCESS","data":{"extension_message_response":{"params":{}}}}`},
		{"no params, the flow just closes", "tok", `{"screen":"SUCCESS","data":{}}`, `{"screen":"SUCCESS","data":{}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply, err := Guard(nil, request(t, DataExchange, "X", test.token, ""), []byte(test.reply))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "reply", string(reply.JSON()), test.want)
			_, ok := reply.Params()
			equal(t, "has params", ok, strings.Contains(test.want, "params"))
		})
	}
}

func TestFallback(t *testing.T) {
	shownBefore := &Session{Screen: "LIST", Shown: map[string]jsonValue{"items": jsonValue(`[{"id":"1"}]`), "title": jsonValue(`"T"`)}}
	tests := []struct {
		name    string
		def     *Definition
		session *Session
		action  Action
		screen  string
		data    string
		want    string // empty: nothing can be shown
	}{
		{"what the screen showed before", catalog(t), shownBefore, DataExchange, "LIST", "", `{"screen":"LIST","data":{"error_message":"Sorry","items":[{"id":"1"}],"title":"T"}}`},
		{"on BACK the screen that was left", catalog(t), shownBefore, Back, "LIST", "", `{"screen":"LIST","data":{"error_message":"Sorry","items":[{"id":"1"}],"title":"T"}}`},
		{"data of another screen are of no use", catalog(t), shownBefore, DataExchange, "DETAIL", "", ""},
		{"Redis is down and the screen needs nothing", catalog(t), nil, DataExchange, "PLAIN", "", `{"screen":"PLAIN","data":{"error_message":"Sorry"}}`},
		{"Redis is down and the screen needs options", catalog(t), nil, DataExchange, "LIST", "", ""},
		{"Redis is down and typed empties do", feedback(t), nil, DataExchange, "COMMENT", `{"score":"3"}`, `{"screen":"COMMENT","data":{"error_message":"Sorry","score":"3"}}`},
		{"INIT shows the entry screen", catalog(t), nil, Init, "", "", `{"screen":"PLAIN","data":{"error_message":"Sorry"}}`},
		{"INIT for a screen that is no entry", catalog(t), nil, Init, "LIST", "", ""},
		{"a screen that does not exist", catalog(t), nil, DataExchange, "GONE", "", ""},
		{"no definition, but the screen was shown before", nil, shownBefore, DataExchange, "LIST", "", `{"screen":"LIST","data":{"error_message":"Sorry","items":[{"id":"1"}],"title":"T"}}`},
		{"no definition and nothing shown", nil, nil, DataExchange, "LIST", "", ""},
		{"no definition on INIT", nil, nil, Init, "", "", ""},
		{"shown data that fit another version of the flow", feedback(t), &Session{Screen: "COMMENT", Shown: map[string]jsonValue{"old": jsonValue(`1`)}},
			DataExchange, "COMMENT", "", `{"screen":"COMMENT","data":{"error_message":"Sorry","score":""}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply, ok := Fallback(test.def, test.session, request(t, test.action, test.screen, "tok", test.data), "Sorry")
			got := ""
			if ok {
				got = string(reply.JSON())
			}
			equal(t, "fallback", got, test.want)
			if strings.Contains(got, "Example") {
				t.Error("an __example__ is shown to a user")
			}
		})
	}
	if _, changed := shownBefore.Shown["error_message"]; changed {
		t.Error("the session was changed")
	}
}
