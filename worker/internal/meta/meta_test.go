package meta

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The commands of package main are tried against Meta's side there; here stands
// what can be tried alone.

func TestDifferencesOfLines(t *testing.T) {
	numbers := strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")
	changed := func(changes map[string]string) []string {
		var lines []string
		for _, line := range numbers {
			if to, found := changes[line]; !found {
				lines = append(lines, line)
			} else if to != "" {
				lines = append(lines, strings.Fields(to)...)
			}
		}
		return lines
	}
	for _, c := range []struct {
		name     string
		old, new []string
		want     string
	}{
		{"the same", numbers, numbers, ""},
		{"nothing there yet", nil, []string{"a", "b"}, "@@ -1,0 +1,2 @@|+a|+b"},
		{"nothing left", []string{"a"}, nil, "@@ -1,1 +1,0 @@|-a"},
		{"a line changed", numbers, changed(map[string]string{"10": "x"}), "@@ -7,7 +7,7 @@| 7| 8| 9|-10|+x| 11| 12| 13"},
		{"the first one removed", numbers, changed(map[string]string{"1": ""}), "@@ -1,4 +1,3 @@|-1| 2| 3| 4"},
		{"one added at the end", numbers, changed(map[string]string{"20": "20 21"}), "@@ -18,3 +18,4 @@| 18| 19| 20|+21"},
		{"two places far apart", numbers, changed(map[string]string{"3": "", "17": "17 x"}), "@@ -1,6 +1,5 @@| 1| 2|-3| 4| 5| 6|@@ -15,6 +14,7 @@| 15| 16| 17|+x| 18| 19| 20"},
		{"two places near", numbers, changed(map[string]string{"8": "", "12": "x"}), "@@ -5,11 +5,10 @@| 5| 6| 7|-8| 9| 10| 11|-12|+x| 13| 14| 15"},
	} {
		if got := strings.Join(lineDiff(c.old, c.new), "|"); got != c.want {
			t.Errorf("%s: %s\nexpected %s", c.name, got, c.want)
		}
	}
}

// apply makes both texts out of their difference.
func apply(edits []edit) (old, new []string) {
	for _, e := range edits {
		if e.kind != '+' {
			old = append(old, e.line)
		}
		if e.kind != '-' {
			new = append(new, e.line)
		}
	}
	return old, new
}

func FuzzEdits(f *testing.F) {
	f.Add("a b c", "a x c")
	f.Add("", "a")
	f.Add("a b a b a", "b a b")
	f.Fuzz(func(t *testing.T, a, b string) {
		old, new := strings.Fields(a), strings.Fields(b)
		gotOld, gotNew := apply(editsOf(old, new))
		if !slices.Equal(gotOld, old) || !slices.Equal(gotNew, new) {
			t.Fatalf("%q and %q became %q and %q", old, new, gotOld, gotNew)
		}
		if len(lineDiff(old, new)) > mostLines+1 {
			t.Fatal("too many lines")
		}
	})
}

func TestTextsWithNothingInCommon(t *testing.T) {
	old, new := strings.Split(strings.Repeat("a\n", 2000), "\n"), strings.Split(strings.Repeat("b\n", 2000), "\n")
	gotOld, gotNew := apply(editsOf(old, new))
	if !slices.Equal(gotOld, old) || !slices.Equal(gotNew, new) {
		t.Error("lines were lost")
	}
	if got := lineDiff(old, new); len(got) != mostLines+1 {
		t.Errorf("%d lines are told", len(got))
	}
}

