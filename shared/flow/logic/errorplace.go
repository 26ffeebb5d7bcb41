package logic

import (
	"fmt"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// errorPlace is where a screen shows what is wrong with one of its fields: a
// key of its data, and within that the name of the component, or none.
type errorPlace struct{ key, member string }

// placeOf finds the place for the error of a payload key: the error-messages of
// the Form that holds the input, else the input's own error-message.
func placeOf(s *flowjson.Screen, key string) (errorPlace, error) {
	name := ""
	for _, a := range posting(s) {
		if r, whole, _ := reference(a.Payload[key]); whole && r.Source == "form" && r.Screen == "" {
			name = r.Key
			break
		}
	}
	if name != "" && !isInput(s, name) {
		return errorPlace{}, fmt.Errorf("the payload gives ${form.%s} as %s, but screen %s has no input %s: mend flow.json", name, key, s.ID, name)
	}
	component, form := input(s.Children, nil, name)
	if name == "" || component == nil {
		return errorPlace{}, fmt.Errorf("form.%s is not the value of one input of screen %s, so there is no place for its error: use message", key, s.ID)
	}
	if form != nil {
		if data := dataKey(s, form, "error-messages", flowjson.Object); data != "" {
			return errorPlace{data, name}, nil
		}
	}
	if data := dataKey(s, component, "error-message", flowjson.String); data != "" {
		return errorPlace{data, ""}, nil
	}
	if form != nil {
		return errorPlace{}, fmt.Errorf(`screen %s has no place for the error of %s: give its Form "error-messages": "${data.error_messages}" and its data {"error_messages": {"type": "object", "__example__": {}}}`, s.ID, key)
	}
	return errorPlace{}, fmt.Errorf(`screen %s has no place for the error of %s: give the %s %s "error-message": "${data.%s_error}" and the screen's data {"%s_error": {"type": "string", "__example__": ""}}`,
		s.ID, key, component.Type, name, name, name)
}

func isInput(s *flowjson.Screen, name string) bool {
	found, _ := input(s.Children, nil, name)
	return found != nil
}

// dataKey is the key of the screen's data that an attribute takes its value
// from, if it is of that type.
func dataKey(s *flowjson.Screen, c *flowjson.Component, attribute string, t flowjson.Type) string {
	r, whole, _ := reference(c.Attributes[attribute])
	if !whole || r.Source != "data" || r.Screen != "" || s.Data[r.Key] == nil || s.Data[r.Key].Type != t {
		return ""
	}
	return r.Key
}

// errorKeys are the keys of a screen's data that show errors of fields.
func errorKeys(s *flowjson.Screen) []string {
	var keys []string
	var walk func([]*flowjson.Component)
	walk = func(components []*flowjson.Component) {
		for _, c := range components {
			for _, key := range []string{
				dataKey(s, c, "error-messages", flowjson.Object), dataKey(s, c, "error-message", flowjson.String),
				dataKey(s, c, "error-message", flowjson.Object), // of pickers
			} {
				if key != "" && !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
			walk(c.Children)
		}
	}
	walk(s.Children)
	return keys
}
