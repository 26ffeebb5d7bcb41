package screen

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// values finds references in a map by their text, such as data.name.
func values(known map[string]any) lookup {
	return func(r reference) any {
		key := r.store + "." + strings.Join(r.path, ".")
		if r.screen != "" {
			key = r.screen + "." + key
		}
		return known[key]
	}
}

func TestWhatAPropertyStandsFor(t *testing.T) {
	find := values(map[string]any{
		"data.name": "Ann", "data.n": 4.0, "data.yes": true, "data.list": []any{"a", "b"}, "form.age": "17", "FIRST.form.city": "Lisbon", "data.user.id": "u1",
	})
	for _, c := range []struct {
		name, text string
		want       any
	}{
		{"a text", "Hello", "Hello"},
		{"a text with a reference in it is no expression", "Hello ${data.name}", "Hello ${data.name}"},
		{"one reference", "${data.name}", "Ann"},
		{"a number stays one", "${data.n}", 4.0},
		{"into an object", "${data.user.id}", "u1"},
		{"another screen's form", "${screen.FIRST.form.city}", "Lisbon"},
		{"nothing there", "${data.none}", nil},
		{"texts side by side", "`'Hello ' ${data.name} '!'`", "Hello Ann!"},
		{"numbers in a text", "`'You are ' (${data.n} + 1)`", "You are 5"},
		{"precedence", "`1 + 2 * 3 - 4 / 2`", 5.0},
		{"parentheses", "`(1 + 2) * 3`", 9.0},
		{"division by zero gives zero", "`${data.n} / 0`", 0.0},
		{"remainder", "`7 % 4`", 3.0},
		{"a sign", "`-${data.n}`", -4.0},
		{"equal texts", "`${data.name} == 'Ann'`", true},
		{"a text is no number", "`${form.age} == 17`", false},
		{"what is missing is empty", "`${data.none} == ''`", true},
		{"digits in arithmetic", "`${form.age} < 18`", true},
		{"and binds tighter than or", "`true || false && false`", true},
		{"not", "`!${data.yes}`", false},
		{"an escaped quote", "`'it\\'s'`", "it's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := resolve(c.text, find)
			if err != nil || got != c.want {
				t.Errorf("%s is %v (%v), want %v", c.text, got, err, c.want)
			}
		})
	}
	for text, want := range map[string]string{
		"`(1`": "never closed", "`'a`": "never closed", "`1 +`": "missing at its end", "``": "missing at its end", "`${data}`": "is no reference",
		"`$x`": "is no value", "`" + strings.Repeat("(", 1000) + "`": "nested deeper", "`1)`": "is no value",
	} {
		if _, err := resolve(text, find); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: got %v, want an error with %q", text, err, want)
		}
	}
	for text, want := range map[string]bool{
		"${data.yes}": true, "(${data.n} >= 4) && !(${data.name} == 'Bo')": true, "`${data.n} > 4`": false, "${data.none}": false,
	} {
		if got, err := condition(text, find); err != nil || got != want {
			t.Errorf("condition %s is %v (%v), want %v", text, got, err, want)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{"'a' ${data.x}", "(1+2)*3", "!(${form.a} == 'b') || true && 1 < 2", "'\\'", "-", "1e9", "${screen.A.data.b.c}"} {
		f.Add(text)
	}
	find := values(map[string]any{"data.x": 1.0, "form.a": "b"})
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = resolve("`"+text+"`", find)
	})
}

