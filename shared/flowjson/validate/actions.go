package validate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var actionRules = []rule{
	{"action-shape", "Meta: Flow JSON, \"Actions\"; error codes, INVALID_PROPERTY_KEY; web client: WAFlowJSONActionSchema", checkActionShapes},
	{"action-name", "Meta: Flow JSON, \"Actions\"; error codes, INVALID_ENUM_VALUE; web client: WAFlowJSONActionSchema", checkActionNames},
	{"complete-on-terminal", "Meta: Flow JSON error codes, INVALID_COMPLETE_ACTION", checkCompleteOnTerminal},
	{"navigate-target", "Meta: Flow JSON error codes, INVALID_NAVIGATE_ACTION_NEXT_SCREEN_NAME", checkNavigateTargets},
	{"navigate-on-terminal", "Meta: Flow JSON, \"navigate\": not on the Footer of a terminal screen", checkNavigateOnTerminal},
	{"open-url", "Meta: Flow JSON, \"open_url\"; error codes, INVALID_PROPERTY_VALUE_FORMAT", checkOpenURL},
}

// action is one object that says what happens on a tap.
type action struct {
	node      *node
	attribute string // on-click-action, on-select-action or on-unselect-action
	owner     *component
	item      *node  // the option or list item it belongs to; nil on the component itself
	name      string // empty when it has none
}

// payload returns the payload if it is an object.
func (a action) payload() *node {
	if n := a.node.Get("payload"); n.Is(jsontree.Object) {
		return n
	}
	return nil
}

// target returns the id of the screen a navigate leads to, or nil.
func (a action) target() *node {
	if n := a.node.Get("next").Get("name"); a.name == "navigate" && n.Is(jsontree.String) && !strings.HasPrefix(n.Text, "${") {
		return n
	}
	return nil
}

var actionAttributes = []string{"on-click-action", "on-select-action", "on-unselect-action"}

// actions calls f for every action that is an object.
func (c *checker) actions(f func(action)) {
	for _, s := range c.screens {
		for _, owner := range s.components {
			owner.eachAction(f)
		}
	}
}

// eachAction calls f for every action of the component and of its items that is
// an object.
func (c *component) eachAction(f func(action)) {
	visit := func(n, item *node) {
		for _, attribute := range actionAttributes {
			found := n.Get(attribute)
			if !found.Is(jsontree.Object) {
				continue
			}
			a := action{node: found, attribute: attribute, owner: c, item: item}
			if name := found.Get("name"); name.Is(jsontree.String) {
				a.name = name.Text
			}
			f(a)
		}
	}
	visit(c.node, nil)
	for _, list := range []string{"data-source", "list-items"} {
		if items := c.attr(list); items.Is(jsontree.Array) {
			for _, item := range items.Items {
				visit(item, item)
			}
		}
	}
}

func checkActionShapes(c *checker) {
	c.actions(func(a action) {
		known := []string{"name", "payload"}
		if a.attribute == "on-click-action" {
			known = append(known, "next")
			if c.version.AtLeast(6, 0) {
				known = append(known, "url")
			}
		}
		for i := range a.node.Members {
			if m := &a.node.Members[i]; !slices.Contains(known, m.Name) {
				c.onKey(m).error(InvalidPropertyKey, "%s has no property %q%s", a.attribute, m.Name, withSuggestion(m.Name, known))
			}
		}
		switch n := a.node.Get("name"); {
		case n == nil:
			c.onStart(a.node).error(MissingRequiredProperty, "%s has no name, expected the name of an action", a.attribute)
		case n.Kind != jsontree.String:
			c.on(n).error(InvalidPropertyType, "name is %s, expected the name of an action", n.Kind)
		}
		switch n := a.node.Get("payload"); {
		case n == nil && a.attribute != "on-click-action":
			c.onStart(a.node).error(MissingRequiredProperty, "%s has no payload, expected an object", a.attribute)
		case n != nil && n.Kind != jsontree.Object:
			c.on(n).error(InvalidPropertyType, "payload is %s, expected an object", n.Kind)
		}
		if a.attribute == "on-click-action" {
			c.checkPartner(a, "navigate", "next")
			if c.version.AtLeast(6, 0) {
				c.checkPartner(a, "open_url", "url")
			}
			if m := a.node.Member("payload"); m != nil && a.name == "open_url" && c.version.AtLeast(6, 0) {
				c.onKey(m).error(NotKeyword, "open_url takes no payload: remove it")
			}
			c.checkNext(a)
		}
	})
}

// checkPartner: a property that one action must have and no other may have.
func (c *checker) checkPartner(a action, name, property string) {
	m := a.node.Member(property)
	switch {
	case m == nil && a.name == name:
		c.onStart(a.node).error(MissingRequiredProperty, "%s needs %s", name, property)
	case m != nil && a.name != name && a.name != "":
		c.onKey(m).error(NotKeyword, "%s belongs to %s only, this is %s: remove it", property, name, a.name)
	}
}

