package flow

import (
	"strings"
	"testing"
)

// An answer that the params of a complete name reaches the result, whatever a
// later screen posts under the same key.
func TestACollisionThatParamsResolve(t *testing.T) {
	flowJSON := chain(t, `{"a":"${form.a}"}`, `{}`, `{"a":"${form.a}"}`, `{}`, `{}`).FlowJSON()
	for rules, want := range map[string]bool{
		"": true,
		"screens: {LAST: {complete: {params: {a: session.a}}}}":                          true,
		"screens: {LAST: {complete: {params: {a: screen.FIRST.a, b: screen.MIDDLE.a}}}}": false,
	} {
		def, err := Load(flowJSON, []byte(rules))
		if err != nil {
			t.Fatal(err)
		}
		warnings := strings.Join(def.Warnings(), "\n")
		if got := strings.Contains(warnings, "both post an answer as a"); got != want {
			t.Errorf("rules %q: warnings\n%s", rules, warnings)
		}
	}
}
