package validate

import (
	"fmt"
	"strings"
)

// expressionError says where and why a text is no expression.
type expressionError struct {
	offset int // in bytes of the text
	length int
	format string // the message is written when it is asked for
	args   []any
}

func (e *expressionError) Error() string { return fmt.Sprintf(e.format, e.args...) }

// operand is a part of an expression: what it gives and what it is made of.
type operand struct {
	types      valueType // 0: not known, fits everything
	start, end int
	literal    bool
}

// expression is what is known of one that is well formed.
type expression struct {
	types      valueType
	literal    bool // it is nothing but a literal
	references int
	// quoted is the place of a reference within a string, which the client
	// shows as it stands; -1 without one.
	quoted int
}

// dialect is one of the two grammars (Meta: Flow JSON, "Nested expressions";
// components, "If").
type dialect uint8

const (
	// nestedDialect stands between backticks: arithmetic, and parts side by side
	// that make one string.
	nestedDialect dialect = iota
	// conditionDialect is that of If.condition without backticks. It has only
	// logic and comparisons, of whole numbers, and wants each comparison beside
	// another operator in parentheses.
	conditionDialect
)

// maxExpressionDepth bounds parentheses and signs within each other.
const maxExpressionDepth = 200

// parseExpression reads text without its backticks. resolve gives the type of a
// reference, or says why there is none. Time is linear in the
// text; the first error ends it.
func parseExpression(text string, d dialect, resolve func(reference) (valueType, fmt.Stringer)) (expression, error) {
	p := expressionParser{text: text, dialect: d, resolve: resolve}
	p.found.quoted = -1
	p.next()
	if p.token.kind == endToken {
		return expression{}, p.fail("the expression is empty: write at least one value")
	}
	whole := p.binary(0, 0)
	for d == nestedDialect && p.err == nil && p.token.kind != endToken && p.token.text != ")" {
		if p.token.text == "," || p.token.text == ";" { // Meta's parser passes over them
			p.next()
			continue
		}
		p.binary(0, 0)
		whole = operand{types: aString}
	}
	switch {
	case p.err != nil:
		return expression{}, p.err
	case p.token.text == ")":
		return expression{}, p.fail("this ) closes no parenthesis: remove it, or write the ( it belongs to")
	case p.token.kind != endToken:
		return expression{}, p.fail("an operator is missing before %s", clip(p.token.text))
	}
	p.found.types, p.found.literal = whole.types, whole.literal
	return p.found, nil
}

type expressionParser struct {
	text    string
	dialect dialect
	resolve func(reference) (valueType, fmt.Stringer)
	token   token
	at      int // after the token
	// operator is the last operator or parenthesis read, for the condition's
	// rule on comparisons.
	operator string
	found    expression
	err      error
}

func (p *expressionParser) fail(format string, args ...any) error {
	return p.failAt(p.token.start, p.token.end, format, args...)
}

func (p *expressionParser) failAt(start, end int, format string, args ...any) error {
	if p.err == nil {
		p.err = &expressionError{offset: start, length: end - start, format: format, args: args}
	}
	p.token = token{start: len(p.text), end: len(p.text)} // nothing is read after an error
	p.at = len(p.text)
	return p.err
}

// binary reads operators that bind tighter than floor, and their operands.
func (p *expressionParser) binary(floor, depth int) operand {
	left := p.unary(depth)
	for p.err == nil && p.token.kind == operatorToken {
		operator := p.token
		level := precedence(operator.text)
		if level <= floor {
			return left
		}
		if !p.beside(operator) {
			return left
		}
		p.next()
		if p.token.kind == endToken && p.err == nil {
			p.failAt(operator.start, operator.end, "a value is missing after %s", operator.text)
			return left
		}
		right := p.binary(level, depth+1)
		left = p.combine(operator, left, right)
	}
	return left
}

// beside refuses a comparison that stands beside another operator without
// parentheses, which only conditions without backticks do.
func (p *expressionParser) beside(operator token) bool {
	if p.dialect == conditionDialect {
		before := p.operator
		if before != "" && before != "(" && before != ")" && (isComparison(before) || isComparison(operator.text)) {
			p.fail("%s cannot stand beside %s here: put each comparison in parentheses, as in (${data.a} == 1) && (${data.b} == 2)", operator.text, before)
			return false
		}
	}
	p.operator = operator.text
	return true
}

