package validate

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

const (
	pageComponents = `Meta: "Components"`
	pageCodes      = `Meta: "Error codes"`
	webClient      = `WhatsApp's web client, `
)

// propertyRules hold the tables of componentSpecs against the document.
var propertyRules = []rule{
	{"component-type", pageComponents + `; ` + pageCodes + `, MISSING_REQUIRED_TYPE_PROPERTY`, checkComponentType},
	{"property-names", pageComponents + `; ` + pageCodes + `, INVALID_PROPERTY_KEY`, checkPropertyNames},
	{"required-properties", pageComponents + `; ` + pageCodes + `, MISSING_REQUIRED_PROPERTY`, checkRequiredProperties},
	{"property-types", pageComponents + `; ` + pageCodes + `, INVALID_PROPERTY_TYPE and PATTERN_MISMATCH`, checkPropertyTypes},
	{"property-values", pageComponents + `; ` + pageCodes + `, INVALID_ENUM_VALUE`, checkPropertyValues},
	{"property-ranges", pageComponents + `; ` + pageCodes + `, MINIMUM_VALUE_REQUIRED and MAXIMUM_VALUE_REQUIRED`, checkPropertyRanges},
	{"item-counts", pageComponents + `, limits of each component; ` + webClient + `component schemas`, checkItemCounts},
	{"blank-texts", `Meta: "Changelog", 4.0 and 6.0; ` + pageCodes + `, PATTERN_MISMATCH and MIN_CHARS_REQUIRED`, checkBlankTexts},
	{"text-lengths", pageComponents + `, limits of each component`, checkTextLengths},
	{"colors", pageComponents + `, "color"`, checkColors},
}

func checkComponentType(c *checker) {
	for _, s := range c.screens {
		c.checkComponentList(s.node.Get("layout").Get("children"))
		for _, at := range s.components {
			c.checkType(at)
			for _, list := range componentLists(at) {
				c.checkComponentList(list)
			}
		}
	}
}

func (c *checker) checkComponentList(list *node) {
	if list.Is(jsontree.Array) {
		for _, item := range list.Items {
			if item.Kind != jsontree.Object {
				c.on(item).error(InvalidPropertyType, "a component is an object, this is %s", item.Kind)
			}
		}
	}
}

// componentLists are the lists of components that a Form, an If or a Switch
// holds.
func componentLists(at *component) []*node {
	switch at.typ {
	case "Form":
		return []*node{at.attr("children")}
	case "If":
		return []*node{at.attr("then"), at.attr("else")}
	case "Switch":
		var lists []*node
		if cases := at.attr("cases"); cases.Is(jsontree.Object) {
			for i := range cases.Members {
				lists = append(lists, cases.Members[i].Value)
			}
		}
		return lists
	}
	return nil
}

func (c *checker) checkType(at *component) {
	typ := at.attr("type")
	spec := at.spec()
	switch {
	case typ == nil:
		c.onStart(at.node).error(MissingRequiredType, "this component has no type: it needs one like TextBody or TextInput")
	case typ.Kind != jsontree.String:
		c.on(typ).error(InvalidPropertyType, "type is %s, expected a string", typ.Kind)
	case spec == nil:
		c.on(typ).error(InvalidPropertyValue, "there is no component of type %q%s", at.typ, withSuggestion(at.typ, componentTypes))
	case c.version.Below(spec.since.Major, spec.since.Minor):
		c.on(typ).error(InvalidPropertyValue, "%s exists from Flow JSON %s on, this document is %s", at.typ, spec.since, c.version)
	}
}

