package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// upstream answers fetches, and notes them.
type upstream struct {
	calls  []string
	answer func(context.Context) (FetchResult, error)
}

// Fetch keeps to the timeout, as the contract of a Fetcher says.
func (u *upstream) Fetch(ctx context.Context, r FetchRequest) (FetchResult, error) {
	u.calls = append(u.calls, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Upstream, r.Method, r.Path, r.Body)))
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	return u.answer(ctx)
}

func answers(status int, body string) func(context.Context) (FetchResult, error) {
	return func(context.Context) (FetchResult, error) {
		return FetchResult{Status: status, Body: json.RawMessage(body)}, nil
	}
}

func TestFetch(t *testing.T) {
	const rules = `
screens:
  RECOMMEND:
    fetch:
      slots:
        upstream: calendar
        path: "'/slots?day=' + urlEncode(form.day)"
        timeout: 20ms
        cache: 60s
        fallback: [{id: none, title: None}]
      unseen: {upstream: ledger, path: "'/never'"}
    next:
      - {when: "form.score == 'skip'", close: true}
      - {when: "form.score == 'never'", complete: {params: {ok: fetch.unseen.ok}}}
      - complete: {params: {ok: fetch.slots.ok, status: fetch.slots.status, body: fetch.slots.body}}
`
	success := func(body, ok, status string) string {
		return `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"body":` + body + `,"flow_token":"tok","ok":` + ok + `,"status":` + status + `}}}}`
	}
	const none = `[{"id":"none","title":"None"}]`
	const call = "[calendar GET /slots?day=a%2Fb]"
	for _, test := range []struct {
		name   string
		answer func(context.Context) (FetchResult, error)
		data   string
		reply  string
		calls  string
	}{
		{"an answer", answers(200, `[{"id":"1","title":"9:00","note":null}]`), `{"day":"a/b"}`, success(`[{"id":"1","title":"9:00"}]`, "true", "200"), call},
		{"no content", answers(204, ""), `{"day":"a/b"}`, success(none, "true", "204"), call},
		{"another status", answers(503, `{}`), `{"day":"a/b"}`, success(none, "false", "503"), call},
		{"what is no JSON", answers(200, `<html>`), `{"day":"a/b"}`, success(none, "false", "200"), call},
		{"nested without end", answers(200, strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), `{"day":"a/b"}`, success(none, "false", "200"), call},
		{"no answer", func(context.Context) (FetchResult, error) { return FetchResult{}, errors.New("refused") }, `{"day":"a/b"}`, success(none, "false", "0"), call},
		{"an answer that is late", func(ctx context.Context) (FetchResult, error) {
			<-ctx.Done()
			return FetchResult{}, ctx.Err()
		}, `{"day":"a/b"}`, success(none, "false", "0"), call},
		{"a rule that does not need it", answers(200, "1"), `{"day":"a/b","score":"skip"}`, `{"screen":"SUCCESS","data":{}}`, "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			up := &upstream{answer: test.answer}
			u := &user{t: t, def: surveyWith(t, rules), token: "tok", env: Env{Fetch: up}}
			u.play([]step{{DataExchange, "RECOMMEND", test.data, test.reply, map[bool]string{true: "close", false: "complete"}[test.calls == "[]"]}})
			equal(t, "calls", list(up.calls), test.calls)
		})
	}
	def := surveyWith(t, rules)
	equal(t, "upstreams", list(def.Upstreams()), "[calendar ledger]")
	equal(t, "logic", string(def.Logic()), rules)
}

func TestWhatAFetchAsks(t *testing.T) {
	for _, test := range []struct{ name, fetch, asked, err string }{
		{"a POST of an object", `{upstream: c, method: POST, path: "'/x'", body: {score: int(form.score), who: user.id, none: "null"}}`, `[c POST /x {"score":5,"who":""}]`, ""},
		{"a POST of one expression", `{upstream: c, method: POST, path: "'/x'", body: "[form.score]"}`, `[c POST /x ["5"]]`, ""},
		{"a POST of an empty object", `{upstream: c, method: POST, path: "'/x'", body: {}}`, `[c POST /x {}]`, ""},
		{"a path by conditions", `{upstream: c, path: "form.score == '5' ? '/five' : '/other'"}`, `[c GET /five]`, ""},
		{"a path of numbers, days and constants", `{upstream: c, path: "'/x/' + constants.shop + '?n=' + string(int(form.score) + 1) + '&t=' + form.topics.map(t, urlEncode(t)).join(',') + '&d=' + date(now, 'UTC') + '&m=' + range(2).map(i, string(i)).join('.')"}`, `[c GET /x/a1?n=6&t=a%26b,c&d=2026-11-23&m=0.1]`, ""},
		{"a path that is none", `{upstream: c, path: "urlEncode(form.score)"}`, "[]", "screen RECOMMEND: logic.yaml:1:79: screens.RECOMMEND.fetch.s.path: the path does not begin with /"},
		{"a path with a space", `{upstream: c, path: "'/' + ' ' + urlEncode(form.score)"}`, "[]", "screen RECOMMEND: logic.yaml:1:79: screens.RECOMMEND.fetch.s.path: the path holds a space or another sign that no path has: build it with urlEncode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			up := &upstream{answer: answers(200, "1")}
			def := surveyWith(t, `{constants: {shop: a1}, screens: {RECOMMEND: {fetch: {s: `+test.fetch+`}, complete: {params: {a: "[fetch.s.body, fetch.s.body]"}}}}}`)
			u := &user{t: t, def: def, token: "tok", env: Env{Fetch: up}}
			reply, _ := u.send(DataExchange, "RECOMMEND", `{"score":"5","topics":["a&b","c"]}`)
			equal(t, "calls", list(up.calls), test.asked)
			if test.err != "" {
				equal(t, "reply", reply, "error: "+test.err)
			}
		})
	}
}

