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
	"unicode/utf8"

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
			if len(c.report.Errors) >= MaxProblems {
				c.report.Truncated = true // the other rules could add nothing
				return c.done()
			}
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

// place is where the next problem is. Lines and columns are worked out only for
// a problem that is kept: a hostile document may have a million of them.
type place struct {
	c       *checker
	anchors []anchor
}

// anchor is a part of the text, and the value whose path it gets.
type anchor struct {
	start, end int
	node       *node // nil for none
}

// maxPointers bounds the places of one problem.
const maxPointers = 20

// on points at values. The first one is the problem's own place; values that
// are nil are passed over, but one must be there.
func (c *checker) on(nodes ...*node) place {
	p := place{c: c, anchors: make([]anchor, 0, min(len(nodes), maxPointers))}
	for _, n := range nodes {
		if n != nil && len(p.anchors) < maxPointers {
			p.anchors = append(p.anchors, anchor{n.Start, n.End, n})
		}
	}
	return p
}

// onKey points at the name of a member, for a key that should not be there.
func (c *checker) onKey(m *jsontree.Member) place {
	return place{c, []anchor{{m.Start, m.End, m.Value}}}
}

// onStart points at the first character of a value, for something that is
// missing in it and whose value may be long.
func (c *checker) onStart(n *node) place {
	return place{c, []anchor{{n.Start, n.Start + 1, n}}}
}

// at points at a part of the text.
func (c *checker) at(start, end int) place { return place{c, []anchor{{start, end, nil}}} }

// within points at a part of a string, or at all of it if it has escapes.
func (c *checker) within(n *node, offset, length int) place {
	if n.End-n.Start != len(n.Text)+2 {
		return c.on(n)
	}
	start := n.Start + 1 + offset
	return place{c, []anchor{{start, min(start+max(length, 1), n.End), n}}}
}

func (p place) error(code Code, format string, args ...any) {
	p.add(&p.c.report.Errors, code, format, args)
}

func (p place) warn(code Code, format string, args ...any) {
	p.add(&p.c.report.Warnings, code, format, args)
}

// say reports an error, or a warning where sources disagree.
func (p place) say(doubtful bool, code Code, format string, args ...any) {
	if doubtful {
		p.warn(DoubtfulRule, format, args...)
	} else {
		p.error(code, format, args...)
	}
}

func (p place) add(list *[]Problem, code Code, format string, args []any) {
	if len(*list) >= MaxProblems {
		p.c.report.Truncated = true
		return
	}
	problem := Problem{Error: code, ErrorType: errorType, Rule: p.c.rule.name}
	for _, a := range p.anchors {
		pointer := Pointer{}
		pointer.LineStart, pointer.ColumnStart = p.c.lines.Place(a.start)
		pointer.LineEnd, pointer.ColumnEnd = p.c.lines.Place(a.end)
		if a.node != nil {
			pointer.Path = a.node.Path()
		}
		problem.Pointers = append(problem.Pointers, pointer)
	}
	if len(problem.Pointers) > 0 {
		problem.Span = problem.Pointers[0].Span
	}
	for i, arg := range args {
		if s, isText := arg.(string); isText {
			args[i] = clip(s)
		}
	}
	problem.Message = fmt.Sprintf(format, args...)
	*list = append(*list, problem)
}

// clip bounds what a message repeats of the document.
func clip(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// sentence is text of this package within a message, which is not cut.
type sentence string

func (s sentence) String() string { return string(s) }
