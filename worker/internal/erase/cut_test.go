package erase

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// ada is who is erased in every test.
func ada() *person {
	p := newPerson()
	p.phones.add("16505551234")
	p.users.add("US.ADA")
	p.tokens.add("token-of-ada")
	p.wamids.add("wamid.ADA")
	return p
}

// hook is a webhook with these changes' values.
func hook(values ...string) string {
	for i, v := range values {
		values[i] = `{"field":"messages","value":` + v + `}`
	}
	return `{"object":"whatsapp_business_account","entry":[{"id":"w1","changes":[` + strings.Join(values, ",") + `]}]}`
}

func TestOnlyWhatIsOnePersonsIsCutOut(t *testing.T) {
	const (
		hers = `{"from":"16505551234","id":"wamid.1","text":{"body":"hi"}}`
		his  = `{ "from": "447700900", "id":"wamid.2", "text":{"body":"my \u00e9\/"} }`
	)
	for name, c := range map[string]struct{ body, want string }{
		"the first of two messages": {hook(`{"messages":[ ` + hers + ` , ` + his + ` ]}`), hook(`{"messages":[ ` + his + ` ]}`)},
		"the last of two messages":  {hook(`{"messages":[ ` + his + ` , ` + hers + ` ]}`), hook(`{"messages":[ ` + his + ` ]}`)},
		"both around another": {hook(`{"messages":[` + hers + `,` + his + `,` + hers + `,` + hers + `]}`),
			hook(`{"messages":[` + his + `]}`)},
		"a contact and a status beside other people's": {
			hook(`{"metadata":{"phone_number_id":"1"},"contacts":[{"wa_id":"447700900"},{"profile":{"name":"Ada"},"wa_id":"16505551234"}],` +
				`"statuses":[{"id":"x","recipient_id":"16505551234"},{"id":"y","recipient_id":"447700900"}]}`),
			hook(`{"metadata":{"phone_number_id":"1"},"contacts":[{"wa_id":"447700900"}],` +
				`"statuses":[{"id":"y","recipient_id":"447700900"}]}`)},
		"all of one change": {hook(`{"messages":[`+hers+`]}`, `{"messages":[`+his+`]}`), hook(`{"messages":[]}`, `{"messages":[`+his+`]}`)},
		"a message known by its id, and the contact that came with it": {
			hook(`{"contacts":[{"wa_id":"1999","profile":{"name":"Ada"}},{"wa_id":"2000"}],"messages":[{"from":"1999","id":"wamid.ADA"},{"from":"2000","id":"z"}]}`),
			hook(`{"contacts":[{"wa_id":"2000"}],"messages":[{"from":"2000","id":"z"}]}`)},
		"an answer under her token": {
			hook(`{"messages":[{"from":"1999","id":"a","interactive":{"nfm_reply":{"response_json":"{\"flow_token\":\"token-of-ada\",\"a\":1}"}}},` + his + `]}`),
			hook(`{"messages":[` + his + `]}`)},
		"an answer that came as an object": {
			hook(`{"messages":[{"id":"a","interactive":{"nfm_reply":{"response_json":{"flow_token":"token-of-ada"}}}},` + his + `]}`),
			hook(`{"messages":[` + his + `]}`)},
		"a number that came as a number": {hook(`{"messages":[{"from":16505551234},` + his + `]}`), hook(`{"messages":[` + his + `]}`)},
		"names in capitals":              {hook(`{"Messages":[{"FROM":"16505551234"},` + his + `]}`), hook(`{"Messages":[` + his + `]}`)},
		"an element of a kind that is not known": {
			hook(`{"calls":[{"deep":{"peer":"16505551234"}}],"messages":[` + his + `]}`), hook(`{"calls":[],"messages":[` + his + `]}`)},
		"a change that is about her in a way that is not known": {
			hook(`{"preference":{"user":"US.ADA"}}`, `{"messages":[`+his+`]}`), hook(`{"messages":[` + his + `]}`)},
		"somebody who has a user id of her own under the number": {
			hook(`{"messages":[{"from":"16505551234","from_user_id":"US.NEXT"},{"from":"1","from_user_id":"US.ADA"}]}`),
			hook(`{"messages":[{"from":"16505551234","from_user_id":"US.NEXT"}]}`)},
		"somebody who speaks of her":    {hook(`{"messages":[{"from":"1","text":{"body":"16505551234"}}]}`), ""},
		"other news":                    {hook(`{"event":"FLOW_STATUS_CHANGE"}`), ""},
		"all, and other news":           {hook(`{"event":"X"}`, `{"messages":[`+hers+`]}`), hook(`{"event":"X"}`, `{"messages":[]}`)},
		"all of it":                     {hook(`{"contacts":[{"wa_id":"16505551234"}],"messages":[` + hers + `]}`), string(redacted)},
		"all of it, the number unnamed": {hook(`{"contacts":[{"profile":{"name":"Ada"}}],"messages":[{"id":"wamid.ADA"}]}`), string(redacted)},
	} {
		t.Run(name, func(t *testing.T) {
			cut := cut([]byte(c.body), ada(), nil, nil)
			left, elements, ok := cut.body, cut.elements, cut.ok
			if c.want == "" {
				c.want = c.body
			}
			if !ok || string(left) != c.want || (elements > 0) != (c.want != c.body) {
				t.Errorf("%d elements cut, left %s\nwant %s", elements, left, c.want)
			}
		})
	}
}

