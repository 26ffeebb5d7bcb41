package flow

import "testing"

// step is what a user does and what the screen then shows.
type step struct {
	action  Action
	screen  string
	data    string
	reply   string
	outcome string
}

const (
	ratingShown  = `{"screen":"RATING","data":{}}`
	commentShown = `{"screen":"COMMENT","data":{"score":"4"}}`
	thanksShown  = `{"screen":"THANKS","data":{"comment":"fine","score":"4"}}`
	allAnswers   = `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"comment":"fine","contact_me":true,"flow_token":"tok","score":"4"}}}}`
)

var (
	opens     = step{Init, "", "", ratingShown, "next"}
	rates     = step{DataExchange, "RATING", `{"score":"4"}`, commentShown, "next"}
	comments  = step{DataExchange, "COMMENT", `{"comment":"fine"}`, thanksShown, "next"}
	completes = step{DataExchange, "THANKS", `{"contact_me":true}`, allAnswers, "complete"}
)

func TestConversation(t *testing.T) {
	tests := []struct {
		name       string
		steps      []step
		version    int64
		attempt    int
		path       string
		completed  bool
		incomplete bool
	}{
		{"a whole conversation", []step{opens, rates, comments, completes}, 4, 1, "[RATING COMMENT THANKS]", true, false},
		{"sent with navigate, so no INIT arrives", []step{rates, comments, completes}, 3, 1, "[RATING COMMENT THANKS]", true, false},
		{"INIT twice begins anew without the old answers", []step{opens, rates,
			opens,
			{DataExchange, "COMMENT", `{"comment":"fine"}`, `{"screen":"THANKS","data":{"comment":"fine","score":""}}`, "next"},
		}, 4, 2, "[RATING COMMENT THANKS]", false, false},
		{"back twice, then forward again", []step{opens, rates, comments,
			{Back, "THANKS", "", commentShown, "back"},
			{Back, "COMMENT", "", ratingShown, "back"},
			{DataExchange, "RATING", `{"score":"2"}`, `{"screen":"COMMENT","data":{"score":"2"}}`, "next"},
		}, 6, 1, "[RATING COMMENT]", false, false},
		{"back pressed again on the same screen runs again", []step{opens, rates,
			{Back, "COMMENT", "", ratingShown, "back"},
			{Back, "COMMENT", "", ratingShown, "back"},
		}, 4, 1, "[RATING]", false, false},
		{"starting on a screen that is no entry", []step{commentsUnrated}, 1, 1, "[COMMENT THANKS]", false, true},
		{"starting with back", []step{{Back, "THANKS", "", `{"screen":"COMMENT","data":{"score":""}}`, "back"}}, 1, 1, "[COMMENT]", false, true},
		{"completed, then back, then completed again", []step{opens, rates, comments, completes,
			{Back, "THANKS", "", commentShown, "back"}, comments, completes,
		}, 7, 1, "[RATING COMMENT THANKS]", true, false},
		{"completed, then opened again without INIT", []step{opens, rates, comments, completes, rates}, 5, 2, "[RATING COMMENT]", false, false},
		{"navigate is taken as data_exchange", []step{opens, {Navigate, "RATING", `{"score":"4"}`, commentShown, "next"}}, 2, 1, "[RATING COMMENT]", false, false},
		{"complete ends the flow", []step{opens, rates, comments,
			{Complete, "THANKS", `{"contact_me":true}`, allAnswers, "complete"}}, 4, 1, "[RATING COMMENT THANKS]", true, false},
		{"a screen of no version of this flow", []step{opens,
			{DataExchange, "GONE", "", `error: the request comes from screen "GONE", which this version of the flow does not have`, ""}}, 1, 1, "[RATING]", false, false},
		{"no screen at all", []step{opens, {DataExchange, "", "", `error: the request names no screen`, ""}}, 1, 1, "[RATING]", false, false},
		{"back on the entry screen", []step{opens,
			{Back, "RATING", "", "error: screen RATING: BACK was pressed but no screen leads here: set refresh_on_back to false on an entry screen", ""}}, 1, 1, "[RATING]", false, false},
		{"null answers are left out", []step{opens,
			{DataExchange, "RATING", `{"score":null,"more":{"a":null,"b":[1,null]}}`, `{"screen":"COMMENT","data":{"score":""}}`, "next"}, commentsUnrated,
			{DataExchange, "THANKS", `{}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"comment":"fine","flow_token":"tok","more":{"b":[1]}}}}}`, "complete"},
		}, 4, 1, "[RATING COMMENT THANKS]", true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := &user{t: t, def: feedback(t), token: "tok"}
			for i, s := range test.steps {
				reply, outcome := u.send(s.action, s.screen, s.data)
				if reply != s.reply || outcome != s.outcome {
					t.Fatalf("step %d, %s from %q:\n got %s (%s)\nwant %s (%s)", i+1, s.action, s.screen, reply, outcome, s.reply, s.outcome)
				}
			}
			s := u.session()
			equal(t, "version", s.Version, test.version)
			equal(t, "attempt", s.Attempt, test.attempt)
			equal(t, "path", list(s.Path), test.path)
			equal(t, "completed", s.Completed, test.completed)
			equal(t, "incomplete", s.Incomplete, test.incomplete)
			equal(t, "definition", s.Definition, u.def.Hash())
			equal(t, "started", s.Started, noon)
		})
	}
}

