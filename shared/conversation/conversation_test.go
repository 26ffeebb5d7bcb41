package conversation

import (
	"strings"
	"testing"
)

func TestReadRefusesWhatCannotBePlayed(t *testing.T) {
	step := func(text string) string { return "conversations: [{name: a, steps: [" + text + "]}]" }
	cases := []struct{ name, text, want string }{
		{"an empty file", "", "it holds no conversation"},
		{"a key nobody knows", step("{do: ping, shows_: A}"), "field shows_ not found"},
		{"two documents", step("{do: ping}") + "\n---\n" + step("{do: ping}"), "a second YAML document"},
		{"no name", "conversations: [{steps: [{do: ping}]}]", "conversation 1: it has no name"},
		{"no steps", "conversations: [{name: a}]", "it has no steps"},
		{"a user without an id", "conversations: [{name: a, user: {name: Ann}, steps: [{do: ping}]}]", "user has a name but no id"},
		{"a user and a token", "conversations: [{name: a, token: unused, user: {id: ann}, steps: [{do: ping}]}]", "expected one"},
		{"an unknown action", step("{do: dance}"), `do is "dance", expected init, open, exchange, back, ping, tap or report`},
		{"an exchange from nowhere", step("{do: exchange, shows: A}"), "exchange needs from"},
		{"an open from nowhere", step("{do: open, shows: A}"), "open needs from"},
		{"a payload with back", step("{do: back, from: B, send: {a: 1}, shows: A}"), "send is the payload of an exchange"},
		{"no expectation", step("{do: init}"), "expected exactly one of shows, completes, closes"},
		{"two expectations", step("{do: init, shows: A, closes: true}"), "expected exactly one of shows, completes, closes"},
		{"data of a flow that ends", step("{do: init, closes: true, data: {a: 1}}"), "data, exactly and message belong to shows"},
		{"data and exactly", step("{do: init, shows: A, data: {a: 1}, exactly: {a: 1}}"), "it has data and exactly"},
		{"a ping with a screen", step("{do: ping, from: A}"), "a ping has no screen and no end"},
		{"a date without quotes", step("{do: exchange, from: A, send: {day: 2026-11-24}, shows: A}"), "send.day is a date of YAML"},
		{"a fetch of no upstream", step("{do: init, shows: A, fetches: [{request: GET /}]}"), "step 1: fetch 1: it names no upstream"},
		{"a fetch that is no request", step("{do: init, shows: A, fetches: [{upstream: a, request: /x}]}"), "expected a method and a path"},
		{"an upstream that is down and answers", step("{do: init, shows: A, fetches: [{upstream: a, request: GET /, down: true, status: 200}]}"), "answers nothing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("conversations: [{name: a, user: {id: u}, steps: [{do: init, shows: A, data: {a: [1, {b: '{today+1}'}]}}]}]")
	f.Add("conversations: [{name: a, steps: [{do: init, closes: true, fetches: [{upstream: a, request: GET /, delay: 1s}]}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		conversations, err := Read([]byte(text))
		if err == nil && len(conversations) == 0 {
			t.Error("neither conversations nor an error")
		}
	})
}
