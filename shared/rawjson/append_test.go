package rawjson

import (
	"bytes"
	"encoding/json"
	"testing"
)

// reference is encoding/json without HTML escaping.
func reference(t *testing.T, value any) string {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte{'\n'}))
}

func TestEveryCharacterIsSpelledAsEncodingJSONSpellsIt(t *testing.T) {
	for c := range rune(0x3000) {
		text := "a" + string(c) + "b"
		if got, want := string(AppendString(nil, text)), reference(t, text); got != want {
			t.Errorf("U+%04X is written %s, expected %s", c, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "<&>", "\u2028\u2029\u2027", "\xff\xc3", "\xed\xa0\x80", "😀", "\ufffd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := string(AppendString([]byte("x"), text)), "x"+reference(t, text); got != want {
			t.Errorf("written %s, expected %s", got, want)
		}
	})
}

func TestAnObjectHasItsNamesSortedAndItsValuesAsTheyCame(t *testing.T) {
	members := map[string]json.RawMessage{"b": json.RawMessage(` "\u0041" `), "a\n": json.RawMessage(`1.0`), "": json.RawMessage(`{}`)}
	want := `{"":{},"a\n":1.0,"b": "\u0041" }`
	if got := string(AppendObject(nil, members)); got != want {
		t.Errorf("written %s, expected %s", got, want)
	}
	if got := string(AppendObject(nil, nil)); got != `{}` {
		t.Errorf("nothing is written %s, expected {}", got)
	}
}
