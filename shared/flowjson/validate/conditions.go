package validate

import (
	"errors"
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

func checkConditions(c *checker) {
	if c.version.Below(4, 0) {
		return
	}
	for _, s := range c.screens {
		for _, at := range s.components {
			n := at.attr("condition")
			switch {
			case at.typ != "If" || !n.Is(jsontree.String):
			case isNested(n.Text) && c.version.AtLeast(6, 0):
				c.checkNestedCondition(at, n)
			default:
				c.checkPlainCondition(at, n)
			}
		}
	}
}

func (c *checker) checkNestedCondition(at *component, n *node) {
	e, wrong := c.nested(n, at.screen)
	switch {
	case wrong != nil:
		c.within(n, wrong.offset, wrong.length).error(InvalidPropertyValue, "%s", wrong)
	case !fits(e.types, aBoolean):
		c.on(n).error(InvalidPropertyValue, "the condition gives a %s, expected a boolean", e.types)
	case e.references == 0:
		c.on(n).warn(DoubtfulRule, "the condition has no reference, so that it never changes: Meta's page refuses that, its web client does not in backticks")
	default:
		c.warnQuoted(n, e)
	}
}

func (c *checker) checkPlainCondition(at *component, n *node) {
	deep := "" // a reference into an object
	e, err := parseExpression(n.Text, conditionDialect, func(r reference) (valueType, fmt.Stringer) {
		found := c.resolve(r, at.screen)
		switch {
		case found.problem != "":
			return 0, found
		case !fits(found.types, aString|aNumber|aBoolean):
			return 0, sentence("a condition compares strings, numbers and booleans, and this is " + found.types.String())
		case r.store == "data" && len(r.path) > 1:
			deep = r.text
		}
		return found.types, nil
	})
	var wrong *expressionError
	switch {
	case errors.As(err, &wrong):
		c.within(n, wrong.offset, wrong.length).error(InvalidPropertyValue, "%s", wrong)
	case e.references == 0:
		c.on(n).error(InvalidPropertyValue, "the condition has no reference, so that it never changes: compare a reference, as in ${form.choice} == 'a'")
	case !fits(e.types, aBoolean):
		c.on(n).error(InvalidPropertyValue, "the condition gives a %s, expected a boolean", e.types)
	case deep != "":
		c.on(n).warn(DoubtfulRule, "%s reads from within an object, which Meta's web client refuses in a condition without backticks: declare the value by itself, or write the condition in backticks (Flow JSON 6.0)", deep)
	}
}
