package validate

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var picturePlaceholder = regexp.MustCompile(`PICTURE-OF-(\d+)-KB`)

// withPictures puts pictures into the text of an example.
func withPictures(text string) string {
	return picturePlaceholder.ReplaceAllStringFunc(text, func(placeholder string) string {
		kb, err := strconv.Atoi(picturePlaceholder.FindStringSubmatch(placeholder)[1])
		if err != nil {
			return placeholder
		}
		picture := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, kb*1024-8)...)
		return base64.StdEncoding.EncodeToString(picture)
	})
}

func screenWith(version, flags, components string) []byte {
	return []byte(fmt.Sprintf(`{"version": %q, "screens": [{"id": "FIRST", "title": "First", "terminal": true, %s "layout": {"type": "SingleColumnLayout", "children": [%s]}}]}`, version, flags, components))
}

func found(report *Report, rule string) []string {
	var messages []string
	for _, p := range slices.Concat(report.Errors, report.Warnings) {
		if p.Rule == rule {
			messages = append(messages, p.Message)
		}
	}
	return messages
}

func TestEveryTypeOfComponentIsDescribed(t *testing.T) {
	if len(componentSpecs) != 24 {
		t.Errorf("%d types of components, Flow JSON 7.3 has 24", len(componentSpecs))
	}
	for name, spec := range componentSpecs {
		if spec.title != name || spec.byName["type"] == nil || spec.input != (spec.yields != nil) || spec.input && spec.byName["name"] == nil {
			t.Errorf("%s is incomplete: %+v", name, spec)
		}
		seen := map[string]bool{}
		for _, p := range spec.properties {
			if seen[p.name] {
				t.Errorf("%s has %s twice", name, p.name)
			}
			seen[p.name] = true
		}
	}
}

func TestMessagesSayWhatWasMeantAndSinceWhen(t *testing.T) {
	for name, c := range map[string]struct{ version, components, rule, message string }{
		"misspelt type":        {"7.3", `{"type": "Textinput", "name": "a", "label": "A"}`, "component-type", `there is no component of type "Textinput": did you mean "TextInput"?`},
		"misspelt key":         {"7.3", `{"type": "TextInput", "name": "a", "lable": "A"}`, "property-names", `TextInput has no property "lable": did you mean "label"?`},
		"newer component":      {"6.0", `{"type": "CalendarPicker", "name": "a", "label": "A"}`, "component-type", `CalendarPicker exists from Flow JSON 6.1 on, this document is 6.0`},
		"newer property":       {"6.3", `{"type": "TextInput", "name": "a", "label": "A", "label-variant": "large"}`, "property-names", `"label-variant" of TextInput exists from Flow JSON 7.0 on, this document is 6.3`},
		"value of a list":      {"7.3", `{"type": "TextInput", "name": "a", "label": "A", "input-type": "mail"}`, "property-values", `input-type of TextInput is "mail", expected one of text, number, email, password, passcode, phone: did you mean "email"?`},
		"list on the last one": {"7.3", `{"type": "NavigationList", "name": "a", "list-items": "${data.a}"}`, "lone-components", `a screen with a NavigationList cannot be terminal: its items lead on`},
	} {
		if got := found(Flow(screenWith(c.version, "", c.components)), c.rule); !slices.Contains(got, c.message) {
			t.Errorf("%s: %q, expected %q", name, got, c.message)
		}
	}
}

