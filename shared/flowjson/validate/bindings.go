package validate

import (
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// binding is a string of a screen or component that may hold a reference.
type binding struct {
	node   *node
	screen *screen
	owner  *component // nil for the title of the screen
	name   string     // of the attribute it stands in
	// property is what is known of the value, nil for nothing.
	property *property
	// doubtful says that Meta does not look at references here: what is wrong
	// with one is a warning.
	doubtful bool
}

// structural are the attributes whose strings are no values of the component
// itself, or that a rule of their own looks at.
var structural = map[string]bool{
	"type": true, "name": true, "children": true, "then": true, "else": true, "cases": true, "condition": true,
	"on-click-action": true, "on-select-action": true, "on-unselect-action": true,
}

// bindings calls f for each string that holds a ${ or stands in backticks.
func (c *checker) bindings(f func(binding)) {
	for _, s := range c.screens {
		if title := s.node.Get("title"); title != nil {
			visitBindings(binding{node: title, screen: s, name: "title", doubtful: true}, 0, f)
		}
		for _, owner := range s.components {
			spec := owner.spec()
			for i := range owner.node.Members {
				m := &owner.node.Members[i]
				if structural[m.Name] {
					continue
				}
				b := binding{node: m.Value, screen: s, owner: owner, name: m.Name}
				if spec != nil {
					b.property = spec.byName[m.Name]
				}
				// Versions 6.0 to 6.3 do not look into these.
				b.doubtful = (m.Name == "init-values" || m.Name == "error-messages") && c.version.AtLeast(6, 0) && c.version.Below(7, 0)
				visitBindings(b, 0, f)
			}
		}
	}
}

func visitBindings(b binding, depth int, f func(binding)) {
	n, inside := b.node, b
	switch n.Kind {
	case jsontree.String:
		if strings.Contains(n.Text, "${") || strings.HasPrefix(n.Text, "`") {
			f(b)
		}
	case jsontree.Object:
		inside.doubtful = b.doubtful || depth > 0
		for i := range n.Members {
			m := &n.Members[i]
			if depth > 0 && structural[m.Name] && strings.HasSuffix(m.Name, "-action") {
				continue
			}
			inside.node, inside.property = m.Value, nil
			switch {
			case b.property == nil:
			case b.property.each != nil:
				inside.property = b.property.each.byName[m.Name]
			case b.property.ranged:
				inside.property = b.property
			}
			visitBindings(inside, depth+1, f)
		}
	case jsontree.Array:
		inside.doubtful = true
		if b.property != nil && b.property.each == nil {
			inside.property = nil
		}
		for _, item := range n.Items {
			inside.node = item
			visitBindings(inside, depth+1, f)
		}
	}
}

// kinds are the types that may stand in the place of the string, 0 if unknown.
func (c *checker) kinds(b binding) valueType {
	p := b.property
	switch {
	case p == nil:
		return 0
	case p.kinds == 0: // nothing but a reference: the value of a Switch, which is text
		return aString
	case p.ranged:
		return p.kinds | anObject
	case c.version.from(p.lines):
		return p.kinds | anArray
	}
	return p.kinds
}
