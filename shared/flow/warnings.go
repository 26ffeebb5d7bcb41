package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// findWarnings lists, screen by screen in the order of the document, what of
// the flow will not work as its author may expect.
func (d *Definition) findWarnings() []string {
	var list []string
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	for i := range d.flow.Screens {
		s := &d.flow.Screens[i]
		for _, key := range s.Keys {
			if d.mayShow(s.ID) && !d.canFill(s, key) && !d.supplied(s.ID, key) {
				add("%s", needs(s.ID, key))
			}
			for _, before := range d.before[s.ID] {
				if posted := d.postedType(before, key); posted != "" && posted != s.Data[key].Type {
					add("screen %s declares data.%s as %s, but screen %s posts %s under that name: it is not shown there",
						s.ID, key, article(string(s.Data[key].Type)), before, article(string(posted)))
				}
			}
		}
		for j := range s.Actions {
			if a := &s.Actions[j]; a.Name == flowjson.DataExchange && a.Attribute == "on-select-action" && !d.hasNext(s.ID) {
				add("screen %s: choosing an option of %s sends data_exchange: without logic it is treated like Continue", s.ID, inputName(a))
			}
		}
	}
	for _, c := range d.collisions() {
		add("%s", c)
	}
	if lost := d.lostAnswers(); lost != "" {
		add("without a flow token these answers do not reach the result: %s", lost)
	}
	if d.rules != nil {
		for _, w := range d.rules.Warnings() {
			add("%s", w)
		}
	}
	return list
}

// lostAnswers lists what is lost without a token, "a, b of FIRST; c of SECOND".
func (d *Definition) lostAnswers() string {
	keys := map[string][]string{}
	for _, fields := range d.lost {
		for _, f := range fields {
			keys[f.screen] = append(keys[f.screen], f.key)
		}
	}
	var parts []string
	for i := range d.flow.Screens {
		if id := d.flow.Screens[i].ID; len(keys[id]) > 0 {
			slices.Sort(keys[id])
			parts = append(parts, strings.Join(slices.Compact(keys[id]), ", ")+" of "+id)
		}
	}
	return strings.Join(parts, "; ")
}

// supplied says whether the flow's rules give a key to a screen whenever the
// endpoint shows it.
func (d *Definition) supplied(screen, key string) bool {
	return d.rules != nil && d.rules.Supplies(screen, key, d.flow.DataAPIVersion != "" && d.IsEntry(screen))
}

func (d *Definition) hasNext(screen string) bool {
	return d.rules != nil && d.rules.HasNext(screen)
}

func inputName(a *flowjson.Action) string {
	if a.Input == "" {
		return a.Component
	}
	return a.Component + " " + a.Input
}

// mayShow says whether the endpoint is ever asked to show a screen, as opposed
// to the client, which fills screens it navigates to by itself.
func (d *Definition) mayShow(id string) bool {
	if d.flow.DataAPIVersion != "" && d.IsEntry(id) {
		return true
	}
	for _, before := range d.before[id] {
		if len(exchanges(d.flow.Screen(before))) > 0 {
			return true
		}
	}
	for _, next := range d.flow.RoutingModel[id] {
		if d.flow.Screen(next).RefreshOnBack {
			return true
		}
	}
	return false
}

// canFill says whether a key of a screen can ever have a value: a typed empty,
// or something an earlier screen posts under its name. What a user typed feeds
// no list of options and no image.
func (d *Definition) canFill(s *flowjson.Screen, key string) bool {
	if _, ok := d.empties[s.ID][key]; ok {
		return true
	}
	_, feeds := s.Feeds[key]
	for i := range d.flow.Screens {
		earlier := &d.flow.Screens[i]
		if earlier.ID == s.ID || !d.reaches(earlier.ID, s.ID) {
			continue
		}
		for _, a := range exchanges(earlier) {
			value, posted := a.Payload[key]
			switch {
			case !posted:
			case len(flowjson.References(value)) == 0:
				if usable(s, key, value) {
					return true
				}
			case !feeds || len(formReferences(value)) == 0:
				return true
			}
		}
	}
	return false
}

// reaches says whether a way of one or more edges leads from one screen to
// another.
func (d *Definition) reaches(from, to string) bool {
	seen := map[string]bool{}
	open := []string{from}
	for len(open) > 0 {
		last := open[len(open)-1]
		open = open[:len(open)-1]
		for _, next := range d.flow.RoutingModel[last] {
			if next == to {
				return true
			}
			if !seen[next] {
				seen[next] = true
				open = append(open, next)
			}
		}
	}
	return false
}

// exchanges are the data_exchange actions of a screen.
func exchanges(s *flowjson.Screen) []*flowjson.Action {
	var list []*flowjson.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; a.Name == flowjson.DataExchange {
			list = append(list, a)
		}
	}
	return list
}

// formReferences are the inputs of the screen itself that a value holds.
func formReferences(value json.RawMessage) []string {
	var inputs []string
	for _, r := range flowjson.References(value) {
		if r.Source == "form" && r.Screen == "" {
			inputs = append(inputs, r.Key)
		}
	}
	return inputs
}

// answerKeys are the keys under which a screen posts what the user answered on
// it, in a stable order.
func answerKeys(s *flowjson.Screen) []string {
	var keys []string
	for _, a := range exchanges(s) {
		for _, key := range a.Keys {
			if len(formReferences(a.Payload[key])) > 0 && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// collisions are the keys that two screens on one way post different answers
// under.
func (d *Definition) collisions() []string {
	var list []string
	for i := range d.flow.Screens {
		first := &d.flow.Screens[i]
		for j := range d.flow.Screens {
			second := &d.flow.Screens[j]
			if i == j || !d.reaches(first.ID, second.ID) {
				continue
			}
			for _, key := range answerKeys(first) {
				if slices.Contains(answerKeys(second), key) && (d.rules == nil || !d.rules.Sends(first.ID, key)) {
					list = append(list, fmt.Sprintf("screens %s and %s both post an answer as %s: the latest one wins, the other does not reach the result", first.ID, second.ID, key))
				}
			}
		}
	}
	return list
}

// postedType is the type of what a screen posts under a key, if that is the
// value of one input whose type is certain.
func (d *Definition) postedType(screen, key string) flowjson.Type {
	s := d.flow.Screen(screen)
	for _, a := range exchanges(s) {
		value, ok := a.Payload[key]
		inputs := formReferences(value)
		if !ok || len(inputs) != 1 || string(value) != `"${form.`+inputs[0]+`}"` {
			continue
		}
		switch componentType(s.Children, inputs[0]) {
		case "CheckboxGroup", "ChipsSelector", "PhotoPicker", "DocumentPicker":
			return flowjson.Array
		case "RadioButtonsGroup", "Dropdown", "TextArea", "DatePicker":
			return flowjson.String
		case "OptIn":
			return flowjson.Boolean
		}
	}
	return ""
}

func componentType(components []*flowjson.Component, name string) string {
	for _, c := range components {
		if c.Name == name && c.Type != "Form" {
			return c.Type
		}
		if found := componentType(c.Children, name); found != "" {
			return found
		}
	}
	return ""
}