func TestElementsThatNameNobodyAreFoundByTheirPlace(t *testing.T) {
	body := hook(`{"statuses":[{"s":2}],"messages":[{"m":0},{"m":1}]}`, `{"messages":[{"m":3}]}`)
	cut := cut([]byte(body), newPerson(), map[int32]bool{1: true, 2: true}, nil)
	left, ok := cut.body, cut.ok
	if want := hook(`{"statuses":[],"messages":[{"m":0}]}`, `{"messages":[{"m":3}]}`); !ok || string(left) != want {
		t.Errorf("left %s\nwant %s", left, want)
	}
}

func TestOnlyChangesOfTheAccountAreCut(t *testing.T) {
	change := func(phoneNumberID, message string) string {
		return `{"field":"messages","value":{"metadata":{"phone_number_id":"` + phoneNumberID + `"},"messages":[` + message + `]}}`
	}
	entry := func(waba string, changes ...string) string {
		return `{"id":"` + waba + `","changes":[` + strings.Join(changes, ",") + `]}`
	}
	webhook := func(entries ...string) string { return `{"entry":[` + strings.Join(entries, ",") + `]}` }
	const (
		hers    = `{"from":"16505551234","id":"wamid.1"}`
		his     = `{"from":"447700900","id":"wamid.2"}`
		unnamed = `{"text":{"body":"hi"}}`
	)
	ours := func(phoneNumberID, waba string) bool {
		return phoneNumberID == "1" || phoneNumberID == "" && waba == "w1"
	}
	for name, c := range map[string]struct {
		body, want string
		positions  map[int32]bool
		elsewhere  bool
	}{
		"she wrote to both accounts": {webhook(entry("w1", change("1", hers)), entry("w2", change("2", hers))),
			webhook(entry("w1", change("1", "")), entry("w2", change("2", hers))), nil, true},
		"she wrote to both numbers of one business": {webhook(entry("w1", change("2", hers), change("1", hers))),
			webhook(entry("w1", change("2", hers), change("1", ""))), nil, true},
		"she wrote to the other account only": {webhook(entry("w2", change("2", hers))), "", nil, true},
		"others wrote to the other account": {webhook(entry("w1", change("1", hers)), entry("w2", change("2", his))),
			webhook(entry("w1", change("1", "")), entry("w2", change("2", his))), nil, false},
		"news of another business that names her": {webhook(entry("w1", `{"value":{"user":"US.ADA"}}`), `{"id":"w2","user":"US.ADA"}`, `{"id":"w1","user":"US.ADA"}`),
			webhook(entry("w1"), `{"id":"w2","user":"US.ADA"}`), nil, true},
		"elements without a name behind another account's": {webhook(entry("w2", change("2", his+","+unnamed)), entry("w1", change("1", unnamed+","+his))),
			webhook(entry("w2", change("2", his+","+unnamed)), entry("w1", change("1", his))), map[int32]bool{2: true}, false},
		"a number that belonged to the account when it was stored": {webhook(entry("w2", change("2", hers), change("2", his))),
			webhook(entry("w2", change("2", ""), change("2", his))), map[int32]bool{0: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.body
			}
			left := cut([]byte(c.body), ada(), c.positions, ours)
			if !left.ok || left.whole || string(left.body) != c.want || left.elsewhere != c.elsewhere {
				t.Errorf("left %s (elsewhere: %t)\nwant %s (%t)", left.body, left.elsewhere, c.want, c.elsewhere)
			}
		})
	}
}

func TestWhatIsNoWebhookIsNotCut(t *testing.T) {
	for _, body := range []string{"", "{", "[]", `"16505551234"`, `{"entry":1}`, `{"a":"16505551234"}`, "\xef\xbb\xbf{}", hook(`{"messages":[`)} {
		if cut([]byte(body), ada(), nil, nil).ok {
			t.Errorf("%q was read as a webhook", body)
		}
	}
}

func TestIdentitiesAreFoundInBytes(t *testing.T) {
	p := newPerson()
	p.phones.add("16505551234")
	p.users.add("US.é/1")
	p.tokens.add(`to"k/ü`)
	p.claims.add("7")
	for text, want := range map[string]bool{
		`{"from":"16505551234","te`: true, `+16505551234`: true, `116505551234`: false, `165055512345`: false, `165055512345 16505551234`: true,
		`US.é/1`: true, `US.é\/1`: true, `US.\u00e9\/1`: true, `US.1`: false,
		`"to\"k/ü"`: true, `"to\"k\/\u00fc"`: true, `{\"flow_token\":\"to\\\"k/ü\"}`: true, `{\"flow_token\":\"to\\\"k\\/\\u00fc\"}`: true,
		`"user":"7"`: true, `"ms":7`: false, `17`: false,
	} {
		if got := in([]byte(text), p.needles()); got != want {
			t.Errorf("%s: found %t, want %t", text, got, want)
		}
	}
}

