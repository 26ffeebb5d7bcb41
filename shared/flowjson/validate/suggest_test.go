package validate

import (
	"strings"
	"testing"
)

func TestSuggestNamesWhatWasProbablyMeant(t *testing.T) {
	known := []string{"label", "name", "on-click-action", "data-source", "helper-text", "id"}
	for got, expected := range map[string]string{
		"lable":                    "label",
		"labl":                     "label",
		"nmae":                     "name",
		"onClickAction":            "on-click-action",
		"on_click_action":          "on-click-action",
		"datasource":               "data-source",
		"helper-txt":               "helper-text",
		"colour":                   "",
		"x":                        "",
		"":                         "",
		"label":                    "",
		strings.Repeat("a", 1<<20): "",
	} {
		if expected != "" {
			expected = `did you mean "` + expected + `"?`
		}
		if s := suggest(got, known); s != expected {
			t.Errorf("%.20q: %q, expected %q", got, s, expected)
		}
	}
}
