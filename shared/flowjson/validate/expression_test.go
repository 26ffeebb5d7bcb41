package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// known are the references of these tests: ${data.n} is a number, and so on.
func known(r reference) (valueType, fmt.Stringer) {
	switch strings.Join(r.path, ".") {
	case "n", "m":
		return aNumber, nil
	case "s", "t":
		return aString, nil
	case "b", "c":
		return aBoolean, nil
	case "list":
		return anArray, nil
	case "any":
		return 0, nil
	}
	return 0, sentence("there is no such value")
}

func TestAnExpressionGivesAType(t *testing.T) {
	for _, test := range []struct {
		text string
		want valueType
	}{
		{`'text'`, aString},
		{`"text"`, aString},
		{`''`, aString},
		{`'it\'s'`, aString},
		{"'a ` and a \\` '", aString},
		{`12`, aNumber},
		{`0.5`, aNumber},
		{`.5`, aNumber},
		{`1e3`, aNumber},
		{`2.5E-3`, aNumber},
		{`true`, aBoolean},
		{`${data.n}`, aNumber},
		{`${form.s}`, aString},
		{`${screen.OTHER.data.b}`, aBoolean},
		{`${data.list}`, anArray},
		{`${data.any}`, 0},
		{`  ( ${data.n} )  `, aNumber},
		{`${data.n} + 2 * ${data.m} - 6 / 3 % 2`, aNumber},
		{`-${data.n}`, aNumber},
		{`- -1`, aNumber},
		{`${data.n}-1`, aNumber},
		{`!${data.b}`, aBoolean},
		{`!!(${data.b})`, aBoolean},
		{`${data.n} == 1`, aBoolean},
		{`${data.s} != 'a'`, aBoolean},
		{`${data.b} == true`, aBoolean},
		{`${data.n} <= 1 && ${data.m} >= 2 || ${data.b}`, aBoolean},
		{`${data.n} + 1 > ${data.m} * 2`, aBoolean},
		{`${data.any} && ${data.b}`, aBoolean},
		{`${data.any} + 1`, aNumber},
		{`'a' 'b'`, aString},
		{`${data.n} ${data.m}`, aString},
		{`'a'${data.s}'b'`, aString},
		{`'sum: ' (${data.n} + 1) ' and ' !${data.b}`, aString},
		{`'a', 'b'; 'c'`, aString},
	} {
		e, err := parseExpression(test.text, nestedDialect, known)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		} else if e.types != test.want {
			t.Errorf("%s gives %s, expected %s", test.text, e.types, test.want)
		}
	}
}

// malformed are texts that are no expression, the part the error points at, and
// words of its message.
var malformed = []struct{ text, part, words string }{
	{``, ``, "empty"},
	{` `, ``, "empty"},
	{`'a`, `'a`, "never closed"},
	{`'a\'`, `'a\'`, "never closed"},
	{`${data.n`, `${data.n`, "never closed"},
	{`(${data.n}`, `(`, "never closed"},
	{`${data.n})`, `)`, "closes no parenthesis"},
	{`()`, `()`, "parentheses are empty"},
	{`( )`, `( )`, "parentheses are empty"},
	{`${data.n} +`, `+`, "a value is missing after +"},
	{`${data.n} + * 2`, `*`, "a value is missing before *"},
	{`(${data.n} + )`, `)`, "a value is missing before )"},
	{`* 2`, `*`, "a value is missing before *"},
	{`('a' 'b')`, `'b'`, "outside parentheses"},
	{`${data.n} + 's'`, `'s'`, "+ takes numbers"},
	{`${data.s} < 1`, `${data.s}`, "< takes numbers"},
	{`${data.s} && ${data.b}`, `${data.s}`, "&& takes booleans"},
	{`!${data.n}`, `${data.n}`, "! takes a boolean"},
	{`-${data.s}`, `${data.s}`, "- takes a number"},
	{`${data.n} == 's'`, `${data.n} == 's'`, "values of one type"},
	{`${data.list} + 1`, `${data.list}`, "is array"},
	{`${data.x}`, `${data.x}`, "no such value"},
	{`${data}`, `${data}`, "no reference"},
	{`${data. n}`, `${data. n}`, "no reference"},
	{`${data.n-m}`, `${data.n-m}`, "read as minus"},
	{`${data.b} ? 1 : 2`, `?`, "If or Switch"},
	{`${data.n} = 1`, `=`, "equality is =="},
	{`${data.n} === 1`, `===`, "write =="},
	{`${data.n} !== 1`, `!==`, "write !="},
	{`${data.b} & ${data.c}`, `&`, "and is &&"},
	{`${data.b} | ${data.c}`, `|`, "or is ||"},
	{`hello`, `hello`, "single quotes"},
	{`null`, `null`, "no value"},
	{`data.n`, `data.n`, "no value"},
	{`$data.n`, `$`, "a reference is"},
	{`'a' é`, `é`, "no value"},
	{`'a' €`, `€`, "does not belong here"},
	{`1e`, `1e`, "no number"},
	{`.`, `.`, "no number"},
	{"'a' ` 'b'", "`", "does not belong here"},
}

