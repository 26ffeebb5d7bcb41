package logic

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// scope is what the expressions of one place know.
type scope struct {
	env   *cel.Env
	roots map[string]*shape
	// inner are all shapes by name, roots included.
	inner   map[string]*shape
	fetches []*fetch
	form    bool // of a request; false where a screen is only shown
}

// expression is one compiled expression.
type expression struct {
	line, column int
	path         string
	scope        *scope
	typ          *types.Type
	program      cel.Program
	// loops says that the work depends on the length of a list, so that the end
	// of the time for an answer must be looked at.
	loops bool
	// fixed is the value of an expression that is only a literal.
	fixed     ref.Val
	fixedJSON json.RawMessage
	// members are names written in it that options may miss: a fault may repeat
	// them, as they are the author's.
	members []string
}

// assignment is a name with the expression of its value.
type assignment struct {
	name  string
	value *expression
}

// compile compiles the expression in n. It reports what is wrong and returns
// nil then, and for an n that is nil.
func (c *compiler) compile(n *node, s *scope) *expression {
	if checked := c.check(n, s); checked != nil {
		return c.prepare(n, s, checked)
	}
	return nil
}

// check finds the types of an expression.
func (c *compiler) check(n *node, s *scope) *cel.Ast {
	if n == nil || !c.admit(n) {
		return nil
	}
	if c.errors.full() {
		c.errors.More++ // nobody mends a hundred at once, and telling costs time
		return nil
	}
	parsed, issues := s.env.Parse(n.text)
	if issues.Err() != nil {
		c.issues(n, s, nil, issues)
		return nil
	}
	if !c.allowed(n, s, parsed) {
		return nil
	}
	checked, issues := s.env.Check(parsed)
	if issues.Err() != nil {
		c.issues(n, s, parsed, issues)
		return nil
	}
	return checked
}

// prepare makes a checked expression ready to run.
func (c *compiler) prepare(n *node, s *scope, checked *cel.Ast) *expression {
	e := &expression{line: n.line, column: n.column, path: n.path, scope: s, typ: checked.OutputType()}
	root := checked.NativeRep().Expr()
	if root.Kind() == ast.LiteralKind {
		e.fixed = root.AsLiteral()
		raw, err := toJSON(e.fixed)
		if err == nil {
			e.fixedJSON = raw
		}
		return e
	}
	estimate, err := s.env.EstimateCost(checked, estimator{})
	if err == nil && estimate.Max > maxEstimate && estimate.Max != math.MaxUint64 {
		c.problem(n, "the expression could cost %d steps of computing, at most %d are allowed: go through fewer lists within lists", estimate.Max, maxEstimate)
		return nil
	}
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(part ast.Expr) {
		e.loops = e.loops || part.Kind() == ast.ComprehensionKind
		if part.Kind() == ast.CallKind && part.AsCall().FunctionName() == "options" {
			for _, arg := range part.AsCall().Args() {
				if arg.Kind() == ast.LiteralKind {
					e.members = append(e.members, fmt.Sprint(arg.AsLiteral().Value()))
				}
			}
		}
	}))
	if e.program, err = s.env.Program(checked, programOptions...); err != nil {
		c.problem(n, "the expression cannot be prepared: %v", err)
		return nil
	}
	return e
}

// compileAs compiles an expression that must yield a type, or one that is known
// only when it runs.
func (c *compiler) compileAs(n *node, s *scope, want *types.Type) *expression {
	return c.yields(n, c.compile(n, s), want)
}

func (c *compiler) yields(n *node, e *expression, want *types.Type) *expression {
	if e == nil || e.typ.Kind() == want.Kind() || e.typ.Kind() == types.DynKind {
		return e
	}
	hint := ""
	if want.Kind() == types.StringKind {
		hint = ": string(…) makes a text of it"
	}
	c.problem(n, "it yields %s, expected %s%s", withArticle(typeName(e.typ)), withArticle(typeName(want)), hint)
	return nil
}

