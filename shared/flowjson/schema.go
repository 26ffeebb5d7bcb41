package flowjson

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxDepth bounds nesting, of models as of components: far beyond any real
// flow, and it keeps a hostile document from growing the stack.
const maxDepth = 64

type object map[string]json.RawMessage

func parseObject(raw json.RawMessage) (object, error) {
	var o object
	if KindOf(raw) != "object" {
		return nil, fmt.Errorf("expected an object, got %s", KindOf(raw))
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, fmt.Errorf("expected an object: %w", err)
	}
	return o, nil
}

// text returns the string under name, empty when it is absent.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	var s string
	if KindOf(raw) != "string" || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s: expected a string, got %s", name, KindOf(raw))
	}
	return s, nil
}

func parseSchema(path string, raw json.RawMessage, depth int) (*Schema, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d levels", path, maxDepth)
	}
	o, err := parseObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Schema{MaxItems: -1, Example: o["__example__"]}
	kind, err := o.text("type")
	if err != nil {
		return nil, fmt.Errorf("%s.%w", path, err)
	}
	switch s.Type = Type(kind); s.Type {
	case String, Number, Boolean, Object, Array:
	case "integer": // not in Meta's list, but JSON Schema's own word for a number
		s.Type = Number
	case "":
		return nil, fmt.Errorf("%s: type is missing, expected string, number, boolean, object or array", path)
	default:
		return nil, fmt.Errorf("%s: type is %q, expected string, number, boolean, object or array", path, kind)
	}
	// items may also be a boolean, which says nothing about the items.
	if items, ok := o["items"]; ok && KindOf(items) != "boolean" {
		if s.Items, err = parseSchema(path+".items", items, depth+1); err != nil {
			return nil, err
		}
	}
	if raw, ok := o["properties"]; ok {
		properties, err := parseObject(raw)
		if err != nil {
			return nil, fmt.Errorf("%s.properties: %w", path, err)
		}
		s.Properties = make(map[string]*Schema, len(properties))
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			if s.Properties[key], err = parseSchema(path+".properties."+key, properties[key], depth+1); err != nil {
				return nil, err
			}
		}
	}
	// required is a list of names on an object; a boolean, as older JSON Schema
	// drafts have it, says nothing here.
	if raw, ok := o["required"]; ok && KindOf(raw) != "boolean" {
		if err := json.Unmarshal(raw, &s.Required); err != nil {
			return nil, fmt.Errorf("%s.required: expected an array of names", path)
		}
	}
	for name, field := range map[string]*int{"minItems": &s.MinItems, "maxItems": &s.MaxItems} {
		if raw, ok := o[name]; ok {
			if err := json.Unmarshal(raw, field); err != nil || *field < 0 || KindOf(raw) != "number" {
				return nil, fmt.Errorf("%s.%s: expected a whole number, 0 or more", path, name)
			}
		}
	}
	if raw, ok := o["uniqueItems"]; ok {
		if err := json.Unmarshal(raw, &s.UniqueItems); err != nil {
			return nil, fmt.Errorf("%s.uniqueItems: expected true or false", path)
		}
	}
	return s, nil
}

// KindOf names the JSON type of a value whose JSON is known to be valid: object,
// array, string, boolean, null or number; nothing when there is no value.
func KindOf(raw []byte) string {
	for _, c := range raw {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return "object"
		case '[':
			return "array"
		case '"':
			return "string"
		case 't', 'f':
			return "boolean"
		case 'n':
			return "null"
		default:
			return "number"
		}
	}
	return "nothing"
}