// commentsUnrated is a comment of a user whose rating is not known.
var commentsUnrated = step{DataExchange, "COMMENT", `{"comment":"fine"}`, `{"screen":"THANKS","data":{"comment":"fine","score":""}}`, "next"}

func TestTwoUsersWithoutTokenNeverMeet(t *testing.T) {
	for _, token := range []string{Unused, ""} {
		t.Run("token "+token, func(t *testing.T) {
			def := feedback(t)
			anna, ben := &user{t: t, def: def, token: token}, &user{t: t, def: def, token: token}
			anna.send(DataExchange, "RATING", `{"score":"5"}`)
			ben.send(DataExchange, "RATING", `{"score":"1"}`)
			reply, _ := ben.send(DataExchange, "COMMENT", `{"score":"1","comment":"slow"}`)
			equal(t, "Ben's last screen", reply, `{"screen":"THANKS","data":{"comment":"slow","score":"1"}}`)
			reply, _ = anna.send(DataExchange, "THANKS", `{"score":"5","comment":"good","contact_me":true}`)
			want := `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"comment":"good","contact_me":true,"score":"5"}}}}`
			if token != "" {
				want = `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"comment":"good","contact_me":true,"flow_token":"unused","score":"5"}}}}`
			}
			equal(t, "Anna's answers", reply, want)
		})
	}
}

