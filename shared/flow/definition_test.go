package flow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	tiny   = `{"version":"7.3","screens":[{"id":"ONLY","terminal":true,"layout":{"type":"SingleColumnLayout","children":[]}}]}`
	circle = `{"version":"7.3","routing_model":{"A":["B"],"B":["A"]},"screens":[{"id":"A","layout":{}},{"id":"B","layout":{}}]}`
)

func TestTheDocumentOfADefinition(t *testing.T) {
	raw, err := os.ReadFile("testdata/hotel.json")
	if err != nil {
		t.Fatal(err)
	}
	raw = append([]byte("\xef\xbb\xbf"), raw...) // as some editors save it
	def, err := Load(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(def.Document())
	equal(t, "hash", def.Hash(), hex.EncodeToString(sum[:]))
	if !strings.HasPrefix(string(def.Document()), `{"v":1,"flow_json":"`) || strings.Contains(string(def.Document()), `"logic"`) {
		t.Errorf("document begins %.60s", def.Document())
	}
	again, err := ParseDocument(def.Document())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "hash after a round trip", again.Hash(), def.Hash())
	equal(t, "Flow JSON after a round trip", string(again.FlowJSON()), string(raw))
	equal(t, "entry screens", list(def.EntryScreens()), "[WELCOME GROUP]")

	var indented any
	if err := json.Unmarshal(def.Document(), &indented); err != nil {
		t.Fatal(err)
	}
	other, err := json.MarshalIndent(indented, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ParseDocument(other)
	if err != nil {
		t.Fatal(err)
	}
	sum = sha256.Sum256(other)
	equal(t, "hash of a document another program wrote", foreign.Hash(), hex.EncodeToString(sum[:]))
}

func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct{ flow, logic, err string }{
		"logic":       {tiny, "init: {screen: OTHER}", "logic.yaml:1:16: OTHER: the flow has screens ONLY"},
		"JSON logic":  {tiny, `{"init": {"screen": "OTHER"}}`, "logic.json:1:22: OTHER: the flow has screens ONLY"},
		"broken JSON": {"{\n  \"version\": 7.3,\n  x", "", "line 3, column 3"},
		"no entry":    {circle, "", "routing_model: every screen has an edge leading to it, so the flow has no entry screen: remove the edges that lead back"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load([]byte(test.flow), []byte(test.logic))
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v, expected %q", err, test.err)
			}
		})
	}
	if _, err := Load([]byte(tiny), []byte(" \n")); err != nil {
		t.Errorf("an empty logic file: %v", err)
	}
	for _, blob := range []string{``, `[]`, `{"v":2,"flow_json":"{}"}`, `{"v":1}`, `{"v":1,"flow_json":"{}"}`} {
		if _, err := ParseDocument([]byte(blob)); err == nil {
			t.Errorf("the document %q is accepted", blob)
		}
	}
}

func TestLoadDirOfOneFlowNamesItsParent(t *testing.T) {
	_, err := LoadDir(fstest.MapFS{"flow.json": {Data: []byte("{}")}})
	if err == nil || !strings.Contains(err.Error(), "give its parent") {
		t.Fatalf("error is %v, expected to be told to give the parent", err)
	}
}

func TestLoadDir(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tests := []struct {
		name  string
		files fstest.MapFS
		flows string
		err   string
	}{
		{"folders and files", fstest.MapFS{"book/flow.json": file(tiny), "survey.json": file(tiny), "README.md": file("x"), "notes/x.txt": file("x"), ".git/flow.json": file("x")}, "[book survey]", ""},
		{"nothing there", fstest.MapFS{"README.md": file("x")}, "[]", ""},
		{"a broken file", fstest.MapFS{"survey.json": file("{")}, "", "survey.json: flow JSON is not a JSON object: line 1"},
		{"a broken file in a folder", fstest.MapFS{"book/flow.json": file("{}")}, "", "book/flow.json: version is missing"},
		{"logic", fstest.MapFS{"book/flow.json": file(tiny), "book/logic.yaml": file("init: {screen: X}")}, "", "book/logic.yaml:1:16: X: the flow has screens ONLY"},
		{"logic twice", fstest.MapFS{"book/flow.json": file(tiny), "book/logic.yaml": file("screens: {}"), "book/logic.json": file("{}")}, "", "book/logic.json: the logic of this flow is already given by book/logic.yaml: keep one of them"},
		{"sound logic", fstest.MapFS{"book/flow.json": file(tiny), "book/logic.yml": file("init: {screen: ONLY}")}, "[book]", ""},
		{"one flow twice", fstest.MapFS{"book/flow.json": file(tiny), "book.json": file(tiny)}, "", "the flow book is already defined by book/flow.json: keep one of them"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			flows, err := LoadDir(test.files)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, expected %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "flows", list(slices.Sorted(maps.Keys(flows))), test.flows)
		})
	}
	if _, err := LoadDir(os.DirFS("testdata/missing")); err == nil {
		t.Error("a directory that does not exist is accepted")
	}
	flows, err := LoadDir(os.DirFS("../../examples"))
	if err != nil {
		t.Fatal(err)
	}
	if flows["csat-feedback"] == nil {
		t.Error("the examples do not hold csat-feedback")
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		file string
		want []string
	}{
		{"../../examples/csat-feedback/flow.json", nil},
		{"testdata/hotel.json", []string{
			"screen SUITE needs data.rooms: add logic or use endpoint next",
			"screen SUITE: choosing an option of Dropdown suite sends data_exchange: without logic it is treated like Continue",
			"without a flow token these answers do not reach the result: name, nights of WELCOME; company of GROUP; beds of ROOM; suite of SUITE",
		}},
		{"testdata/catalog.json", []string{
			"screen LIST needs data.items: add logic or use endpoint next",
			"screen DETAIL needs data.colours: add logic or use endpoint next",
			"screen DETAIL needs data.picture: add logic or use endpoint next",
			"without a flow token these answers do not reach the result: item of LIST; colour of DETAIL",
		}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			def := load(t, test.file)
			equal(t, "warnings", strings.Join(def.Warnings(), "\n"), strings.Join(test.want, "\n"))
		})
	}
}

