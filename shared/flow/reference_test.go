package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// The guard once more, by encoding/json alone: slow, and plainly right. What is
// accepted, what is refused with which words, and every byte must be the same.

func guardByReference(def *Definition, req *Request, reply []byte) (Reply, error) {
	if !utf8.Valid(reply) {
		return Reply{}, &GuardError{Want: "JSON in UTF-8", Got: "another encoding"}
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(reply, &top); err != nil || top == nil {
		return Reply{}, &GuardError{Want: "a JSON object", Got: describe(reply, err).Error()}
	}
	var r Reply
	if kindOf(top["screen"]) != "string" || json.Unmarshal(top["screen"], &r.Screen) != nil {
		return Reply{}, &GuardError{"screen", "string", kindOf(top["screen"])}
	}
	if kindOf(top["data"]) != "object" || json.Unmarshal(top["data"], &r.Data) != nil {
		return Reply{}, &GuardError{"data", "object", kindOf(top["data"])}
	}
	if hasNull(top["data"]) {
		return Reply{}, &GuardError{nullPath("data", top["data"]), "a value, or the key left out", "null"}
	}
	if raw, ok := r.Data[errorMessageKey]; ok && kindOf(raw) != "string" {
		return Reply{}, &GuardError{"data." + errorMessageKey, "string", kindOf(raw)}
	}
	if raw, ok := r.Data[extensionKey]; ok {
		extension := membersByReference(raw)
		if extension == nil {
			return Reply{}, &GuardError{"data." + extensionKey, "object", kindOf(raw)}
		}
		raw, ok := extension["params"]
		params := membersByReference(raw)
		if ok && params == nil {
			return Reply{}, &GuardError{"data." + extensionKey + ".params", "object", kindOf(raw)}
		}
		if _, there := params[flowTokenKey]; r.Ends() && ok && !there && req.Token != "" {
			params[flowTokenKey], _ = encode(req.Token)
			extension["params"] = objectByReference(params)
			r.Data[extensionKey] = objectByReference(extension)
		}
	}
	if r.Ends() {
		return r, nil
	}
	if err := checkScreen(def, req, r.Screen); err != nil {
		return Reply{}, err
	}
	if def == nil {
		return r, nil
	}
	target := def.flow.Screen(r.Screen)
	for _, key := range target.Keys {
		value, ok := r.Data[key]
		if !ok {
			return Reply{}, &GuardError{"data." + key, string(target.Data[key].Type), "nothing"}
		}
		if err := checkByReference("data."+key, target.Data[key], value); err != nil {
			return Reply{}, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Data)) {
		if _, ok := target.Data[key]; !ok && key != errorMessageKey && key != extensionKey {
			return Reply{}, &GuardError{"data." + clip(key), fmt.Sprintf("no such key, screen %s does not declare it", target.ID), kindOf(r.Data[key])}
		}
	}
	return r, nil
}

func checkByReference(path string, schema *flowjson.Schema, value json.RawMessage) error {
	if kind := kindOf(value); kind != string(schema.Type) {
		return &GuardError{path, string(schema.Type), kind}
	}
	switch schema.Type {
	case flowjson.Object:
		members := membersByReference(value)
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
				if err := checkByReference(path+"."+key, property, members[key]); err != nil {
					return err
				}
			}
		}
	case flowjson.Array:
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			panic(err)
		}
		if len(items) < schema.MinItems {
			return &GuardError{path, fmt.Sprintf("at least %d items", schema.MinItems), strconv.Itoa(len(items))}
		}
		if schema.MaxItems >= 0 && len(items) > schema.MaxItems {
			return &GuardError{path, fmt.Sprintf("at most %d items", schema.MaxItems), strconv.Itoa(len(items))}
		}
		seen := map[string]int{}
		for i, item := range items {
			at := path + "[" + strconv.Itoa(i) + "]"
			if schema.Items != nil {
				if err := checkByReference(at, schema.Items, item); err != nil {
					return err
				}
			}
			text := string(canonical(item))
			if first, twice := seen[text]; twice && schema.UniqueItems {
				return &GuardError{at, "no item twice", fmt.Sprintf("the same as item %d", first)}
			}
			seen[text] = i
		}
	}
	return nil
}

// membersByReference is nil for what is no object.
func membersByReference(raw json.RawMessage) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	if kindOf(raw) != "object" || json.Unmarshal(raw, &members) != nil {
		return nil
	}
	return members
}

func objectByReference(members map[string]json.RawMessage) []byte {
	b := []byte{'{'}
	for i, key := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := encode(key)
		if err != nil {
			panic(err)
		}
		b = append(append(append(b, name...), ':'), members[key]...)
	}
	return append(b, '}')
}
