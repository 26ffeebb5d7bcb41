package validate

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// example is one document of testdata/rules; testdata/README.md says how it is
// written down.
type example struct {
	name     string
	text     string
	settings map[string]string
}

var (
	exampleMark    = regexp.MustCompile(`^-- (\S+) --$`)
	exampleSetting = regexp.MustCompile(`^([a-z]+): *(.*)$`)
	exampleVersion = regexp.MustCompile(`"version":\s*"[^"]*"`)
	exampleName    = regexp.MustCompile(`^(?:valid|(?:warn-)?[A-Z_]+)(?:-[^/]*)?\.json$`)
)

// readExamples reads an archive: the settings before the first mark hold for
// all its documents, those between a mark and its text for that one.
func readExamples(t *testing.T, file string) []*example {
	t.Helper()
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	var list []*example
	var text []string
	settings := defaults
	for line := range strings.Lines(string(archive)) {
		if m := exampleMark.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			if len(list) > 0 {
				list[len(list)-1].text = withPictures(strings.Join(text, ""))
			}
			if !exampleName.MatchString(m[1]) {
				t.Fatalf("%s: the document %s, expected valid-….json, CODE-….json or warn-CODE-….json", file, m[1])
			}
			settings, text = map[string]string{}, nil
			for key, value := range defaults {
				settings[key] = value
			}
			list = append(list, &example{name: m[1], settings: settings})
			continue
		}
		if m := exampleSetting.FindStringSubmatch(strings.TrimSpace(line)); m != nil && len(text) == 0 {
			if !slices.Contains([]string{"versions", "template", "data", "endpoint", "routing", "payload", "repeat"}, m[1]) {
				t.Fatalf("%s: unknown setting %s", file, m[1])
			}
			settings[m[1]] = m[2]
			continue
		}
		if len(list) > 0 {
			text = append(text, line)
		}
	}
	if len(list) > 0 {
		list[len(list)-1].text = withPictures(strings.Join(text, ""))
	}
	return list
}

// documents are the texts of an example by version.
func (e *example) documents(t *testing.T) map[Version]string {
	t.Helper()
	documents := map[Version]string{}
	span, given := e.settings["versions"]
	if !given && e.settings["template"] == "" {
		documents[Version{}] = e.text // whatever version it names
		return documents
	}
	if !given {
		span = "4.0-7.3"
	}
	from, to, isRange := strings.Cut(span, "-")
	if !isRange {
		to = from
	}
	for _, r := range releases {
		v := r.Version
		low, err := parseVersion(from)
		high, err2 := parseVersion(to)
		if err != nil || err2 != nil {
			t.Fatalf("versions: %s, expected 5.0 or 5.0-7.3", span)
		}
		if v.AtLeast(low.Major, low.Minor) && high.AtLeast(v.Major, v.Minor) {
			documents[v] = e.document(t, v)
		}
	}
	if len(documents) == 0 {
		t.Fatalf("versions: %s holds no version", span)
	}
	return documents
}

func (e *example) document(t *testing.T, v Version) string {
	t.Helper()
	text, routing := e.repeated(t), e.settings["routing"]
	switch e.settings["template"] {
	case "":
		return exampleVersion.ReplaceAllLiteralString(text, fmt.Sprintf(`"version": %q`, v))
	case "screens":
	case "components", "children", "inputs":
		if routing == "" {
			routing = `{"FIRST": []}`
		}
		data, payload := e.settings["data"], e.settings["payload"]
		if data != "" {
			data = `"data": ` + data + `, `
		}
		if payload == "" {
			payload = "{}"
		}
		if e.settings["template"] != "children" {
			text = strings.TrimRight(text, " \n") + ",\n" + `{"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": ` + payload + `}}`
		}
		if e.settings["template"] == "inputs" && v.Below(4, 0) {
			text = `{"type": "Form", "name": "form", "children": [` + text + `]}`
		}
		text = `{"id": "FIRST", "title": "First", "terminal": true, ` + data + `"layout": {"type": "SingleColumnLayout", "children": [` + "\n" + text + "\n]}}"
	default:
		t.Fatalf("template: %s, expected screens, components, inputs or children", e.settings["template"])
	}
	top := fmt.Sprintf(`"version": %q`, v)
	if e.settings["endpoint"] != "" {
		top += fmt.Sprintf(`, "data_api_version": %q`, e.settings["endpoint"])
		if v.Below(3, 0) {
			top += `, "data_channel_uri": "https://example.com"`
		}
	}
	if routing != "" && (e.settings["endpoint"] != "" || e.settings["routing"] != "") {
		top += `, "routing_model": ` + routing
	}
	return "{" + top + `, "screens": [` + "\n" + text + "\n]}"
}

