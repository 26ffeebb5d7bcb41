package logic

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// admit counts an expression against the limits of its file.
func (c *compiler) admit(n *node) bool {
	if n.kind != scalar {
		c.problem(n, "expected an expression, got %s; plain values belong into constants", n.kind)
		return false
	}
	if c.expressions++; c.expressions > maxExpressions {
		if c.expressions == maxExpressions+1 {
			c.problem(n, "more than %d expressions in one file", maxExpressions)
		}
		return false
	}
	if c.size += len(n.text); c.size > maxExpressionText {
		if c.size-len(n.text) <= maxExpressionText {
			c.problem(n, "the expressions of the file have more than %d bytes together", maxExpressionText)
		}
		return false
	}
	if strings.TrimSpace(n.text) == "" {
		c.problem(n, `the expression is empty; an empty text is "''"`)
		return false
	}
	return true
}

// allowed refuses what has no meaning here, and notes which fetches are used.
func (c *compiler) allowed(n *node, s *scope, parsed *cel.Ast) bool {
	if literalDepth(parsed.NativeRep().Expr(), maxLiteral) > maxLiteral {
		c.problem(n, "lists and objects nested deeper than %d levels", maxLiteral)
		return false
	}
	ok := true
	info := parsed.NativeRep().SourceInfo()
	at := func(e ast.Expr) (int, int) {
		start := info.GetStartLocation(e.ID())
		return n.place(start.Line(), start.Column())
	}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.StructKind:
			line, column := at(e)
			c.problemAt(line, column, n.path, "%s{…} has no meaning here; an object is {'key': value}", clip(e.AsStruct().TypeName()))
			ok = false
		case ast.ComprehensionKind:
			if name := e.AsComprehension().IterVar(); s.roots[name] != nil || name == "now" {
				c.problemAt(n.line, n.column, n.path, "%s is taken: give the variable of the macro another name", name)
				ok = false
			}
		case ast.CallKind:
			// RE2 takes a pattern in linear time, but making it ready costs many times
			// its length: it is done once, and a user cannot send one.
			call := e.AsCall()
			if args := call.Args(); call.FunctionName() == "matches" && len(args) > 0 && args[len(args)-1].Kind() != ast.LiteralKind {
				line, column := at(e)
				c.problemAt(line, column, n.path, "the pattern of matches must stand here as a text, such as .matches('^[0-9]+$')")
				ok = false
			}
		case ast.SelectKind:
			path := selection(e)
			if c.inParams != nil {
				c.inParams.note(path)
			}
			if len(path) != 2 || path[0] != "fetch" {
				return
			}
			i := slices.IndexFunc(s.fetches, func(f *fetch) bool { return f.name == path[1] })
			if i < 0 {
				return // Check says so
			}
			f := s.fetches[i]
			line, column := at(e)
			switch {
			case c.inFetch != nil && !slices.Contains(s.fetches[:slices.Index(s.fetches, c.inFetch)], f):
				c.problemAt(line, column, n.path, "fetch.%s does not stand before fetch.%s, which needs it", f.name, c.inFetch.name)
				ok = false
			case c.inFetch != nil:
				c.inFetch.readsForm = c.inFetch.readsForm || f.readsForm
			case !s.form && f.readsForm:
				c.problemAt(line, column, n.path, "fetch.%s reads form, which is not known when the screen is shown: let it read session", f.name)
				ok = false
			}
			f.used = true
		case ast.IdentKind:
			if c.inFetch != nil && e.AsIdent() == "form" {
				c.inFetch.readsForm = true
			}
		}
	}))
	return ok
}

// literalDepth is how deep lists and objects are written into each other; it
// looks little deeper than most.
func literalDepth(e ast.Expr, most int) int {
	deepest, own := 0, 0
	of := func(parts ...ast.Expr) {
		for _, part := range parts {
			if deepest <= most {
				deepest = max(deepest, literalDepth(part, most-own))
			}
		}
	}
	switch e.Kind() {
	case ast.ListKind:
		own = 1
		of(e.AsList().Elements()...)
	case ast.MapKind:
		own = 1
		for _, entry := range e.AsMap().Entries() {
			of(entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			of(e.AsCall().Target())
		}
		of(e.AsCall().Args()...)
	case ast.SelectKind:
		of(e.AsSelect().Operand())
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		of(loop.IterRange(), loop.AccuInit(), loop.LoopCondition(), loop.LoopStep(), loop.Result())
	}
	return deepest + own
}

// selection is a chain of names, form.score as [form score], or nil.
func selection(e ast.Expr) []string {
	switch e.Kind() {
	case ast.IdentKind:
		return []string{e.AsIdent()}
	case ast.SelectKind:
		if before := selection(e.AsSelect().Operand()); before != nil {
			return append(before, e.AsSelect().FieldName())
		}
	}
	return nil
}