func (c *checker) checkNext(a action) {
	next := a.node.Get("next")
	switch {
	case next == nil || a.name != "navigate":
		return
	case next.Kind != jsontree.Object:
		c.on(next).error(InvalidPropertyType, `next is %s, expected {"type": "screen", "name": "ID"}`, next.Kind)
		return
	}
	known := []string{"type", "name"}
	for i := range next.Members {
		switch m := &next.Members[i]; {
		case !slices.Contains(known, m.Name):
			c.onKey(m).error(InvalidPropertyKey, "next has no property %q%s", m.Name, withSuggestion(m.Name, known))
		case m.Value.Kind != jsontree.String:
			c.on(m.Value).error(InvalidPropertyType, "%s is %s, expected a string", m.Name, m.Value.Kind)
		}
	}
	switch typ := next.Get("type"); {
	case typ == nil:
		c.onStart(next).error(MissingRequiredType, `next has no type, expected "screen"`)
	case typ.Is(jsontree.String) && typ.Text != "screen":
		c.on(typ).warn(DoubtfulRule, `type is %q: Meta's pages know only "screen", its web client takes any text`, typ.Text)
	}
	if next.Get("name") == nil {
		c.onStart(next).error(MissingRequiredProperty, "next has no name, expected the id of a screen")
	}
}

// actionNames are the actions that may stand there.
func (c *checker) actionNames(a action) []string {
	six := c.version.AtLeast(6, 0)
	switch {
	case a.attribute == "on-click-action":
		names := []string{"navigate", "data_exchange"}
		switch {
		case a.owner.typ == "Footer":
			names = append(names, "complete")
		case six && (a.owner.typ == "EmbeddedLink" || a.owner.typ == "OptIn"):
			names = append(names, "open_url")
		}
		return names
	case a.item != nil || a.attribute == "on-unselect-action" || a.owner.typ == "OptIn":
		return []string{"update_data"}
	case !six || a.owner.typ == "DatePicker" || a.owner.typ == "CalendarPicker":
		return []string{"data_exchange"}
	}
	return []string{"data_exchange", "update_data"}
}

func checkActionNames(c *checker) {
	c.actions(func(a action) {
		n := a.node.Get("name")
		spec := a.owner.spec()
		if !n.Is(jsontree.String) || spec == nil {
			return
		}
		if a.item != nil && a.attribute != "on-click-action" && c.version.Below(6, 0) {
			return // the attribute itself should not be there
		}
		if p := spec.byName[a.attribute]; a.item == nil && (p == nil || c.version.Below(p.since.Major, p.since.Minor)) {
			return // the attribute itself should not be there
		}
		if names := c.actionNames(a); !slices.Contains(names, n.Text) {
			c.on(n).error(InvalidEnumValue, "%s of %s is %q, expected one of: %s%s", a.attribute, a.owner.typ, n.Text, strings.Join(names, ", "), withSuggestion(n.Text, names))
		}
	})
}

func checkCompleteOnTerminal(c *checker) {
	c.actions(func(a action) {
		if a.name == "complete" && !a.owner.screen.terminal {
			c.on(a.node.Get("name")).error(InvalidCompleteAction, "complete ends the flow, and screen %s is not terminal: add \"terminal\": true to it, or use navigate or data_exchange", a.owner.screen.id)
		}
	})
}

func checkNavigateTargets(c *checker) {
	c.actions(func(a action) {
		switch target := a.target(); {
		case target == nil:
		case target.Text == a.owner.screen.id:
			c.on(target).error(InvalidNavigateActionNext, "%s is the screen this stands on, and a screen cannot lead to itself", target.Text)
		case c.byID[target.Text] == nil:
			missing := resolved{problem: "there is no screen " + clip(target.Text), got: target.Text, known: c.screenIDs}
			c.on(target).error(InvalidNavigateActionNext, "%s", missing)
		}
	})
}

func checkNavigateOnTerminal(c *checker) {
	c.actions(func(a action) {
		if a.name == "navigate" && a.owner.typ == "Footer" && a.owner.screen.terminal {
			c.on(a.node.Get("name")).warn(DoubtfulRule, "the Footer of a terminal screen should complete the flow: Meta's page forbids navigate there, its web client does not")
		}
	})
}

func checkOpenURL(c *checker) {
	c.actions(func(a action) {
		n := a.node.Get("url")
		if n == nil || a.name != "open_url" || c.version.Below(6, 0) {
			return
		}
		switch {
		case n.Kind != jsontree.String:
			c.on(n).error(InvalidPropertyType, "url is %s, expected a string", n.Kind)
		case c.isDynamic(n.Text):
		default:
			if u, err := url.Parse(n.Text); err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" {
				c.on(n).error(InvalidPropertyValueFormat, "url is %q, expected an absolute one, as in https://example.com/terms", n.Text)
			}
		}
	})
}
