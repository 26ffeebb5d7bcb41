package validate

import (
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// reference is one ${…} of a Flow JSON.
type reference struct {
	text   string   // as it stands: ${screen.FIRST.form.name}
	screen string   // the screen it names; empty for the screen it stands on
	store  string   // data or form
	path   []string // what follows the store, at least one name
}

// maxReferencePath bounds the names of one reference: a data model is not
// deeper than the document.
const maxReferencePath = jsontree.MaxDepth

// parseReference reads ${data.f}, ${form.f} and ${screen.ID.data.f}, with any
// number of names at the end. It does not say what exists.
func parseReference(text string) (reference, bool) {
	inner, isReference := strings.CutPrefix(text, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	if !isReference || !closed || strings.ContainsAny(inner, "${}` \t\r\n") {
		return reference{}, false
	}
	names := strings.SplitN(inner, ".", maxReferencePath)
	r := reference{text: text, store: names[0], path: names[1:]}
	if r.store == "screen" && len(names) > 3 {
		r.screen, r.store, r.path = names[1], names[2], names[3:]
		if r.screen == "" {
			return reference{}, false
		}
	}
	if r.store != "data" && r.store != "form" || len(r.path) == 0 {
		return reference{}, false
	}
	for _, name := range r.path {
		if name == "" {
			return reference{}, false
		}
	}
	return r, true
}

// isReference says whether a text is one whole reference.
func isReference(text string) bool {
	_, ok := parseReference(text)
	return ok
}

// isNested says whether a text is an expression in backticks, which versions
// from 6.0 evaluate.
func isNested(text string) bool {
	return len(text) > 1 && text[0] == '`' && text[len(text)-1] == '`'
}

// isDynamic says whether the client puts another value in the place of this
// text: a rule for static values must leave it alone.
func (d *document) isDynamic(text string) bool {
	return isReference(text) || isNested(text) && d.version.AtLeast(6, 0)
}

// get is n.Get(name) for objects that rules look into with many names: of a
// large one it keeps an index, so that time stays linear.
func (d *document) get(n *node, name string) *node {
	const large = 32
	if n == nil || len(n.Members) < large {
		return n.Get(name)
	}
	index := d.indexes[n]
	if index == nil {
		index = make(map[string]*node, len(n.Members))
		for _, m := range n.Members {
			index[m.Name] = m.Value
		}
		d.indexes[n] = index
	}
	return index[name]
}

// resolved is what a reference stands for.
type resolved struct {
	types valueType // 0 if the model does not say
	// model is the part of a data model, nil for an input.
	model *node
	input *component
	// problem is why there is no such value; empty if there is. got is the name
	// that is not among the known ones.
	problem string
	// inside says that the first name of a reference exists, and what follows it
	// does not.
	inside bool
	got    string
	known  func() []string
}

// maxSuggested bounds the names that are looked through for a "did you mean".
const maxSuggested = 128

// String is the problem with a "did you mean". That is worked out only for a
// message that is kept: a hostile document has a wrong name in each of its lines.
func (r resolved) String() string {
	if r.known == nil {
		return r.problem
	}
	list := r.known()
	if hint := suggest(r.got, list[:min(len(list), maxSuggested)]); hint != "" {
		return r.problem + ": " + hint
	}
	return r.problem
}

// isMedia says whether the value is a list of files.
func (r resolved) isMedia() bool {
	return r.input != nil && r.input.spec() != nil && r.input.spec().media
}

// resolve finds what a reference on a screen stands for.
func (c *checker) resolve(r reference, from *screen) resolved {
	target := from
	if r.screen != "" {
		if target = c.byID[r.screen]; target == nil {
			return resolved{problem: "there is no screen " + clip(r.screen), got: r.screen, known: c.screenIDs}
		}
	}
	if r.store == "form" {
		return resolveForm(r, target)
	}
	return c.resolveData(r, target)
}

func resolveForm(r reference, s *screen) resolved {
	name := strings.Join(r.path, ".")
	input := s.named[name]
	switch {
	case input == nil:
		return resolved{problem: "screen " + clip(s.id) + " has no input " + clip(name), got: name, known: s.names}
	case input.typ == "Form":
		return resolved{problem: "this is the name of the Form, and a Form has no value: name one of its inputs"}
	}
	value := resolved{input: input}
	if spec := input.spec(); spec != nil && spec.yields != nil {
		value.types = spec.yields(input)
	}
	return value
}

func (c *checker) resolveData(r reference, s *screen) resolved {
	if s.data == nil {
		return resolved{problem: "screen " + clip(s.id) + " has no data model: declare " + clip(r.path[0]) + " in its data"}
	}
	model := c.get(s.data, r.path[0])
	if model == nil {
		return resolved{problem: "the data model of screen " + clip(s.id) + " has no " + clip(r.path[0]), got: r.path[0], known: memberNames(s.data)}
	}
	for i, name := range r.path[1:] {
		above := strings.Join(r.path[:i+1], ".")
		switch modelTypes(model) {
		case anArray:
			return resolved{inside: true, problem: clip(above) + " is an array, and a reference cannot reach into one"}
		case anObject, 0:
		default:
			return resolved{inside: true, problem: clip(above) + " is " + modelTypes(model).String() + " and has nothing inside"}
		}
		properties := model.Get("properties")
		if model = c.get(properties, name); model == nil {
			return resolved{inside: true, problem: "the data model of " + clip(above) + " has no property " + clip(name), got: name, known: memberNames(properties)}
		}
	}
	return resolved{types: modelTypes(model), model: model}
}

// modelTypes is what a part of a data model declares, 0 if that cannot be told.
func modelTypes(model *node) valueType {
	declared := model.Get("type")
	if !declared.Is(jsontree.String) {
		return 0
	}
	switch declared.Text {
	case "string":
		return aString
	case "number", "integer":
		return aNumber
	case "boolean":
		return aBoolean
	case "array":
		return anArray
	case "object":
		return anObject
	}
	return 0
}

// memberNames are those of an object's first members.
func memberNames(n *node) func() []string {
	return func() []string {
		if n == nil {
			return nil
		}
		list := make([]string, min(len(n.Members), maxSuggested))
		for i := range list {
			list[i] = n.Members[i].Name
		}
		return list
	}
}