func checkPropertyNames(c *checker) {
	known := c.knowledge()
	for _, x := range known.strays {
		o := known.objects[x.in]
		switch key := c.onKey(x.m); {
		case x.p == nil:
			key.error(InvalidPropertyKey, "%s has no property %q%s", o.title, x.m.Name, withSuggestion(x.m.Name, o.names))
		case c.version.Below(x.p.since.Major, x.p.since.Minor):
			key.error(InvalidPropertyKey, "%q of %s exists from Flow JSON %s on, this document is %s", x.m.Name, o.title, x.p.since, c.version)
		default:
			key.error(InvalidPropertyKey, "inside a Form %s takes no %q: put it into %ss of the Form, under the component's name", o.title, x.m.Name, x.m.Name)
		}
	}
}

func checkRequiredProperties(c *checker) {
	c.objects(func(o object) {
		for _, p := range o.needed {
			if c.version.from(p.required) && o.node.Get(p.name) == nil {
				c.onStart(o.node).error(MissingRequiredProperty, "%s needs the property %q", o.title, p.name)
			}
		}
	})
}

func checkPropertyTypes(c *checker) {
	c.values(func(o object, p *property, value *node) {
		c.checkKind(o, p, value)
		switch {
		case value.Kind == jsontree.Array && (p.strings || p.each == nil && c.version.from(p.lines)):
			for _, item := range value.Items {
				if item.Kind != jsontree.String {
					c.on(item).error(InvalidPropertyType, "%s of %s is a list of strings, this is %s", p.name, o.title, item.Kind)
				}
			}
		case value.Kind == jsontree.Array && p.each != nil:
			for _, item := range value.Items {
				if item.Kind != jsontree.Object {
					c.on(item).error(InvalidPropertyType, "%s of %s is a list of objects, this is %s", p.name, o.title, item.Kind)
				}
			}
		}
	})
}

