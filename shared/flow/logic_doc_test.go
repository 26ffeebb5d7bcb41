package flow

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// example is the example of the manual that has a text in it, for the flow of
// the manual.
func example(t *testing.T, with string) *Definition {
	t.Helper()
	raw, err := os.ReadFile("testdata/logic_doc.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range examples(t) {
		if strings.Contains(text, with) {
			def, err := Load(raw, []byte(text))
			if err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			return def
		}
	}
	t.Fatalf("no example has %s", with)
	return nil
}

func examples(t *testing.T) []string {
	t.Helper()
	manual, err := os.ReadFile("../../docs/logic.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, found := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(manual, -1) {
		list = append(list, string(found[1]))
	}
	return list
}

func TestExamplesOfTheManual(t *testing.T) {
	all := examples(t)
	if len(all) < 6 {
		t.Fatalf("%d examples were found", len(all))
	}
	for _, text := range all {
		example(t, text)
	}
}

func TestRecipeOfAListThatDependsOnAChoice(t *testing.T) {
	up := &upstream{answer: answers(200, `[{"id":"09:00","title":"9 o'clock"}]`)}
	u := &user{t: t, def: example(t, "upstream: calendar"), token: "tok", env: Env{Fetch: up}}
	const days = `[{"id":"2026-11-23","title":"Mon 23 Nov"},{"id":"2026-11-24","title":"Tue 24 Nov"},{"id":"2026-11-25","title":"Wed 25 Nov"},{"id":"2026-11-26","title":"Thu 26 Nov"},{"id":"2026-11-27","title":"Fri 27 Nov"},` +
		`{"id":"2026-11-30","title":"Mon 30 Nov"},{"id":"2026-12-01","title":"Tue 1 Dec"},{"id":"2026-12-02","title":"Wed 2 Dec"},{"id":"2026-12-03","title":"Thu 3 Dec"},{"id":"2026-12-04","title":"Fri 4 Dec"}]`
	const shown = `{"screen":"DAY","data":{"days":` + days + `,"slots":[{"id":"09:00","title":"9 o'clock"}]}}`
	u.play([]step{
		{Init, "DAY", "", shown, "next"},
		{DataExchange, "DAY", `{"day":"2026-12-01"}`, shown, "same"},
	})
	const none = `{"id":"none","title":"No times just now"}`
	up.answer = answers(200, "[]")
	u.play([]step{{DataExchange, "DAY", `{"day":"2026-12-03"}`, strings.Replace(shown, `{"id":"09:00","title":"9 o'clock"}`, none, 1), "same"}})
	up.answer = answers(503, "")
	u.play([]step{{DataExchange, "DAY", `{"day":"2026-12-02"}`, strings.Replace(shown, `{"id":"09:00","title":"9 o'clock"}`, `{"id":"none","title":"No times just now"}`, 1), "same"}})
	u.play([]step{
		{DataExchange, "DAY", `{"day":"2026-12-02","slot":"none"}`, strings.Replace(strings.Replace(shown, `{"id":"09:00","title":"9 o'clock"}`, `{"id":"none","title":"No times just now"}`, 1), `"slots"`, `"error_message":"Choose another day","slots"`, 1), "same"},
		{DataExchange, "DAY", `{"day":"2026-12-01","slot":"09:00"}`, `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"day":"2026-12-01","flow_token":"tok","slot":"09:00"}}}}`, "complete"},
	})
	equal(t, "calls", list(up.calls), "[calendar GET /slots?day=2026-11-23 calendar GET /slots?day=2026-12-01 calendar GET /slots?day=2026-12-03 calendar GET /slots?day=2026-12-02]")
}