// load makes a flow of one screen, A, of these components.
func load(t *testing.T, version, data, components string) *Screen {
	t.Helper()
	definition, err := flow.Load([]byte(`{"version":"`+version+`","screens":[{"id":"A","terminal":true,"title":"T","data":`+data+`,"layout":{"type":"SingleColumnLayout","children":[`+components+`]}}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := Load(definition).Open("A", map[string]json.RawMessage{}, nil)
	if s == nil {
		t.Fatal("there is no screen A")
	}
	return s
}

func TestWhatTheClientTakesAtOnce(t *testing.T) {
	const options = `"data-source":[{"id":"a","title":"A"},{"id":"b","title":"B"},{"id":"c","title":"C","enabled":false}]`
	for _, c := range []struct {
		name, component string
		value           any
		problem         string // while it is entered
		complaint       string // of the footer
	}{
		{"a text", `{"type":"TextInput","name":"x","label":"L"}`, "hello", "", ""},
		{"nothing where something is required", `{"type":"TextInput","name":"x","label":"L","required":true}`, "", "", "it must be filled in"},
		{"nothing where nothing is required", `{"type":"TextInput","name":"x","label":"L","min-chars":3}`, "", "", ""},
		{"too short", `{"type":"TextInput","name":"x","label":"L","min-chars":3}`, "ab", "", "at least 3 characters are needed"},
		{"too long", `{"type":"TextInput","name":"x","label":"L","max-chars":3}`, "abcd", "it takes at most 3 characters", ""},
		{"longer than the default", `{"type":"TextInput","name":"x","label":"L"}`, strings.Repeat("é", 81), "it takes at most 80 characters", ""},
		{"as long as the default, in characters", `{"type":"TextInput","name":"x","label":"L"}`, strings.Repeat("é", 80), "", ""},
		{"a long text", `{"type":"TextArea","name":"x","label":"L"}`, strings.Repeat("a", 601), "it takes at most 600 characters", ""},
		{"no number", `{"type":"TextInput","name":"x","label":"L","input-type":"number"}`, "ten", "", "it takes a number"},
		{"a number", `{"type":"TextInput","name":"x","label":"L","input-type":"number"}`, "-10.5", "", ""},
		{"no email", `{"type":"TextInput","name":"x","label":"L","input-type":"email"}`, "ann@", "", "it takes an email address"},
		{"an email", `{"type":"TextInput","name":"x","label":"L","input-type":"email"}`, "ann@example.com", "", ""},
		{"no phone", `{"type":"TextInput","name":"x","label":"L","input-type":"phone"}`, "call me", "", "it takes a phone number"},
		{"a passcode of letters", `{"type":"TextInput","name":"x","label":"L","input-type":"passcode"}`, "12ab", "it takes digits", ""},
		{"against the pattern", `{"type":"TextInput","name":"x","label":"L","pattern":"[A-Z]{2}[0-9]+","helper-text":"h"}`, "ab1", "", "it does not match the pattern [A-Z]{2}[0-9]+"},
		{"a part of it fits the pattern", `{"type":"TextInput","name":"x","label":"L","pattern":"007","helper-text":"Contains: 007"}`, "a007b", "", ""},
		{"no part of it fits the pattern", `{"type":"TextInput","name":"x","label":"L","pattern":"007","helper-text":"Contains: 007"}`, "070", "", "it does not match the pattern 007"},
		{"a pattern that says where it begins and ends", `{"type":"TextInput","name":"x","label":"L","pattern":"^[0-9]+$","helper-text":"h"}`, "a1", "", "it does not match the pattern ^[0-9]+$"},
		{"two lines where one fits", `{"type":"TextInput","name":"x","label":"L"}`, "a\nb", "it takes one line", ""},
		{"two lines in a text", `{"type":"TextArea","name":"x","label":"L"}`, "a\nb", "", ""},
		{"a pattern Go does not have", `{"type":"TextInput","name":"x","label":"L","pattern":"(?=a).*","helper-text":"h"}`, "b", "", ""},
		{"not enabled", `{"type":"TextArea","name":"x","label":"L","enabled":false}`, "a", "it is not enabled", ""},
		{"an option", `{"type":"RadioButtonsGroup","name":"x","label":"L",` + options + `}`, "a", "", ""},
		{"no option", `{"type":"Dropdown","name":"x","label":"L",` + options + `}`, "z", `it has no option "z", expected one of a, b, c`, ""},
		{"a disabled option", `{"type":"Dropdown","name":"x","label":"L",` + options + `}`, "c", `the option "c" is not enabled`, ""},
		{"too many options", `{"type":"CheckboxGroup","name":"x","label":"L","max-selected-items":1,` + options + `}`, []any{"a", "b"}, "at most 1 may be chosen", ""},
		{"an option twice", `{"type":"CheckboxGroup","name":"x","label":"L","min-selected-items":2,` + options + `}`, []any{"a", "a"}, `the option "a" is chosen twice`, ""},
		{"too few options", `{"type":"ChipsSelector","name":"x","label":"L","min-selected-items":2,` + options + `}`, []any{"a"}, "", "at least 2 are needed"},
		{"a text for a list", `{"type":"CheckboxGroup","name":"x","label":"L",` + options + `}`, "a", "it takes a list of option ids", ""},
		{"a required consent refused", `{"type":"OptIn","name":"x","label":"L","required":true}`, false, "", "it must be filled in"},
		{"a consent that is a text", `{"type":"OptIn","name":"x","label":"L"}`, "yes", "it takes true or false", ""},
		{"a day", `{"type":"DatePicker","name":"x","label":"L","min-date":"2026-11-01","max-date":"2026-11-30"}`, "2026-11-30", "", ""},
		{"no day", `{"type":"DatePicker","name":"x","label":"L"}`, "30/11/2026", `"30/11/2026" is no day, expected one such as 2026-11-24`, ""},
		{"too early", `{"type":"DatePicker","name":"x","label":"L","min-date":"2026-11-01"}`, "2026-10-31", "it is before the first day, 2026-11-01", ""},
		{"too late", `{"type":"DatePicker","name":"x","label":"L","max-date":"2026-11-30"}`, "2026-12-01", "it is after the last day, 2026-11-30", ""},
		{"before the first day there is", `{"type":"DatePicker","name":"x","label":"L"}`, "1899-12-31", "it is before the first day, 1900-01-01", ""},
		{"after the last day there is", `{"type":"DatePicker","name":"x","label":"L"}`, "2101-01-01", "it is after the last day, 2100-12-31", ""},
		{"files", `{"type":"PhotoPicker","name":"x","label":"L"}`, []any{map[string]any{"file_name": "a.jpg"}}, "", ""},
		{"the name of a file", `{"type":"PhotoPicker","name":"x","label":"L"}`, []any{"a.jpg"}, "a file is an object, with the members that the endpoint is to get", ""},
		{"more files than fit", `{"type":"DocumentPicker","name":"x","label":"L","max-uploaded-documents":1}`, []any{map[string]any{}, map[string]any{}}, "", "at most 1 may be chosen"},
		{"taken", `{"type":"DatePicker","name":"x","label":"L","unavailable-dates":["2026-11-24"]}`, "2026-11-24", "this day is not available", ""},
		{"a Sunday", `{"type":"CalendarPicker","name":"x","label":"L","include-days":["Mon","Tue"]}`, "2026-11-29", "this is a Sun, expected one of Mon, Tue", ""},
		{"a range", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"min-days":2}`, map[string]any{"start-date": "2026-11-24", "end-date": "2026-11-25"}, "", ""},
		{"a short range", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"min-days":3}`, map[string]any{"start-date": "2026-11-24", "end-date": "2026-11-25"}, "at least 3 days are needed", ""},
		{"a range the wrong way round", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"}}`, map[string]any{"start-date": "2026-11-25", "end-date": "2026-11-24"}, "it ends before it begins", ""},
		{"half a range", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"}}`, map[string]any{"start-date": "2026-11-24"}, "it needs both days", ""},
		{"half a range where the rest may be left out", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"required":{"start-date":true,"end-date":false}}`, map[string]any{"start-date": "2026-11-24"}, "", ""},
		{"the other half", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"required":{"start-date":true,"end-date":false}}`, map[string]any{"end-date": "2026-11-24"}, "it needs both days", ""},
		{"a range that is taken back", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"}}`, map[string]any{"start-date": "", "end-date": ""}, "", ""},
		{"a required range that is taken back", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"required":{"start-date":true,"end-date":true}}`, map[string]any{}, "", "it must be filled in"},
		{"an input that is not there", `{"type":"TextInput","name":"y","label":"L"}`, "a", "the screen A shows no input x, expected one of y", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, "7.3", "{}", c.component)
			_, err := s.Enter("x", c.value)
			if (err == nil) != (c.problem == "") || err != nil && !strings.HasSuffix(err.Error(), c.problem) {
				t.Fatalf("entering: %v, want %q", err, c.problem)
			}
			if complaint := s.Check()["x"]; err == nil && complaint != c.complaint {
				t.Errorf("the footer complains of %q, want %q", complaint, c.complaint)
			}
		})
	}
}

func TestDatesBeforeVersion5AreMilliseconds(t *testing.T) {
	s := load(t, "4.0", "{}", `{"type":"DatePicker","name":"x","label":"L","min-date":"1704067200000","max-date":"1735603200000"}`)
	if _, err := s.Enter("x", "2024-06-01"); err != nil {
		t.Fatal(err)
	}
	if got := s.answer("x"); got != "1717200000000" {
		t.Errorf("it posts %v, want 1717200000000", got)
	}
	if _, err := s.Enter("x", "2025-06-01"); err == nil || !strings.Contains(err.Error(), "2024-12-31") {
		t.Errorf("a day behind the last: %v", err)
	}
}

func TestFormsBeginWithTheirValuesAndShowErrors(t *testing.T) {
	s := load(t, "7.3", `{"init":{"type":"object","__example__":{}},"errors":{"type":"object","__example__":{}}}`,
		`{"type":"Form","name":"f","init-values":"${data.init}","error-messages":"${data.errors}","children":[
			{"type":"TextInput","name":"a","label":"A"},{"type":"CheckboxGroup","name":"b","label":"B","data-source":[{"id":"x","title":"X"}]}]},
		{"type":"TextInput","name":"c","label":"C","init-value":"own","error-message":"wrong"}`)
	s.Refresh(map[string]json.RawMessage{"init": json.RawMessage(`{"a":"Ann","b":["x","gone"]}`), "errors": json.RawMessage(`{"b":"choose again"}`)})
	want := map[string]string{"a": "Ann|", "b": "x|choose again", "c": "own|wrong"}
	for name, text := range want {
		in, err := s.Input(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := Text(in.Value) + "|" + in.Error; got != text {
			t.Errorf("%s is %q, want %q", name, got, text)
		}
	}
	if _, err := s.Enter("a", "Bo"); err != nil {
		t.Fatal(err)
	}
	s.Refresh(map[string]json.RawMessage{"init": json.RawMessage(`{"a":"Cy"}`)})
	if in, _ := s.Input("a"); in.Value != "Bo" {
		t.Errorf("what was entered became %v", in.Value)
	}
}

func TestBranchesComeAndGo(t *testing.T) {
	text, err := os.ReadFile("../../../examples/survey/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	definition, err := flow.Load(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := Load(definition)
	shown := func(s *Screen) string {
		var names []string
		for _, item := range s.Items() {
			name := item.Type
			if item.Input != nil {
				name = item.Input.Name
			}
			names = append(names, name)
		}
		return strings.Join(names, " ")
	}
	s := f.Open("RARE", nil, nil)
	for _, step := range [][2]string{{"", "reason Footer"}, {"distance", "reason district Footer"}, {"price", "reason TextBody Footer"}, {"choice", "reason wish Footer"}} {
		if step[0] != "" {
			if _, err := s.Enter("reason", step[0]); err != nil {
				t.Fatal(err)
			}
		}
		if got := shown(s); got != step[1] {
			t.Errorf("with the reason %q it shows %s, want %s", step[0], got, step[1])
		}
	}
	s = f.Open("FINISH", map[string]json.RawMessage{"offers_voucher": json.RawMessage("false"), "summary": json.RawMessage(`"S"`)}, nil)
	if got := shown(s); got != "TextBody TextCaption ready Footer" {
		t.Errorf("it shows %s", got)
	}
	s.Refresh(map[string]json.RawMessage{"offers_voucher": json.RawMessage("true")})
	if got := shown(s); got != "TextBody voucher ready Footer" {
		t.Errorf("it shows %s", got)
	}
	items := s.Items()
	payload, err := s.Payload(items[len(items)-1].Tap)
	if raw, _ := json.Marshal(payload); err != nil || string(raw) != `{"ready":"","voucher":false}` {
		t.Errorf("it posts %s (%v)", raw, err)
	}
}

func TestASwitchWithADefault(t *testing.T) {
	s := load(t, "7.3", "{}", `{"type":"TextInput","name":"animal","label":"Animal"},{"type":"Switch","value":"${form.animal}","cases":{
		"cat":[{"type":"TextBody","text":"a cat"}],"default":[{"type":"TextBody","text":"neither"},{"type":"TextBody","text":"nor"}],"dog":[{"type":"TextBody","text":"a dog"}]}}`)
	for animal, want := range map[string]string{"cat": "a cat", "dog": "a dog", "cow": "neither nor", "": "neither nor"} {
		if _, err := s.Enter("animal", animal); err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, item := range s.Items()[1:] {
			said = append(said, item.Text)
		}
		if got := strings.Join(said, " "); got != want {
			t.Errorf("of %q it says %q, want %q", animal, got, want)
		}
	}
}

// What an endpoint sends is text, also where it looks like an expression.
func TestDataAreNotEvaluated(t *testing.T) {
	s := load(t, "7.3", `{"lines":{"type":"array","items":{"type":"string"},"__example__":[]},"secret":{"type":"string","__example__":""}}`,
		`{"type":"TextBody","markdown":true,"text":"${data.lines}"},{"type":"TextBody","text":"${data.secret}"}`)
	s.Refresh(map[string]json.RawMessage{"lines": json.RawMessage("[\"${data.secret}\",\"`1 + 1`\"]"), "secret": json.RawMessage("\"`2 + 2`\"")})
	items := s.Items()
	if items[0].Text != "${data.secret}\n`1 + 1`" || items[1].Text != "`2 + 2`" {
		t.Errorf("it says %q and %q", items[0].Text, items[1].Text)
	}
}

func TestEntriesThatCameAsDataHaveTheirActions(t *testing.T) {
	s := load(t, "7.3", `{"list":{"type":"array","items":{"type":"object"},"__example__":[]},"n":{"type":"number","__example__":1}}`,
		`{"type":"NavigationList","name":"l","label":"L","list-items":"${data.list}"}`)
	s.Refresh(map[string]json.RawMessage{"n": json.RawMessage("7"), "list": json.RawMessage(`[
		{"id":"a","main-content":{"title":"A"},"on-click-action":{"name":"data_exchange","payload":{"chosen":"a"}}},
		{"id":"b","main-content":{"title":"B"},"on-click-action":{"name":"navigate","next":{"type":"screen","name":"NEXT"},"payload":{"chosen":"b"}}}]`)})
	entries := s.Items()[0].Entries
	if len(entries) != 2 || entries[0].Tap == nil || entries[0].Tap.Name != "data_exchange" || entries[1].Tap == nil || entries[1].Tap.Next != "NEXT" {
		t.Fatalf("entries are %+v", entries)
	}
	for i, want := range []string{"a", "b"} {
		if payload, err := s.Payload(entries[i].Tap); err != nil || payload["chosen"] != want {
			t.Errorf("entry %d posts %v (%v)", i, payload, err)
		}
	}
}

func TestARangeThatIsTakenBackIsNotPosted(t *testing.T) {
	s := load(t, "7.3", "{}", `{"type":"CalendarPicker","name":"x","mode":"range","label":{"start-date":"From","end-date":"To"},"init-value":{"start-date":"2026-11-24","end-date":"2026-11-25"}},
		{"type":"Footer","label":"Go","on-click-action":{"name":"complete","payload":{"x":"${form.x}"}}}`)
	post := func() string {
		t.Helper()
		items := s.Items()
		payload, err := s.Payload(items[len(items)-1].Tap)
		raw, _ := json.Marshal(payload)
		if err != nil {
			t.Error(err)
		}
		return string(raw)
	}
	if got := post(); got != `{"x":{"end-date":"2026-11-25","start-date":"2026-11-24"}}` {
		t.Errorf("it posts %s", got)
	}
	if _, err := s.Enter("x", map[string]any{"start-date": "", "end-date": ""}); err != nil {
		t.Fatal(err)
	}
	if got := post(); got != `{}` {
		t.Errorf("it posts %s", got)
	}
}

func TestActionsOfSelections(t *testing.T) {
	const update = `{"name":"update_data","payload":{"n":`
	s := load(t, "7.3", `{"n":{"type":"number","__example__":1}}`, `{"type":"CheckboxGroup","name":"x","label":"L",
		"data-source":[{"id":"a","title":"A","on-select-action":`+update+`1}},"on-unselect-action":`+update+`2}}},{"id":"b","title":"B"}],"on-select-action":`+update+`3}}}`)
	for _, c := range []struct {
		chosen []any
		want   float64
	}{
		{[]any{"a"}, 1}, {[]any{}, 2}, {[]any{"b"}, 3},
	} {
		actions, err := s.Enter("x", c.chosen)
		if err != nil || len(actions) != 1 {
			t.Fatalf("%v sets off %d actions (%v)", c.chosen, len(actions), err)
		}
		payload, err := s.Payload(actions[0])
		if err != nil || payload["n"] != c.want {
			t.Errorf("%v posts %v (%v), want %v", c.chosen, payload, err, c.want)
		}
		if err := s.Update(payload); err != nil || s.data["n"] != c.want {
			t.Errorf("the data is %v (%v)", s.data, err)
		}
	}
	if err := s.Update(map[string]any{"m": 1}); err == nil {
		t.Error("data that the screen does not declare was changed")
	}
}

// What a screen is made of may come from an endpoint as a whole.
func FuzzData(f *testing.F) {
	definition, err := flow.Load([]byte(`{"version":"7.3","screens":[{"id":"A","terminal":true,"title":"${data.t}","data":{},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextBody","text":"${data.t}","markdown":true},{"type":"TextHeading","text":"`+"`'a' ${data.t} (1 + ${data.n})`"+`"},
		{"type":"If","condition":"${data.b}","then":[{"type":"TextBody","text":"then"}],"else":[{"type":"TextBody","text":"else"}]},
		{"type":"Switch","value":"${data.t}","cases":{"a":[{"type":"TextBody","text":"a"}],"default":[{"type":"TextBody","text":"d"}]}},
		{"type":"CheckboxGroup","name":"c","label":"C","data-source":"${data.list}","init-value":"${data.init}","enabled":"${data.b}","required":"${data.b}","min-selected-items":"${data.n}","max-selected-items":"${data.n}"},
		{"type":"Dropdown","name":"d","label":"${data.t}","data-source":"${data.list}","init-value":"${data.init}","error-message":"${data.t}"},
		{"type":"DatePicker","name":"e","label":"E","min-date":"${data.t}","max-date":"${data.t}","unavailable-dates":"${data.list}","init-value":"${data.init}"},
		{"type":"CalendarPicker","name":"r","mode":"range","label":"${data.t}","min-days":"${data.n}","include-days":"${data.list}","required":"${data.init}","init-value":"${data.init}"},
		{"type":"TextInput","name":"x","label":"X","pattern":"${data.t}","init-value":"${data.init}","min-chars":"${data.n}","max-chars":"${data.n}","visible":"${data.b}"},
		{"type":"PhotoPicker","name":"p","label":"P","max-uploaded-photos":"${data.n}","error-message":"${data.init}"},
		{"type":"NavigationList","name":"l","label":"L","list-items":"${data.list}","on-click-action":{"name":"complete","payload":{"t":"${data.t}"}}},
		{"type":"Footer","label":"${data.t}","on-click-action":{"name":"complete","payload":{"c":"${form.c}","d":"${form.d}","r":"${form.r}","x":"${form.x}"}}}]}}]}`), nil)
	if err != nil {
		f.Fatal(err)
	}
	screens := Load(definition)
	f.Add(`"text"`, `3`, `[{"id":"1","title":"One","on-select-action":{"name":"update_data","payload":{"t":"${data.t}"}}},{"id":"2"}]`, `["1"]`, "1")
	f.Add(`["a",{"b":1}]`, `-1e300`, `[{"main-content":{"title":"T"},"end":{"title":1},"badge":[],"tags":["x"]},null,7]`, `{"start-date":"2026-11-24","end-date":true}`, "2026-11-24")
	f.Add(`"("`, `"9"`, `{"id":"1"}`, `true`, "")
	f.Fuzz(func(_ *testing.T, text, number, list, init, entered string) {
		s := screens.Open("A", map[string]json.RawMessage{"t": json.RawMessage(text), "n": json.RawMessage(number), "list": json.RawMessage(list), "init": json.RawMessage(init), "b": json.RawMessage("true")}, nil)
		_, _ = s.Title(), s.Fault()
		for _, item := range s.Items() {
			if item.Tap != nil {
				_, _ = s.Payload(item.Tap)
			}
			if item.Input == nil {
				continue
			}
			for _, value := range []any{entered, []any{entered, map[string]any{}}, map[string]any{"start-date": entered, "end-date": entered}, entered == ""} {
				actions, _ := s.Enter(item.Input.Name, value)
				for _, action := range actions {
					_, _ = s.Payload(action)
				}
			}
		}
		s.Check()
	})
}

func TestInputsThatCannotBeDrawn(t *testing.T) {
	const options = `"data-source":[{"id":"a","title":"A"},{"id":"b","title":"B","enabled":false}]`
	for _, c := range []struct{ name, component, fault string }{
		{"nothing wrong", `{"type":"CheckboxGroup","name":"x","label":"L","init-value":["a"],` + options + `}`, ""},
		{"required and hidden", `{"type":"TextInput","name":"x","label":"L","required":true,"visible":false}`, "required and not visible"},
		{"required in a branch that is not there", `{"type":"If","condition":"${form.y} == 'z'","then":[{"type":"TextInput","name":"x","label":"L","required":true}]}`, ""},
		{"required and not enabled", `{"type":"Dropdown","name":"x","label":"L","required":true,"enabled":false,` + options + `}`, "required and not enabled"},
		{"least and most", `{"type":"ChipsSelector","name":"x","label":"L","min-selected-items":3,"max-selected-items":2,` + options + `}`, "its least is more than its most"},
		{"a text where several are chosen", `{"type":"CheckboxGroup","name":"x","label":"L","init-value":"a",` + options + `}`, "expected an array"},
		{"a text for a consent", `{"type":"OptIn","name":"x","label":"L","init-value":"yes"}`, "expected a boolean"},
		{"a boolean for a text", `{"type":"TextInput","name":"x","label":"L","init-value":true}`, "expected a string or a number"},
		{"an option that is not enabled", `{"type":"Dropdown","name":"x","label":"L","init-value":"b",` + options + `}`, "an option that is not enabled"},
	} {
		err := load(t, "7.3", "{}", c.component).Fault()
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.fault)
		}
	}
}
