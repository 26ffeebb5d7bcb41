package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// check holds a value, which is valid JSON, against one node of a data model,
// as the client does: declared properties may be missing unless the model lists
// them as required, and undeclared ones may be there.
func check(path string, schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if err := misfit(schema, value); err != nil {
		return err.at(path)
	}
	return nil
}

// at is the error of a value that stands at path.
func (e *GuardError) at(path string) *GuardError {
	e.Path = path + e.Path
	return e
}

// misfit is check with the error's path from the value on, so that a path is
// written only where there is an error.
func misfit(schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if kind := kindOf(value); kind != string(schema.Type) {
		return &GuardError{"", string(schema.Type), kind}
	}
	switch schema.Type {
	case flowjson.Object:
		return misfitOfObject(schema, value)
	case flowjson.Array:
		return misfitOfArray(schema, value)
	}
	return nil
}

// misfitOfObject finds first a required property that is missing, then the
// property that does not fit, the first by name.
func misfitOfObject(schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if len(schema.Properties) == 0 && len(schema.Required) == 0 {
		return nil
	}
	var room [8]property
	there := properties(schema, value, room[:0])
	for _, key := range schema.Required {
		if !slices.ContainsFunc(there, func(p property) bool { return string(p.name) == key }) {
			want := "a value"
			if property := schema.Properties[key]; property != nil {
				want = string(property.Type)
			}
			return &GuardError{"." + key, want, "nothing"}
		}
	}
	var first *GuardError
	var name []byte
	for _, p := range there {
		if p.schema == nil || first != nil && bytes.Compare(p.name, name) > 0 {
			continue
		}
		if err := misfit(p.schema, p.value); err != nil {
			first, name = err, p.name
		}
	}
	if first != nil {
		return first.at("." + string(name))
	}
	return nil
}

// property is a member of an object that its schema knows.
type property struct {
	name   []byte
	schema *flowjson.Schema // nil when the model only requires it
	value  json.RawMessage
}

// properties appends the members that a schema knows, each once: of several
// with one name the last counts.
func properties(schema *flowjson.Schema, value json.RawMessage, there []property) []property {
	for c := within(value); c.more(); {
		name := c.name()
		p := property{name, schema.Properties[string(name)], c.value()}
		if p.schema == nil && !slices.Contains(schema.Required, string(name)) {
			continue
		}
		if i := slices.IndexFunc(there, func(p property) bool { return string(p.name) == string(name) }); i >= 0 {
			there[i] = p
		} else {
			there = append(there, p)
		}
	}
	return there
}

// misfitOfArray counts the items before it looks into them.
func misfitOfArray(schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if schema.MinItems > 0 || schema.MaxItems >= 0 {
		switch n := countItems(value); {
		case n < schema.MinItems:
			return &GuardError{"", fmt.Sprintf("at least %d items", schema.MinItems), strconv.Itoa(n)}
		case schema.MaxItems >= 0 && n > schema.MaxItems:
			return &GuardError{"", fmt.Sprintf("at most %d items", schema.MaxItems), strconv.Itoa(n)}
		}
	}
	if schema.Items == nil && !schema.UniqueItems {
		return nil
	}
	var seen map[string]int
	if schema.UniqueItems {
		seen = map[string]int{}
	}
	c := within(value)
	for i := 0; c.more(); i++ {
		item := c.value()
		if schema.Items != nil {
			if err := misfit(schema.Items, item); err != nil {
				return err.at("[" + strconv.Itoa(i) + "]")
			}
		}
		if schema.UniqueItems {
			text := string(canonical(item))
			if first, twice := seen[text]; twice {
				return &GuardError{"[" + strconv.Itoa(i) + "]", "no item twice", fmt.Sprintf("the same as item %d", first)}
			}
			seen[text] = i
		}
	}
	return nil
}

// hasNull finds a null anywhere in a valid JSON value: outside strings, the
// letter n begins nothing else.
func hasNull(raw []byte) bool {
	for {
		quote := bytes.IndexByte(raw, '"')
		if quote < 0 {
			return bytes.IndexByte(raw, 'n') >= 0
		}
		if bytes.IndexByte(raw[:quote], 'n') >= 0 {
			return true
		}
		c := cursor{raw: raw, at: quote}
		c.pass()
		raw = raw[c.at:]
	}
}

// nullPath is the path of the first null in a value that has one, down to the
// depth any data model can have.
func nullPath(path string, raw json.RawMessage) string {
	const maxDepth = 64
	for range maxDepth {
		switch kindOf(raw) {
		case "object":
			var members map[string]json.RawMessage
			if json.Unmarshal(raw, &members) != nil {
				return path
			}
			for _, key := range slices.Sorted(maps.Keys(members)) {
				if hasNull(members[key]) {
					path, raw = path+"."+clip(key), members[key]
					break
				}
			}
		case "array":
			var items []json.RawMessage
			if json.Unmarshal(raw, &items) != nil {
				return path
			}
			for i, item := range items {
				if hasNull(item) {
					path, raw = path+"["+strconv.Itoa(i)+"]", item
					break
				}
			}
		default:
			return path
		}
	}
	return path
}

// withoutNulls is a value without the members and items that are null. It reads
// the value once, however deep it is nested.
func withoutNulls(raw json.RawMessage) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return raw
	}
	out, err := encode(dropNulls(value))
	if err != nil {
		return raw
	}
	return out
}

func dropNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil {
				delete(v, key)
			} else {
				v[key] = dropNulls(member)
			}
		}
	case []any:
		kept := v[:0]
		for _, item := range v {
			if item != nil {
				kept = append(kept, dropNulls(item))
			}
		}
		return kept
	}
	return value
}