func TestAnErrorPointsAtThePartThatIsWrong(t *testing.T) {
	for _, test := range malformed {
		_, err := parseExpression(test.text, nestedDialect, known)
		var wrong *expressionError
		if !errors.As(err, &wrong) {
			t.Errorf("%s is accepted, expected an error with %q", test.text, test.words)
			continue
		}
		if part := test.text[wrong.offset : wrong.offset+wrong.length]; strings.TrimSpace(part) != test.part {
			t.Errorf("%s: the error points at %q, expected %q", test.text, part, test.part)
		}
		if !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %q, expected words like %q", test.text, err, test.words)
		}
	}
}

func TestAConditionWithoutBackticksKnowsLess(t *testing.T) {
	for _, text := range []string{
		`${data.b}`, `!${data.b}`, `${data.b} && !${data.c}`, `(${data.n} == 1) && (${data.s} != 'a')`,
		`!(${data.n} > -3)`, `'a' == ${data.s}`, `${data.b} == true`, `((${data.n} < 10))`, `${data.n} == 0`,
	} {
		if e, err := parseExpression(text, conditionDialect, known); err != nil || e.types != aBoolean || e.references == 0 {
			t.Errorf("%s: %+v %v, expected a boolean with references", text, e, err)
		}
	}
	for text, words := range map[string]string{
		`${data.n} + 1 == 2`:             "cannot calculate",
		`${data.n} - 1 == 2`:             "no number",
		`${data.n} == 1.5`:               "whole numbers",
		`${data.n} == 01`:                "starts with a zero",
		`${data.n} == -0`:                "starts with a zero",
		`${data.s} == "a"`:               "single quotes",
		`${data.s} ${data.t}`:            "an operator is missing",
		`1 == 2`:                         "both sides",
		`(1 == 1) && ${data.b}`:          "both sides",
		`${data.n} == 1 && ${data.b}`:    "parentheses",
		`${data.b} && ${data.n} == 1`:    "parentheses",
		`!${data.b} == ${data.c}`:        "parentheses",
		`${data.b} == ${data.c} == true`: "parentheses",
	} {
		if _, err := parseExpression(text, conditionDialect, known); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, expected an error with %q", text, err, words)
		}
	}
}

