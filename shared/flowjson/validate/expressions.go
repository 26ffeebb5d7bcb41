package validate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var expressionRules = []rule{
	{"reference-form", "Meta: Flow JSON, \"Dynamic properties\"; error codes, PATTERN_MISMATCH; web client: WAFlowJSONSchemaUtils, WAFlowsJSONDynamicParserValidatorV600, WAFlowsJSONRichTextDynamicDataValidatorV501", checkReferenceForm},
	{"reference-exists", "Meta: Flow JSON error codes, INVALID_SCREEN_DYNAMIC_DATA and INVALID_SCREEN_DATA; web client: WAFlowJSONScreenDynamicDataValidatorV500", checkReferenceExists},
	{"reference-type", "Meta: Flow JSON error codes, INVALID_SCREEN_DYNAMIC_DATA; web client: WAFlowJSONScreenDynamicDataValidatorV500", checkReferenceType},
	{"nested-expression", "Meta: Flow JSON, \"Nested expressions\"; web client: WAFlowsASTTypeValidator, WAFlowsJSONDynamicParserValidatorV600", checkNestedExpressions},
	{"if-condition", "Meta: components, \"If\"; error codes, \"If component errors\"; web client: WAFlowJSONConditionalRenderingValidatorV500", checkConditions},
}

// InvalidTextDynamicData is known from the web client's validator only.
const InvalidTextDynamicData Code = "INVALID_TEXT_DYNAMIC_DATA"

// holdsReference says whether somewhere in a text something begins that is
// meant as a reference.
func holdsReference(text string) bool {
	return strings.Contains(text, "${data") || strings.Contains(text, "${form") || strings.Contains(text, "${screen")
}

func checkReferenceForm(c *checker) {
	c.bindings(func(b binding) {
		text := b.node.Text
		r, whole := parseReference(text)
		nested := isNested(text)
		isRichText := b.owner != nil && b.owner.typ == "RichText" && b.name == "text" && b.node.Name == "text"
		switch {
		case whole && r.screen != "" && c.version.Below(4, 0):
			c.on(b.node).error(PatternMismatch, "%s names another screen, which exists from version 4.0: raise the version, or pass the value on in a payload", text)
		case whole && b.name == "text" && b.node.Parent.Kind == jsontree.Array && c.version.AtLeast(5, 1):
			c.on(b.node).error(InvalidTextDynamicData, "a line of a list of lines cannot be %s: make the whole list a reference, as in ${data.lines}", text)
		case whole:
		case isRichText && c.version.AtLeast(6, 0) && holdsReference(text):
			c.on(b.node).error(InvalidPropertyValue, "RichText takes either text or one whole reference: put the whole text into the data model, as in ${data.text}")
		case nested && c.version.AtLeast(6, 0):
		case strings.HasPrefix(text, "${") && b.property != nil && !fits(b.property.kinds, aString) || b.property != nil && b.property.kinds == 0:
			c.on(b.node).error(PatternMismatch, "%s is %s, expected %s", b.name, text, b.property.expected())
		case !b.doubtful && strings.HasSuffix(text, "}") && (strings.HasPrefix(text, "${data.") || strings.HasPrefix(text, "${form.")) && c.version.AtLeast(4, 0):
			c.on(b.node).error(InvalidScreenDynamicData, "%s is not one reference: write one as ${data.name}, or join text and references in backticks, as in `'Hi ' ${data.name}` (Flow JSON 6.0)", text)
		case nested:
			c.on(b.node).warn(DoubtfulRule, "backticks are evaluated from version 6.0, the document has version %s: the text is shown as it stands", c.version)
		case holdsReference(text):
			c.on(b.node).warn(DoubtfulRule, "a reference within other text is shown as it stands: join them in backticks, as in `'Hi ' ${data.name}` (Flow JSON 6.0)")
		case strings.HasPrefix(text, "${"):
			c.on(b.node).warn(DoubtfulRule, "%s is no reference, and is shown as it stands: write ${data.name}, ${form.name} or ${screen.ID.data.name}", text)
		}
	})
}

func checkReferenceExists(c *checker) {
	c.bindings(func(b binding) {
		r, ok := parseReference(b.node.Text)
		if !ok || r.screen != "" && c.version.Below(4, 0) {
			return
		}
		found := c.resolve(r, b.screen)
		code := InvalidScreenDynamicData
		if r.screen != "" && !found.inside {
			code = InvalidScreenData
		}
		at := c.on(b.node)
		switch {
		case r.screen != "" && r.screen == b.screen.id:
			at.say(b.doubtful, code, "%s names the screen it stands on: write ${%s.%s}", r.text, r.store, strings.Join(r.path, "."))
		case found.problem != "":
			at.say(b.doubtful, code, "%s: %s", r.text, found)
		case r.store == "data" && strings.ContainsAny(strings.Join(r.path, ""), "-`' ") && c.version.AtLeast(5, 0):
			at.say(b.doubtful, InvalidScreenDynamicData, "%s: a reference cannot have - ` ' or spaces in its names: rename the key in the data model", r.text)
		}
	})
}