func TestTheRoutingModelDecides(t *testing.T) {
	const room = `{"screen":"ROOM","data":{"address":{"lines":[],"number":0,"street":""},"extras":[],"floor":0,"name":"Ann","vip":false}}`
	tests := []struct {
		name, screen, data, reply string
	}{
		{"the payload names the screen in next_screen", "WELCOME", `{"name":"Ann","next_screen":"ROOM"}`, room},
		{"… in screen", "WELCOME", `{"name":"Ann","screen":"ROOM"}`, room},
		{"… in next", "WELCOME", `{"name":"Ann","next":"ROOM"}`, room},
		{"… in next as an object", "WELCOME", `{"name":"Ann","next":{"type":"screen","name":"ROOM"}}`, room},
		{"next_screen goes before screen", "WELCOME", `{"name":"Ann","next_screen":"ROOM","screen":"SUITE"}`, room},
		{"a field that happens to be called screen", "WELCOME", `{"name":"Ann","screen":"big","next":"ROOM"}`, room},
		{"the payload names none", "WELCOME", `{"name":"Ann"}`,
			"error: screen WELCOME: 2 screens may follow (ROOM, SUITE) and the payload names none of them: add next_screen to the payload, add logic or use endpoint next"},
		{"the payload names a screen that cannot follow", "WELCOME", `{"next_screen":"CONFIRM"}`,
			"error: screen WELCOME: 2 screens may follow (ROOM, SUITE) and the payload names none of them: add next_screen to the payload, add logic or use endpoint next"},
		{"options that nothing fills", "WELCOME", `{"next_screen":"SUITE"}`, "error: screen WELCOME: screen SUITE needs data.rooms: add logic or use endpoint next"},
		{"options that are empty", "WELCOME", `{"next_screen":"SUITE","rooms":[]}`, "error: screen WELCOME: screen SUITE needs data.rooms: add logic or use endpoint next"},
		{"options from the payload", "WELCOME", `{"next_screen":"SUITE","rooms":[{"id":"1","title":"<Blue>"}]}`,
			`{"screen":"SUITE","data":{"rooms":[{"id":"1","title":"<Blue>"}]}}`},
		{"one successor, whatever the payload says", "GROUP", `{"next_screen":"SUITE","name":"Ann"}`, room},
		{"a value of the wrong type is not shown", "GROUP", `{"name":7,"floor":"3","vip":"yes"}`,
			`{"screen":"ROOM","data":{"address":{"lines":[],"number":0,"street":""},"extras":[],"floor":0,"name":"","vip":false}}`},
		{"numbers keep their digits", "GROUP", `{"name":"Ann","floor":12345678901234567890.10}`,
			`{"screen":"ROOM","data":{"address":{"lines":[],"number":0,"street":""},"extras":[],"floor":12345678901234567890.10,"name":"Ann","vip":false}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := &user{t: t, def: hotel(t), token: "tok"}
			reply, _ := u.send(DataExchange, test.screen, test.data)
			equal(t, "reply", reply, test.reply)
		})
	}
}

func TestInitShowsAnEntryScreen(t *testing.T) {
	for name, test := range map[string][2]string{
		"no screen asked for":         {"", `{"screen":"WELCOME","data":{}}`},
		"an entry screen asked for":   {"GROUP", `{"screen":"GROUP","data":{}}`},
		"an unknown screen asked for": {"LOBBY", `error: the request comes from screen "LOBBY", which this version of the flow does not have`},
	} {
		t.Run(name, func(t *testing.T) {
			u := &user{t: t, def: hotel(t), token: "tok"}
			reply, _ := u.send(Init, test[0], "")
			equal(t, "reply", reply, test[1])
		})
	}
}

func TestBackKnowsTheWayTheUserCame(t *testing.T) {
	u := &user{t: t, def: hotel(t), token: "tok"}
	u.send(DataExchange, "WELCOME", `{"name":"Ann","next_screen":"SUITE","rooms":[{"id":"1"}]}`)
	u.send(DataExchange, "SUITE", `{"suite":"1"}`)
	reply, _ := u.send(Back, "CONFIRM", "")
	equal(t, "by the path", reply, `{"screen":"SUITE","data":{"rooms":[{"id":"1"}]}}`)

	stranger := &user{t: t, def: hotel(t), token: Unused}
	reply, _ = stranger.send(Back, "CONFIRM", "")
	equal(t, "without a session and with two ways", reply,
		"error: screen CONFIRM: BACK was pressed and it is not known which of ROOM, SUITE the user came from: send a flow token, or use endpoint next")
	reply, _ = stranger.send(Back, "SUITE", "")
	equal(t, "without a session and with one way", reply, `{"screen":"WELCOME","data":{}}`)
}

func TestTheLatestAnswerOfANameCounts(t *testing.T) {
	u := &user{t: t, def: hotel(t), token: "tok"}
	u.send(DataExchange, "WELCOME", `{"name":"Ann","next_screen":"ROOM","beds":"0"}`)
	u.send(DataExchange, "ROOM", `{"beds":"2","name":"Anna"}`)
	u.send(DataExchange, "ROOM", `{"beds":"3"}`)
	reply, _ := u.send(DataExchange, "CONFIRM", `{"agree":true}`)
	equal(t, "params", reply, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"agree":true,"beds":"3","flow_token":"tok","name":"Anna","next_screen":"ROOM"}}}}`)

	u.send(DataExchange, "ROOM", `{"beds":"4"}`)
	u.send(Back, "ROOM", "")
	if s := u.session(); string(s.Collected()["beds"]) != `"4"` {
		t.Errorf("beds after another answer: %s", s.Collected()["beds"])
	}
}