func withArticle(name string) string {
	if name == "any" {
		return "any value"
	}
	if strings.ContainsRune("aeio", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

var (
	undefinedField = regexp.MustCompile(`^undefined field '(.*)'$`)
	undeclared     = regexp.MustCompile(`^undeclared reference to '(.*?)'`)
	noOverload     = regexp.MustCompile(`^found no matching overload for '(.*?)' applied to '(.*)'$`)
)

// issues reports what CEL found wrong, in words of this place.
func (c *compiler) issues(n *node, s *scope, parsed *cel.Ast, issues *cel.Issues) {
	for i, issue := range issues.Errors() {
		if parsed == nil && i > 0 {
			return // what follows the first syntax error is a guess
		}
		line, column := n.place(issue.Location.Line(), issue.Location.Column())
		message := strings.ReplaceAll(issue.Message, "\n", " ")
		var e ast.Expr
		if parsed != nil {
			ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
				if x.ID() == issue.ExprID {
					e = x
				}
			}))
		}
		if m := undefinedField.FindStringSubmatch(message); m != nil && e != nil {
			path := selection(e)
			if of := s.inner[strings.Join(path[:max(len(path)-1, 0)], ".")]; of != nil {
				start := parsed.NativeRep().SourceInfo().GetStartLocation(root(e).ID())
				line, column = n.place(start.Line(), start.Column())
				message = fmt.Sprintf("%s: %s %s%s", strings.Join(path, "."), of.has, listed(of.names, "none"), didYouMean(m[1], of.names))
			}
		} else if m := undeclared.FindStringSubmatch(message); m != nil {
			message = s.unknown(m[1], n.text)
		} else if m := noOverload.FindStringSubmatch(message); m != nil {
			message = misfit(s.env, m[1], m[2])
		} else if known := ofValidators[message]; known != "" {
			message = known
		} else if strings.HasPrefix(message, "Syntax error: ") || strings.HasPrefix(message, "reserved identifier") {
			message = syntaxHint(message, n.text, textBefore(n.text, issue.Location.Line(), issue.Location.Column()))
		}
		c.problemAt(line, column, n.path, "%s", message)
	}
}

var ofValidators = map[string]string{
	"invalid matches argument":            "the pattern of matches is not valid (RE2)",
	"invalid timestamp argument":          "this is no timestamp, expected such as timestamp('2026-11-23T12:00:00Z')",
	"invalid duration argument":           "this is no duration, expected such as duration('90s')",
	"comprehension exceeds nesting limit": fmt.Sprintf("more than %d of map, filter and the like within or after each other", maxLoops),
}

// textBefore is what a line, from 1, of a text holds before a column, from 0.
func textBefore(text string, line, column int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	characters := []rune(lines[line-1])
	return string(characters[:min(max(column, 0), len(characters))])
}

func root(e ast.Expr) ast.Expr {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	return e
}

// unknown says what is known instead of a name.
func (s *scope) unknown(name, text string) string {
	names := []string{"now"}
	for root := range s.roots {
		names = append(names, root)
	}
	slices.Sort(names)
	switch name {
	case "form", "fetch", "screen", "session", "vars":
		return fmt.Sprintf("%s is not known here; known are %s", name, listed(names, ""))
	}
	if isSignWord(name) {
		return fmt.Sprintf("%s is not known: %s", name, wordsAsSigns)
	}
	if s.env.HasFunction(name) {
		return fmt.Sprintf("%s is a function: call it, %s(…)", name, name)
	}
	if !strings.ContainsAny(text, `'"`) {
		return fmt.Sprintf("%s is not known; known are %s. A text needs quotes of its own: %s", clip(name), listed(names, ""), quoted(text))
	}
	if strings.Contains(text, name+"(") {
		return fmt.Sprintf("%s is no function%s", clip(name), didYouMean(name, functionNames(s.env)))
	}
	return fmt.Sprintf("%s is not known; known are %s%s", clip(name), listed(names, ""), didYouMean(name, names))
}

func functionNames(env *cel.Env) []string {
	var names []string
	for name := range env.Functions() {
		if operators[name] == "" && !strings.ContainsAny(name, "@_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
