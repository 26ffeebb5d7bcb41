package conversation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func testWords() *Words {
	return NewWords(time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC), "tok")
}

func TestPlaceholders(t *testing.T) {
	cases := []struct{ text, want string }{
		{"nothing in {} or {A} stands for anything", "nothing in {} or {A} stands for anything"},
		{"{today}", "2026-11-23"},
		{"{today+8} and {today-23}", "2026-12-01 and 2026-10-31"},
		{"{today+1:Monday, 2 January}", "Tuesday, 24 November"},
		{"{token}", "tok"},
	}
	for _, c := range cases {
		got, err := testWords().Fill(map[string]any{"a": []any{c.text, 1, true}})
		if err != nil || Compact(got) != `{"a":["`+c.want+`",1,true]}` {
			t.Errorf("%s: got %s (%v), want %s", c.text, Compact(got), err, c.want)
		}
	}
	for text, want := range map[string]string{
		"{code}":    "{code}: nothing has this name, known are today and token",
		"{=code}":   "{=code} takes a value, but here one is sent",
		"{token+1}": "nothing has this name",
	} {
		if _, err := testWords().FillString(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", text, err, want)
		}
	}
}

func TestExpectations(t *testing.T) {
	cases := []struct{ name, want, got, problem string }{
		{"the same", `{"a":[1,"x",true,{"b":1.5}]}`, `{"a":[1,"x",true,{"b":1.50}]}`, ""},
		{"anything", `{"a":"*"}`, `{"a":[1,2]}`, ""},
		{"anything, but missing", `{"a":"*"}`, `{}`, `data.a is missing, expected "*"`},
		{"a day", `{"a":"on {today+1}"}`, `{"a":"on 2026-11-24"}`, ""},
		{"another day", `{"a":"on {today+1}"}`, `{"a":"on 2026-11-25"}`, `data.a is "on 2026-11-25", expected "on {today+1}"`},
		{"another number", `{"a":1}`, `{"a":2}`, "data.a is 2, expected 1"},
		{"a number for a string", `{"a":"1"}`, `{"a":1}`, `data.a is 1, expected "1"`},
		{"a longer list", `{"a":[1]}`, `{"a":[1,2]}`, "data.a is [1,2], expected [1]"},
		{"something in a list", `{"a":[1,{"b":2}]}`, `{"a":[1,{"b":3}]}`, "data.a[1].b is 3, expected 2"},
		{"one key more", `{"a":1}`, `{"a":1,"b":2}`, "data.b is 2, expected no such key"},
		{"no object", `{"a":{}}`, `{"a":[]}`, "data.a is [], expected {}"},
		{"dots are dots", `{"a":"a.c"}`, `{"a":"abc"}`, `data.a is "abc", expected "a.c"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var want, got any
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			got, err := decode([]byte(c.got))
			if err != nil {
				t.Fatal(err)
			}
			err = testWords().Match("data", want, got)
			if (err == nil) != (c.problem == "") || err != nil && err.Error() != c.problem {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}

func TestAValueIsTakenAndUsed(t *testing.T) {
	w := testWords()
	if err := w.Match("body", "Your code is {=code}.", "Your code is 042137."); err != nil {
		t.Fatal(err)
	}
	if got, err := w.FillString("{code}"); err != nil || got != "042137" {
		t.Errorf("got %q (%v), want 042137", got, err)
	}
	if err := w.Match("body", "{code}", "042138"); err == nil {
		t.Error("another value fits")
	}
}
