// Package validate says what Meta would refuse in a Flow JSON, versions 2.1 to
// 7.3, before Meta does: with Meta's own codes and shape of error, and the exact
// place. It reads the whole document once and takes time linear in its size.
//
// The rules are a list, rules; each names where it comes from. To add one, write
// a function of a *checker, put it into the list of its file, and give it a
// document that breaks it and one that does not in testdata.
package validate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// rule is one thing that must hold.
type rule struct {
	name   string // kebab-case, for people and for tests
	source string // the page or observation it comes from
	check  func(*checker)
}

// checker runs rules over one document and collects what they say.
type checker struct {
	*document
	text   []byte
	lines  *jsontree.Lines
	rule   *rule
	report Report
}

// Flow validates a Flow JSON.
func Flow(text []byte) *Report {
	c := &checker{text: text, lines: jsontree.NewLines(text), rule: &syntaxRule}
	if len(text) > flowjson.MaxSize {
		c.at(0, 0).error(InvalidFlowJSON, "the document has %d bytes, more than the 10 MiB that Meta accepts", len(text))
		return c.done()
	}
	root, err := jsontree.Parse(text)
	var syntax *jsontree.SyntaxError
	switch {
	case errors.As(err, &syntax):
		c.at(syntax.Offset, syntax.Offset).error(InvalidFlowJSON, "%s", syntax.Message)
		return c.done()
	case root.Kind != jsontree.Object:
		c.on(root).error(InvalidFlowJSON, "the document is %s, expected an object with version and screens", root.Kind)
		return c.done()
	}
	c.document = readDocument(root)
	for _, list := range ruleLists {
		for i := range list {
			c.rule = &list[i]
			c.rule.check(c)
		}
	}
	return c.done()
}

var syntaxRule = rule{name: "json", source: "Meta: Flow JSON, \"The document is JSON of at most 10 MB\""}

// ruleLists are all rules, in the order of the sections of Meta's page.
var ruleLists = [][]rule{documentRules, screenRules, routingRules, modelRules, componentRules, itemRules, layoutRules, actionRules, expressionRules, payloadRules}

func (c *checker) done() *Report {
	order := func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.LineStart, b.LineStart), cmp.Compare(a.ColumnStart, b.ColumnStart))
	}
	slices.SortStableFunc(c.report.Errors, order)
	slices.SortStableFunc(c.report.Warnings, order)
	return &c.report
}

// place is where the next problem is.
type place struct {
	c        *checker
	pointers []Pointer
}

// on points at values. The first one is the problem's own place; values that
// are nil are passed over, but one must be there.
func (c *checker) on(nodes ...*node) place {
	p := place{c: c}
	for _, n := range nodes {
		if n != nil {
			p.pointers = append(p.pointers, Pointer{Span: c.span(n.Start, n.End), Path: n.Path()})
		}
	}
	return p
}

// onKey points at the name of a member of n, for a key that should not be there.
func (c *checker) onKey(n *node, m *jsontree.Member) place {
	return place{c: c, pointers: []Pointer{{Span: c.span(m.Start, m.End), Path: m.Value.Path()}}}
}

// at points at a part of the text.
func (c *checker) at(start, end int) place {
	return place{c: c, pointers: []Pointer{{Span: c.span(start, end)}}}
}

func (c *checker) span(start, end int) Span {
	var s Span
	s.LineStart, s.ColumnStart = c.lines.Place(start)
	s.LineEnd, s.ColumnEnd = c.lines.Place(end)
	return s
}

func (p place) error(code Code, format string, args ...any) {
	p.c.add(&p.c.report.Errors, p.problem(code, format, args))
}

func (p place) warn(code Code, format string, args ...any) {
	p.c.add(&p.c.report.Warnings, p.problem(code, format, args))
}

func (c *checker) add(list *[]Problem, problem Problem) {
	if len(*list) >= MaxProblems {
		c.report.Truncated = true
		return
	}
	*list = append(*list, problem)
}

func (p place) problem(code Code, format string, args []any) Problem {
	return Problem{
		Error: code, ErrorType: errorType, Message: fmt.Sprintf(format, args...),
		Span: p.pointers[0].Span, Pointers: p.pointers, Rule: p.c.rule.name,
	}
}

// clip bounds what a message repeats of the document.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
