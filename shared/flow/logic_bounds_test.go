package flow

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// What rules could do to the edge ends early, with a reason.
func TestBoundsOfRules(t *testing.T) {
	value := func(expression string) string {
		return `screens: {RECOMMEND: {complete: {params: {a: "` + expression + `"}}}}`
	}
	long := strings.Repeat("a", 200_000)
	for _, test := range []struct{ name, rules, data, reason string }{
		{"too much computing", value("range(1000).map(i, range(1000).map(j, form.comment.size()).size())"), `{}`, "it needs more than 1000000 steps of computing"},
		{"a range too long", value("range(int(form.score))"), `{"score":"1001"}`, "range: expected 0 to 1000"},
		{"a text that explodes", value("form.comment.replace('a', form.comment)"), `{"comment":"` + long + `"}`, "replace: a text of more than 1048576 bytes"},
		{"texts joined", value("range(1000).map(i, form.comment).join('')"), `{"comment":"` + long + `"}`, "join: a text of more than 1048576 bytes"},
		{"texts added", value("form.comment" + strings.Repeat(" + form.comment", 90)), `{"comment":"` + long + `"}`, "it needs more than 1000000 steps of computing"},
		{"a result too large", value("range(1000).map(i, form.comment)"), `{"comment":"` + long + `"}`, "it yields more than 1048576 bytes"},
		{"parts without end", value("form.comment.split('')"), `{"comment":"` + long + `"}`, "split: more than 16384 parts"},
		{"a session too large", `screens: {RECOMMEND: {set: {a: form.comment}, close: true}}`, `{"comment":"` + long + `"}`, "the session would remember 200003 bytes, at most 16384 are allowed: set less"},
		{"an answer of another type", value("form.topics"), `{"topics":"no list"}`, "it is of type string, expected array"},
		{"an item of another type", value("form.topics"), `{"topics":[{"a":1}]}`, "it is of type object, expected string"},
		{"a number too large", value("int(form.score) + 1"), `{"score":"9223372036854775807"}`, "a number is too large"},
		{"a division by zero", value("1 / int(form.score)"), `{"score":"0"}`, "a division by zero"},
		{"a fraction without end", value("1.0 / double(form.score)"), `{"score":"0"}`, "it yields a number that JSON does not have (a division by zero?)"},
		{"a list without that item", value("form.topics[3]"), `{"topics":["a"]}`, "a list has no such item"},
		{"an object without that key", value("{'a': 1}[form.score]"), `{"score":"secret"}`, "an object lacks the key"},
		{"an operation that does not fit", value("dyn(form.score) + 1"), `{"score":"secret"}`, "an operation does not fit the types of its values"},
		{"an answer too long", value("form.comment.matches('(a+)+b') || size(form.topics) > 0"), `{"comment":"` + strings.Repeat("a", 1<<20) + `"}`, "the answers it reads have more than 1048576 bytes together"},
		{"a time zone outside the list", value("date(now, form.score)"), `{"score":"../../etc/secret"}`, "date: unknown time zone, expected a name such as Europe/Berlin"},
		{"the time zone of the machine", value("date(now, form.score)"), `{"score":"Local"}`, "date: unknown time zone, expected a name such as Europe/Berlin"},
		{"a time that is none", value("timestamp(form.score)"), `{"score":"secret"}`, "a text is no timestamp"},
		{"a condition that is none", `screens: {RECOMMEND: {next: {when: "dyn(form.score)", close: true}}}`, `{"score":"secret"}`, "it yields a string, expected true or false"},
		{"data that does not fit", `screens: {RECOMMEND: {next: {screen: PROMOTER, data: {name: "dyn(1)"}}}}`, `{}`, "data.name: expected string, got number"},
		{"no options for a list of options", `screens: {RECOMMEND: {next: {screen: DETRACTOR, data: {reasons: "[]"}}}}`, `{}`, "data.reasons of screen DETRACTOR has too little in it: data-source of a RadioButtonsGroup needs at least 1 items"},
	} {
		t.Run(test.name, func(t *testing.T) {
			def := surveyWith(t, test.rules)
			req := request(t, DataExchange, "RECOMMEND", "tok", test.data)
			s, err := Begin(nil, def, req, noon)
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			_, err = Answer(context.Background(), def, s, req, Env{Now: noon})
			fault, ok := err.(*LogicError)
			if !ok || !strings.HasSuffix(fault.Reason, test.reason) || !strings.HasPrefix(fault.Place, "logic.yaml:1:") || fault.Screen != "RECOMMEND" {
				t.Errorf("got %v, expected %s", err, test.reason)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "aaaaaaaa") {
				t.Errorf("the error repeats what the user typed: %v", err)
			}
			if spent := time.Since(started); spent > 2*time.Second {
				t.Errorf("it took %s", spent)
			}
			if s.Vars != nil {
				t.Errorf("a step that failed is remembered: %s", s.Vars)
			}
		})
	}
}