func (p *expressionParser) combine(operator token, left, right operand) operand {
	if p.err != nil {
		return left
	}
	result := operand{types: aBoolean, start: left.start, end: right.end}
	want, wanted := aNumber, "numbers"
	switch precedence(operator.text) {
	case 1, 2:
		want, wanted = aBoolean, "booleans"
	case 3:
		want = 0
	case 5, 6:
		result.types = aNumber
	}
	if p.dialect == conditionDialect && left.literal && right.literal {
		p.failAt(left.start, right.end, "both sides of %s are literal, so that it always gives the same: put a reference on one side", operator.text)
		return result
	}
	for _, side := range [...]operand{left, right} {
		if want != 0 && !fits(side.types, want) {
			p.failAt(side.start, side.end, "%s takes %s, and %s is %s", operator.text, wanted, p.words(side), side.types)
			return result
		}
	}
	if want == 0 && !fits(left.types, right.types) {
		p.failAt(left.start, right.end, "%s compares values of one type, and %s is %s while %s is %s",
			operator.text, p.words(left), left.types, p.words(right), right.types)
	}
	return result
}

func (p *expressionParser) words(o operand) string { return clip(p.text[o.start:o.end]) }

func (p *expressionParser) unary(depth int) operand {
	t := p.token
	if depth > maxExpressionDepth {
		p.fail("the expression is nested deeper than %d levels", maxExpressionDepth)
		return operand{}
	}
	switch t.kind {
	case endToken:
		if p.err == nil {
			p.fail("a value is missing at the end of the expression")
		}
		return operand{}
	case numberToken:
		p.next()
		return operand{types: aNumber, literal: true, start: t.start, end: t.end}
	case stringToken:
		p.next()
		return operand{types: aString, literal: true, start: t.start, end: t.end}
	case booleanToken:
		p.next()
		return operand{types: aBoolean, literal: true, start: t.start, end: t.end}
	case referenceToken:
		return p.reference()
	}
	switch {
	case t.text == "(":
		return p.group(depth)
	case t.text == "!":
		p.operator = "!"
	case (t.text == "-" || t.text == "+") && p.dialect == nestedDialect:
	case t.text == ")":
		p.fail("a value is missing before )")
		return operand{}
	default:
		p.fail("a value is missing before %s", clip(t.text))
		return operand{}
	}
	p.next()
	inner := p.unary(depth + 1)
	want, wanted := aNumber, "a number"
	if t.text == "!" {
		want, wanted = aBoolean, "a boolean"
	}
	if p.err == nil && !fits(inner.types, want) {
		p.failAt(inner.start, inner.end, "%s takes %s, and %s is %s", t.text, wanted, p.words(inner), inner.types)
	}
	return operand{types: want, literal: inner.literal, start: t.start, end: inner.end}
}

func (p *expressionParser) group(depth int) operand {
	open := p.token
	p.operator = "("
	p.next()
	if p.token.text == ")" && p.token.kind == operatorToken {
		p.failAt(open.start, p.token.end, "the parentheses are empty: write a value between them, or remove them")
		return operand{}
	}
	inner := p.binary(0, depth+1)
	switch {
	case p.err != nil:
		return operand{}
	case p.token.kind == endToken:
		p.failAt(open.start, open.end, "this ( is never closed: write the ) that belongs to it")
		return operand{}
	case p.token.text != ")":
		if p.dialect == nestedDialect && p.token.kind != operatorToken {
			p.fail("an operator is missing before %s: text is joined only outside parentheses", clip(p.token.text))
		} else {
			p.fail("an operator or ) is missing before %s", clip(p.token.text))
		}
		return operand{}
	}
	inner.start, inner.end = open.start, p.token.end
	p.operator = ")"
	p.next()
	return inner
}

func (p *expressionParser) reference() operand {
	t := p.token
	r, ok := parseReference(t.text)
	if !ok {
		p.fail("%s is no reference: write ${data.name}, ${form.name} or ${screen.ID.data.name}", clip(t.text))
		return operand{}
	}
	if p.dialect == nestedDialect && strings.Contains(t.text, "-") {
		p.fail("%s: in an expression the - is read as minus: use a name without it", clip(t.text))
		return operand{}
	}
	types, problem := p.resolve(r)
	if problem != nil {
		p.fail("%s: %s", clip(t.text), problem)
		return operand{}
	}
	p.found.references++
	p.next()
	return operand{types: types, start: t.start, end: t.end}
}