func TestAReferenceNamesAStoreAndAPath(t *testing.T) {
	for text, want := range map[string]reference{
		`${data.a}`:                {store: "data", path: []string{"a"}},
		`${data.a.b.c}`:            {store: "data", path: []string{"a", "b", "c"}},
		`${form.first-name}`:       {store: "form", path: []string{"first-name"}},
		`${screen.A_B.form.a}`:     {screen: "A_B", store: "form", path: []string{"a"}},
		`${screen.A.data.a.b}`:     {screen: "A", store: "data", path: []string{"a", "b"}},
		`${data.screen.data.form}`: {store: "data", path: []string{"screen", "data", "form"}},
	} {
		got, ok := parseReference(text)
		if !ok || got.screen != want.screen || got.store != want.store || !slices.Equal(got.path, want.path) {
			t.Errorf("%s is read as %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		``, `data.a`, `${`, `${}`, `${data}`, `${data.}`, `${data..a}`, `${.a}`, `${form}`, `${other.a}`, `${ data.a}`, `${data.a }`,
		`${screen.A.data}`, `${screen.A.other.a}`, `${screen..data.a}`, `${screen}`, `a${data.a}`, `${data.a}a`, `${data.a}${data.b}`, "${data.`a`}", `$ {data.a}`,
	} {
		if got, ok := parseReference(text); ok {
			t.Errorf("%s is read as %+v, expected no reference", text, got)
		}
	}
}

// hostile are texts of n bytes or some more.
func hostile(n int) map[string]string {
	return map[string]string{
		"open parentheses":   strings.Repeat("(", n),
		"closed parentheses": strings.Repeat("(", n/2) + "1" + strings.Repeat(")", n/2),
		"negations":          strings.Repeat("!", n) + "true",
		"signs":              strings.Repeat("- ", n/2) + "1",
		"one string":         "'" + strings.Repeat("a", n) + "'",
		"open string":        "'" + strings.Repeat("a", n),
		"escapes":            "'" + strings.Repeat(`\\`, n/2),
		"open references":    strings.Repeat("${", n/2),
		"references":         strings.Repeat("${data.n}", n/9),
		"deep path":          "${data" + strings.Repeat(".a", n/2) + "}",
		"sum":                strings.Repeat("${data.n} + ", n/12) + "1",
		"comparisons":        strings.Repeat("${data.b} == ", n/13) + "true",
		"digits":             strings.Repeat("1", n),
		"letters":            strings.Repeat("é", n/2),
		"separators":         "1" + strings.Repeat(",", n),
		"mixed tightness":    strings.Repeat("1 + 2 * 3 < 4 == true && ", n/25) + "true",
	}
}

func TestHostileExpressionsEndSoon(t *testing.T) {
	for name, text := range hostile(1 << 20) {
		for _, d := range []dialect{nestedDialect, conditionDialect} {
			start := time.Now()
			_, err := parseExpression(text, d, known)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%s: took %s", name, took)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
			}
		}
	}
}

func FuzzParseExpression(f *testing.F) {
	for _, test := range malformed {
		f.Add(test.text)
	}
	f.Add(`'Hi ' ${data.s} ', you have ' (${data.n} + 1) ' items'`)
	f.Add(`(${data.b} && (${data.s} == 'cat')) || !(${data.n} >= -3)`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range []dialect{nestedDialect, conditionDialect} {
			e, err := parseExpression(text, d, known)
			var wrong *expressionError
			switch {
			case errors.As(err, &wrong):
				if wrong.offset < 0 || wrong.length < 0 || wrong.offset+wrong.length > len(text) {
					t.Errorf("%q: the error points at %d+%d of %d bytes", text, wrong.offset, wrong.length, len(text))
				}
				if err.Error() == "" {
					t.Errorf("%q: the error says nothing", text)
				}
			case err != nil:
				t.Errorf("%q: %T, expected an *expressionError", text, err)
			case e.references > strings.Count(text, "${"):
				t.Errorf("%q has %d references", text, e.references)
			case e.quoted >= len(text):
				t.Errorf("%q: a reference in quotes at %d", text, e.quoted)
			}
			// What stands in parentheses gives the same.
			if err == nil && d == conditionDialect {
				if again, err := parseExpression("("+text+")", d, known); err != nil && !strings.Contains(err.Error(), "nested deeper") {
					t.Errorf("(%s): %v", text, err)
				} else if err == nil && again.types != e.types {
					t.Errorf("(%s) gives %s, without parentheses %s", text, again.types, e.types)
				}
			}
		}
	})
}

func BenchmarkParseExpression(b *testing.B) {
	const text = `'Hi ' ${data.s} ', you have ' (${data.n} + 1) ' items' (${data.b} && ${data.n} >= 3)`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseExpression(text, nestedDialect, known); err != nil {
			b.Fatal(err)
		}
	}
}
