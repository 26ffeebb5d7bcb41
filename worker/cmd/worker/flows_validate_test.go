package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	goodFlow = `{"version": "7.3", "screens": [
  {"id": "FIRST", "title": "First", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}
  ]}}
]}
`
	oldFlow = `{"version": "4.0", "screens": [
  {"id": "FIRST", "title": "First", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}
  ]}}
]}
`
)

// losingFlow hands what it asks on its first screen to nobody but the server.
const losingFlow = `{"version": "7.3", "data_api_version": "4.0", "routing_model": {"FIRST": ["LAST"], "LAST": []}, "screens": [
  {"id": "FIRST", "title": "First", "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "TextInput", "name": "word", "label": "Word"},
    {"type": "Footer", "label": "On", "on-click-action": {"name": "data_exchange", "payload": {"word": "${form.word}"}}}
  ]}},
  {"id": "LAST", "title": "Last", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "TextInput", "name": "more", "label": "More"},
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "data_exchange", "payload": {"more": "${form.more}"}}}
  ]}}
]}
`

// badFlow has a key too many, after a tab and characters of other widths.
var badFlow = strings.Replace(goodFlow, `"id": "FIRST", "title": "First"`, "\t\"title\": \"漢字 é\", \"id\": \"FIRST\", \"titel\": 1", 1)

// folder writes files, by their paths, into a new directory.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestValidatePrintsTheLineAndPointsAtThePlace(t *testing.T) {
	dir := folder(t, map[string]string{"bad.json": badFlow})
	code, stdout, stderr := execute(t, nil, "flows", "validate", dir)
	// 36 characters stand before the place: a tab takes 4 places, each of 漢字 2.
	want := dir + `/bad.json:2:37: error INVALID_PROPERTY_KEY a screen has no property "titel": did you mean "title"?
    2 |   {    "title": "漢字 é", "id": "FIRST", "titel": 1, "terminal": true, "layout": {"type": "SingleColum…
      | ` + strings.Repeat(" ", 36+3+2) + "^^^^^^^\n"
	if code != 1 || stdout != want || stderr != "worker: 1 of 1 files have errors\n" {
		t.Errorf("exit code %d, %q\n%s\nexpected\n%s", code, stderr, stdout, want)
	}
}

