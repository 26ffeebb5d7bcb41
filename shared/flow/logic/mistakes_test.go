package logic

import (
	"errors"
	"strings"
	"testing"
)

// Every mistake is told with its place and with what is known there.
func TestMistakes(t *testing.T) {
	on := func(rules string) string { return "screens: {RECOMMEND: {" + rules + "}}" }
	for _, test := range []struct{ name, text, want string }{
		{"a field that does not exist", "screens:\n  RECOMMEND:\n    next:\n      - {when: \"form.scor == ''\", screen: PROMOTER}\n", `logic.yaml:4:17: form.scor: screen RECOMMEND has fields again, chosen, comment, day, kind, max, score, topics, did you mean score?`},
		{"an answer that does not exist", on(`data: {title: screen.CODE.cod}`), `logic.yaml:1:37: screen.CODE.cod: screen CODE has fields both, code, note, did you mean code?`},
		{"a screen that does not exist in an expression", on(`data: {title: screen.RECOMEND.score}`), `logic.yaml:1:37: screen.RECOMEND: the flow has screens CODE, DETRACTOR, PROMOTER, RECOMMEND, did you mean RECOMMEND?`},
		{"an answer no screen posts", on(`data: {title: session.scores}`), `logic.yaml:1:37: session.scores: the screens of the flow post again, both, call, chosen, code, comment, day, kind, max, note, reason, score, topics, did you mean score?`},
		{"a variable nobody sets", on(`set: {tries: "1"}, data: {max: vars.trys}`), `logic.yaml:1:54: vars.trys: the rules set tries`},
		{"a constant that does not exist", "constants: {limit: 1}\n" + on(`data: {max: constants.limits}`), `logic.yaml:2:35: constants.limits: the constants are limit, did you mean limit?`},
		{"const, which is a word of CEL", "constants: {limit: 1}\n" + on(`data: {max: const.limit}`), `logic.yaml:2:35: const is a word of CEL itself: write constants.name`},
		{"something a user does not have", on(`data: {title: user.mail}`), `logic.yaml:1:37: user.mail: user has id, name`},
		{"a fetch that does not exist", on(`data: {title: "string(fetch.slots.ok)"}`), `logic.yaml:1:45: fetch.slots: screen RECOMMEND fetches none`},
		{"something a fetch does not have", on(`fetch: {slots: {upstream: c, path: "'/x'"}}, data: {title: "string(fetch.slots.code)"}`), `logic.yaml:1:90: fetch.slots.code: a fetch has body, ok, status`},
		{"a name that does not exist", on(`data: {title: "frm.score + 'x'"}`), `logic.yaml:1:38: frm is not known; known are constants, fetch, now, screen, session, user, vars`},
		{"a text without quotes", on(`data: {title: Hello}`), `logic.yaml:1:37: Hello is not known; known are constants, fetch, now, screen, session, user, vars. A text needs quotes of its own: "'Hello'"`},
		{"a sentence without quotes", on(`data: {title: How was it}`), `logic.yaml:1:41: this is no expression; a text needs quotes of its own: "'How was it'"`},
		{"form where no request is", on(`data: {title: form.score}`), `logic.yaml:1:37: form is not known here; known are constants, fetch, now, screen, session, user, vars`},
		{"session in init", "init: {screen: RECOMMEND, data: {title: session.score}}", `logic.yaml:1:41: session is not known here; known are constants, now, user`},
		{"a text compared with a number", on(`check: {unless: form.score >= 9, message: "'x'"}`), `logic.yaml:1:50: >= does not take (string, int): what a user types is a string, int(…) makes a number of it`},
		{"a number added to a text", on(`data: {title: "'a' + 1"}`), `logic.yaml:1:42: + does not take (string, int): string(…) makes a text of a number, int(…) a number of a text`},
		{"a condition that is no truth", on(`next: {when: form.score, screen: PROMOTER}`), `logic.yaml:1:36: it yields a string, expected a boolean`},
		{"a message that is no text", on(`check: {unless: "true", message: "1"}`), `logic.yaml:1:57: it yields a number, expected a string: string(…) makes a text of it`},
		{"data of another type", on(`data: {title: "1"}`), `logic.yaml:1:38: screen RECOMMEND declares data.title as a string, but this yields a number: string(…) makes a text of it`},
		{"a text for a number", on(`data: {max: "'1'"}`), `logic.yaml:1:36: screen RECOMMEND declares data.max as a number, but this yields a string: int(…) makes a number of it`},
		{"a list of other things", on(`data: {days: "['a']"}`), `logic.yaml:1:37: screen RECOMMEND declares data.days as an array of objects, but this yields an array of strings`},
		{"data the screen does not declare", on(`next: {screen: PROMOTER, data: {nam: "'x'"}}`), `logic.yaml:1:55: data.nam: screen PROMOTER declares name, did you mean name?`},
		{"broken grammar", on(`data: {title: "'a' +"}`), `logic.yaml:1:43: this is no expression: mismatched input the end`},
		{"an empty expression", on(`data: {title: ''}`), `logic.yaml:1:38: the expression is empty; an empty text is "''"`},
		{"a list for an expression", on(`data: {days: [{id: '1'}]}`), `logic.yaml:1:36: expected an expression, got a list; plain values belong into constants`},
		{"an object as of protocol buffers", on(`data: {title: "form{a: 1}.a"}`), `logic.yaml:1:42: form{…} has no meaning here; an object is {'key': value}`},
		{"a function without its brackets", on(`data: {title: randomID}`), `logic.yaml:1:37: randomID is a function: call it, randomID(…)`},
		{"a function that does not exist", on(`data: {title: "uper('x')"}`), `logic.yaml:1:42: uper is no function, did you mean upper?`},
		{"a pattern that is none", on(`data: {title: "'a'.matches('[') ? 'a' : 'b'"}`), `logic.yaml:1:50: the pattern of matches is not valid (RE2)`},
		{"lists without end", on(`data: {max: "range(9).map(a, a).map(b, b).map(c, c).map(d, d).map(e, e).size()"}`), `logic.yaml:1:48: more than 4 of map, filter and the like within or after each other`},
		{"work without end", on(`data: {max: "range(1000).map(a, range(1000).map(b, session.comment.contains(session.comment + 'abcdefgh') ? 1 : session.comment.matches('a*b*c*d*') ? 2 : 3).size()).size()"}`), `logic.yaml:1:36: the expression could cost 10400224212 steps of computing, at most 100000000 are allowed: go through fewer lists within lists`},
		{"a variable of two types", "screens:\n  RECOMMEND: {set: {a: \"1\"}}\n  CODE: {set: {a: \"'x'\"}}", `logic.yaml:3:20: vars.a is a string here, and a whole number on line 2: give it one type`},
		{"a variable that is now whole, now not", "screens:\n  RECOMMEND: {set: {a: \"1\"}}\n  CODE: {set: {a: \"1.5\"}}", `logic.yaml:3:20: vars.a is a fraction here, and a whole number on line 2: give it one type`},
		{"a variable set from itself alone", on(`set: {a: "form.again ? vars.b : vars.a", b: vars.a}`), `logic.yaml:1:33: nothing tells the type of vars.a: set it from a plain value first, such as 0 or '', or convert it, int(…) or string(…)
logic.yaml:1:67: nothing tells the type of vars.b: set it from a plain value first, such as 0 or '', or convert it, int(…) or string(…)`},
		{"a pattern that a user makes up", on(`check: {unless: form.score.matches(form.comment), message: "'x'"}`), `logic.yaml:1:57: the pattern of matches must stand here as a text, such as .matches('^[0-9]+$')`},
		{"a number that YAML reads as octal", "constants: {plz: 01067}", `logic.yaml:1:18: 01067 begins with 0, which YAML takes for an octal number: put it in quotes, or leave out the 0`},
		{"lists within lists", on(`data: {max: "` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `"}`), `logic.yaml:1:36: lists and objects nested deeper than 16 levels`},
		{"an unknown key at the top", "screen: {}", `logic.yaml:1:1: screen is not known here, expected constants, init, screens, did you mean screens?`},
		{"an unknown key of a screen", on(`nxt: {screen: PROMOTER}`), `logic.yaml:1:23: nxt is not known here, expected data, set, fetch, check, next, back, complete, close, did you mean next?`},
		{"an unknown key of a rule", on(`next: {if: "true", screen: PROMOTER}`), `logic.yaml:1:30: if is not known here, expected when, screen, data, back, complete, close`},
		{"a key twice", "screens: {}\nscreens: {}", `logic.yaml:2:1: screens stands here twice, first on line 1`},
		{"a screen that does not exist", "screens: {RECOMEND: {}}", `logic.yaml:1:11: RECOMEND: the flow has screens RECOMMEND, PROMOTER, DETRACTOR, CODE, did you mean RECOMMEND?`},
		{"a goal that does not exist", on(`next: {screen: PROMOTOR}`), `logic.yaml:1:38: PROMOTOR: the flow has screens RECOMMEND, PROMOTER, DETRACTOR, CODE, did you mean PROMOTER?`},
		{"SUCCESS as a goal", on(`next: {screen: SUCCESS}`), `logic.yaml:1:38: SUCCESS is no screen: write complete or close`},
		{"a goal no edge leads to", on(`next: {screen: CODE}`), `logic.yaml:1:38: no edge of the routing model joins RECOMMEND and CODE: add CODE to routing_model.RECOMMEND`},
		{"a back no edge leads to", "screens: {CODE: {back: {screen: RECOMMEND}}}", `logic.yaml:1:33: no edge of the routing model joins CODE and RECOMMEND: add RECOMMEND to routing_model.CODE`},
		{"an init that is no entry", "init: {screen: CODE}", `logic.yaml:1:16: an edge of the routing model leads to CODE, so a flow cannot begin there: it may begin on RECOMMEND`},
		{"back in init", "init: {back: true}", `logic.yaml:1:7: no screen stands before init: give a screen`},
		{"a rule without a goal", on(`next: {when: "true"}`), `logic.yaml:1:29: a rule needs a goal: screen, back, complete or close`},
		{"a rule with two goals", on(`next: {screen: PROMOTER, close: true}`), `logic.yaml:1:55: a rule has one goal: screen, back, complete or close`},
		{"data without a screen", on(`next: {close: true, data: {}}`), `logic.yaml:1:49: data goes with screen only`},
		{"back: false", on(`next: {back: false}`), `logic.yaml:1:36: expected true; a condition goes into when`},
		{"a rule nothing reaches", on(`next: [{screen: PROMOTER}, {screen: DETRACTOR}]`), `logic.yaml:1:50: this rule is never reached: the one on line 1 has no when`},
		{"no rule at all", on(`next: []`), `logic.yaml:1:29: next is empty: leave it out, or give a rule`},
		{"next and complete", on(`next: {close: true}, complete: {}`), `logic.yaml:1:54: next, complete and close exclude each other: put this one into next`},
		{"flow_token as a param", on(`complete: {params: {flow_token: "'x'"}}`), `logic.yaml:1:43: flow_token is added by itself: remove it`},
		{"a check without a condition", on(`check: {message: "'x'"}`), `logic.yaml:1:30: a check needs unless: the condition that must hold`},
		{"a check that says nothing", on(`check: {unless: "true"}`), `logic.yaml:1:30: a check needs error, a text for each field, or message, a text for the screen`},
		{"an error of a field that does not exist", on(`check: {unless: "true", error: {scor: "'x'"}}`), `logic.yaml:1:55: scor: screen RECOMMEND has fields again, chosen, comment, day, kind, max, score, topics, did you mean score?`},
		{"an error of what is no input", on(`check: {unless: "true", error: {kind: "'x'"}}`), `logic.yaml:1:55: form.kind is not the value of one input of screen RECOMMEND, so there is no place for its error: use message`},
		{"an error without a place in a Form", "screens: {CODE: {check: {unless: \"true\", error: {note: \"'x'\"}}}}", `logic.yaml:1:50: screen CODE has no place for the error of note: give the TextInput note "error-message": "${data.note_error}" and the screen's data {"note_error": {"type": "string", "__example__": ""}}`},
		{"a fetch nobody uses", on(`fetch: {slots: {upstream: c, path: "'/x'"}}`), `logic.yaml:1:31: fetch.slots is used by no expression: remove it`},
		{"a fetch without an upstream", on(`fetch: {s: {path: "'/x'"}}, data: {max: fetch.s.status}`), `logic.yaml:1:34: a fetch needs upstream, a name of the edge's configuration`},
		{"an address as an upstream", on(`fetch: {s: {upstream: "https://x.example", path: "'/x'"}}, data: {max: fetch.s.status}`), `logic.yaml:1:46: expected the name of an upstream: letters, digits, _ and -; its address stands in the edge's configuration`},
		{"a path that is not encoded", on(`fetch: {s: {upstream: c, path: "'/x/' + session.score"}}, data: {max: fetch.s.status}`), `logic.yaml:1:63: session.score goes into a path: write urlEncode(session.score)`},
		{"a path through string()", on(`fetch: {s: {upstream: c, path: "'/x?a=' + string(form.score)"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:72: what is made of form.score goes into a path: put urlEncode(…) around it`},
		{"a path through a method", on(`fetch: {s: {upstream: c, path: "'/x?a=' + form.score.trim().replace('a', 'b')"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:65: what is made of form.score goes into a path: put urlEncode(…) around it`},
		{"a path through a list", on(`fetch: {s: {upstream: c, path: "'/x?a=' + ['b', form.score].join('&')"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:71: what is made of form.score goes into a path: put urlEncode(…) around it`},
		{"a path through map", on(`fetch: {s: {upstream: c, path: "'/x?a=' + form.topics.map(t, t).join(',')"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:84: t goes into a path: write urlEncode(t)`},
		{"a path through an index", on(`fetch: {s: {upstream: c, path: "'/x?a=' + form.topics[0]"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:65: what is made of form.topics goes into a path: put urlEncode(…) around it`},
		{"a path of what an upstream said", on(`fetch: {a: {upstream: c, path: "'/a'"}, s: {upstream: c, path: "'/x/' + fetch.a.body.items[0].id"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:95: what is made of fetch.a.body.items goes into a path: put urlEncode(…) around it`},
		{"a GET with a body", on(`fetch: {s: {upstream: c, path: "'/x'", body: "1"}}, data: {max: fetch.s.status}`), `logic.yaml:1:69: a GET has no body: add method: POST`},
		{"a POST that is cached", on(`fetch: {s: {upstream: c, method: POST, path: "'/x'", cache: 1m}}, data: {max: fetch.s.status}`), `logic.yaml:1:83: only a GET can be cached`},
		{"a method that is none", on(`fetch: {s: {upstream: c, method: get, path: "'/x'"}}, data: {max: fetch.s.status}`), `logic.yaml:1:56: the method is get, expected GET, POST, PUT, PATCH, DELETE`},
		{"a timeout that is too long", on(`fetch: {s: {upstream: c, path: "'/x'", timeout: 1m}}, data: {max: fetch.s.status}`), `logic.yaml:1:71: expected a time such as 800ms or 60s, more than 0 and at most 10s`},
		{"a fetch of a form where no request is", on(`fetch: {s: {upstream: c, path: "'/' + urlEncode(form.score)"}}, data: {max: fetch.s.status}`), `logic.yaml:1:104: fetch.s reads form, which is not known when the screen is shown: let it read session`},
		{"a fetch that needs a later one", on(`fetch: {a: {upstream: c, path: "'/' + urlEncode(string(fetch.b.status))"}, b: {upstream: c, path: "'/'"}}, data: {max: fetch.a.status}`), `logic.yaml:1:83: fetch.b does not stand before fetch.a, which needs it`},
		{"a constant that is missing", "constants: {a: {b: }}", `logic.yaml:1:20: a value is missing; an empty text is ""`},
		{"an alias", "constants: {a: &x [1], b: *x}", `logic.yaml:1:27: aliases (*name) are not known here: repeat the value, or make it a constant`},
		{"an anchor that holds itself", "constants: &a {b: *a}", `logic.yaml:1:19: aliases (*name) are not known here: repeat the value, or make it a constant`},
		{"a merge", "constants: {a: {<<: {b: 1}}}", `logic.yaml:1:17: expected a name, then a colon`},
		{"two documents", "init: {screen: RECOMMEND}\n---\ninit: {screen: RECOMMEND}", `logic.yaml:2:1: a second document begins here, expected one`},
		{"words between the quotes of YAML", on(`check: {unless: "true", message: 'Please try again in a minute.'}`), `logic.yaml:1:64: this is no expression; a text needs quotes of its own: "'Please try again in a minute.'"`},
		{"words with an apostrophe", on(`check: {unless: "true", message: "Don't do that"}`), `logic.yaml:1:60: this is no expression; a text needs quotes of its own: "'Don\\'t do that'"`},
		{"words before a value", on(`data: {title: "Hello session.score"}`), `logic.yaml:1:44: this is no expression; a text needs quotes of its own, and + joins it to a value: "'Hello ' + user.name"`},
		{"one = to compare", on(`next: {when: "form.score = 'bring'", screen: PROMOTER}`), `logic.yaml:1:48: this is no expression: write == to compare`},
		{"and", on(`next: {when: "form.again and form.chosen", screen: PROMOTER}`), `logic.yaml:1:48: this is no expression: write && for and, || for or, ! for not`},
		{"not", on(`next: {when: "not form.again", screen: PROMOTER}`), `logic.yaml:1:41: this is no expression: write && for and, || for or, ! for not`},
		{"options of too little", on(`data: {days: "options([1], 'a')"}`), `logic.yaml:1:44: options does not take (list(int), string): options takes (list, text, text)`},
		{"a method called as a function", on(`data: {title: "upper('a')"}`), `logic.yaml:1:43: upper does not take (string): write text.upper()`},
		{"a path that is an address", on(`fetch: {s: {upstream: c, path: "'http://127.0.0.1/' + urlEncode(form.score)"}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:1:55: a path begins with /, this one with http://127.0.0.1/: what stands before the path, the address, is in the edge's configuration`},
		{"a constant that is no path", "constants: {p: shops}\n" + on(`fetch: {s: {upstream: c, path: constants.p}}, next: {when: fetch.s.ok, close: true}`), `logic.yaml:2:54: a path begins with /, constants.p with shops: what stands before the path, the address, is in the edge's configuration`},
		{"a tab", "screens:\n\tRECOMMEND:\n\t\tback: x", `logic.yaml:2:1: YAML is indented with spaces, here stands a tab`},
		{"a tab after spaces", "screens:\n  RECOMMEND:\n  \tnext: {close: true}", `logic.yaml:3:3: YAML is indented with spaces, here stands a tab`},
		{"one space too few", "screens:\n  RECOMMEND:\n    data:\n      title: \"'x: '\"\n    set: {a: \"1\",\n      b: \"2\"}\n   fetch:\n      a: {upstream: b}\n", `logic.yaml:7:4: this line's indentation fits no line above`},
		{"one space too many", "screens:\n  RECOMMEND:\n    data:\n      title: |\n         'x'\n     set: {a: \"1\"}\n", `logic.yaml:6:6: this line's indentation fits no line above`},
		{"an item of a list set wrongly", "screens:\n  RECOMMEND:\n    next:\n      - {close: true}\n     - {close: true}\n", `logic.yaml:5:6: this line's indentation fits no line above`},
		{"broken YAML", "init:\n  screen: RECOMMEND\n screens: x", `logic.yaml:3:2: this line's indentation fits no line above`},
		{"broken JSON", "{\"init\": {\"screen\": \"RECOMMEND\"}\n", `logic.json:2:1: the file ends before everything in it is closed`},
		{"a mistake in JSON", "{\n\t\"screens\": {\"RECOMMEND\": {\n\t\t\"data\": {\"title\": \"'a' + user.nam\"}}}}", `logic.json:3:28: user.nam: user has id, name, did you mean name?`},
		{"a mistake behind an escape in JSON", `{"init": {"screen": "RECOMMEND", "data": {"title": "'\u00e4' + user.nam"}}}`, `logic.json:1:52: user.nam: user has id, name, did you mean name?`},
		{"a mistake in a block", "init:\n  screen: RECOMMEND\n  data:\n    title: |\n      'Hi ' +\n        user.nam\n", `logic.yaml:6:9: user.nam: user has id, name, did you mean name?`},
		{"a list at the top", "- init", `logic.yaml:1:1: expected constants, init, screens, got a list`},
		{"nothing but a comment", "# later", `logic.yaml:1:1: the file holds no rules: leave it out to follow the routing model`},
		{"another encoding", "init: {screen: \"\xff\"}", `logic.yaml:1:1: the file is not UTF-8: save it as UTF-8`},
		{"all at once", "init: {screen: CODE}\n" + on(`data: {titel: "1"}, check: {unless: form.a}, next: {screen: CODE, when: "1"}`), `logic.yaml:1:16: an edge of the routing model leads to CODE, so a flow cannot begin there: it may begin on RECOMMEND
logic.yaml:2:30: data.titel: screen RECOMMEND declares days, error_messages, max, title, did you mean title?
logic.yaml:2:50: a check needs error, a text for each field, or message, a text for the screen
logic.yaml:2:59: form.a: screen RECOMMEND has fields again, chosen, comment, day, kind, max, score, topics
logic.yaml:2:83: no edge of the routing model joins RECOMMEND and CODE: add CODE to routing_model.RECOMMEND
logic.yaml:2:96: it yields a number, expected a boolean`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := compile(t, test.text)
			var mistakes *Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("got %v, expected an *Errors", err)
			}
			if got := err.Error(); got != strings.TrimSpace(test.want) {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
