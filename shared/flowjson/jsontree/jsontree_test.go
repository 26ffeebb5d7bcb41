package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEveryValueKnowsItsPlace(t *testing.T) {
	text := []byte("\xef\xbb\xbf{\"a\": [1, {\"é\": \"x\\n\"}, true],\n \"a\" : null}")
	top, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	value := top.Members[0].Value.Items[1].Get("é")
	if value.Path() != "a[1].é" || value.Text != "x\n" || string(text[value.Start:value.End]) != `"x\n"` {
		t.Errorf("%q %q %q", value.Path(), value.Text, text[value.Start:value.End])
	}
	second := top.Member("a")
	if line, column := NewLines(text).Place(second.Start); line != 2 || column != 2 || top.Get("a").Kind != Null {
		t.Errorf("the last a is at %d:%d", line, column)
	}
	if string(NewLines(text).Line(2)) != ` "a" : null}` || top.Path() != "" {
		t.Errorf("line 2 is %q", NewLines(text).Line(2))
	}
}

func TestSyntaxErrorsNameTheirPlace(t *testing.T) {
	for text, offset := range map[string]int{
		``: 0, `{`: 1, `{"a" 1}`: 5, `{"a":1,}`: 6, `[1 2]`: 3, `{} x`: 2, "[\"\x01\"]": 2, "[\"\xff\"]": 2, `{"a":tru}`: 8,
	} {
		_, err := Parse([]byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Offset != offset || syntax.Message == "" {
			t.Errorf("%q: %#v, expected one at %d", text, err, offset)
		}
	}
	if _, err := Parse([]byte(strings.Repeat("[", 1<<20))); err == nil {
		t.Error("a million levels pass")
	}
}

func TestSyntaxErrorsAreInPlainWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "the file is empty",
		" \n":                "the file is empty",
		`{"a": 1, }`:         "a comma before }: remove it",
		"[1,\n]":             "a comma before ]: remove it",
		`{"a":,}`:            "a comma before }: remove it",
		`[,1]`:               "a value is missing at this comma",
		"{ // hi\n\"a\": 1}": "JSON has no comments: remove it",
		"{\"a\": 1 /* x */}": "JSON has no comments: remove it",
		"{} # x":             "JSON has no comments: remove it",
		`{“a”: 1}`:           `quotes must be "`,
		`{'a': 1}`:           `quotes must be "`,
		`{"a": 1 "b": 2}`:    "a comma is missing before this",
		`{"a": }`:            "a value is missing before }",
		`{"a": 1`:            "the file ends before everything in it is closed",
		"{\"a\": \"b\nc\"}":  `a text ends with its line: close it with ", or write \n for a new line`,
		`{"a": True}`:        "invalid character 'T' at start of value",
		`{} {}`:              "text follows the end of the document",
	} {
		if _, err := Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, expected %s", text, err, want)
		}
	}
}

func TestColumnsOfALongLineCountCharacters(t *testing.T) {
	text := []byte(`"` + strings.Repeat("añ漢🙂", 3000) + `"` + "\n" + strings.Repeat("é", 5000))
	lines := NewLines(text)
	first := strings.IndexByte(string(text), '\n')
	for _, offset := range []int{0, 1, 1023, 1024, 1025, 4099, 20000, first, first + 1, first + 2001, len(text), len(text) + 1, -1} {
		line, column := lines.Place(offset)
		inside := text[:min(max(offset, 0), len(text))]
		begin := bytes.LastIndexByte(inside, '\n') + 1
		expected := 1
		for i := begin; i < len(inside); i++ {
			if utf8.RuneStart(text[i]) {
				expected++
			}
		}
		if line != 1+bytes.Count(inside, []byte{'\n'}) || column != expected {
			t.Errorf("offset %d is at %d:%d, expected column %d", offset, line, column, expected)
		}
	}
}

func TestPathsAreBounded(t *testing.T) {
	top, err := Parse([]byte(`{"` + strings.Repeat("é", 1<<16) + `":{"b":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	path := top.Members[0].Value.Get("b").Path()
	if len(path) > 200 || !utf8.ValidString(path) || !strings.HasSuffix(path, "….b") {
		t.Errorf("%q", path)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,"b\u0041",{"c":null}],"a":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		top, err := Parse(text)
		if err != nil {
			return
		}
		var check func(n *Node)
		check = func(n *Node) {
			if n.Start < 0 || n.End > len(text) || n.Start >= n.End || !json.Valid(text[n.Start:n.End]) {
				t.Fatalf("%q stands at %d:%d of %q", n.Path(), n.Start, n.End, text)
			}
			for _, item := range n.Items {
				check(item)
			}
			for _, m := range n.Members {
				check(m.Value)
			}
		}
		check(top)
	})
}