func TestValidateExitCodes(t *testing.T) {
	dir := folder(t, map[string]string{
		"good/flow.json": goodFlow, "old/flow.json": oldFlow, "bad/flow.json": badFlow, "empty/readme.txt": "x",
		"mixed/a.json": goodFlow, "mixed/package.json": `{"name": "x"}`, "mixed/.hidden.json": "{", "mixed/sub/flow.json": oldFlow,
		"broken/b.json": "{",
	})
	for _, c := range []struct {
		name, path string
		code       int
		says       string
	}{
		{"a valid flow", "good", 0, "good/flow.json: valid\n"},
		{"a valid file", "good/flow.json", 0, "good/flow.json: valid\n"},
		{"warnings only", "old", 0, "old/flow.json: valid, 1 warning\n"},
		{"a wrong flow", "bad", 1, "INVALID_PROPERTY_KEY"},
		{"a directory of flows and other files", "mixed", 0, "mixed/a.json: valid\n"},
		{"a folder within it", "mixed", 0, "mixed/sub/flow.json: valid, 1 warning\n"},
		{"JSON that is none", "broken", 1, "broken/b.json:1:2: error INVALID_FLOW_JSON"},
		{"a file that is named is a flow", "mixed/package.json", 1, "MISSING_FLOW_JSON_VERSION"},
		{"no such file", "nowhere.json", 1, "nowhere.json:1:1: error UNREADABLE_FILE no such file or directory\n"},
	} {
		code, stdout, _ := execute(t, nil, "flows", "validate", filepath.Join(dir, c.path))
		if code != c.code || !strings.Contains(stdout, c.says) || strings.Contains(stdout, "hidden") {
			t.Errorf("%s: exit code %d\n%s", c.name, code, stdout)
		}
	}
	if code, _, stderr := execute(t, nil, "flows", "validate", filepath.Join(dir, "empty")); code != 1 || !strings.Contains(stderr, "holds no flow") {
		t.Errorf("an empty directory: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := execute(t, nil, "flows", "validate"); code != 1 || !strings.Contains(stderr, "<paths>") {
		t.Errorf("no path: exit code %d, %s", code, stderr)
	}
}

func TestValidateReadsTheStandardInput(t *testing.T) {
	c := newCommand(t.Context(), nil)
	c.process.stdin = strings.NewReader(badFlow)
	if code := run(c.process, []string{"flows", "validate", "-"}); code != 1 || !strings.HasPrefix(c.stdout.String(), "-:2:37: error INVALID_PROPERTY_KEY") {
		t.Errorf("exit code %d\n%s%s", code, c.stdout.String(), c.stderr.String())
	}
}

func TestValidateShowsMistakesOfTheLogic(t *testing.T) {
	dir := folder(t, map[string]string{"flow.json": goodFlow, "logic.yaml": "screens:\n  NOWHERE: {}\n"})
	code, stdout, _ := execute(t, nil, "flows", "validate", dir)
	if code != 1 || !strings.Contains(stdout, "flow.json: valid\n") || !strings.Contains(stdout, "logic.yaml:2:3: error INVALID_LOGIC") || !strings.Contains(stdout, "    2 |   NOWHERE: {}\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestValidateSaysNothingOfLogicWhoseFlowIsBroken(t *testing.T) {
	dir := folder(t, map[string]string{"flow.json": strings.Replace(goodFlow, `"complete"`, `"complet"`, 1), "logic.yaml": "screens:\n  FIRST: {}\n"})
	code, stdout, _ := execute(t, nil, "flows", "validate", dir)
	if code != 1 || !strings.Contains(stdout, "flow.json:") || strings.Contains(stdout, "logic.yaml") || strings.Contains(stdout, "NOT_RUNNABLE") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestValidateRefusesLogicInTwoFilesAsLoadDoes(t *testing.T) {
	dir := folder(t, map[string]string{"book/flow.json": goodFlow, "book/logic.yaml": "screens: {}\n", "book/logic.json": "{}\n"})
	code, stdout, _ := execute(t, nil, "flows", "validate", dir)
	want := dir + "/book/flow.json: valid\n" + dir + "/book/logic.json:1:1: error INVALID_LOGIC the logic of this flow is already given by logic.yaml: keep one of them\n"
	if code != 1 || stdout != want {
		t.Errorf("exit code %d\n%s\nexpected\n%s", code, stdout, want)
	}
}

func TestValidateWarnsOfWhatLoadWarnsOf(t *testing.T) {
	dir := folder(t, map[string]string{"lost/flow.json": losingFlow})
	file := filepath.Join(dir, "lost", "flow.json")
	const warning = "without a flow token these answers do not reach the result: word of FIRST"
	for format, want := range map[string]string{
		"human":  file + ":1:1: warning FLOW_WARNING " + warning + "\n" + file + ": valid, 1 warning\n",
		"github": "::warning file=" + property.Replace(file) + ",line=1,col=1,endColumn=1,title=FLOW_WARNING::" + warning + "\n",
	} {
		if code, stdout, _ := execute(t, nil, "flows", "validate", "--format", format, dir); code != 0 || stdout != want {
			t.Errorf("%s: exit code %d\n%s\nexpected\n%s", format, code, stdout, want)
		}
	}
	code, stdout, _ := execute(t, nil, "flows", "validate", "--format", "json", dir)
	var files []struct {
		Valid    bool
		Warnings []map[string]any
	}
	if err := json.Unmarshal([]byte(stdout), &files); err != nil || code != 0 || len(files) != 1 || !files[0].Valid || len(files[0].Warnings) != 1 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
	for key, want := range map[string]any{"error": "FLOW_WARNING", "error_type": "ENGINE_WARNING", "message": warning, "line_start": 1.0} {
		if got := files[0].Warnings[0][key]; got != want {
			t.Errorf("%s is %v, expected %v", key, got, want)
		}
	}
}

func TestValidateAsJSONHasMetasShape(t *testing.T) {
	dir := folder(t, map[string]string{"a.json": goodFlow, "b.json": badFlow})
	code, stdout, _ := execute(t, nil, "flows", "validate", "--format", "json", dir)
	var files []struct {
		File     string
		Valid    bool
		Errors   []map[string]any
		Warnings []map[string]any
	}
	if err := json.Unmarshal([]byte(stdout), &files); err != nil || code != 1 || len(files) != 2 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
	if a := files[0]; !a.Valid || a.Errors == nil || len(a.Errors) > 0 || a.Warnings == nil {
		t.Errorf("%+v", a)
	}
	e := files[1].Errors[0]
	for key, want := range map[string]any{"error": "INVALID_PROPERTY_KEY", "error_type": "FLOW_JSON_ERROR", "line_start": 2.0, "line_end": 2.0, "column_start": 37.0, "column_end": 44.0} {
		if e[key] != want {
			t.Errorf("%s is %v, expected %v", key, e[key], want)
		}
	}
	pointer := e["pointers"].([]any)[0].(map[string]any)
	if pointer["path"] != "screens[0].titel" || pointer["column_start"] != 37.0 {
		t.Errorf("%v", pointer)
	}
}

func TestValidateForGitHubEscapesWhatWouldEndACommand(t *testing.T) {
	dir := folder(t, map[string]string{"100%,a:b.json": strings.Replace(goodFlow, `"title": "First"`, `"title": "First", "50%\n::error::x": 1`, 1)})
	_, stdout, _ := execute(t, nil, "flows", "validate", "--format", "github", dir)
	want := "::error file=" + property.Replace(dir) + `/100%25%2Ca%3Ab.json,line=2,col=37,endColumn=54,title=INVALID_PROPERTY_KEY::a screen has no property "50%25\n::error::x"` + "\n"
	if stdout != want {
		t.Errorf("%s\nexpected\n%s", stdout, want)
	}
	dir = folder(t, map[string]string{"a.json": strings.Replace(goodFlow, `"terminal": true`, "\"terminal\": [\n]", 1)})
	if _, stdout, _ = execute(t, nil, "flows", "validate", "--format", "github", dir); !strings.Contains(stdout, ",line=2,endLine=3,title=INVALID_PROPERTY_TYPE::") {
		t.Errorf("of two lines: %s", stdout)
	}
}

func TestExcerptOfOddLines(t *testing.T) {
	for _, c := range []struct {
		name, line string
		from, to   int
		text, mark string
	}{
		{"plain", `"a": 1`, 6, 7, `"a": 1`, `     ^`},
		{"a tab is four places", "\t\"a\"", 2, 5, `    "a"`, `    ^^^`},
		{"a marked tab", "\ta", 1, 2, `    a`, `^^^^`},
		{"wide characters are two places", `漢字x`, 2, 4, `漢字x`, `  ^^^`},
		{"combining marks are none", "e\u0301x", 3, 4, "e\u0301x", ` ^`},
		{"the end of the line", `ab`, 3, 3, `ab`, `  ^`},
		{"nothing", `ab`, 1, 1, `ab`, `^`},
		{"commands for a terminal", "a\x1b[31mb", 1, 2, `a·[31mb`, `^`},
		{"no UTF-8", "a\xffb", 3, 4, `a·b`, `  ^`},
		{"a long line before", strings.Repeat("a", 100) + "b", 101, 102, "…" + strings.Repeat("a", 40) + "b", strings.Repeat(" ", 41) + "^"},
		{"a long line after", "b" + strings.Repeat("a", 100), 1, 2, "b" + strings.Repeat("a", 60) + "…", "^"},
	} {
		if text, mark := excerpt([]byte(c.line), c.from, c.to); text != c.text || mark != c.mark {
			t.Errorf("%s:\n%q\n%q\nexpected\n%q\n%q", c.name, text, mark, c.text, c.mark)
		}
	}
}

func TestExpectComparesWithLabels(t *testing.T) {
	dir := folder(t, map[string]string{"good.json": goodFlow, "bad.json": badFlow, "sub/flow.json": oldFlow, "package.json": "{}"})
	for _, c := range []struct {
		name, labels string
		code         int
		says         string
	}{
		{"agreement", "# ours\ngood.json\tvalid\tno reason\nbad.json\tINVALID_PROPERTY_KEY\n\nsub/flow.json\tvalid\n", 0, "all 3 documents agree with their labels\n"},
		{"a valid one is called wrong", "good.json\tINVALID_PROPERTY_KEY\nbad.json\tINVALID_PROPERTY_KEY\nsub/flow.json\tvalid\n", 1, "good.json      DIFFERS  INVALID_PROPERTY_KEY  valid\n"},
		{"a wrong one is called valid", "good.json\tvalid\nbad.json\tvalid\nsub/flow.json\tvalid\n", 1, "bad.json       DIFFERS  valid  INVALID_PROPERTY_KEY\n"},
		{"another code", "good.json\tvalid\nbad.json\tINVALID_PROPERTY_KEY,INVALID_ENUM_VALUE\nsub/flow.json\tvalid\n", 1, "bad.json       DIFFERS  INVALID_PROPERTY_KEY,INVALID_ENUM_VALUE  INVALID_PROPERTY_KEY\n"},
		{"no label", "good.json\tvalid\nbad.json\tINVALID_PROPERTY_KEY\n", 1, "sub/flow.json  DIFFERS  no label              valid\n"},
		{"no document", "good.json\tvalid\nbad.json\tINVALID_PROPERTY_KEY\nsub/flow.json\tvalid\ngone.json\tvalid\n", 1, "gone.json      DIFFERS  valid                 no such document\n"},
	} {
		labels := filepath.Join(folder(t, map[string]string{"labels.tsv": c.labels}), "labels.tsv")
		code, stdout, _ := execute(t, nil, "flows", "validate", "--expect", labels, dir)
		if code != c.code || !strings.Contains(stdout, c.says) {
			t.Errorf("%s: exit code %d\n%s", c.name, code, stdout)
		}
	}
	for labels, says := range map[string]string{"good.json valid\n": "labels.tsv:1: expected a path, a tab", "a.json\tvalid\na.json\tvalid\n": "labels.tsv:2: a.json is labelled twice"} {
		file := filepath.Join(folder(t, map[string]string{"labels.tsv": labels}), "labels.tsv")
		if code, _, stderr := execute(t, nil, "flows", "validate", "--expect", file, dir); code != 1 || !strings.Contains(stderr, says) {
			t.Errorf("exit code %d, %s", code, stderr)
		}
	}
}

func TestLoadRefusesWhatMetaWouldRefuse(t *testing.T) {
	nowhere := map[string]string{"DATABASE_URL": "postgres://u:p@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
	dir := folder(t, map[string]string{"bad.json": badFlow, "old.json": oldFlow})
	code, stdout, stderr := execute(t, nowhere, "flows", "load", dir)
	if code != 1 || !strings.Contains(stderr, "nothing was loaded: Meta would refuse 1 of 2 flows: mend them, or load them with --force") || !strings.Contains(stdout, "bad.json:2:37: error") || !strings.Contains(stdout, "old.json:1:13: warning VERSION_FROZEN") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	if code, _, stderr = execute(t, nowhere, "flows", "load", "--force", dir); code != 1 || !strings.Contains(stderr, "connecting to Postgres") {
		t.Errorf("forced: exit code %d, %s", code, stderr)
	}
	if code, _, stderr = execute(t, nowhere, "flows", "load", folder(t, map[string]string{"broken.json": "{"})); code != 1 || stderr != "worker: nothing was loaded: Meta would refuse 1 of 1 flows: mend them\n" {
		t.Errorf("JSON that is none: exit code %d, %s", code, stderr)
	}
}

func TestLoadNamesEveryFlowThatDoesNotWork(t *testing.T) {
	nowhere := map[string]string{"DATABASE_URL": "postgres://u:p@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
	dir := folder(t, map[string]string{
		"a/flow.json": goodFlow, "a/logic.yaml": "screens:\n  NOWHERE: {}\n  NIRGENDS: {}\n",
		"b/flow.json": goodFlow,
		"c/flow.json": goodFlow, "c/logic.yaml": "screens: {}\n", "c/logic.yml": "screens: {}\n",
	})
	code, stdout, stderr := execute(t, nowhere, "flows", "load", dir)
	want := `a/logic.yaml:2:3: NOWHERE: the flow has screens FIRST
a/logic.yaml:3:3: NIRGENDS: the flow has screens FIRST
c/logic.yml: the logic of this flow is already given by c/logic.yaml: keep one of them
`
	if code != 1 || stdout != want || stderr != "worker: nothing was loaded: mend what is said above\n" {
		t.Errorf("exit code %d, %s\n%s\nexpected\n%s", code, stderr, stdout, want)
	}
}

// docs/validator.md is tried, not believed.
func TestTheCommandsOfTheDocumentationWork(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "validator.md"))
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir() + "/"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", temp+"worker", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script := []string{"set -euo pipefail"}
	fenced := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if command, found := strings.CutPrefix(line, "    "); found && !fenced {
			script = append(script, strings.NewReplacer("/tmp/", temp, "bin/worker", temp+"worker").Replace(strings.TrimSpace(command)))
		}
	}
	if len(script) < 5 {
		t.Fatalf("the document has %d commands", len(script)-1)
	}
	c := exec.CommandContext(t.Context(), "bash", "-xc", strings.Join(script, "\n"))
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "all 2 documents agree") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("\t\"漢\": 1\x1b"), 3, 4)
	f.Fuzz(func(t *testing.T, line []byte, from, to int) {
		if from < 1 || from > len(line)+1 || to < from {
			return
		}
		text, mark := excerpt(line, from, to)
		if strings.ContainsAny(text, "\x1b\n\r\t") || len([]rune(text)) > 4*(excerptBefore+excerptAfter+3) || !strings.Contains(mark, "^") && cells(text) > 0 && !hasCombining(text) {
			t.Fatalf("%q\n%q", text, mark)
		}
	})
}

func hasCombining(text string) bool {
	for _, r := range text {
		if cells(string(r)) == 0 {
			return true
		}
	}
	return false
}