// A large answer is read once, not in every round of a loop.
func TestALargeAnswerInALoop(t *testing.T) {
	def := surveyWith(t, `screens: {RECOMMEND: {set: {l: "form.comment.substring(0, 9000)"}, complete: {params: {a: "range(1000).filter(i, size(form.topics) + size(vars.l) + size(session.topics) == i).size()"}}}}`)
	req := request(t, DataExchange, "RECOMMEND", "tok", `{"comment":"`+strings.Repeat("b", 10_000)+`","topics":["`+strings.Repeat(`a","`, 100_000)+`a"]}`)
	s, err := Begin(nil, def, req, noon)
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if _, err := Answer(context.Background(), def, s, req, Env{Now: noon}); err != nil {
		t.Error(err)
	}
	if spent := time.Since(started); spent > 2*time.Second {
		t.Errorf("it took %s", spent)
	}
}

func TestFilesThatAreTooMuch(t *testing.T) {
	raw := survey(t)
	for name, test := range map[string]struct{ text, err string }{
		"a megabyte":             {"# " + strings.Repeat("x", 1<<20), "the file has 1048578 bytes, at most 1048576 are allowed"},
		"deep JSON":              {`{"constants":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 101), "nested deeper than 24 levels"},
		"deep YAML":              {"constants: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested deeper than 24 levels"},
		"many values":            {"constants: {a: [" + strings.Repeat("1,", 200_000) + "1]}", "the file has more than 100000 values"},
		"many keys":              {"constants: {" + keys(2000) + "}", "more than 1000 keys in one place"},
		"many expressions":       {"screens: {RECOMMEND: {complete: {params: {" + keys(900) + "}}}, PROMOTER: {complete: {params: {" + keys(900) + "}}}, CODE: {complete: {params: {" + keys(900) + "}}}}", "more than 2000 expressions in one file"},
		"an expression too long": {`screens: {RECOMMEND: {data: {max: "1` + strings.Repeat("+1", 3000) + `"}}}`, "expression code point size exceeds limit"},
		"an expression too deep": {`screens: {RECOMMEND: {data: {max: "` + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000) + `"}}}`, "expression recursion limit exceeded"},
		"much in expressions":    {"screens: {RECOMMEND: {complete: {params: {" + strings.ReplaceAll(keys(100), "form", "'"+strings.Repeat("a", 4000)+"'") + "}}}}", "the expressions of the file have more than 65536 bytes together"},
		"lists in lists":         {"screens: {RECOMMEND: {complete: {params: {" + strings.ReplaceAll(keys(150), "form", strings.Repeat("[", 190)+strings.Repeat("]", 190)) + "}}}}", "lists and objects nested deeper than 16 levels"},
		"more than a hundred":    {"screens: {RECOMMEND: {complete: {params: {" + strings.ReplaceAll(keys(150), "form", "frm.x") + "}}}}", "logic.yaml: there may be more mistakes: mend these first"},
		"a billion laughs":       {"constants:\n  a: &a [x,x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n  d: [*c,*c,*c,*c,*c,*c,*c,*c,*c]", "aliases (*name) are not known here"},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			_, err := Load(raw, []byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %.300v", err)
			}
			if spent := time.Since(started); spent > 5*time.Second {
				t.Errorf("it took %s", spent)
			}
		})
	}
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ": \"form\", ")
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// One definition serves all users at once.
func TestRulesServeManyAtOnce(t *testing.T) {
	def := surveyWith(t, surveyRules(t))
	failing := surveyWith(t, `screens: {RECOMMEND: {complete: {params: {a: "dyn(form.score) + 1"}}}}`)
	req := request(t, DataExchange, "RECOMMEND", "tok", `{"score":"4","topics":["a"]}`)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				s, err := Begin(nil, def, req, noon)
				if err != nil {
					t.Error(err)
					return
				}
				reply, err := Answer(context.Background(), def, s, req, Env{Now: noon})
				if err != nil || reply.Screen != "DETRACTOR" || !json.Valid(reply.JSON()) {
					t.Error(reply, err)
				}
				if _, err := Answer(context.Background(), failing, s, req, Env{Now: noon}); err == nil {
					t.Error("it does not fail")
				}
			}
		})
	}
	wait.Wait()
}
