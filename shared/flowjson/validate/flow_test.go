package validate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// largeFlow is a valid flow of 100 screens and about that many bytes, with what
// costs a validator most: conditions, branches, expressions and data models.
func largeFlow(size int) []byte {
	const screens = maxScreens
	id := func(i int) string { return "SCREEN_" + string([]byte{byte('A' + i/26), byte('A' + i%26)}) }
	var b strings.Builder
	b.WriteString(`{"version": "7.3", "data_api_version": "3.0", "routing_model": {`)
	for i := range screens {
		if i > 0 {
			b.WriteString(", ")
		}
		if fmt.Fprintf(&b, "%q: [", id(i)); i < screens-1 {
			fmt.Fprintf(&b, "%q", id(i+1))
		}
		b.WriteByte(']')
	}
	b.WriteString("}, \"screens\": [\n")
	for i := range screens {
		if i > 0 {
			b.WriteString(",\n")
		}
		end := b.Len() + (size-b.Len())/(screens-i)
		fmt.Fprintf(&b, `{"id": %q, "title": "Screen %d", "terminal": %t, "data": {`, id(i), i, i == screens-1)
		b.WriteString(`"name": {"type": "string", "__example__": "Ann"}, "adult": {"type": "boolean", "__example__": true}, "age": {"type": "number", "__example__": 40}, `)
		b.WriteString(`"shops": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}, "title": {"type": "string"}}}, "__example__": [`)
		for n := 0; n == 0 || b.Len() < end-9000; n++ {
			if n > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, `{"id": "shop_%d", "title": "Shop number %d in the street"}`, n, n)
		}
		b.WriteString("]}}, \"layout\": {\"type\": \"SingleColumnLayout\", \"children\": [\n")
		for n := range 6 {
			fmt.Fprintf(&b, `  {"type": "TextBody", "text": "`+"`'Hello ' ${data.name} ', you are ' ${data.age} ' years old'`"+`"},
  {"type": "If", "condition": "(${data.adult} && (${data.age} >= 18)) || (${form.reason%d} != '')", "then": [
    {"type": "TextInput", "name": "first%d", "label": "First name", "required": true, "helper-text": "As in your passport"},
    {"type": "Dropdown", "name": "shop%d", "label": "Shop", "data-source": "${data.shops}"}
  ], "else": [
    {"type": "Switch", "value": "${data.name}", "cases": {"Ann": [{"type": "TextBody", "text": "Hello Ann"}], "default": [{"type": "TextBody", "text": "${data.name}"}]}}
  ]},
  {"type": "TextArea", "name": "reason%d", "label": "Why?", "max-length": 600},
`, n, n, n, n)
		}
		b.WriteString(`  {"type": "Footer", "label": "Continue", "on-click-action": {"name": "`)
		if i < screens-1 {
			b.WriteString("data_exchange")
		} else {
			b.WriteString("complete")
		}
		b.WriteString(`", "payload": {"reason": "${form.reason0}", "name": "${data.name}"}}}
]}}`)
	}
	b.WriteString("\n]}")
	return []byte(b.String())
}

