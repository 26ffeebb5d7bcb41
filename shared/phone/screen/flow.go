package screen

import (
	"encoding/json"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// Flow is a flow as the phone has it: the Flow JSON with every component's
// attributes decoded. It is safe for use by many goroutines.
type Flow struct {
	Definition *flow.Definition

	attributes map[*flowjson.Component]map[string]any
	inputs     map[string]map[string]placed // by screen, by name
	days       bool                         // dates are YYYY-MM-DD (Flow JSON 5.0), not milliseconds
}

// placed is an input and the Form it stands in, if it does.
type placed struct {
	component *flowjson.Component
	form      *flowjson.Component
}

// Load prepares a flow for being shown.
func Load(definition *flow.Definition) *Flow {
	document := definition.Flow()
	f := &Flow{
		Definition: definition,
		attributes: map[*flowjson.Component]map[string]any{},
		inputs:     map[string]map[string]placed{},
		days:       atLeast(document.Version, 5),
	}
	for i := range document.Screens {
		s := &document.Screens[i]
		f.inputs[s.ID] = map[string]placed{}
		f.load(s.ID, s.Children, nil)
	}
	return f
}

func (f *Flow) load(id string, components []*flowjson.Component, form *flowjson.Component) {
	for _, c := range components {
		attributes := make(map[string]any, len(c.Attributes))
		for name, raw := range c.Attributes {
			switch name {
			case "children", "then", "else", "cases": // in Children
				continue
			}
			var value any
			if json.Unmarshal(raw, &value) == nil { // it was parsed before
				attributes[name] = value
			}
		}
		f.attributes[c] = attributes
		inside := form
		if c.Type == "Form" {
			inside = c
		} else if c.Name != "" {
			f.inputs[id][c.Name] = placed{c, form}
		}
		f.load(id, c.Children, inside)
	}
}

// lengthOf counts the components of a list as it was written. Children holds
// those of an If in the order then, else, and those of a Switch by the names of
// its cases: the lengths tell which are whose.
func lengthOf(raw json.RawMessage) int {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return 0
	}
	return len(list)
}