func TestHashesOfOneDocumentInSeveralSpellings(t *testing.T) {
	base := Hash([]byte(`{"version": "7.3", "screens": [{"a": 1.0, "b": "é"}]}`))
	for name, c := range map[string]struct {
		text string
		same bool
	}{
		"another layout":       {"{\n \"version\":\"7.3\",\"screens\":[{\"a\":1.0,\"b\":\"é\"}]}\n", true},
		"another order":        {`{"screens": [{"b": "é", "a": 1.0}], "version": "7.3"}`, true},
		"escapes":              {`{"version": "7.3", "screens": [{"a": 1.0, "b": "\u00e9"}]}`, true},
		"a byte order mark":    {"\xef\xbb\xbf" + `{"version": "7.3", "screens": [{"a": 1.0, "b": "é"}]}`, true},
		"another number":       {`{"version": "7.3", "screens": [{"a": 1, "b": "é"}]}`, false},
		"something behind it":  {`{"version": "7.3", "screens": [{"a": 1.0, "b": "é"}]} {}`, false},
		"no JSON":              {`{`, false},
		"another order of two": {`{"version": "7.3", "screens": [{"a": 1.0, "b": "é"}, {}]}`, false},
	} {
		if same := Hash([]byte(c.text)) == base; same != c.same {
			t.Errorf("%s: the same is %v", name, same)
		}
	}
}

func TestLockFilesThatAreNone(t *testing.T) {
	const account = "102290129340398"
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":             {"<<<<<<< HEAD", "is no lock file"},
		"unknown keys":        {`{"version":1,"waba_id":"102290129340398","flows":{},"more":1}`, "is no lock file"},
		"a newer version":     {`{"version":2,"waba_id":"102290129340398","flows":{}}`, "use a newer worker"},
		"another account":     {`{"version":1,"waba_id":"1","flows":{}}`, "is of the WhatsApp Business Account 1"},
		"a flow without id":   {`{"version":1,"waba_id":"102290129340398","flows":{"x":{"name":"x"}}}`, "the flow x has no id"},
		"a flow that is null": {`{"version":1,"waba_id":"102290129340398","flows":{"x":null}}`, "the flow x has no id"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(LockFile(dir, "production"), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLock(dir, "production", account); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

func TestALockFileIsWrittenInOneStepAndReadBack(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLock(dir, "staging", "1")
	if err != nil {
		t.Fatal(err)
	}
	l.Endpoint = "https://flows.example.com/flows/endpoint/{flow}"
	l.Flows["survey"] = &Entry{ID: "7", Name: "survey 2", JSON: "h", Former: []string{"6"}}
	for range 2 {
		if err := l.Save(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenLock(dir, "staging", "1")
	if err != nil || again.Endpoint != l.Endpoint || again.Flows["survey"].ID != "7" || again.nameOf("7") != "survey" || !again.former("6") || again.former("7") {
		t.Errorf("%+v, %v", again, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	l.file = filepath.Join(dir, "nowhere", "x")
	if err := l.Save(); err == nil || !strings.Contains(err.Error(), "writing the lock file") {
		t.Error(err)
	}
}

func TestTwoDoNotWorkInOneFolder(t *testing.T) {
	dir := t.TempDir()
	release, err := Alone(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Alone(dir); err == nil || !strings.Contains(err.Error(), "another `worker meta` is at work in "+dir) {
		t.Errorf("a second one: %v", err)
	}
	elsewhere, err := Alone(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere()
	release()
	if release, err = Alone(dir); err != nil {
		t.Fatalf("after the first one: %v", err)
	}
	release()
	if _, err := Alone(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that is not there")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
}

func TestNamesOfFoldersAndEndpoints(t *testing.T) {
	for from, want := range map[string]string{
		"survey": "survey", "Book a table!": "Book-a-table", "../../etc/passwd": "etc-passwd", ".hidden": "hidden", "漢字": "", "Ünï code 2": "n-code-2", "a_b.c": "a_b.c",
		strings.Repeat("x", 300): strings.Repeat("x", 100),
	} {
		if got := folderName(from); got != want {
			t.Errorf("folder of %q is %q, expected %q", from, got, want)
		}
	}
	for from, want := range map[string]string{
		"https://flows.example.com/flows/endpoint/survey":        "survey",
		"https://flows.example.com/a/shop/flows/endpoint/survey": "survey",
		"https://flows.example.com/flows/endpoint?flow=survey":   "survey",
		"https://flows.example.com/webhook":                      "",
		"":                                                       "",
		":":                                                      "",
	} {
		if got := EndpointName(from); got != want {
			t.Errorf("flow of %q is %q, expected %q", from, got, want)
		}
	}
}
