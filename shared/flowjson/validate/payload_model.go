package validate

import (
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

func checkNavigatePayloads(c *checker) {
	// The web client's chain for 6.0 to 7.2 leaves this out.
	lenient := c.version.AtLeast(6, 0) && c.version.Below(7, 3)
	c.actions(func(a action) {
		target := a.target()
		if target == nil || c.byID[target.Text] == nil || c.byID[target.Text] == a.owner.screen {
			return
		}
		to, payload, given := c.byID[target.Text], a.payload(), a.node.Get("payload")
		switch {
		case payload == nil && given != nil: // of another kind, which action-shape says
			return
		case to.data == nil:
			if to.node.Get("data") == nil && payload != nil && len(payload.Members) > 0 {
				c.on(payload).say(lenient, InvalidNavigateActionPayload, "screen %s has no data model and takes no payload: declare its keys in the data of %s, or leave the payload empty", to.id, to.id)
			}
			return
		case payload == nil && len(to.data.Members) > 0:
			c.onStart(a.node).say(lenient, InvalidNavigateActionPayload, "payload is missing, and screen %s expects %s", to.id, strings.Join(firstNames(to.data), ", "))
			return
		case payload == nil:
			return
		}
		for i := range payload.Members {
			m := &payload.Members[i]
			model := c.get(to.data, m.Name)
			if model == nil {
				known := resolved{problem: "the data model of screen " + clip(to.id) + " has no " + clip(m.Name), got: m.Name, known: memberNames(to.data)}
				c.onKey(m).say(lenient && !c.isStaticValue(m.Value), InvalidNavigateActionPayload, "%s", known)
				continue
			}
			c.checkPayloadValue(a, m.Value, model, InvalidNavigateActionPayload)
		}
		var missing []string
		for _, m := range to.data.Members {
			if len(missing) == maxNames {
				break
			}
			if c.get(payload, m.Name) == nil {
				missing = append(missing, m.Name)
			}
		}
		if missing != nil {
			c.on(payload).say(lenient, InvalidNavigateActionPayload, "the payload lacks %s, which the data model of screen %s declares", strings.Join(missing, ", "), to.id)
		}
	})
}

// maxNames bounds the names in one message, maxCompared the parts of two data
// models that are compared for one reference: a hostile document may compare
// large ones in each of its lines.
const maxNames, maxCompared = 10, 1000

func firstNames(n *node) []string {
	all := memberNames(n)()
	return all[:min(len(all), maxNames)]
}

func (c *checker) isStaticValue(n *node) bool {
	return !n.Is(jsontree.String) || !isReference(n.Text)
}

func checkUpdateDataPayloads(c *checker) {
	if c.version.Below(6, 0) {
		return
	}
	c.actions(func(a action) {
		s, payload := a.owner.screen, a.payload()
		if a.name != "update_data" || payload == nil {
			return
		}
		for i := range payload.Members {
			m := &payload.Members[i]
			model := c.get(s.data, m.Name)
			if model == nil {
				missing := c.resolve(reference{store: "data", path: []string{m.Name}}, s)
				c.onKey(m).error(InvalidActionPayloadProperty, "%s", missing)
				continue
			}
			if r, ok := parseReference(m.Value.Text); ok && r.screen == "" && r.store == "data" && r.path[0] == m.Name {
				c.on(m.Value).error(InvalidUpdateDataPayload, "this gives %s the value it has: remove it", m.Name)
				continue
			}
			c.checkPayloadValue(a, m.Value, model, InvalidUpdateDataPayload)
		}
	})
}

// checkPayloadValue holds the value of a key of a payload against what the data
// model it goes into declares.
func (c *checker) checkPayloadValue(a action, n, model *node, code Code) {
	r, isReference := parseReference(n.Text)
	switch {
	case !isReference:
		c.checkStaticPayload(a, n, model, code)
	default:
		found := c.resolve(r, a.owner.screen)
		if found.problem != "" {
			return
		}
		if !fits(found.types, modelTypes(model)) {
			c.on(n, model).error(code, "%s is %s, and the data model it goes into expects %s", r.text, found.types, modelTypes(model))
			return
		}
		if left := maxCompared; found.model != nil {
			if problem := c.modelsDiffer(found.model, model, &left); problem != "" {
				c.on(n, model, found.model).error(code, "%s does not fit the data model it goes into: %s", r.text, sentence(problem))
			}
		}
	}
}

// modelsDiffer says how the model of a value differs from that of the place it
// goes into. Where one of them does not say, it says nothing. Left bounds the
// parts it compares.
func (c *checker) modelsDiffer(from, to *node, left *int) string {
	if !fits(modelTypes(from), modelTypes(to)) {
		return "one has " + modelTypes(from).String() + " where the other has " + modelTypes(to).String()
	}
	if *left--; *left <= 0 {
		return ""
	}
	if a, b := from.Get("items"), to.Get("items"); a.Is(jsontree.Object) && b.Is(jsontree.Object) {
		return c.modelsDiffer(a, b, left)
	}
	a, b := from.Get("properties"), to.Get("properties")
	if !a.Is(jsontree.Object) || !b.Is(jsontree.Object) {
		return ""
	}
	if *left -= len(b.Members); *left <= 0 {
		return ""
	}
	for _, m := range b.Members {
		if c.get(a, m.Name) == nil {
			return "it has no property " + clip(m.Name)
		}
	}
	for _, m := range a.Members {
		other := c.get(b, m.Name)
		if other == nil {
			return "the property " + clip(m.Name) + " is not declared there"
		}
		if problem := c.modelsDiffer(m.Value, other, left); problem != "" {
			return problem
		}
	}
	return ""
}

func (c *checker) checkStaticPayload(a action, n, model *node, code Code) {
	expected := modelTypes(model)
	if n.Kind == jsontree.String && isReference(n.Text) {
		return
	}
	if n.Kind == jsontree.String && isNested(n.Text) && c.version.AtLeast(6, 0) {
		if e, wrong := c.nested(n, a.owner.screen); wrong == nil && !fits(e.types, expected) {
			c.on(n, model).error(code, "the expression gives a %s, and the data model it goes into expects %s", e.types, expected)
		}
		return
	}
	if expected != 0 && !expected.has(n.Kind) {
		c.on(n, model).error(code, "this is %s, and the data model it goes into expects %s", n.Kind, expected)
		return
	}
	switch items, properties := model.Get("items"), model.Get("properties"); {
	case n.Kind == jsontree.Array && items.Is(jsontree.Object):
		for _, item := range n.Items {
			c.checkStaticPayload(a, item, items, code)
		}
	case n.Kind == jsontree.Object && properties.Is(jsontree.Object):
		c.checkStaticObject(a, n, properties, code)
	}
}

func (c *checker) checkStaticObject(a action, n, properties *node, code Code) {
	for i := range n.Members {
		m := &n.Members[i]
		declared := c.get(properties, m.Name)
		if declared == nil {
			known := resolved{problem: "the data model it goes into declares no property " + clip(m.Name), got: m.Name, known: memberNames(properties)}
			// Meta's own example has options with actions of their own in such a place.
			isAction := m.Name == "on-select-action" || m.Name == "on-unselect-action"
			c.onKey(m).say(isAction, code, "%s", known)
			continue
		}
		c.checkStaticPayload(a, m.Value, declared, code)
	}
	for _, m := range properties.Members {
		if c.get(n, m.Name) == nil {
			c.on(n).error(code, "the property %s is missing, which the data model it goes into declares", m.Name)
			return
		}
	}
}
