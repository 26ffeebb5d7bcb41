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
	if kind := kindOf(value); kind != string(schema.Type) {
		return &GuardError{path, string(schema.Type), kind}
	}
	switch schema.Type {
	case flowjson.Object:
		return checkObject(path, schema, value)
	case flowjson.Array:
		return checkArray(path, schema, value)
	}
	return nil
}

func checkObject(path string, schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if len(schema.Properties) == 0 && len(schema.Required) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return &GuardError{path, "object", "invalid JSON"}
	}
	for _, key := range schema.Required {
		if _, ok := members[key]; !ok {
			want := "a value"
			if property := schema.Properties[key]; property != nil {
				want = string(property.Type)
			}
			return &GuardError{path + "." + key, want, "nothing"}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if property := schema.Properties[key]; property != nil {
			if err := check(path+"."+key, property, members[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkArray(path string, schema *flowjson.Schema, value json.RawMessage) *GuardError {
	if schema.Items == nil && schema.MinItems == 0 && schema.MaxItems < 0 && !schema.UniqueItems {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		return &GuardError{path, "array", "invalid JSON"}
	}
	if len(items) < schema.MinItems {
		return &GuardError{path, fmt.Sprintf("at least %d items", schema.MinItems), strconv.Itoa(len(items))}
	}
	if schema.MaxItems >= 0 && len(items) > schema.MaxItems {
		return &GuardError{path, fmt.Sprintf("at most %d items", schema.MaxItems), strconv.Itoa(len(items))}
	}
	var seen map[string]int
	if schema.UniqueItems {
		seen = make(map[string]int, len(items))
	}
	for i, item := range items {
		at := path + "[" + strconv.Itoa(i) + "]"
		if schema.Items != nil {
			if err := check(at, schema.Items, item); err != nil {
				return err
			}
		}
		if schema.UniqueItems {
			text := string(canonical(item))
			if first, twice := seen[text]; twice {
				return &GuardError{at, "no item twice", fmt.Sprintf("the same as item %d", first)}
			}
			seen[text] = i
		}
	}
	return nil
}

// hasNull finds a null anywhere in a valid JSON value: outside strings, the
// letter n begins nothing else.
func hasNull(raw []byte) bool {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			inString = !inString
		case '\\':
			i++ // only strings hold backslashes
		case 'n':
			if !inString {
				return true
			}
		}
	}
	return false
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
