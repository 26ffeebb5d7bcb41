package validate

import "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"

// object is an object of the document whose shape is known.
type object struct {
	*shape
	node *node
	in   *component // the component it is, or belongs to
}

// knownObjects are what the tables of shapes say of a document, worked out once
// for all rules.
type knownObjects struct {
	objects []object
	values  []knownValue
	strays  []stray
}

// stray is a property that may not stand where it does; p is nil if the shape
// knows none of that name.
type stray struct {
	in int32 // index of its object
	p  *property
	m  *jsontree.Member
}

// knownValue is the value of a property that may stand where it does.
type knownValue struct {
	in    int32 // index of its object
	p     *property
	value *node
}

// knowledge reads all objects of known shapes, in the order of the text.
func (c *checker) knowledge() *knownObjects {
	if c.known == nil {
		c.known = &knownObjects{objects: make([]object, 0, len(c.text)/128), values: make([]knownValue, 0, len(c.text)/64)}
		for _, s := range c.screens {
			for _, at := range s.components {
				if spec := at.spec(); spec != nil {
					c.readObject(object{spec.shape, at.node, at})
				}
			}
		}
	}
	return c.known
}

func (c *checker) readObject(o object) {
	in := int32(len(c.known.objects))
	c.known.objects = append(c.known.objects, o)
	for i := range o.node.Members {
		m := &o.node.Members[i]
		p := o.byName[m.Name]
		if p == nil || !c.allowed(o, p) {
			c.known.strays = append(c.known.strays, stray{in, p, m})
		} else {
			c.known.values = append(c.known.values, knownValue{in, p, m.Value})
		}
		if p == nil || p.each == nil {
			continue
		}
		if m.Value.Kind == jsontree.Object {
			c.readObject(object{p.each, m.Value, o.in})
		}
		for _, item := range m.Value.Items {
			if item.Kind == jsontree.Object {
				c.readObject(object{p.each, item, o.in})
			}
		}
	}
}

// objects calls f for every component of a known type and for every object
// within one whose shape is known.
func (c *checker) objects(f func(object)) {
	for _, o := range c.knowledge().objects {
		f(o)
	}
}

// values calls f for every value of a property that may stand where it does.
func (c *checker) values(f func(o object, p *property, value *node)) {
	known := c.knowledge()
	for i := range known.values {
		v := &known.values[i]
		f(known.objects[v.in], v.p, v.value)
	}
}

// allowed says whether the property exists in this version and place.
func (c *checker) allowed(o object, p *property) bool {
	return c.version.AtLeast(p.since.Major, p.since.Minor) && !(p.outside && o.in.form != nil)
}

// texts calls f for every string a known property holds: itself, in a range
// object, or in an array.
func (c *checker) texts(f func(o object, p *property, text *node)) {
	c.values(func(o object, p *property, value *node) {
		switch {
		case value.Kind == jsontree.String:
			f(o, p, value)
		case value.Kind == jsontree.Array && p.each == nil:
			for _, item := range value.Items {
				if item.Kind == jsontree.String {
					f(o, p, item)
				}
			}
		case value.Kind == jsontree.Object && p.ranged:
			for i := range value.Members {
				if value.Members[i].Value.Kind == jsontree.String {
					f(o, p, value.Members[i].Value)
				}
			}
		}
	})
}

// isBound says whether a string is a ${…} or, from 6.0, an expression in
// backticks, which stands in place of a value of any kind.
func (c *checker) isBound(n *node) bool {
	if !n.Is(jsontree.String) {
		return false
	}
	text := n.Text
	return len(text) > 1 && text[0] == '$' && text[1] == '{' || len(text) > 1 && text[0] == '`' && c.version.AtLeast(6, 0)
}

// static returns the attribute if it is of the kind and not bound, else nil.
func (c *checker) static(n *node, kind jsontree.Kind) *node {
	if !n.Is(kind) || c.isBound(n) {
		return nil
	}
	return n
}