func (c *checker) checkKind(o object, p *property, value *node) {
	bound := c.isBound(value)
	switch {
	case p.literal && bound && c.version.AtLeast(6, 0):
		c.on(value).error(PatternMismatch, "%s of %s must be fixed: neither ${…} nor backticks", p.name, o.title)
	case p.kinds.has(value.Kind):
		if p.whole && strings.ContainsAny(value.Text, ".eE") {
			c.on(value).error(InvalidPropertyType, "%s of %s is %s, expected a whole number", p.name, o.title, value.Text)
		}
	case p.bound && bound, p.ranged && value.Kind == jsontree.Object, value.Kind == jsontree.Array && c.version.from(p.lines):
	case value.Kind == jsontree.Array && p.lines != Version{}:
		c.on(value).error(InvalidPropertyType, "%s of %s may be a list of lines from Flow JSON %s on, this document is %s", p.name, o.title, p.lines, c.version)
	case value.Kind == jsontree.String && p.bound && strings.HasPrefix(value.Text, "`"):
		c.on(value).error(PatternMismatch, "expressions in backticks exist from Flow JSON 6.0 on, this document is %s", c.version)
	case value.Kind == jsontree.String && p.digits && isDigits(value.Text):
		c.on(value).warn(DoubtfulRule, "%s of %s is a string, Meta's validator takes a number: write it without quotes", p.name, o.title)
	case value.Kind == jsontree.String && p.bound && p.kinds != aBoolean: // a boolean is Meta's example of a wrong type
		c.on(value).error(PatternMismatch, "%s of %s is %q, expected %s", p.name, o.title, value.Text, p.expected())
	default:
		c.on(value).error(InvalidPropertyType, "%s of %s is %s, expected %s", p.name, o.title, value.Kind, p.expected())
	}
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// expected names what a property may hold.
func (p *property) expected() string {
	switch {
	case p.kinds == 0:
		return "a reference like ${data.name}"
	case p.bound:
		return p.kinds.String() + " or a reference like ${data.name}"
	}
	return p.kinds.String()
}

func checkPropertyValues(c *checker) {
	c.texts(func(o object, p *property, text *node) {
		if p.values == nil || p.bound && c.isBound(text) || slices.Contains(p.values, text.Text) {
			return
		}
		hint := ""
		if c.isBound(text) {
			hint = "; it cannot be a reference"
		}
		c.on(text).error(InvalidEnumValue, "%s of %s is %q, expected one of %s%s%s", p.name, o.title, text.Text, strings.Join(p.values, ", "), hint, withSuggestion(text.Text, p.values))
	})
}

func checkPropertyRanges(c *checker) {
	c.values(func(o object, p *property, value *node) {
		if p.min == nil || value.Kind != jsontree.Number {
			return
		}
		n := number(value)
		if n < float64(*p.min) {
			c.on(value).error(MinimumValueRequired, "%s of %s is %s, the least is %d", p.name, o.title, value.Text, *p.min)
		}
		if p.max != nil && n > float64(*p.max) {
			c.on(value).error(MaximumValueRequired, "%s of %s is %s, the most is %d", p.name, o.title, value.Text, *p.max)
		}
	})
}

// number is the value of a number; one beyond float64 is infinite.
func number(n *node) float64 {
	f, err := strconv.ParseFloat(n.Text, 64)
	if err != nil && f == 0 {
		return math.NaN() // not reached: the text is a JSON number
	}
	return f
}

// checkItemCounts: the page limits options and items, the validator does not,
// and a published flow with more of them opens.
func checkItemCounts(c *checker) {
	c.values(func(o object, p *property, value *node) {
		if value.Kind != jsontree.Array || p.items == [2]int{} {
			return
		}
		n, advised, note := len(value.Items), p.advised, ""
		if o.title == "Dropdown" && slices.ContainsFunc(value.Items, hasImage) {
			advised[1], note = 100, " when any has an image"
		}
		switch {
		case n < p.items[0]:
			c.on(value).error(MinItemsRequired, "%s of %s has %d elements, the least is %d", p.name, o.title, n, p.items[0])
		case p.items[1] > 0 && n > p.items[1]:
			c.on(value).error(MaxItemsRequired, "%s of %s has %d elements, the most is %d", p.name, o.title, n, p.items[1])
		case n < advised[0]:
			c.on(value).warn(DoubtfulRule, "%s of %s has %d elements, Meta's page wants at least %d", p.name, o.title, n, advised[0])
		case advised[1] > 0 && n > advised[1]:
			c.on(value).warn(DoubtfulRule, "%s of %s has %d elements, Meta's page allows %d%s", p.name, o.title, n, advised[1], note)
		}
	})
}

func hasImage(option *node) bool { return option.Get("image") != nil }

func checkBlankTexts(c *checker) {
	c.texts(func(o object, p *property, text *node) {
		switch {
		case strings.TrimSpace(text.Text) != "":
		case c.version.from(p.filled):
			c.on(text).error(PatternMismatch, "%s of %s must not be blank", p.name, o.title)
		case p.nonEmpty && text.Text == "":
			c.on(text).error(MinCharsRequired, "%s of %s must have at least one character", p.name, o.title)
		}
	})
}

func checkTextLengths(c *checker) {
	c.texts(func(o object, p *property, text *node) {
		if p.limit == 0 || len(text.Text) <= p.limit || c.isBound(text) {
			return
		}
		if p.name == "label" && o.node.Get("label-variant") != nil {
			return // a large label has more room
		}
		if n := utf8.RuneCountInString(text.Text); n > p.limit {
			c.on(text).warn(TextTooLong, "%s of %s has %d characters, the client shows %d", p.name, o.title, n, p.limit)
		}
	})
}

func checkColors(c *checker) {
	c.texts(func(o object, p *property, text *node) {
		if p.format == hexColor && !isHexColor(text.Text) {
			c.on(text).error(PatternMismatch, "%s of %s is %q, expected # and six hexadecimal digits like #1f9d55", p.name, o.title, text.Text)
		}
	})
}

func isHexColor(s string) bool {
	return len(s) == 7 && s[0] == '#' && strings.Trim(s[1:], "0123456789abcdefABCDEF") == ""
}
