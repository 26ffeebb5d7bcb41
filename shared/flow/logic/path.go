package logic

import (
	"maps"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// beginsPath demands the / that a path begins with, where the beginning of the
// expression is a constant.
func (c *compiler) beginsPath(n *node, e ast.Expr) {
	switch e.Kind() {
	case ast.LiteralKind:
		if text, ok := e.AsLiteral().(types.String); ok && text != "" && text[0] != '/' {
			c.problem(n, "a path begins with /, this one with %s: what stands before the path, the address, is in the edge's configuration", clip(string(text)))
		}
	case ast.CallKind:
		switch call := e.AsCall(); call.FunctionName() {
		case "_+_":
			c.beginsPath(n, call.Args()[0])
		case "_?_:_":
			c.beginsPath(n, call.Args()[1])
			c.beginsPath(n, call.Args()[2])
		}
	case ast.SelectKind:
		if path := selection(e); len(path) == 2 && path[0] == "constants" && c.constants.fields[path[1]] != nil {
			text, _, _ := c.constants.fields[path[1]].get(nil)
			if text, ok := text.(types.String); ok && text != "" && text[0] != '/' {
				c.problem(n, "a path begins with /, %s with %s: what stands before the path, the address, is in the edge's configuration", strings.Join(path, "."), clip(string(text)))
			}
		}
	}
}

// encoded demands that each text which a user or an upstream gave goes through
// urlEncode before it becomes part of a path: else it could ask for another
// resource, or with other parameters.
func (c *compiler) encoded(n *node, checked *cel.Ast) {
	p := &pathParts{of: checked.NativeRep(), found: map[string]bool{}}
	p.walk(p.of.Expr(), map[string]bool{"constants": true}, true)
	for _, raw := range p.raw {
		name := strings.Join(selection(raw.expr), ".")
		if p.found[name] {
			continue
		}
		p.found[name] = true
		start := p.of.SourceInfo().GetStartLocation(root(raw.expr).ID())
		line, column := n.place(start.Line(), start.Column())
		if raw.whole {
			c.problemAt(line, column, n.path, "%s goes into a path: write urlEncode(%s)", name, name)
		} else {
			c.problemAt(line, column, n.path, "what is made of %s goes into a path: put urlEncode(…) around it", name)
		}
	}
}

// pathParts are the texts in the expression of a path that are not encoded.
type pathParts struct {
	of    *ast.AST
	raw   []rawPart
	found map[string]bool
}

type rawPart struct {
	expr  ast.Expr // a name or a chain of names
	whole bool     // it is part of the path as it is
}

// encodes are the functions whose result is safe in a path whatever they are
// given.
var encodes = map[string]bool{"urlEncode": true, "date": true, "addDays": true, "randomID": true, "randomDigits": true, "fixed": true}

// walk looks for names other than those of safe values. whole says that the
// value becomes part of the path unchanged.
func (p *pathParts) walk(e ast.Expr, safe map[string]bool, whole bool) {
	switch p.of.GetType(e.ID()).Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind, types.DurationKind, types.TypeKind:
		return // nothing in them that a path could be steered with
	}
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		switch path := selection(e); {
		case path == nil:
			p.walk(e.AsSelect().Operand(), safe, false)
		case !safe[path[0]]:
			p.raw = append(p.raw, rawPart{e, whole})
		}
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			p.walk(item, safe, whole)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			p.walk(entry.AsMapEntry().Key(), safe, false)
			p.walk(entry.AsMapEntry().Value(), safe, false)
		}
	case ast.CallKind:
		p.call(e.AsCall(), safe, whole)
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		before := len(p.raw)
		p.walk(loop.IterRange(), safe, false)
		inside := maps.Clone(safe)
		inside[loop.AccuVar()] = true
		// An item is what the list is; what the list is made of is no part of the
		// path itself.
		inside[loop.IterVar()] = len(p.raw) == before
		p.raw = p.raw[:before]
		p.walk(loop.AccuInit(), inside, false)
		p.walk(loop.LoopStep(), inside, true)
		p.walk(loop.Result(), inside, false)
	}
}

func (p *pathParts) call(call ast.CallExpr, safe map[string]bool, whole bool) {
	args := call.Args()
	switch name := call.FunctionName(); {
	case encodes[name]:
		return
	case name == "_?_:_":
		args = args[1:]
	case name == "_[_]":
		args, whole = args[:1], false
	case name != "_+_":
		whole = false
	}
	if call.IsMemberFunction() {
		p.walk(call.Target(), safe, whole)
	}
	for _, arg := range args {
		p.walk(arg, safe, whole)
	}
}
