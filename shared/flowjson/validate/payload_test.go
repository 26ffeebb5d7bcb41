package validate

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// oneScreen is a document of version 7.3 with these components and data model.
func oneScreen(data, components, payload string) string {
	return `{"version": "7.3", "screens": [{"id": "FIRST", "title": "First", "terminal": true, "data": {` + data + `}, "layout": {"type": "SingleColumnLayout", "children": [
` + components + `
{"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {` + payload + `}}}]}}]}`
}

func TestAProblemWithinAnExpressionPointsIntoIt(t *testing.T) {
	for _, test := range []struct{ component, part, path string }{
		{`{"type": "TextBody", "text": "` + "`'Hi ' ${data.nane} '!'`" + `"},`, `${data.nane}`, "text"},
		{`{"type": "If", "condition": "(${data.name} == 'Ann') && ${data.name}", "then": [{"type": "TextBody", "text": "Hi"}]},`, `${data.name}`, "condition"},
		{`{"type": "If", "condition": "(${data.name} == 3) && true", "then": [{"type": "TextBody", "text": "Hi"}]},`, `${data.name} == 3`, "condition"},
		// With an escape before it, the place is that of the whole string.
		{`{"type": "TextBody", "text": "` + "`'\\u0041' ${data.nane}`" + `"},`, "\"`'\\u0041' ${data.nane}`\"", "text"},
	} {
		text := oneScreen(`"name": {"type": "string", "__example__": "Ann"}`, test.component, "")
		report := Flow([]byte(text))
		if len(report.Errors) != 1 {
			t.Errorf("%s\n%sexpected one error", test.component, listing(report))
			continue
		}
		at := report.Errors[0].Pointers[0]
		line := []rune(strings.Split(text, "\n")[at.LineStart-1])
		if part := string(line[at.ColumnStart-1 : at.ColumnEnd-1]); at.LineEnd != at.LineStart || part != test.part {
			t.Errorf("%s: the error points at %s, expected %s", test.component, part, test.part)
		}
		if want := "screens[0].layout.children[0]." + test.path; at.Path != want {
			t.Errorf("%s: the path is %s, expected %s", test.component, at.Path, want)
		}
	}
}

func TestANameThatIsAlmostRightIsSuggested(t *testing.T) {
	text := oneScreen(`"name": {"type": "string", "__example__": "Ann"}`,
		`{"type": "TextInput", "name": "first_name", "label": "Name"},
{"type": "TextBody", "text": "${data.nane}"}, {"type": "TextBody", "text": "`+"`${form.firstname}`"+`"},
{"type": "TextBody", "text": "${screen.FRIST.data.name}"}, {"type": "If", "condition": "${data.nmae} == 'Ann'", "then": [{"type": "TextBody", "text": "Hi"}]},
{"type": "EmbeddedLink", "text": "More", "on-click-action": {"name": "navigat", "payload": {}}},`,
		`"a": "${form.frist_name}"`)
	report := Flow([]byte(text))
	for _, want := range []string{"name", "first_name", "FIRST", "name", "navigate", "first_name"} {
		if len(report.Errors) == 0 || !strings.Contains(report.Errors[0].Message, fmt.Sprintf("did you mean %q?", want)) {
			t.Fatalf("expected %s to be suggested, got\n%s", want, listing(report))
		}
		report.Errors = report.Errors[1:]
	}
	if len(report.Errors) > 0 {
		t.Errorf("not expected\n%s", listing(report))
	}
}

func TestHostileReferencesEndSoon(t *testing.T) {
	const many = 3_000
	list := func(format string) string {
		var b strings.Builder
		for i := range many {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i, i)
		}
		return b.String()
	}
	model := list(`"key%d": {"type": "string", "__example__": "%d"}`)
	properties := `"object": {"type": "object", "properties": {` + list(`"key%d": {"type": "string", "title": "%d"}`) + `}, "__example__": {}}`
	for name, text := range map[string]string{
		"known keys":                 oneScreen(model, list(`{"type": "TextBody", "text": "${data.key%d}", "a": "%d"}`)+",", ""),
		"unknown keys":               oneScreen(model, list(`{"type": "TextBody", "text": "${data.kex%d}", "a": "%d"}`)+",", ""),
		"known properties":           oneScreen(properties, list(`{"type": "TextBody", "text": "${data.object.key%d}", "a": "%d"}`)+",", ""),
		"unknown inputs":             oneScreen(model, list(`{"type": "TextInput", "name": "key%d", "label": "${form.kex%d}"}`)+",", ""),
		"unknown keys of payloads":   oneScreen(model, "", list(`"key%d": "${data.kex%d}"`)),
		"doubtful keys of payloads":  oneScreen(model, "", `"deep": [`+list(`"${data.kex%d}", "%d"`)+"]"),
		"one large payload":          oneScreen(model, `{"type": "Dropdown", "name": "a", "label": "A", "data-source": [{"id": "a", "title": "A"}], "on-select-action": {"name": "update_data", "payload": {`+list(`"key%d": "${data.key1%d}"`)+`}}},`, ""),
		"large objects":              oneScreen(properties+`, "other": {"type": "object", "properties": {}, "__example__": {}}`, list(`{"type": "OptIn", "name": "n%d", "label": "%d", "on-select-action": {"name": "update_data", "payload": {"object": "${data.other}", "other": "${data.object}"}}}`)+",", ""),
		"expressions":                oneScreen(model, list("{\"type\": \"TextBody\", \"text\": \"`'a' ${data.kex%d} + %d`\"}")+",", ""),
		"payloads for a large model": oneScreen(model, list(`{"type": "EmbeddedLink", "text": "%d", "on-click-action": {"name": "navigate", "next": {"type": "screen", "name": "OTHER%d"}, "payload": {}}}`)+",", ""),
	} {
		start := time.Now()
		report := Flow([]byte(text))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %d bytes took %s", name, len(text), took)
		}
		if len(report.Errors)+len(report.Warnings) == 0 {
			t.Errorf("%s: nothing is said, expected something", name)
		}
	}
}