// What the left side decides is not asked for; one that cannot be evaluated
// decides nothing.
func TestWhichFetchesARuleAsksFor(t *testing.T) {
	for _, test := range []struct{ unless, calls string }{
		{"form.score == '' || fetch.a.ok", "[]"},
		{"form.score != '' && fetch.a.ok", "[]"},
		{"form.score == '' ? true : fetch.a.ok", "[]"},
		{"form.score == '' || form.score == 'x' || fetch.a.ok || fetch.b.ok", "[]"},
		{"fetch.b.ok && fetch.a.ok", "[u GET /b u GET /a]"},
		{"fetch.b.ok || fetch.a.ok", "[u GET /b]"},
		{"int(form.score) > 0 && fetch.a.ok", "[u GET /a]"},
	} {
		up := &upstream{answer: answers(200, "1")}
		def := surveyWith(t, `screens: {RECOMMEND: {fetch: {a: {upstream: u, path: "'/a'"}, b: {upstream: u, path: "'/b'"}}, check: {unless: "`+test.unless+`", message: "'x'"}, next: [{when: form.again, complete: {params: {a: fetch.a.ok, b: fetch.b.ok}}}, {close: true}]}}`)
		u := &user{t: t, def: def, token: "tok", env: Env{Fetch: up}}
		u.send(DataExchange, "RECOMMEND", `{"score":""}`)
		equal(t, test.unless, list(up.calls), test.calls)
	}
}

func TestOneFetchFeedsAnother(t *testing.T) {
	up := &upstream{answer: answers(200, `{"id":"7 8"}`)}
	def := surveyWith(t, `
screens:
  RECOMMEND:
    fetch:
      user: {upstream: crm, path: "'/me'"}
      orders: {upstream: crm, path: "'/orders/' + urlEncode(string(fetch.user.body.id))"}
    complete: {params: {a: fetch.orders.ok}}
`)
	u := &user{t: t, def: def, token: "tok", env: Env{Fetch: up}}
	u.send(DataExchange, "RECOMMEND", `{}`)
	equal(t, "calls", list(up.calls), "[crm GET /me crm GET /orders/7%208]")
}

// A one-time code: the code is made once, sent by the upstream, and compared
// later. With the same random bytes a second run of the engine sends the same.
func TestOneTimeCode(t *testing.T) {
	def := surveyWith(t, `
screens:
  DETRACTOR:
    set: {code: randomDigits(6), id: randomID()}
    data: {reasons: "[{'id': '1', 'title': 'x'}]"}
    fetch: {sms: {upstream: sms, method: POST, path: "'/send'", body: {code: vars.code}}}
    check: {unless: fetch.sms.ok, message: "'No code could be sent'"}
    next: {screen: CODE}
  CODE:
    check: {unless: "form.code == vars.code && vars.code != ''", error: {code: "'Wrong code'"}}
    complete: {params: {verified: "true"}}
`)
	up := &upstream{answer: answers(200, "{}")}
	u := &user{t: t, def: def, token: "tok", env: Env{Fetch: up}}
	u.play([]step{{DataExchange, "DETRACTOR", `{"reason":"1"}`, `{"screen":"CODE","data":{"code_error":""}}`, "next"}})
	var sent struct{ Code string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(up.calls[0], "sms POST /send ")), &sent); err != nil || len(sent.Code) != 6 {
		t.Fatalf("%v, %v", up.calls, err)
	}
	u.play([]step{
		{DataExchange, "CODE", `{"code":"x"}`, `{"screen":"CODE","data":{"code_error":"Wrong code"}}`, "same"},
		{DataExchange, "CODE", `{"code":"` + sent.Code + `"}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"tok","verified":true}}}}`, "complete"},
	})

	run := func() string {
		up := &upstream{answer: answers(200, "{}")}
		u := &user{t: t, def: def, token: "tok", env: Env{Fetch: up, Random: strings.NewReader(strings.Repeat("random", 100))}}
		u.send(DataExchange, "DETRACTOR", `{"reason":"1"}`)
		return list(up.calls) + string(u.stored)
	}
	equal(t, "the second run", run(), run())
}

func TestTheTimeForAnAnswerIsOver(t *testing.T) {
	def := surveyWith(t, `screens: {RECOMMEND: {complete: {params: {a: "range(1000).map(i, range(900).filter(j, j == i).size())"}}}}`)
	req := request(t, DataExchange, "RECOMMEND", "tok", `{}`)
	s, err := Begin(nil, def, req, noon)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	_, err = Answer(ctx, def, s, req, Env{Now: noon})
	if err == nil || !strings.Contains(err.Error(), "the time for an answer is over") {
		t.Errorf("got %v", err)
	}
}
