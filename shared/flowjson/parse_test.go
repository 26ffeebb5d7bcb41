package flowjson

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func parseFile(t testing.TB, file string) *Document {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func TestParseReadsEveryPart(t *testing.T) {
	d := parseFile(t, "testdata/shop.json")
	same(t, "versions", d.Version+" "+d.DataAPIVersion, "7.3 4.0")
	same(t, "routing model", d.RoutingModel, "map[CART:[PAY] PAY:[] SHOP:[CART]]")
	same(t, "derived", d.Derived, false)

	shop := d.Screen("SHOP")
	same(t, "title", shop.Title, "Our shop")
	same(t, "keys", shop.Keys, "[carousel chips goods logo photo plain]")
	same(t, "what must not be empty", shop.Feeds,
		"map[carousel:{ImageCarousel images 1} chips:{ChipsSelector data-source 2} goods:{NavigationList list-items 1} logo:{Image src 0} photo:{ImageCarousel src 0}]")
	goods := shop.Data["goods"]
	same(t, "type of goods", goods.Type, Array)
	same(t, "items of goods", fmt.Sprint(goods.MinItems, goods.MaxItems, goods.UniqueItems), "1 20 true")
	same(t, "type of goods[].price", goods.Items.Properties["price"].Type, Number)
	same(t, "required of goods[]", goods.Items.Required, "[id]")
	same(t, "items that may be anything", shop.Data["chips"].Items == nil, true)
	same(t, "no limit", shop.Data["chips"].MaxItems, -1)
	same(t, "example", string(shop.Data["plain"].Example), `"x"`)

	var actions []string
	for _, s := range d.Screens {
		for _, a := range s.Actions {
			actions = append(actions, fmt.Sprint(s.ID, " ", a.Component, " ", a.Input, " ", a.Attribute, " ", a.Name, " ", a.Next, a.Keys))
		}
	}
	same(t, "actions", strings.Join(actions, "\n"), strings.Join([]string{
		"SHOP NavigationList list on-click-action data_exchange [good]",
		"CART Dropdown city on-select-action data_exchange [city]",
		"CART Dropdown city on-unselect-action update_data [plain]",
		"CART RadioButtonsGroup size on-select-action update_data [plain]",
		"CART Footer  on-click-action data_exchange [city name]",
		"CART Footer  on-click-action navigate PAY[name]",
		"PAY EmbeddedLink  on-click-action open_url []",
		"PAY Footer  on-click-action complete [name]",
	}, "\n"))

	pay := d.Screen("PAY")
	same(t, "terminal, success, refresh_on_back", fmt.Sprint(pay.Terminal, pay.Success, pay.RefreshOnBack), "true false true")
	same(t, "sensitive", pay.Sensitive, "[name]")
	same(t, "a screen without a data model", pay.Data == nil, true)
	same(t, "an unknown screen", d.Screen("NONE") == nil, true)
}

func TestParseDerivesTheRoutingModelFromNavigate(t *testing.T) {
	d, err := Parse([]byte(`{"version":"6.0","screens":[
		{"id":"A","layout":{"children":[{"type":"Footer","on-click-action":{"name":"navigate","next":{"type":"screen","name":"B"},"payload":{}}},
			{"type":"EmbeddedLink","on-click-action":{"name":"navigate","next":{"name":"B"}}}]}},
		{"id":"B","terminal":true,"layout":{"children":[]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "routing model", d.RoutingModel, "map[A:[B] B:[]]")
	same(t, "derived", d.Derived, true)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	screens := func(s string) string { return `{"version":"7.3","screens":[` + s + `]}` }
	data := func(s string) string { return screens(`{"id":"A","layout":{},"data":{"x":` + s + `}}`) }
	layout := func(s string) string { return screens(`{"id":"A","layout":{"children":[` + s + `]}}`) }
	tests := []struct{ name, flow, err string }{
		{"not JSON", "{\n \"version\": ,", "flow JSON is not a JSON object: line 2, column 13: invalid character ',' looking for beginning of value"},
		{"cut off", `{"version":"7.3"`, "flow JSON is not a JSON object: line 1, column 16: unexpected end of JSON input"},
		{"an array", `[]`, "flow JSON is not a JSON object: got array"},
		{"null", `null`, "flow JSON is null, expected an object with version and screens"},
		{"not UTF-8", "{\"version\":\"\xff\"}", "flow JSON is not valid UTF-8: save the file as UTF-8"},
		{"no version", `{"screens":[]}`, `version is missing, expected a string such as "7.3"`},
		{"version is a number", `{"version":7.3}`, "version: expected a string, got number"},
		{"no screens", `{"version":"7.3"}`, "screens: expected an array of screens, got nothing"},
		{"empty screens", `{"version":"7.3","screens":[]}`, "screens is empty, expected at least one screen"},
		{"a screen that is none", screens(`7`), "screens[0]: expected an object, got number"},
		{"no id", screens(`{}`), "screens[0]: id is missing, expected a name in letters and underscores"},
		{"the reserved id", screens(`{"id":"success"}`), "screens[0]: the id success is reserved for the end of a flow"},
		{"an id twice", screens(`{"id":"A","layout":{}},{"id":"A","layout":{}}`), "screens[1]: the id A is taken by an earlier screen"},
		{"no layout", screens(`{"id":"A"}`), "screens[0] (A): layout is missing, expected an object with type and children"},
		{"terminal is a text", screens(`{"id":"A","terminal":"yes","layout":{}}`), "screens[0] (A): terminal: expected true or false, got string"},
		{"data is an array", screens(`{"id":"A","layout":{},"data":[]}`), "screens[0] (A): data: expected an object, got array"},
		{"a data key without a type", data(`{}`), "screens[0] (A): data.x: type is missing, expected string, number, boolean, object or array"},
		{"an unknown type", data(`{"type":"date"}`), `screens[0] (A): data.x: type is "date", expected string, number, boolean, object or array`},
		{"a type deep inside", data(`{"type":"array","items":{"type":"object","properties":{"y":{"type":1}}}}`), "screens[0] (A): data.x.items.properties.y.type: expected a string, got number"},
		{"minItems below zero", data(`{"type":"array","minItems":-1}`), "screens[0] (A): data.x.minItems: expected a whole number, 0 or more"},
		{"children is an object", screens(`{"id":"A","layout":{"children":{}}}`), "screens[0] (A): layout.children: expected an array of components, got object"},
		{"a component without a type", layout(`{"type":"Form","children":[{}]}`), "screens[0] (A): layout.children[0].children[0]: type is missing, expected the name of a component"},
		{"an unknown action", layout(`{"type":"Footer","on-click-action":{"name":"go"}}`),
			`screens[0] (A): layout.children[0].on-click-action: name is "go", expected navigate, complete, data_exchange, update_data or open_url`},
		{"a payload that is a text", layout(`{"type":"Footer","on-click-action":{"name":"complete","payload":"x"}}`),
			"screens[0] (A): layout.children[0].on-click-action.payload: expected an object, got string"},
		{"navigate to nowhere", layout(`{"type":"Footer","on-click-action":{"name":"navigate","next":{"name":"B"}}}`), `screen A: navigate of Footer: "B" is no screen of this flow`},
		{"navigate without next", layout(`{"type":"Footer","on-click-action":{"name":"navigate"}}`), "screens[0] (A): layout.children[0].on-click-action.next: expected an object, got nothing"},
		{"a route from nowhere", `{"version":"7.3","routing_model":{"B":[]},"screens":[{"id":"A","layout":{}}]}`, "routing_model: B is no screen of this flow"},
		{"a route to nowhere", `{"version":"7.3","routing_model":{"A":["B"]},"screens":[{"id":"A","layout":{}}]}`, `routing_model.A: "B" is no screen of this flow`},
		{"a route to itself", `{"version":"7.3","routing_model":{"A":["A"]},"screens":[{"id":"A","layout":{}}]}`, "routing_model.A: A leads to itself; edges lead forward only"},
		{"a route that is a text", `{"version":"7.3","routing_model":{"A":"B"},"screens":[{"id":"A","layout":{}}]}`, "routing_model.A: expected an array of screen ids, got string"},
		{"nested without end", data(strings.Repeat(`{"type":"array","items":`, 100) + `true` + strings.Repeat(`}`, 100)), "nested deeper than 64 levels"},
		{"too large", `{"version":"` + strings.Repeat(" ", MaxSize) + `"}`, "flow JSON has 10485774 bytes, more than the 10 MiB that Meta accepts"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.flow))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasSuffix(err.Error(), test.err) {
				t.Errorf("\n got %s\nwant %s", err, test.err)
			}
		})
	}
}

func TestParseTakesWhatRealDocumentsHold(t *testing.T) {
	for name, flow := range map[string]string{
		"a byte order mark":          "\xef\xbb\xbf" + `{"version":"7.3","screens":[{"id":"A","layout":{}}]}`,
		"a route to SUCCESS":         `{"version":"7.3","routing_model":{"A":["SUCCESS"]},"screens":[{"id":"A","layout":{}}]}`,
		"a screen without a route":   `{"version":"7.3","routing_model":{},"screens":[{"id":"A","layout":{}}]}`,
		"unknown members":            `{"version":"7.3","note":1,"screens":[{"id":"A","layout":{},"note":[]}]}`,
		"items that is a boolean":    `{"version":"7.3","screens":[{"id":"A","layout":{},"data":{"x":{"type":"array","items":true}}}]}`,
		"required that is a boolean": `{"version":"7.3","screens":[{"id":"A","layout":{},"data":{"x":{"type":"string","required":true}}}]}`,
	} {
		if _, err := Parse([]byte(flow)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReferences(t *testing.T) {
	for value, want := range map[string]string{
		`"${data.x}"`:                     "[{ data x}]",
		`"${form.name}"`:                  "[{ form name}]",
		`"${data.user.name}"`:             "[{ data user}]",
		`"${screen.A_B.form.name}"`:       "[{A_B form name}]",
		`"${screen.A.data.x.y}"`:          "[{A data x}]",
		"\"`'Hi ' ${form.a} ${data.b}`\"": "[{ form a} { data b}]",
		`"plain"`:                         "[]",
		`7`:                               "[]",
		`{"a":"${data.x}"}`:               "[]",
		`"${screen.A}"`:                   "[]",
		`"${data.}"`:                      "[{ data }]",
	} {
		same(t, value, References([]byte(value)), want)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/shop.json", "../flow/testdata/hotel.json", "../flow/testdata/catalog.json"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"version":"1","screens":[{"id":"A","layout":{"children":[{"type":"If","then":[],"else":[{"type":"Switch","cases":{"a":[]}}]}]}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw)
		if err != nil {
			return
		}
		for _, s := range d.Screens {
			if d.Screen(s.ID) == nil {
				t.Errorf("screen %q is not found by its id", s.ID)
			}
			for _, next := range d.RoutingModel[s.ID] {
				if d.Screen(next) == nil {
					t.Errorf("the routing model leads to %q, which is no screen", next)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	raw, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