// repeated is the text as often as the setting says, each with letters of its
// own instead of ##.
func (e *example) repeated(t *testing.T) string {
	t.Helper()
	if e.settings["repeat"] == "" {
		return e.text
	}
	times, err := strconv.Atoi(e.settings["repeat"])
	if err != nil || times > 26*26 {
		t.Fatalf("repeat: %s, expected a number up to %d", e.settings["repeat"], 26*26)
	}
	parts := make([]string, times)
	for i := range parts {
		parts[i] = strings.ReplaceAll(strings.TrimSpace(e.text), "##", string([]byte{byte('A' + i/26), byte('A' + i%26)}))
	}
	return strings.Join(parts, ",\n")
}

// problem says what is wrong with the report on a document of that name.
func (e *example) problem(rule string, report *Report) string {
	codes := func(list []Problem) (all, own []Code) {
		for _, p := range list {
			if !slices.Contains(all, p.Error) {
				all = append(all, p.Error)
			}
			if p.Rule == rule {
				own = append(own, p.Error)
			}
		}
		return all, own
	}
	all, own := codes(report.Errors)
	_, warned := codes(report.Warnings)
	name, isWarning := strings.CutPrefix(strings.TrimSuffix(e.name, ".json"), "warn-")
	name, _, _ = strings.Cut(name, "-")
	code := Code(name)
	switch {
	case code == "valid" || isWarning:
		if len(all) > 0 {
			return "has errors"
		}
		if isWarning && !slices.Contains(warned, code) {
			return fmt.Sprintf("rule %s warns with %v, expected %s", rule, warned, code)
		}
	case !slices.Contains(own, code):
		return fmt.Sprintf("rule %s says %v, expected %s", rule, own, code)
	case len(all) > 1:
		return fmt.Sprintf("has errors of the codes %v, expected only %s", all, code)
	}
	return ""
}

// allRules are those of ruleLists, and that the document is JSON.
func allRules() []rule {
	return slices.Concat(append([][]rule{{syntaxRule}}, ruleLists...)...)
}

func TestEachRuleHasDocumentsThatKeepItAndBreakIt(t *testing.T) {
	files := map[string]bool{}
	for _, r := range allRules() {
		file := filepath.Join("testdata", "rules", r.name+".txt")
		if files[file] {
			t.Errorf("two rules are named %s", r.name)
		}
		files[file] = true
		t.Run(r.name, func(t *testing.T) {
			if r.source == "" {
				t.Error("the rule names no source")
			}
			playExamples(t, r.name, file)
		})
	}
	found, err := filepath.Glob("testdata/rules/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if !files[file] {
			t.Errorf("%s belongs to no rule", file)
		}
	}
}

func playExamples(t *testing.T, rule, file string) {
	kept, broken := 0, 0
	seen := map[string]bool{}
	for _, e := range readExamples(t, file) {
		if seen[e.name] {
			t.Errorf("%s comes twice", e.name)
		}
		seen[e.name] = true
		if strings.HasPrefix(e.name, "valid") {
			kept++
		} else {
			broken++
		}
		for v, text := range e.documents(t) {
			report := Flow([]byte(text))
			if wrong := e.problem(rule, report); wrong != "" {
				t.Errorf("%s as %s %s\n%s%s", e.name, v, wrong, listing(report), text)
			}
		}
	}
	if kept == 0 || broken == 0 {
		t.Errorf("%s holds %d valid documents and %d others, expected both", file, kept, broken)
	}
}

func listing(report *Report) string {
	var b strings.Builder
	for _, p := range report.Errors {
		fmt.Fprintf(&b, "  error %d:%d %s (%s) %s\n", p.LineStart, p.ColumnStart, p.Error, p.Rule, p.Message)
	}
	for _, p := range report.Warnings {
		fmt.Fprintf(&b, "  warning %d:%d %s (%s) %s\n", p.LineStart, p.ColumnStart, p.Error, p.Rule, p.Message)
	}
	return b.String()
}