// chain is a flow FIRST → MIDDLE → LAST whose parts a test chooses.
func chain(t *testing.T, first, middleData, middle, lastData, last string) *Definition {
	t.Helper()
	screen := func(id, data, payload, more string) string {
		return `{"id":"` + id + `","data":` + data + more + `,"layout":{"type":"SingleColumnLayout","children":[` +
			`{"type":"OptIn","name":"yes","label":"Yes"},{"type":"TextInput","name":"a","label":"A"},` +
			`{"type":"Footer","label":"Go","on-click-action":{"name":"data_exchange","payload":` + payload + `}}]}}`
	}
	def, err := Load([]byte(`{"version":"7.3","data_api_version":"4.0","routing_model":{"FIRST":["MIDDLE"],"MIDDLE":["LAST"],"LAST":[]},"screens":[`+
		screen("FIRST", `{}`, first, "")+","+screen("MIDDLE", middleData, middle, "")+","+screen("LAST", lastData, last, `,"terminal":true`)+`]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func TestWhatAStatelessFlowCarries(t *testing.T) {
	const text = `{"type":"string","__example__":"x"}`
	tests := []struct {
		name       string
		def        *Definition
		incomplete bool
		warning    string
	}{
		{"every field is passed on", chain(t, `{"a":"${form.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`), false, ""},
		{"under another name", chain(t, `{"a":"${form.a}"}`, `{"a":`+text+`}`, `{"b":"${data.a}"}`, `{"b":`+text+`}`, `{"c":"${data.b}"}`), false, ""},
		{"by a global reference", chain(t, `{"a":"${form.a}"}`, `{}`, `{}`, `{}`, `{"a":"${screen.FIRST.form.a}"}`), false, ""},
		{"constants are no answers", chain(t, `{"kind":"survey"}`, `{}`, `{}`, `{}`, `{}`), false, ""},
		{"the middle screen drops it", chain(t, `{"a":"${form.a}"}`, `{"a":`+text+`}`, `{}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`), true,
			"without a flow token these answers do not reach the result: a of FIRST"},
		{"the middle screen does not declare it", chain(t, `{"a":"${form.a}"}`, `{}`, `{"a":"${data.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`), true,
			"without a flow token these answers do not reach the result: a of FIRST"},
		{"the last screen does not post it", chain(t, `{"a":"${form.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`, `{"a":`+text+`}`, `{}`), true,
			"without a flow token these answers do not reach the result: a of FIRST"},
		{"another answer has its name", chain(t, `{"a":"${form.a}"}`, `{}`, `{"a":"${form.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`), true,
			"screens FIRST and MIDDLE both post an answer as a: the latest one wins, the other does not reach the result\n" +
				"without a flow token these answers do not reach the result: a of FIRST"},
		{"its type is another", chain(t, `{"a":"${form.yes}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`, `{"a":`+text+`}`, `{"a":"${data.a}"}`), false,
			"screen MIDDLE declares data.a as a string, but screen FIRST posts a boolean under that name: it is not shown there"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := request(t, DataExchange, "LAST", "", `{"a":"x"}`)
			s, err := Begin(nil, test.def, req, noon)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "incomplete", s.Incomplete, test.incomplete)
			equal(t, "warnings", strings.Join(test.def.Warnings(), "\n"), test.warning)
			equal(t, "incomplete on the way", test.def.StatelessIncomplete(request(t, DataExchange, "MIDDLE", "", "")), false)
		})
	}
}
