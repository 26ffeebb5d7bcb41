package validate

import (
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

type node = jsontree.Node

// document is a Flow JSON as the rules see it. It holds what is there, however
// wrong: a rule that needs a value checks that it has the right kind, and says
// nothing if it has not, because another rule does.
type document struct {
	root *node
	// version is the newest known one when the document names none, or one
	// that is newer still.
	version Version
	// endpoint says that there is a data_api_version.
	endpoint bool
	screens  []*screen
	byID     map[string]*screen // the first of each id
	known    *knownObjects      // of the screens, read once; see objects
	// declared are the ways of routing_model, navigated those of the navigate
	// actions; nil without a routing model, or with too many screens.
	declared, navigated *routes
	// indexes are those of get.
	indexes map[*node]map[string]*node
}

// screen is one element of screens that is an object.
type screen struct {
	node     *node
	id       string // empty when it has none
	terminal bool
	data     *node // the data model, an object; nil without one
	// components are all components of the screen in the order of the text,
	// those inside a Form, an If or a Switch after the one they stand in.
	components []*component
	inputs     map[string]*component // by name, the first of each
	// named are the components of any type that have a name, the first of each.
	named map[string]*component
}

// component is one object in a list of components.
type component struct {
	node   *node
	typ    string // as it stands; empty when it has none
	name   string
	screen *screen
	parent *component // the Form, If or Switch it stands in; nil at the top
	branch string     // children, then, else, or the name of a case
	form   *component // the Form around it, at whatever depth
	depth  int        // of Ifs and Switches around it
}

// attr returns an attribute, or nil.
func (c *component) attr(name string) *node { return c.node.Get(name) }

// spec is what is known of the component's type, or nil.
func (c *component) spec() *componentSpec { return componentSpecs[c.typ] }

// readDocument never fails: what it cannot read is left out.
func readDocument(root *node) *document {
	d := &document{root: root, version: newest, byID: map[string]*screen{}, indexes: map[*node]map[string]*node{}}
	d.endpoint = root.Get("data_api_version") != nil
	if v := root.Get("version"); v.Is(jsontree.String) {
		if version, err := parseVersion(v.Text); err == nil && newest.AtLeast(version.Major, version.Minor) {
			d.version = version
		}
	}
	list := root.Get("screens")
	if !list.Is(jsontree.Array) {
		return d
	}
	for _, n := range list.Items {
		if n.Kind != jsontree.Object {
			continue
		}
		s := &screen{node: n, terminal: saysTrue(n.Get("terminal"))}
		if id := n.Get("id"); id.Is(jsontree.String) {
			s.id = id.Text
		}
		if data := n.Get("data"); data.Is(jsontree.Object) {
			s.data = data
		}
		if children := n.Get("layout").Get("children"); children.Is(jsontree.Array) && len(children.Items) > 0 {
			s.inputs, s.named = map[string]*component{}, map[string]*component{}
			s.read(children, nil, "children")
		}
		d.screens = append(d.screens, s)
		if _, twice := d.byID[s.id]; !twice && s.id != "" {
			d.byID[s.id] = s
		}
	}
	d.declared, d.navigated = declaredRoutes(d), navigatedRoutes(d)
	return d
}

// saysTrue: a flag that is written as a string is refused, but what it means is
// clear, and the other rules go by that.
func saysTrue(n *node) bool { return n != nil && n.Text == "true" }

func (s *screen) read(list *node, parent *component, branch string) {
	if !list.Is(jsontree.Array) {
		return
	}
	for _, n := range list.Items {
		if n.Kind != jsontree.Object {
			continue
		}
		c := &component{node: n, screen: s, parent: parent, branch: branch}
		if t := n.Get("type"); t.Is(jsontree.String) {
			c.typ = t.Text
		}
		if name := n.Get("name"); name.Is(jsontree.String) {
			c.name = name.Text
		}
		if parent != nil {
			c.form, c.depth = parent.form, parent.depth
			switch parent.typ {
			case "Form":
				c.form = parent
			case "If", "Switch":
				c.depth++
			}
		}
		s.components = append(s.components, c)
		if c.name != "" && s.named[c.name] == nil {
			s.named[c.name] = c
		}
		if spec := c.spec(); spec != nil && spec.input && c.name != "" && s.inputs[c.name] == nil {
			s.inputs[c.name] = c
		}
		switch c.typ {
		case "Form":
			s.read(n.Get("children"), c, "children")
		case "If":
			s.read(n.Get("then"), c, "then")
			s.read(n.Get("else"), c, "else")
		case "Switch":
			if cases := n.Get("cases"); cases.Is(jsontree.Object) {
				for _, m := range cases.Members {
					s.read(m.Value, c, m.Name)
				}
			}
		}
	}
}