func checkReferenceType(c *checker) {
	c.bindings(func(b binding) {
		r, ok := parseReference(b.node.Text)
		kinds := c.kinds(b)
		if !ok || kinds == 0 {
			return
		}
		found := c.resolve(r, b.screen)
		if found.problem != "" {
			return
		}
		at := c.on(b.node, found.model)
		switch {
		case !fits(found.types, kinds):
			at.say(b.doubtful, InvalidScreenDynamicData, "%s is %s, expected %s", r.text, found.types, kinds)
		case found.model != nil && b.property.each != nil:
			if problem := c.modelLacks(found.model, b.property.each); problem != "" {
				at.say(b.doubtful, InvalidScreenDynamicData, "the data model of %s %s", r.text, sentence(problem))
			}
		}
	})
}

// modelLacks says what the model of an object, or of the elements of an array,
// misses of a shape; nothing if all is there or the model does not say.
func (c *checker) modelLacks(model *node, s *shape) string {
	if modelTypes(model) == anArray {
		model = model.Get("items")
	}
	if modelTypes(model) == 0 {
		return ""
	}
	if got := modelTypes(model); got != anObject {
		return "holds elements of the type " + got.String() + ", expected object"
	}
	properties := model.Get("properties")
	for i := range s.properties {
		p := &s.properties[i]
		declared := properties.Get(p.name)
		switch {
		case declared == nil && c.version.from(p.required):
			return "declares no " + p.name + ", which " + s.title + " must have: add it to its properties"
		case declared != nil && p.kinds != 0 && !fits(modelTypes(declared), p.kinds):
			return "declares " + p.name + " as " + modelTypes(declared).String() + ", expected " + p.kinds.String()
		}
	}
	return ""
}

// nested reads an expression in backticks that stands on a screen.
func (c *checker) nested(n *node, s *screen) (expression, *expressionError) {
	e, err := parseExpression(n.Text[1:len(n.Text)-1], nestedDialect, func(r reference) (valueType, fmt.Stringer) {
		found := c.resolve(r, s)
		switch {
		case found.problem != "":
			return 0, found
		case found.isMedia():
			return 0, sentence("an expression cannot use files")
		}
		return found.types, nil
	})
	var at *expressionError
	if errors.As(err, &at) {
		at.offset++ // the backtick
		return e, at
	}
	if e.quoted >= 0 {
		e.quoted++
	}
	return e, nil
}

// warnQuoted says that a reference within a string is only text.
func (c *checker) warnQuoted(n *node, e expression) {
	if e.quoted >= 0 {
		c.within(n, e.quoted, 2).warn(DoubtfulRule, "a reference within quotes is shown as it stands: close the quote before it, as in `'Hi ' ${data.name}`")
	}
}

func checkNestedExpressions(c *checker) {
	if c.version.Below(6, 0) {
		return
	}
	c.bindings(func(b binding) {
		if !isNested(b.node.Text) || b.owner != nil && b.owner.typ == "RichText" {
			return
		}
		doubtful := b.doubtful || b.node.Parent != nil && b.owner != nil && b.node.Parent != b.owner.node || uncheckedExpressions[b.name]
		e, wrong := c.nested(b.node, b.screen)
		switch {
		case wrong != nil:
			c.within(b.node, wrong.offset, wrong.length).say(doubtful, InvalidPropertyValue, "%s", wrong)
		case c.kinds(b) == aString && !fits(e.types, aString):
			c.on(b.node).say(doubtful, InvalidPropertyValue, "the expression gives a %s, expected a string: two parts side by side make one, as in `${data.count} ' items'`", e.types)
		case c.kinds(b) != 0 && !fits(e.types, c.kinds(b)):
			c.on(b.node).say(doubtful, InvalidPropertyValue, "the expression gives a %s, expected %s", e.types, c.kinds(b))
		default:
			c.warnQuoted(b.node, e)
		}
	})
}

// uncheckedExpressions are the attributes whose expressions Meta does not check.
var uncheckedExpressions = map[string]bool{"init-value": true, "init-values": true, "error-message": true, "error-messages": true}
