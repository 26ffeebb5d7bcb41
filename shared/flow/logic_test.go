package flow

import (
	"os"
	"strings"
	"testing"
)

// surveyWith is the flow RECOMMEND → PROMOTER or DETRACTOR → CODE with rules.
func surveyWith(t testing.TB, rules string) *Definition {
	t.Helper()
	def, err := Load(survey(t), []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func survey(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/survey.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func surveyRules(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/survey.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (u *user) play(steps []step) {
	u.t.Helper()
	for i, s := range steps {
		reply, outcome := u.send(s.action, s.screen, s.data)
		if reply != s.reply || outcome != s.outcome {
			u.t.Fatalf("step %d, %s %s:\n got %s %s\nwant %s %s", i+1, s.action, s.screen, outcome, reply, s.outcome, s.reply)
		}
	}
}

func TestConversationByRules(t *testing.T) {
	const (
		days  = `"days":[{"id":"2026-11-23","title":"Mon 23 Nov"},{"id":"2026-11-24","title":"Tue 24 Nov"},{"id":"2026-11-25","title":"Wed 25 Nov"}]`
		first = `{"screen":"RECOMMEND","data":{` + days + `,"error_messages":{},"max":10,"title":"Hi there"}}`
		wrong = `{"screen":"RECOMMEND","data":{` + days + `,"error_messages":{"comment":"At most 20 letters, not 22","score_input":"Pick 0 to 10"},"max":10,"title":"Hi there"}}`
		again = `{"screen":"RECOMMEND","data":{` + days + `,"error_messages":{},"max":10,"title":"Once more"}}`
		code  = `{"screen":"CODE","data":{"code_error":""}}`
		why   = `{"screen":"DETRACTOR","data":{"reasons":[{"id":"1","title":"Too slow"},{"id":"2","title":"Too dear"}]}}`
	)
	u := &user{t: t, def: surveyWith(t, surveyRules(t)), token: "tok"}
	u.play([]step{
		{Init, "", "", first, "next"},
		{DataExchange, "RECOMMEND", `{"score":"abc","comment":"far too long a comment"}`, wrong, "same"},
		{DataExchange, "RECOMMEND", `{"score":5,"again":true}`, again, "same"},
		{DataExchange, "RECOMMEND", `{"score":"5","topics":["a"]}`, why, "next"},
		{DataExchange, "RECOMMEND", `{"score":"5"}`, `{"screen":"RECOMMEND","data":{` + days + `,"error_message":"Try 4, that is a lot","error_messages":{},"max":10,"title":""}}`, "same"},
	})
	if !strings.Contains(string(u.stored), `"x":{"tries":4}`) {
		t.Errorf("the session does not remember 4 tries: %s", u.stored)
	}
	u = &user{t: t, def: u.def, token: "tok"}
	s, err := Begin(nil, u.def, request(t, Init, "", "tok", ""), noon)
	if err != nil {
		t.Fatal(err)
	}
	s.UserName = "Anna"
	u.stored = s.Encode()
	u.play([]step{
		{Init, "", "", strings.Replace(first, "there", "Anna", 1), "next"},
		{DataExchange, "RECOMMEND", `{"score":5}`, why, "next"},
		{DataExchange, "DETRACTOR", `{"reason":"2"}`, code, "next"},
		{Back, "CODE", "", why, "back"},
		{DataExchange, "DETRACTOR", `{"reason":"3"}`, strings.Replace(first, "Hi there", "", 1), "back"},
		{DataExchange, "RECOMMEND", `{"score":"9","topics":["a","b"]}`, `{"screen":"PROMOTER","data":{"name":"Anna"}}`, "next"},
		{DataExchange, "PROMOTER", `{"call":true}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"tok","score":9,"topics":["a","b"],"tries":2}}}}`, "complete"},
	})
}

// Each part of the grammar, by what a user then sees.
func TestWhatRulesDo(t *testing.T) {
	on := func(rules string) string {
		return "screens: {RECOMMEND: {data: {days: \"[{'id': '1', 'title': 'x'}]\"}, " + rules + "}}"
	}
	shown := func(more string) string {
		return `{"screen":"RECOMMEND","data":{"days":[{"id":"1","title":"x"}],` + more + `}}`
	}
	const (
		plain    = `"error_messages":{},"max":0,"title":""`
		promoter = `{"screen":"PROMOTER","data":{"name":""}}`
		all      = `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"tok","score":"5"}}}}`
	)
	posts := func(data, reply, outcome string) []step {
		return []step{{Init, "", "", shown(plain), "next"}, {DataExchange, "RECOMMEND", data, reply, outcome}}
	}
	gives := func(expression, json string) []step {
		return posts(`{"score":"5"}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":`+json+`,"flow_token":"tok"}}}}`, "complete")
	}
	complete := func(expression string) string { return on("complete: {params: {a: \"" + expression + "\"}}") }
	value := func(name, expression, json string) struct {
		name, rules string
		steps       []step
	} {
		return struct {
			name, rules string
			steps       []step
		}{name, complete(expression), gives(expression, json)}
	}
	for _, test := range []struct {
		name, rules string
		steps       []step
	}{
		{"complete with all answers", on("complete: true"), posts(`{"score":"5"}`, all, "complete")},
		{"complete in next", on("next: {complete: {}}"), posts(`{"score":"5"}`, all, "complete")},
		{"complete with no params", on("complete: {params: {}}"), posts(`{"score":"5"}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"tok"}}}}`, "complete")},
		{"close", on("close: true"), posts(`{"score":"5"}`, `{"screen":"SUCCESS","data":{}}`, "close")},
		{"the first rule that holds", on("next: [{when: \"form.score == '4'\", close: true}, {when: \"form.score == '5'\", screen: PROMOTER}, {complete: {}}]"), posts(`{"score":"5"}`, promoter, "next")},
		{"no rule holds, so the routing model decides", on("next: {when: \"false\", close: true}"), posts(`{"score":"5","next_screen":"PROMOTER"}`, promoter, "next")},
		{"no rule holds and the routing model does not know", on("next: {when: \"false\", close: true}"), posts(`{"score":"5"}`, "error: screen RECOMMEND: 2 screens may follow (PROMOTER, DETRACTOR) and the payload names none of them: add next_screen to the payload, add logic or use endpoint next", "")},
		{"data of a rule before data of the screen", "screens: {RECOMMEND: {data: {days: \"[{'id': '1', 'title': 'x'}]\"}, next: {screen: PROMOTER, data: {name: \"'rule'\"}}}, PROMOTER: {data: {name: \"'screen'\"}}}", posts(`{}`, `{"screen":"PROMOTER","data":{"name":"rule"}}`, "next")},
		{"data of a screen", "screens: {RECOMMEND: {data: {days: \"[{'id': '1', 'title': 'x'}]\"}, next: {screen: PROMOTER}}, PROMOTER: {data: {name: \"'screen'\"}}}", posts(`{"name":"payload"}`, `{"screen":"PROMOTER","data":{"name":"screen"}}`, "next")},
		{"null as data leaves the key to the payload", "screens: {RECOMMEND: {data: {days: \"[{'id': '1', 'title': 'x'}]\"}, next: {screen: PROMOTER, data: {name: \"null\"}}}}", posts(`{"name":"payload"}`, `{"screen":"PROMOTER","data":{"name":"payload"}}`, "next")},
		{"the same screen keeps what it showed", on("next: [{when: form.chosen, screen: RECOMMEND, data: {title: \"'Day ' + form.day\"}}, {screen: PROMOTER}]"), posts(`{"day":"1","chosen":true}`, shown(`"error_messages":{},"max":0,"title":"Day 1"`), "same")},
		{"a field error", on("check: {unless: \"form.score == '4'\", error: {score: \"'Not ' + form.score\"}}"), posts(`{"score":"5"}`, shown(`"error_messages":{"score_input":"Not 5"},"max":0,"title":""`), "same")},
		{"a field error that no longer holds is gone", on("check: {unless: \"form.score == '4'\", error: {score: \"'Not ' + form.score\"}}, next: {screen: RECOMMEND}"), append(posts(`{"score":"5"}`, shown(`"error_messages":{"score_input":"Not 5"},"max":0,"title":""`), "same"), step{DataExchange, "RECOMMEND", `{"score":"4"}`, shown(plain), "same"})},
		{"a message", on("check: {unless: \"false\", message: \"'No'\"}"), posts(`{}`, shown(`"error_message":"No",`+plain), "same")},
		{"all checks that fail", on("check: [{unless: \"false\", message: \"'No'\"}, {unless: \"true\", message: \"'Yes'\"}, {unless: \"false\", message: \"'Never'\", error: {comment: \"'c'\"}}, {unless: \"false\", error: {comment: \"'d'\", score: \"'s'\"}}]"), posts(`{}`, shown(`"error_message":"No\nNever","error_messages":{"comment":"c","score_input":"s"},"max":0,"title":""`), "same")},
		{"what is no number fails the check", on("check: {unless: \"int(form.score) < 5\", error: {score: \"'A number, please'\"}}"), posts(`{"score":"many"}`, shown(`"error_messages":{"score_input":"A number, please"},"max":0,"title":""`), "same")},
		{"what is no number elsewhere is a fault", on("next: {when: \"int(form.score) < 5\", close: true}"), posts(`{"score":"many"}`, "error: screen RECOMMEND: logic.yaml:1:82: screens.RECOMMEND.next.when: a value cannot be converted: type conversion error from 'string' to 'int'", "")},
		{"options of items without a member", complete("options([{'n': 1}], 'code', 'n')"), posts(`{}`, "error: screen RECOMMEND: logic.yaml:1:92: screens.RECOMMEND.complete.params.a: options: item 0 has no code", "")},
		{"options of an object", complete("options(form.max, 'code', 'n')"), posts(`{"max":{"a":1}}`, "error: screen RECOMMEND: logic.yaml:1:92: screens.RECOMMEND.complete.params.a: options: expected a list, got an object", "")},
		{"a check sees what set has set", on("set: {n: vars.n + 1}, check: {unless: vars.n > 1, message: \"'Once more'\"}, close: true"), append(posts(`{}`, shown(`"error_message":"Once more",`+plain), "same"), step{DataExchange, "RECOMMEND", `{}`, `{"screen":"SUCCESS","data":{}}`, "close"})},
		{"set sees the values from before", on("set: {a: vars.b + 1, b: vars.a + 1}, complete: {params: {a: \"[vars.a, vars.b]\"}}"), gives("", "[1,1]")},
		{"a variable whose type a condition hides", on("set: {n: \"form.again ? vars.n + 1 : vars.n\"}, complete: {params: {a: \"vars.n + 1\"}}"), gives("", "1")},
		{"a variable whose type another tells", on("set: {a: vars.b, b: vars.c, c: \"form.again ? 1 : vars.c\"}, complete: {params: {a: \"[vars.a + 1, vars.b]\"}}"), gives("", "[1,0]")},
		{"a list set in two ways", on("set: {l: \"form.again ? ['x'] : vars.l\", m: \"[]\"}, complete: {params: {a: \"vars.l + vars.m + ['y']\"}}"), gives("", `["y"]`)},
		{"a new attempt has forgotten", on("set: {n: vars.n + 1}, complete: {params: {a: vars.n}}"), append(gives("", "1"), gives("", "1")...)},
		{"a variable never set", on("set: {l: \"['x']\", s: \"'x'\", d: \"1.5\", b: \"true\", m: \"{'a': 1}\"}, check: {unless: \"size(vars.l) == 1 && has(vars.l)\", message: \"'x'\"}, complete: {params: {a: \"[vars.s, vars.d, vars.b]\"}}"), gives("", `["x",1.5,true]`)},
		{"a back rule", "screens: {RECOMMEND: {data: {days: \"[{'id': '1', 'title': 'x'}]\"}, next: {screen: PROMOTER}}, PROMOTER: {back: [{when: \"false\", close: true}, {screen: RECOMMEND, data: {title: \"'Welcome back'\"}}]}}",
			append(posts(`{}`, promoter, "next"), step{Back, "PROMOTER", "", shown(`"error_messages":{},"max":0,"title":"Welcome back"`), "back"})},
		{"BACK without a rule", on("next: {screen: PROMOTER}"), append(posts(`{}`, promoter, "next"), step{Back, "PROMOTER", "", shown(plain), "back"})},
		{"an error outside a Form", "screens: {CODE: {check: {unless: \"false\", error: {code: \"'Wrong'\"}}}}", []step{{DataExchange, "CODE", `{"code":"1"}`, `{"screen":"CODE","data":{"code_error":"Wrong"}}`, "same"}}},

		value("a number posted as text", "int(form.score) + 1", "6"),
		value("a declared key that did not come", "[form.comment, string(form.again), string(size(form.topics)), string(has(form.comment)), string(has(form.score))]", `["","false","0","false","true"]`),
		value("an answer of a screen", "[screen.RECOMMEND.score, session.score, screen.CODE.code]", `["5","5",""]`),
		value("whether a screen was answered", "[has(screen.RECOMMEND), has(screen.CODE)]", "[true,false]"),
		value("everything of this request", "form", `{"score":"5"}`),
		value("the time", "[date(now, 'Europe/Berlin'), date(now, 'Pacific/Auckland'), addDays('2026-11-30', 1)]", `["2026-11-23","2026-11-24","2026-12-01"]`),
		value("days of the week", "[weekday('2026-11-23'), weekday('2026-11-29')]", "[1,7]"),
		value("how a date reads", "formatDate('2026-11-03', 'dddd, D MMMM YYYY / DD.MM.YY')", `"Tuesday, 3 November 2026 / 03.11.26"`),
		value("options", "options([{'n': 1, 't': 'One', 'x': null}], 'n', 't')", `[{"id":"1","title":"One"}]`),
		value("a range", "range(3)", "[0,1,2]"),
		value("an encoded text", "urlEncode('a/b ?&ä')", `"a%2Fb%20%3F%26%C3%A4"`),
		value("texts", "[' Ab '.trim().lower(), 'é'.upper(), 'a-b'.replace('-', '+'), 'a,b'.split(',').join(';'), 'häuser'.substring(1, 3), string('häuser'.indexOf('u'))]", `["ab","É","a+b","a;b","äu","2"]`),
		value("numbers", "[fixed(2.5, 2), fixed(3, 0), string(math.greatest([1, 5, 3]))]", `["2.50","3","5"]`),
		value("lists", "[3, 1, 2].sort().map(i, i * 2).filter(i, i > 2)", "[4,6]"),
		value("nulls are left out", "[{'a': null, 'b': 1}, null]", `[{"b":1}]`),
		value("signs of HTML stay", "'<b>&'", `"<b>&"`),
		value("fractions", "[1.5, 2.0, 1e6, 0.1]", "[1.5,2,1000000,0.1]"),
	} {
		t.Run(test.name, func(t *testing.T) {
			u := &user{t: t, def: surveyWith(t, test.rules), token: "tok"}
			u.play(test.steps)
		})
	}
}