func TestLargeFlowsAreFine(t *testing.T) {
	for _, size := range []int{256 << 10, 10<<20 - 4096} {
		text := largeFlow(size)
		if len(text) < size*9/10 || len(text) > 10<<20 {
			t.Fatalf("the flow has %d bytes, wanted about %d", len(text), size)
		}
		if report := Flow(text); !report.Valid() {
			t.Errorf("%d bytes:\n%.2000s", len(text), listing(report))
		}
	}
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	ok := `{"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}`
	screens := make([]string, maxScreens+1)
	routes := make([]string, maxScreens+1)
	for i := range screens {
		id := "S" + string([]byte{byte('A' + i/26), byte('A' + i%26)})
		screens[i] = fmt.Sprintf(`{"id": %q, "title": "S", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [%s]}}`, id, ok)
		routes[i] = fmt.Sprintf(`%q: []`, id)
	}
	many := `{"version": "7.3", "screens": [` + strings.Join(screens, ",") + `], "routing_model": {` + strings.Join(routes, ",") + `}}`
	for name, c := range map[string]struct {
		text string
		code Code
		rule string
	}{
		"101 screens":        {many, MaxScreensNumber, "screens"},
		"more than 10 MiB":   {strings.Repeat(" ", 10<<20) + "{}", InvalidFlowJSON, "json"},
		"129 levels":         {`{"a":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + "}", InvalidFlowJSON, "json"},
		"a cut-off document": {`{"version": "7.3", "screens": [`, InvalidFlowJSON, "json"},
		"an array":           {`[]`, InvalidFlowJSON, "json"},
		"nothing":            {``, InvalidFlowJSON, "json"},
		"no UTF-8":           {"{\"version\": \"\xff\"}", InvalidFlowJSON, "json"},
	} {
		report := Flow([]byte(c.text))
		if len(report.Errors) != 1 || report.Errors[0].Error != c.code || report.Errors[0].Rule != c.rule {
			t.Errorf("%s:\n%s", name, listing(report))
		}
	}
}

func TestFlagsWrittenAsTextCountForWhatTheyMean(t *testing.T) {
	flow := func(flags string) []byte {
		return []byte(`{"version": "7.3", "screens": [{"id": "FIRST", "title": "First", ` + flags + `, "layout": {"type": "SingleColumnLayout", "children": [
			{"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}]}}]}`)
	}
	for flags, want := range map[string][]string{
		`"terminal": "true"`:                              {"screen-flags"},
		`"terminal": true, "success": "true"`:             {"screen-flags"},
		`"terminal": "true", "success": "false"`:          {"screen-flags", "screen-flags", "successful-terminal"},
		`"terminal": true, "refresh_on_back": "true"`:     {"refresh-on-back", "screen-flags"},
		`"terminal": true, "refresh_on_back": "false"`:    {"screen-flags"},
		`"terminal": true, "success": {"false": "false"}`: {"screen-flags"},
	} {
		var got []string
		for _, p := range Flow(flow(flags)).Errors {
			got = append(got, p.Rule)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: errors of the rules %v, expected %v", flags, got, want)
		}
	}
}

// hostileDocuments are long, and each is bad in one way as often as it fits.
func hostileDocuments() map[string]string {
	const size = 1 << 17
	fill := func(head, part, tail string) string {
		return head + strings.Repeat(part+",", size/(len(part)+1)) + part + tail
	}
	numbered := func(head, format, tail string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, format+",", i)
		}
		fmt.Fprintf(&b, format, 1<<30)
		return b.String() + tail
	}
	begin := `{"version":"7.3","screens":[{"id":"A","title":"A","terminal":true,`
	layout := begin + `"layout":{"type":"SingleColumnLayout","children":[`
	model := begin + `"layout":{"type":"SingleColumnLayout","children":[]},"data":{`
	huge := strings.Repeat("é", size/2)
	return map[string]string{
		"a million wrong keys":            fill(`{`, `"versoin":1`, `}`),
		"many different keys":             numbered(`{`, `"k%d":1`, `}`),
		"one huge key":                    `{"` + huge + `":{"a":{"a":1,"a":2}}}`,
		"one huge version":                `{"version":"` + huge + `"}`,
		"empty screens":                   fill(`{"version":"7.3","screens":[`, `{}`, `]}`),
		"screens of one id":               fill(`{"version":"7.3","screens":[`, `{"id":"A"}`, `]}`),
		"screens of many ids":             numbered(`{"version":"7.3","screens":[`, `{"id":"A%d"}`, `]}`),
		"no screens at all":               fill(`{"version":"7.3","screens":[`, `1`, `]}`),
		"edges to nowhere":                fill(begin+`"layout":{}}],"routing_model":{"A":[`, `"B"`, `]}}`),
		"edges to itself":                 fill(begin+`"layout":{}}],"routing_model":{"A":[`, `"A"`, `]}}`),
		"sources nowhere":                 numbered(begin+`"layout":{}}],"routing_model":{`, `"AB%d":[]`, `}}`),
		"sensitive fields":                fill(begin+`"sensitive":[`, `"a"`, `]}]}`),
		"empty components":                fill(layout, `{}`, `]}}]}`),
		"components that are none":        fill(layout, `0`, `]}}]}`),
		"unknown components":              fill(layout, `{"type":"TextHeadign"}`, `]}}]}`),
		"inputs of one name":              fill(layout, `{"type":"TextInput","name":"a","label":"a"}`, `]}}]}`),
		"inputs of many names":            numbered(layout, `{"type":"TextInput","name":"a%d","label":"a"}`, `]}}]}`),
		"Footers":                         fill(layout, `{"type":"Footer","label":"a","on-click-action":{"name":"complete","payload":{}}}`, `]}}]}`),
		"Images":                          fill(layout, `{"type":"Image","src":"!"}`, `]}}]}`),
		"wrong properties":                fill(layout+`{"type":"TextInput","name":"a","label":"a",`, `"lable":1`, `}]}}]}`),
		"options of one id":               fill(layout+`{"type":"Dropdown","name":"a","label":"a","data-source":[`, `{"id":"1","title":"a"}`, `]}]}}]}`),
		"empty options":                   fill(layout+`{"type":"Dropdown","name":"a","label":"a","data-source":[`, `{}`, `]}]}}]}`),
		"cases":                           numbered(layout+`{"type":"Switch","value":"${data.a}","cases":{`, `"c%d":[]`, `}}]}}]}`),
		"payload keys":                    numbered(layout+`{"type":"Footer","label":"a","on-click-action":{"name":"complete","payload":{`, `"k%d":"${form.x}"`, `}}}]}}]}`),
		"nested payload":                  layout + `{"type":"Footer","on-click-action":{"name":"complete","payload":{"a":` + strings.Repeat("[", 100) + strings.Repeat(`"${data.x}",`, size/12) + `1` + strings.Repeat("]", 100) + `}}}]}}]}`,
		"references in one text":          layout + "{\"type\":\"TextBody\",\"text\":\"`" + strings.Repeat("${data.a} ", size/10) + "`\"}]}}]}",
		"parentheses in a condition":      layout + `{"type":"If","condition":"` + strings.Repeat("(", size) + `","then":[]}]}}]}`,
		"operators in a condition":        layout + `{"type":"If","condition":"${data.a}` + strings.Repeat(" && ${data.a}", size/13) + `","then":[]}]}}]}`,
		"negations in a condition":        layout + `{"type":"If","condition":"` + strings.Repeat("!", size) + `${data.a}","then":[]}]}}]}`,
		"an open string in an expression": layout + "{\"type\":\"TextBody\",\"text\":\"`'" + huge + "`\"}]}}]}",
		"markdown":                        fill(layout+`{"type":"RichText","text":[`, `"![a](data:image/png;base64,A)"`, `]}]}}]}`),
		"one huge text":                   layout + `{"type":"TextBody","text":"` + huge + `"}]}}]}`,
		"one huge name":                   layout + `{"type":"TextInput","label":"a","name":"` + huge + `"}]}}]}`,
		"a huge pattern":                  layout + `{"type":"TextInput","label":"a","name":"a","helper-text":"a","pattern":"` + strings.Repeat("(a|b)*", size/6) + `"}]}}]}`,
		"a huge image":                    layout + `{"type":"Image","src":"` + strings.Repeat("A", size) + `"}]}}]}`,
		"unavailable dates":               fill(layout+`{"type":"DatePicker","name":"a","label":"a","unavailable-dates":[`, `"2024-13-45"`, `]}]}}]}`),
		"fields without a type":           numbered(model, `"f%d":{}`, `}}]}`),
		"fields of null":                  numbered(model, `"f%d":null`, `}}]}`),
		"nested examples":                 fill(model+`"a":{"type":"object","properties":{`, `"__example__":1`, `}}}}]}`),
		"wrong examples":                  fill(model+`"a":{"type":"array","items":{"type":"string"},"__example__":[`, `1`, `]}}}]}`),
		"wide examples of a wide schema": numbered(model+`"a":{"type":"array","items":{"type":"object","properties":{`, `"p%d":{"type":"string"}`,
			`}},"__example__":[`+strings.Repeat(`{"p1":1},`, size/9)+`{}]}}}]}`),
	}
}

func TestHostileDocumentsAreRefusedSoonAndInShort(t *testing.T) {
	for name, text := range hostileDocuments() {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			report := Flow([]byte(text))
			took := time.Since(begin)
			if report.Valid() {
				t.Error("it is valid")
			}
			if len(report.Errors) > MaxProblems || len(report.Warnings) > MaxProblems {
				t.Errorf("%d errors and %d warnings", len(report.Errors), len(report.Warnings))
			}
			said, err := json.Marshal(report)
			if err != nil || len(said) > 2<<20 {
				t.Errorf("the report has %d bytes: %v", len(said), err)
			}
			// Much more than a slow machine needs: what grows faster than the
			// document takes minutes.
			if limit := 10 * time.Second; took > limit {
				t.Errorf("%d bytes took %s, expected less than %s", len(text), took, limit)
			}
		})
	}
}

func BenchmarkFlow(b *testing.B) {
	text := largeFlow(2 << 20)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if !Flow(text).Valid() {
			b.Fatal("the flow is not valid")
		}
	}
}

func FuzzFlow(f *testing.F) {
	f.Add([]byte(`{"version":"7.3","screens":[]}`))
	files, err := filepath.Glob("testdata/rules/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		archive, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(archive), "\n-- ")[1:] {
			if _, text, found := strings.Cut(part, "\n{"); found {
				f.Add([]byte("{" + text))
				f.Add([]byte(`{"version":"7.3","data_api_version":"3.0","routing_model":{"FIRST":[]},"screens":[{"id":"FIRST","title":"T","terminal":true,"layout":{"type":"SingleColumnLayout","children":[{` + text + `]}}]}`))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		report := Flow(text)
		for _, p := range slices.Concat(report.Errors, report.Warnings) {
			if p.Error == "" || p.Message == "" || p.Rule == "" || p.ErrorType != errorType || len(p.Pointers) == 0 || p.Span != p.Pointers[0].Span {
				t.Fatalf("%+v", p)
			}
			for _, at := range p.Pointers {
				if at.LineStart < 1 || at.ColumnStart < 1 || at.LineEnd < at.LineStart || at.LineEnd == at.LineStart && at.ColumnEnd < at.ColumnStart {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