// FuzzCut cuts whatever comes: what is left is JSON, is what was there with
// parts left out, and has nothing more to be cut.
func FuzzCut(f *testing.F) {
	f.Add([]byte(hook(`{"contacts":[{"wa_id":"16505551234"}],"messages":[{"from":"16505551234"} , {"from":"1","text":"x"}],"statuses":[]}`)))
	f.Add([]byte(hook(`{"messages":[{"from":"2"},{"from":16505551234},null,7,"16505551234"]}`, `{"messages":[{"id":"wamid.ADA"}]}`, `{"x":[{"a":"US.ADA"}]}`)))
	f.Add([]byte(`{"entry":[{"changes":[{"value":{"messages":[{"from":"16505551234"}],"messages":[{"from":"3"}]}},1]},{"changes":[]},5]}`))
	f.Add([]byte(`{"ENTRY":[{"Changes":[{"Value":"US.ADA"}]}],"entry":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		given := bytes.Clone(body)
		first := cut(body, ada(), nil, nil)
		left, elements, whole, ok := first.body, first.elements, first.whole, first.ok
		switch {
		case !bytes.Equal(given, body):
			t.Fatal("the body itself was changed")
		case !ok || whole:
			return
		case !json.Valid(left):
			t.Fatalf("%q left no JSON: %q", body, left)
		case elements == 0 && !bytes.Equal(left, body):
			t.Fatalf("nothing was cut and %q became %q", body, left)
		case !partOf(left, body):
			t.Fatalf("%q became %q, which is more than a part of it", body, left)
		}
		if again := cut(left, ada(), nil, nil); !again.ok || again.elements != 0 || !bytes.Equal(again.body, left) {
			t.Fatalf("a second cut of %q changed it to %q", left, again.body)
		}
	})
}

// partOf says whether part is whole with bytes left out.
func partOf(part, whole []byte) bool {
	for _, c := range whole {
		if len(part) > 0 && part[0] == c {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// FuzzOthersStayByteForByte makes webhooks of elements of two people in any
// order, with any white space and any text in them.
func FuzzOthersStayByteForByte(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 9, 1, 1, 8, 0, 0, 7}, " \n", "\"<é>")
	f.Add([]byte{3, 3, 3, 7, 0, 8}, "", "\\")
	f.Fuzz(func(t *testing.T, plan []byte, space, content string) {
		space = strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r\n", r) {
				return r
			}
			return -1
		}, space)
		text, err := json.Marshal(content)
		if err != nil {
			return
		}
		lists := [3][]string{}
		var his [3][]string
		at := 0
		for _, c := range plan {
			name := [3]string{"from", "recipient_id", "wa_id"}[at]
			switch {
			case c >= 7:
				at = int(c) % 3
			case c%2 == 0:
				lists[at] = append(lists[at], `{"x":`+string(text)+`,`+space+`"`+name+`":"16505551234"}`)
			default:
				e := `{` + space + `"` + name + `":"4477` + string('0'+c) + `","x":` + string(text) + `}`
				lists[at], his[at] = append(lists[at], e), append(his[at], e)
			}
		}
		value := func(lists [3][]string) string {
			join := func(all []string) string { return strings.Join(all, space+","+space) }
			return `{"messages":[` + join(lists[0]) + `],"statuses":[` + join(lists[1]) + `],"contacts":[` + join(lists[2]) + `]}`
		}
		body := hook(value(lists))
		cut := cut([]byte(body), ada(), nil, nil)
		left, elements, whole, ok := cut.body, cut.elements, cut.whole, cut.ok
		all, others := len(lists[0])+len(lists[1])+len(lists[2]), len(his[0])+len(his[1])+len(his[2])
		switch {
		case !ok || elements != all-others:
			t.Fatalf("%d of %d elements of %s were cut, %t", elements, all, body, ok)
		case whole != (others == 0 && all > 0):
			t.Fatalf("whole is %t for %s", whole, body)
		case whole:
			return
		}
		var got struct {
			Entry []struct {
				Changes []struct {
					Value struct{ Messages, Statuses, Contacts []json.RawMessage }
				}
			}
		}
		if err := json.Unmarshal(left, &got); err != nil {
			t.Fatalf("%s left %s: %v", body, left, err)
		}
		v := got.Entry[0].Changes[0].Value
		for i, list := range [3][]json.RawMessage{v.Messages, v.Statuses, v.Contacts} {
			var kept []string
			for _, e := range list {
				kept = append(kept, string(e))
			}
			if strings.Join(kept, "\n") != strings.Join(his[i], "\n") {
				t.Fatalf("%s left %s", body, left)
			}
		}
	})
}
