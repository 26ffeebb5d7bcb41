package webhook

import (
	"encoding/json"
	"strings"
	"testing"
)

const completion = `{"object":"whatsapp_business_account","entry":[{"id":"WABA","changes":[{"field":"messages","value":{
 "messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"1065"},
 "contacts":[{"profile":{"name":"N","username":"u"},"wa_id":"1650","user_id":"US.1"}],
 "messages":[{"from":"1650","id":"wamid.A","timestamp":"1749416383","type":"interactive","context":{"from":"1555","id":"wamid.F"},
  "interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"T\",\"k\":\"v\"}"}}}]}}]}]}`

func TestParseCompletion(t *testing.T) {
	p, err := Parse([]byte(completion))
	if err != nil || len(p.Problems) > 0 {
		t.Fatalf("Parse: %v, problems %q", err, p.Problems)
	}
	c := p.Changes[0]
	m := c.Messages[0]
	answer, ok := m.FlowAnswer()
	if !ok || string(answer) != `{"flow_token":"T","k":"v"}` {
		t.Errorf("answer = %q, %v", answer, ok)
	}
	if c.WABA != "WABA" || c.PhoneNumberID != "1065" || m.ID != "wamid.A" || m.Context.ID != "wamid.F" {
		t.Errorf("change = %+v", c)
	}
	if s := c.Sender(&m); s == nil || s.UserID != "US.1" || s.Profile.Username != "u" {
		t.Errorf("sender = %+v", s)
	}
	if at, ok := m.Timestamp.Time(); !ok || at.Unix() != 1749416383 {
		t.Errorf("time = %v, %v", at, ok)
	}
}

func TestParseBroken(t *testing.T) {
	message := func(id string) string {
		return `{"from":"1","id":"` + id + `","timestamp":"1749416383","type":"text"}`
	}
	in := func(messages string) string {
		return `{"entry":[{"id":"W","changes":[{"field":"messages","value":{"messages":[` + messages + `]}}]}]}`
	}
	tests := map[string]struct {
		body     string
		messages []string
		problem  string // part of the only problem
		fails    string // part of the error
	}{
		"no JSON":                       {body: `{"entry":`, fails: "syntax error at byte 9"},
		"a list":                        {body: `[1]`, problem: "the body is a array"},
		"no entry":                      {body: `{"object":"x"}`, problem: "no entry"},
		"entry is an object":            {body: `{"entry":{"id":"W"}}`, problem: "entry is a object"},
		"a number among the messages":   {body: in(message("a") + `,5,` + message("b")), messages: []string{"a", "b"}, problem: "entry[0].changes[0].value.messages[1] is a number"},
		"a message with an odd field":   {body: in(`{"id":"a","from":{"x":1}},` + message("b")), messages: []string{"a", "b"}, problem: "messages[0]: from holds a object"},
		"a timestamp that is a number":  {body: in(`{"id":"a","timestamp":1749416383}`), messages: []string{"a"}},
		"a timestamp that is no number": {body: in(`{"id":"a","timestamp":"soon"},` + message("b")), messages: []string{"a", "b"}},
		"a change that is a string":     {body: `{"entry":[{"id":7,"changes":["x",{"field":"messages","value":{"messages":[` + message("a") + `]}}]}]}`, messages: []string{"a"}, problem: "changes[0]"},
		"an unknown field":              {body: `{"entry":[{"id":"W","changes":[{"field":"flows","value":{"event":"FLOW_STATUS_CHANGE"}}]}]}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(test.body))
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("error = %v, expected %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, c := range p.Changes {
				for _, m := range c.Messages {
					ids = append(ids, m.ID)
				}
			}
			if got, want := strings.Join(ids, " "), strings.Join(test.messages, " "); got != want {
				t.Errorf("messages = %q, expected %q", got, want)
			}
			problems := strings.Join(p.Problems, "; ")
			if test.problem == "" && problems != "" || !strings.Contains(problems, test.problem) {
				t.Errorf("problems = %q, expected %q", problems, test.problem)
			}
		})
	}
}

func TestFlowAnswer(t *testing.T) {
	tests := map[string]struct {
		interactive string
		want        string
		ok          bool
	}{
		"a flow":                   {`{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{\"a\":1}"}}`, `{"a":1}`, true},
		"no name":                  {`{"type":"nfm_reply","nfm_reply":{"response_json":"{}"}}`, `{}`, true},
		"an object in its place":   {`{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":{"a":1}}}`, `{"a":1}`, true},
		"text that is no JSON":     {`{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"oops"}}`, `oops`, true},
		"an address":               {`{"type":"nfm_reply","nfm_reply":{"name":"address_message","response_json":"{}"}}`, ``, false},
		"no response":              {`{"type":"nfm_reply","nfm_reply":{"name":"flow"}}`, ``, false},
		"a button of another kind": {`{"type":"button_reply","button_reply":{"id":"1"}}`, ``, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(`{"entry":[{"changes":[{"value":{"messages":[{"id":"a","interactive":` + test.interactive + `}]}}]}]}`))
			if err != nil || len(p.Problems) > 0 {
				t.Fatal(err, p.Problems)
			}
			got, ok := p.Changes[0].Messages[0].FlowAnswer()
			if string(got) != test.want || ok != test.ok {
				t.Errorf("answer = %q, %v", got, ok)
			}
		})
	}
}