func TestComponentsAreCountedAsTheyShow(t *testing.T) {
	image := `{"type": "Image", "src": "iVBORw0KGgo="}`
	images := func(n int) string { return strings.TrimSuffix(strings.Repeat(image+",", n), ",") }
	for name, c := range map[string]struct {
		components string
		most       bool
	}{
		"three in each branch":        {`{"type": "If", "condition": "${data.a}", "then": [` + images(3) + `], "else": [` + images(3) + `]}`, true},
		"one and two or three":        {image + `, {"type": "If", "condition": "${data.a}", "then": [` + images(2) + `], "else": [` + images(3) + `]}`, false},
		"two Ifs of two":              {strings.Repeat(`{"type": "If", "condition": "${data.a}", "then": [`+images(2)+`], "else": []},`, 1) + `{"type": "If", "condition": "${data.a}", "then": [` + images(2) + `]}`, false},
		"an If in an If":              {`{"type": "If", "condition": "${data.a}", "then": [{"type": "If", "condition": "${data.a}", "then": [` + images(2) + `], "else": [` + images(3) + `]}], "else": [` + images(3) + `]}`, true},
		"cases of three":              {`{"type": "Switch", "value": "${data.a}", "cases": {"a": [` + images(3) + `], "b": [` + images(3) + `]}}`, true},
		"a case of four":              {`{"type": "Switch", "value": "${data.a}", "cases": {"a": [` + images(1) + `], "b": [` + images(4) + `]}}`, false},
		"some in a Form, some beside": {`{"type": "Form", "name": "f", "children": [` + images(2) + `]},` + images(2), false},
	} {
		if got := found(Flow(screenWith("7.3", "", c.components)), "type-counts"); (len(got) == 0) != c.most {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestBase64IsReadAsClientsDo(t *testing.T) {
	for text, size := range map[string]int{
		"": 0, "QQ==": 1, "QQ": 1, "QUI=": 2, "QUJD": 3, "QU\nJD": 3, " Q Q ": 1,
		"Q": -1, "QQ=": -1, "Q===": -1, "QUJD=": -1, "QQ==QQ==": -1, "Q-Q=": -1, "${data.a}": -1,
	} {
		if got, ok := base64Size(text); ok != (size >= 0) || ok && got != size {
			t.Errorf("%q: %d %v, expected %d", text, got, ok, size)
		}
	}
}

// A document that repeats one thing as often as fits must not take longer than
// its size: what is quadratic would run for minutes here.
func TestHostileComponentsTakeLinearTime(t *testing.T) {
	const n = 20_000
	options := strings.Repeat(`{"id": "x", "title": "y", "enabled": false},`, n)
	list := `"data-source": [` + options[:len(options)-1] + `]`
	for name, components := range map[string]string{
		"options":        `{"type": "CheckboxGroup", "name": "a", "label": "A", "on-select-action": {}, ` + list + `}`,
		"values of Form": `{"type": "Form", "name": "f", "init-values": {` + strings.Repeat(`"a": "x",`, n) + `"b": 1}, "children": [{"type": "Dropdown", "name": "a", "label": "A", ` + list + `}]}`,
		"unknown keys":   `{"type": "TextBody", "text": "x"` + strings.Repeat(`, "txet": 1`, n) + `}`,
		"unknown types":  strings.TrimSuffix(strings.Repeat(`{"type": "TextInputt"},`, n), ","),
		"one name":       strings.TrimSuffix(strings.Repeat(`{"type": "OptIn", "name": "a", "label": "A"},`, n), ","),
		"cases":          `{"type": "Switch", "value": "${data.a}", "cases": {` + strings.TrimSuffix(strings.Repeat(`"a": [{"type": "Footer"}],`, n), ",") + `}}`,
		"Forms":          strings.TrimSuffix(strings.Repeat(`{"type": "Form", "children": [{"type": "OptIn", "name": "a"}]},`, n/4), ","),
		"patterns":       strings.TrimSuffix(strings.Repeat(`{"type": "TextInput", "name": "a", "label": "A", "helper-text": "x", "pattern": "`+strings.Repeat("(a{9}){9}", 20)+`"},`, 1000), ","),
	} {
		if report := Flow(screenWith("7.3", "", components)); report.Valid() || len(report.Errors) > MaxProblems {
			t.Errorf("%s: %d errors", name, len(report.Errors))
		}
	}
}
