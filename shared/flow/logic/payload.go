package logic

import (
	"encoding/json"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// posted are the types of what a screen posts, by payload key.
func posted(doc *flowjson.Document, s *flowjson.Screen) map[string]*types.Type {
	keys := map[string]*types.Type{}
	for _, a := range posting(s) {
		for _, key := range a.Keys {
			keys[key] = common(keys[key], payloadType(doc, s, a.Payload[key]))
		}
	}
	return keys
}

// posting are the actions of a screen that send a payload to the endpoint:
// WhatsApp sends data_exchange; other clients send navigate and complete too,
// which count for screens that have nothing else.
func posting(s *flowjson.Screen) []*flowjson.Action {
	var exchanges, others []*flowjson.Action
	for i := range s.Actions {
		switch a := &s.Actions[i]; a.Name {
		case flowjson.DataExchange:
			exchanges = append(exchanges, a)
		case flowjson.Navigate, flowjson.Complete:
			others = append(others, a)
		}
	}
	if len(exchanges) > 0 {
		return exchanges
	}
	return others
}

// payloadType is the type of a payload's value: that of the component or data
// key it is taken from, or of the literal.
func payloadType(doc *flowjson.Document, s *flowjson.Screen, value json.RawMessage) *types.Type {
	switch flowjson.KindOf(value) {
	case "number":
		return types.DynType
	case "boolean":
		return types.BoolType
	case "string":
	default:
		return types.DynType
	}
	r, whole, some := reference(value)
	switch {
	case !some:
		return types.StringType
	case !whole:
		return types.DynType
	}
	on := s
	if r.Screen != "" {
		on = doc.Screen(r.Screen)
	}
	if on == nil {
		return types.DynType
	}
	if r.Source == "data" {
		if schema := on.Data[r.Key]; schema != nil {
			return schemaType(schema)
		}
		return types.DynType
	}
	if c, _ := input(on.Children, nil, r.Key); c != nil {
		return componentType(c)
	}
	return types.DynType
}

// reference reads a value that is one reference and nothing else, "${form.a}".
func reference(value json.RawMessage) (r flowjson.Reference, whole, some bool) {
	list := flowjson.References(value)
	var text string
	if len(list) == 0 || json.Unmarshal(value, &text) != nil {
		return r, false, len(list) > 0
	}
	r = list[0]
	want := r.Source + "." + r.Key
	if r.Screen != "" {
		want = "screen." + r.Screen + "." + want
	}
	return r, len(list) == 1 && text == "${"+want+"}", true
}

// input finds the component of a name and the Form it stands in, if any.
func input(components []*flowjson.Component, form *flowjson.Component, name string) (found, in *flowjson.Component) {
	for _, c := range components {
		if c.Name == name && c.Type != "Form" {
			return c, form
		}
		inside := form
		if c.Type == "Form" {
			inside = c
		}
		if found, in := input(c.Children, inside, name); found != nil {
			return found, in
		}
	}
	return nil, nil
}

// componentType is the type of what an input posts. What is typed is a text
// also where digits are asked for: some clients post a number, others a text,
// and typed makes a text of both.
func componentType(c *flowjson.Component) *types.Type {
	switch c.Type {
	case "TextInput", "TextArea", "RadioButtonsGroup", "Dropdown", "DatePicker":
		return types.StringType
	case "CheckboxGroup", "ChipsSelector":
		return types.NewListType(types.StringType)
	case "OptIn":
		return types.BoolType
	case "PhotoPicker", "DocumentPicker":
		return types.NewListType(types.DynType)
	case "CalendarPicker":
		switch mode := string(c.Attributes["mode"]); mode {
		case "", `"single"`:
			return types.StringType
		case `"range"`:
			return types.NewMapType(types.StringType, types.DynType)
		}
	}
	return types.DynType
}

// schemaType is the type of a value of a data model.
func schemaType(s *flowjson.Schema) *types.Type {
	switch s.Type {
	case flowjson.String:
		return types.StringType
	case flowjson.Boolean:
		return types.BoolType
	case flowjson.Array:
		if s.Items == nil {
			return types.NewListType(types.DynType)
		}
		return types.NewListType(schemaType(s.Items))
	case flowjson.Object:
		return types.NewMapType(types.StringType, types.DynType)
	}
	return types.DynType // a number, whole or not
}

// fits says whether what an expression yields can be shown under a key of a
// data model. What is only known when it runs is held against the model then.
func fits(s *flowjson.Schema, t *types.Type) bool {
	if t.Kind() == types.DynKind || t.Kind() == types.NullTypeKind {
		return true
	}
	if typeName(t) != string(s.Type) {
		return false
	}
	if s.Type == flowjson.Array && s.Items != nil && len(t.Parameters()) == 1 {
		return fits(s.Items, t.Parameters()[0])
	}
	return true
}

// formShape is `form` on a screen.
func formShape(screen string, keys map[string]*types.Type) *shape {
	s := newShape("form", "screen "+screen+" has fields")
	for key, t := range keys {
		s.add(key, t, given(t, func(turn *Turn) (json.RawMessage, bool) {
			raw, ok := turn.in.Form[key]
			return raw, ok
		}))
	}
	return s
}

// answerShapes are `screen`, with a shape for each screen, and `session`.
func answerShapes(doc *flowjson.Document) (screens, session *shape, each []*shape) {
	screens = newShape("screen", "the flow has screens")
	session = newShape("session", "the screens of the flow post")
	latest := map[string]*types.Type{}
	for i := range doc.Screens {
		id := doc.Screens[i].ID
		keys := posted(doc, &doc.Screens[i])
		one := newShape("screen."+id, "screen "+id+" has fields")
		for key, t := range keys {
			one.add(key, t, given(t, func(turn *Turn) (json.RawMessage, bool) { return turn.in.Answers.On(id, key) }))
			latest[key] = common(latest[key], t)
		}
		each = append(each, one)
		screens.addShape(id, one, func(turn *Turn) bool {
			return slices.ContainsFunc(one.names, func(key string) bool {
				_, ok := turn.in.Answers.On(id, key)
				return ok
			})
		})
	}
	for key, t := range latest {
		session.add(key, t, given(t, func(turn *Turn) (json.RawMessage, bool) { return turn.in.Answers.Latest(key) }))
	}
	return screens, session, each
}

func given(t *types.Type, from func(*Turn) (json.RawMessage, bool)) func(*Turn) (ref.Val, bool, error) {
	return func(turn *Turn) (ref.Val, bool, error) {
		raw, ok := from(turn)
		if !ok {
			return nil, false, nil
		}
		v, err := turn.read(raw, t)
		return v, true, err
	}
}

func userShape() *shape {
	s := newShape("user", "user has")
	s.add("id", types.StringType, func(t *Turn) (ref.Val, bool, error) { return types.String(t.in.User), t.in.User != "", nil })
	s.add("name", types.StringType, func(t *Turn) (ref.Val, bool, error) { return types.String(t.in.UserName), t.in.UserName != "", nil })
	return s
}

func varsShape(all map[string]*types.Type) *shape {
	s := newShape("vars", "the rules set")
	for name, t := range all {
		s.add(name, t, given(t, func(turn *Turn) (json.RawMessage, bool) {
			raw, ok := turn.vars[name]
			return raw, ok
		}))
	}
	return s
}

// fetchShapes are `fetch` on a screen, and one shape for each of its fetches.
func fetchShapes(screen string, fetches []*fetch) (all *shape, each []*shape) {
	all = newShape("fetch", "screen "+screen+" fetches")
	for _, f := range fetches {
		one := newShape("fetch."+f.name, "a fetch has")
		result := func(part func(*fetched) ref.Val) func(*Turn) (ref.Val, bool, error) {
			return func(t *Turn) (ref.Val, bool, error) {
				r, err := t.fetch(f)
				if err != nil {
					return nil, false, err
				}
				return part(r), true, nil
			}
		}
		one.add("ok", types.BoolType, result(func(r *fetched) ref.Val { return types.Bool(r.ok) }))
		one.add("status", types.IntType, result(func(r *fetched) ref.Val { return types.Int(r.status) }))
		one.add("body", types.DynType, result(func(r *fetched) ref.Val { return r.body }))
		f.shape = one
		each = append(each, one)
		all.addShape(f.name, one, func(*Turn) bool { return true })
	}
	return all, each
}