func TestSender(t *testing.T) {
	tests := map[string]struct {
		contacts     []Contact
		from, userID string
		want         string // user id of the contact
	}{
		"by number":                        {[]Contact{{WAID: "1", UserID: "A"}, {WAID: "2", UserID: "B"}}, "2", "", "B"},
		"by user id":                       {[]Contact{{UserID: "A"}, {UserID: "B"}}, "", "B", "B"},
		"the only one, no number at all":   {[]Contact{{UserID: "A"}}, "", "", "A"},
		"the only one, its number missing": {[]Contact{{UserID: "A"}}, "1", "", "A"},
		"the only one is somebody else":    {[]Contact{{WAID: "2", UserID: "A"}}, "1", "", ""},
		"two candidates":                   {[]Contact{{UserID: "A"}, {UserID: "B"}}, "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := Change{Contacts: test.contacts}
			got := c.Sender(&Message{From: test.from, FromUserID: test.userID})
			if (got == nil) != (test.want == "") || got != nil && got.UserID != test.want {
				t.Errorf("sender = %+v, expected %q", got, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(completion))
	f.Add([]byte(`{"entry":[{"changes":[{"value":{"messages":[5,{}]}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := Parse(body)
		if (p == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", p, err)
		}
		if p == nil {
			return
		}
		for i := range p.Changes {
			for j := range p.Changes[i].Messages {
				p.Changes[i].Sender(&p.Changes[i].Messages[j])
				p.Changes[i].Messages[j].FlowAnswer()
			}
		}
	})
}

func TestElementsAreWhatParseFound(t *testing.T) {
	body := func(value string) string {
		return `{"entry":[{"id":"W","changes":[{"field":"messages","value":` + value + `},{"field":"flows","value":{ "event":"E" }}]}]}`
	}
	tests := map[string]struct {
		body     string
		messages []string
		flows    []string
	}{
		"messages, then statuses": {body(`{"statuses":[{"id":"s"}],"messages":[{ "id":"a" },{"id":"b"}]}`), []string{`{ "id":"a" }`, `{"id":"b"}`, `{"id":"s"}`}, []string{`{ "event":"E" }`}},
		"what is no object":       {body(`{"messages":[{"id":"a"},5,{"id":"b"}]}`), []string{`{"id":"a"}`, `{"id":"b"}`}, []string{`{ "event":"E" }`}},
		"null is an element":      {body(`{"messages":[null,{"id":"b"}]}`), []string{`null`, `{"id":"b"}`}, []string{`{ "event":"E" }`}},
		"no JSON":                 {`{`, nil, nil},
		"a value that is a list":  {body(`[]`), nil, []string{`{ "event":"E" }`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ReadElements([]byte(test.body))
			if texts(got.Messages) != strings.Join(test.messages, "\n") || texts(got.Flows) != strings.Join(test.flows, "\n") {
				t.Errorf("got %q and %q", texts(got.Messages), texts(got.Flows))
			}
			var parsed int
			if p, err := Parse([]byte(test.body)); err == nil {
				for _, c := range p.Changes {
					parsed += len(c.Messages) + len(c.Statuses)
				}
			}
			if parsed != len(got.Messages) {
				t.Errorf("%d elements, and Parse found %d", len(got.Messages), parsed)
			}
		})
	}
}

func texts(all []json.RawMessage) string {
	var lines []string
	for _, raw := range all {
		lines = append(lines, string(raw))
	}
	return strings.Join(lines, "\n")
}

func FuzzElements(f *testing.F) {
	f.Add([]byte(completion))
	f.Add([]byte(`{"entry":[{"changes":[{"value":{"messages":[5,{}],"statuses":[null]}}]}]}`))
	f.Add([]byte(`{"entry":[{"changes":[{"field":"flows","value":7},{"field":8}]},{"changes":[{"field":"flows"}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := ReadElements(body)
		p, err := Parse(body)
		if err != nil {
			return
		}
		var messages, flows int
		for i := range p.Changes {
			messages += len(p.Changes[i].Messages) + len(p.Changes[i].Statuses)
			if p.Changes[i].Flow != nil {
				flows++
			}
		}
		if len(got.Messages) != messages || len(got.Flows) != flows {
			t.Fatalf("%d and %d elements, Parse found %d and %d", len(got.Messages), len(got.Flows), messages, flows)
		}
	})
}
