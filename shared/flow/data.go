package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

// fill is the data for a screen: exactly the keys its model declares, each from
// this request's payload, else the latest answer of that name, else a typed
// empty where model and components allow one. Examples of the Flow JSON are
// never shown. s may be nil. The error is a *LogicError.
func (d *Definition) fill(screen string, s *Session, req *Request) (map[string]json.RawMessage, error) {
	return d.fillRest(screen, s, req, map[string]json.RawMessage{})
}

// fillRest is fill for the keys that data does not have yet.
func (d *Definition) fillRest(screen string, s *Session, req *Request, data map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	target := d.flow.Screen(screen)
	for _, key := range target.Keys {
		if _, given := data[key]; given {
			continue
		}
		if value, ok := req.Data[key]; ok && usable(target, key, value) {
			data[key] = value
		} else if value, ok := s.latest(key); ok && usable(target, key, value) {
			data[key] = value
		} else if value, ok := d.empties[screen][key]; ok {
			data[key] = value
		} else {
			return nil, &LogicError{Screen: req.Screen, Reason: needs(screen, key)}
		}
	}
	return data, nil
}

func needs(screen, key string) string {
	return fmt.Sprintf("screen %s needs data.%s: add logic or use endpoint next", screen, key)
}

// usable says whether a value can be shown under a key: it fits the model, and
// the components that live on it get enough.
func usable(target *flowjson.Screen, key string, value json.RawMessage) bool {
	if hasNull(value) || check("", target.Data[key], value) != nil {
		return false
	}
	feed, feeds := target.Feeds[key]
	return !feeds || enough(feed, value)
}

// enough says whether a value has in it what the component that lives on it
// needs.
func enough(feed flowjson.Feed, value json.RawMessage) bool {
	if kindOf(value) == "string" {
		return len(value) > len(`""`)
	}
	return kindOf(value) != "array" || countItems(value) >= feed.MinItems
}

// emptiesOf are the typed empties a screen can be shown with. Keys that a list
// of options or an image lives on have none: the client refuses to draw them.
func emptiesOf(s *flowjson.Screen) map[string]json.RawMessage {
	empties := make(map[string]json.RawMessage, len(s.Keys))
	for _, key := range s.Keys {
		if _, feeds := s.Feeds[key]; feeds {
			continue
		}
		if value, ok := typedEmpty(s.Data[key]); ok {
			empties[key] = value
		}
	}
	return empties
}

func typedEmpty(schema *flowjson.Schema) (json.RawMessage, bool) {
	switch schema.Type {
	case flowjson.String:
		return json.RawMessage(`""`), true
	case flowjson.Number:
		return json.RawMessage(`0`), true
	case flowjson.Boolean:
		return json.RawMessage(`false`), true
	case flowjson.Array:
		return json.RawMessage(`[]`), schema.MinItems == 0
	case flowjson.Object:
		members := make(map[string]json.RawMessage, len(schema.Properties))
		for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
			value, ok := typedEmpty(schema.Properties[key])
			switch {
			case ok:
				members[key] = value
			case slices.Contains(schema.Required, key):
				return nil, false
			}
		}
		for _, key := range schema.Required {
			if _, ok := members[key]; !ok {
				return nil, false // required, but of no declared type
			}
		}
		return rawjson.AppendObject(nil, members), true
	}
	return nil, false
}
