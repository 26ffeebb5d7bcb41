package logic

import (
	"encoding/json"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// Rules are the compiled rules of one flow. They are immutable and safe for use
// by many goroutines.
type Rules struct {
	File string // logic.yaml or logic.json, as RuleError names it

	doc       *flowjson.Document
	init      []*rule
	screens   map[string]*screenRules
	errorKeys map[string][]string // see ErrorKeys, by screen
	upstream  []string
	warnings  []string
}

type screenRules struct {
	screen  *flowjson.Screen
	data    []*assignment
	set     []*assignment
	fetches []*fetch
	checks  []*check
	next    []*rule
	back    []*rule
}

// rule is one item of init, next or back.
type rule struct {
	line, column int
	path         string
	when         *expression // nil: always
	goal         goal
	screen       string        // of toScreen
	data         []*assignment // of toScreen
	params       []*assignment // of complete; nil: all answers
	reads        []Answer      // that params name
}

// Answer is what was posted on a screen under a key; without a screen, what was
// last posted under it.
type Answer struct{ Screen, Key string }

type goal uint8

const (
	toScreen goal = iota + 1
	toBefore      // the screen before on the path
	complete      // SUCCESS with params
	closed        // SUCCESS without
)

// check is one item of check.
type check struct {
	unless  *expression
	message *expression
	errors  []fieldError
}

type fieldError struct {
	place errorPlace
	text  *expression
}

// Decision is what a rule leads to: one of Screen, Back, Complete and Close.
type Decision struct {
	Screen string
	// Data are the values the rule gives to the screen.
	Data     map[string]json.RawMessage
	Back     bool // to the screen before on the path
	Complete bool
	Params   map[string]json.RawMessage // nil: all answers of the session
	Close    bool

	rules *Rules
	by    *rule
}

// Place is where the rule stands, "logic.yaml:12:9".
func (d *Decision) Place() string { return d.rules.place(d.by.line, d.by.column) }

// Failed is what to show when checks fail: the same screen with Data over what
// it showed, and Message as its error_message if it is not empty.
type Failed struct {
	Data    map[string]json.RawMessage
	Message string
}

// Init decides what INIT shows; nil when no rule does. opens says whether a
// screen may be shown.
func (t *Turn) Init(opens func(screen string) bool) (*Decision, error) {
	return t.decide(t.rules.init, opens)
}

// Step runs set and check of a screen, and finds the rule of its next that
// holds. Both results are nil when there is none.
func (t *Turn) Step(screen string) (*Decision, *Failed, error) {
	s := t.rules.screens[screen]
	if s == nil {
		return nil, nil, nil
	}
	if err := t.set(s.set); err != nil {
		return nil, nil, err
	}
	failed, err := t.check(s)
	if failed != nil || err != nil {
		return nil, failed, err
	}
	decision, err := t.decide(s.next, nil)
	return decision, nil, err
}

// Back decides what BACK from a screen shows; nil when no rule does.
func (t *Turn) Back(screen string) (*Decision, error) {
	s := t.rules.screens[screen]
	if s == nil {
		return nil, nil
	}
	return t.decide(s.back, nil)
}

// Data evaluates what the rules give to a screen from wherever it is shown,
// without the keys that are there already; nil when they give it nothing.
func (t *Turn) Data(screen string, there func(key string) bool) (map[string]json.RawMessage, error) {
	s := t.rules.screens[screen]
	if s == nil || len(s.data) == 0 {
		return nil, nil
	}
	values := make(map[string]json.RawMessage, len(s.data))
	for _, a := range s.data {
		if there(a.name) {
			continue
		}
		raw, err := t.json(a.value)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			values[a.name] = raw
		}
	}
	return values, nil
}

// DataPlace is where the rules give a screen that key, "logic.yaml:12:9".
func (r *Rules) DataPlace(screen, key string) string {
	if s := r.screens[screen]; s != nil {
		for _, a := range s.data {
			if a.name == key {
				return r.place(a.value.line, a.value.column)
			}
		}
	}
	return r.File
}

func (t *Turn) decide(rules []*rule, opens func(string) bool) (*Decision, error) {
	for _, r := range rules {
		if opens != nil && r.goal == toScreen && !opens(r.screen) {
			continue
		}
		if r.when != nil {
			holds, err := t.boolean(r.when)
			if err != nil {
				return nil, err
			}
			if !holds {
				continue
			}
		}
		d := &Decision{Screen: r.screen, Back: r.goal == toBefore, Complete: r.goal == complete, Close: r.goal == closed, rules: t.rules, by: r}
		var err error
		if r.params != nil {
			d.Params, err = t.object(r.params)
		} else {
			d.Data, err = t.object(r.data)
		}
		return d, err
	}
	return nil, nil
}

// check evaluates all checks. One whose condition fails on what a user typed,
// int('abc'), has failed as one whose condition is false.
func (t *Turn) check(s *screenRules) (*Failed, error) {
	var failed *Failed
	var members map[string]map[string]json.RawMessage
	for _, c := range s.checks {
		passed, err := t.boolean(c.unless)
		if fault, ok := err.(*RuleError); ok && fault.Input {
			passed, err = false, nil
		}
		if err != nil {
			return nil, err
		}
		if passed {
			continue
		}
		if failed == nil {
			failed = &Failed{Data: map[string]json.RawMessage{}}
			members = map[string]map[string]json.RawMessage{}
		}
		if c.message != nil {
			text, err := t.text(c.message)
			if err != nil {
				return nil, err
			}
			if failed.Message != "" && text != "" {
				failed.Message += "\n"
			}
			failed.Message += text
		}
		for _, e := range c.errors {
			text, err := t.text(e.text)
			if err != nil {
				return nil, err
			}
			failed.note(e.place, appendText(nil, text), members)
		}
	}
	return failed, nil
}

// note keeps the first error of each field.
func (f *Failed) note(place errorPlace, text json.RawMessage, members map[string]map[string]json.RawMessage) {
	if place.member == "" {
		if _, taken := f.Data[place.key]; !taken {
			f.Data[place.key] = text
		}
		return
	}
	of := members[place.key]
	if of == nil {
		of = map[string]json.RawMessage{}
		members[place.key] = of
	}
	if _, taken := of[place.member]; !taken {
		of[place.member] = text
	}
	f.Data[place.key] = object(of)
}

func object(members map[string]json.RawMessage) json.RawMessage {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	b := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(appendText(b, name), ':'), members[name]...)
	}
	return append(b, '}')
}

// Upstreams are the names of the upstreams the rules fetch from, sorted.
func (r *Rules) Upstreams() []string { return r.upstream }

// Warnings say what of the rules may not work as their author expects.
func (r *Rules) Warnings() []string { return r.warnings }

// ErrorKeys are the keys of a screen's data that show errors of fields. They
// are reset whenever the screen is shown again.
func (r *Rules) ErrorKeys(screen string) []string { return r.errorKeys[screen] }
