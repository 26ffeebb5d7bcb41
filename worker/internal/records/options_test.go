package records

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// screen is a screen of components and a footer that does action.
func screen(id, components, action string) string {
	data := `"data":{"x":{"type":"string","__example__":"1"},"list":{"type":"array","items":{"type":"object","properties":{}},"__example__":[{"id":"1","title":"Example"}]}},`
	return `{"id":"` + id + `",` + data + `"layout":{"type":"SingleColumnLayout","children":[` + components + `,{"type":"Footer","label":"ok","on-click-action":` + action + `}]}}`
}

func TestTitlesOfAnswers(t *testing.T) {
	const (
		radio    = `{"type":"RadioButtonsGroup","name":"r","label":"l","data-source":[{"id":"1","title":"One"},{"id":"2","title":"Two"}]}`
		other    = `{"type":"Dropdown","name":"r","label":"l","data-source":[{"id":"1","title":"First"},{"id":"3","title":"Three"}]}`
		dynamic  = `{"type":"RadioButtonsGroup","name":"r","label":"l","data-source":"${data.list}"}`
		checkbox = `{"type":"CheckboxGroup","name":"c","label":"l","data-source":[{"id":"1","title":"One"},{"id":"2","title":"Two"}]}`
		text     = `{"type":"TextInput","name":"r","label":"l"}`
		list     = `{"type":"NavigationList","name":"n","list-items":[{"id":"h","main-content":{"title":"Home"}},{"id":"c","main-content":{"title":"Car"}}],"on-click-action":{"name":"data_exchange","payload":{"k":"${form.n}"}}}`
		entries  = `{"type":"NavigationList","name":"n","list-items":[{"id":"h","main-content":{"title":"Home"},"on-click-action":{"name":"data_exchange","payload":{"k":"h"}}},{"id":"c","main-content":{"title":"Car"},"on-click-action":{"name":"data_exchange","payload":{"k":"h"}}}]}`
	)
	exchange := func(payload string) string { return `{"name":"data_exchange","payload":` + payload + `}` }
	complete := func(payload string) string { return `{"name":"complete","payload":` + payload + `}` }
	navigate := func(to, payload string) string {
		return `{"name":"navigate","next":{"type":"screen","name":"` + to + `"},"payload":` + payload + `}`
	}
	tests := map[string]struct {
		screens []string
		answers string
		want    string
	}{
		"a key that is called otherwise than its component": {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, `{"k":"1","r":"1"}`, `{"k":"One"}`},
		"a component inside Form and If": {[]string{screen("A", `{"type":"Form","name":"f","children":[{"type":"If","condition":"true","then":[`+radio+`]}]}`,
			exchange(`{"k":"${form.r}"}`))}, `{"k":"2"}`, `{"k":"Two"}`},
		"several choices, one unknown":      {[]string{screen("A", checkbox, exchange(`{"k":"${form.c}"}`))}, `{"k":["2","7","1"]}`, `{"k":["Two","7","One"]}`},
		"no choice among several":           {[]string{screen("A", checkbox, exchange(`{"k":"${form.c}"}`))}, `{"k":[]}`, `null`},
		"an id that the flow does not have": {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, `{"k":"7"}`, `null`},
		"an answer that is no text":         {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, `{"k":1}`, `null`},
		"an id with escapes":                {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, `{"\u006b":"\u0031"}`, `{"k":"One"}`},
		"options of an endpoint":            {[]string{screen("A", dynamic, exchange(`{"k":"${form.r}"}`))}, `{"k":"1"}`, `null`},
		"a text":                            {[]string{screen("A", text, exchange(`{"k":"${form.r}"}`))}, `{"k":"1"}`, `null`},
		"a constant":                        {[]string{screen("A", radio, exchange(`{"k":"1"}`))}, `{"k":"1"}`, `null`},
		"a part of a text":                  {[]string{screen("A", radio, exchange(`{"k":"n° ${form.r}"}`))}, `{"k":"1"}`, `null`},
		"answers of an earlier screen":      {[]string{screen("A", radio, navigate("B", `{}`)), screen("B", text, complete(`{"k":"${screen.A.form.r}"}`))}, `{"k":"1"}`, `{"k":"One"}`},
		"passed on as data": {[]string{screen("A", radio, navigate("B", `{"x":"${form.r}"}`)), screen("B", text, navigate("C", `{"x":"${data.x}"}`)),
			screen("C", text, complete(`{"k":"${data.x}"}`))}, `{"k":"1"}`, `{"k":"One"}`},
		"data that goes in circles": {[]string{screen("A", text, navigate("B", `{"x":"${data.x}"}`)), screen("B", text, navigate("A", `{"x":"${data.x}"}`)),
			screen("C", text, complete(`{"k":"${screen.A.data.x}"}`))}, `{"k":"1"}`, `null`},
		"two screens that mean different things": {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`)), screen("B", other, exchange(`{"k":"${form.r}"}`))},
			`{"k":["1","2","3"]}`, `{"k":["1","Two","Three"]}`},
		"a list to go on from":            {[]string{screen("A", list, exchange(`{}`))}, `{"k":"c"}`, `{"k":"Car"}`},
		"a list of actions":               {[]string{screen("A", entries, exchange(`{}`))}, `{"k":"h"}`, `{"k":"Home"}`},
		"answers that are no object":      {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, `["1"]`, `null`},
		"no answers":                      {[]string{screen("A", radio, exchange(`{"k":"${form.r}"}`))}, ``, `null`},
		"a screen that does not exist":    {[]string{screen("A", radio, exchange(`{"k":"${screen.Z.form.r}"}`))}, `{"k":"1"}`, `null`},
		"a component that does not exist": {[]string{screen("A", radio, exchange(`{"k":"${form.z}"}`))}, `{"k":"1"}`, `null`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			document, err := flowjson.Parse([]byte(`{"version":"7.3","routing_model":{},"screens":[` + strings.Join(test.screens, ",") + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(optionsOf(document).titles([]byte(test.answers)))
			if err != nil || string(got) != test.want {
				t.Errorf("%s has the titles %s, want %s (%v)", test.answers, got, test.want, err)
			}
		})
	}
}

func TestCellsOfATable(t *testing.T) {
	for value, want := range map[string]string{
		`"plain"`:             `plain`,
		`""`:                  ``,
		`null`:                ``,
		`true`:                `true`,
		`-12.50`:              `-12.50`, // a number is no formula
		`"-12"`:               `'-12`,
		`"=HYPERLINK(\"x\")"`: `"'=HYPERLINK(""x"")"`,
		`"+1 555"`:            `'+1 555`,
		`"@SUM(1)"`:           `'@SUM(1)`,
		`"\tx"`:               "'\tx",
		`"\r=1"`:              "\"'\r=1\"",
		`"\n=1"`:              "\"'\n=1\"",
		`"a=1"`:               `a=1`,
		`"a,b"`:               `"a,b"`,
		`" a"`:                `" a"`,
		`"é\u00e9\ud83d"`:     "éé\uFFFD",
		`"a\u0000b"`:          "\"a\uFFFDb\"",
		`["a", 1, null, "b"]`: `a; 1; ; b`,
		`["=1", "b"]`:         `'=1; b`,
		`[["a"], 1]`:          `"[[""a""],1]"`,
		`{"a": "=1"}`:         `"{""a"":""=1""}"`,
		`[]`:                  ``,
	} {
		if got := string(appendValue(nil, []byte(value))); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

func FuzzMembersAreThoseOfEncodingJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1}`, ` { "a" : [1,{"b":"}"}] , "\u0061" : "x\"y" } `, `{"a":{"b":[]},"c":null,"d":-1.5e3}`, `[1]`, `"x"`, ``, `{"a`, `{"a"`, `{"a":`, `{"a":1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		eachMember(data, func(key, value []byte) { got[string(key)] = string(value) }) // whatever comes, it ends
		var want map[string]json.RawMessage
		if json.Unmarshal(data, &want) != nil {
			return
		}
		if utf8.Valid(data) && len(got) != len(want) {
			t.Fatalf("%q has the members %q, want %q", data, got, want)
		}
		for key, value := range want { // what is in Postgres is UTF-8; of anything else encoding/json makes U+FFFD
			if !strings.Contains(key, "\uFFFD") && got[key] != string(value) {
				t.Fatalf("%q: %q is %q, want %q", data, key, got[key], value)
			}
		}
	})
}
