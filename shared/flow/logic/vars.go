package logic

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// maxRounds bounds how often the expressions of `set` are looked at to find the
// types of vars: a type is found through so many others.
const maxRounds = 4

// setting is one expression that sets a variable.
type setting struct {
	screen *flowjson.Screen
	rules  *node // of the screen
	name   string
	value  *node
	reads  []string // vars; nil when the expression is wrong
}

// inferVars finds the type of each of vars from the expressions that set it.
// They may read vars themselves: a type not found yet is left open, so that
// vars.tries + 1 tells it. What is wrong with the expressions is told when they
// are compiled for good.
func (c *compiler) inferVars(byScreen map[string]*node) {
	settings := c.settings(byScreen)
	open := map[string]bool{}
	for _, s := range settings {
		open[s.name] = true
		c.varTypes[s.name] = types.NewTypeParamType("vars." + s.name)
	}
	mistakes, expressions, size := c.errors, c.expressions, c.size
	for round := 0; len(open) > 0; round++ {
		c.errors, c.expressions, c.size = &Errors{}, 0, 0
		if round < maxRounds && c.inferOnce(settings, open) || c.settle(settings, open) {
			continue
		}
		break
	}
	c.errors, c.expressions, c.size = mistakes, expressions, size
	for _, s := range settings {
		if open[s.name] {
			delete(open, s.name)
			c.varTypes[s.name] = types.DynType
			c.problem(s.value, "nothing tells the type of vars.%s: set it from a plain value first, such as 0 or '', or convert it, int(…) or string(…)", s.name)
		}
	}
	c.vars = varsShape(c.varTypes)
}

func (c *compiler) settings(byScreen map[string]*node) []*setting {
	var list []*setting
	for _, id := range slices.SortedFunc(maps.Keys(byScreen), func(a, b string) int { return byScreen[a].line - byScreen[b].line }) {
		set := byScreen[id].get("set")
		if set == nil || set.kind != mapping {
			continue
		}
		for _, m := range set.members {
			list = append(list, &setting{screen: c.doc.Screen(id), rules: byScreen[id], name: m.name, value: m.value})
		}
	}
	return list
}

// inferOnce looks at the settings whose types are open, and says whether it has
// found one.
func (c *compiler) inferOnce(settings []*setting, open map[string]bool) bool {
	found := map[string]*types.Type{}
	var place *scope
	var of *flowjson.Screen
	for _, s := range settings {
		if !open[s.name] {
			continue
		}
		if of != s.screen {
			of = s.screen
			place = c.stepScope(of, c.fetchNames(of.ID, s.rules.get("fetch")), varsShape(c.varTypes))
		}
		checked := c.check(s.value, place)
		if checked == nil {
			continue
		}
		s.reads = varsIn(checked)
		if t := checked.OutputType(); t.Kind() != types.DynKind {
			if found[s.name] == nil {
				c.varLines[s.name] = s.value.line
			}
			found[s.name] = joined(found[s.name], t)
		}
	}
	for name, t := range found {
		c.varTypes[name] = t
		delete(open, name)
	}
	return len(found) > 0
}

// settle leaves the type of vars that are only set from what is known when it
// comes, such as the answer of a fetch, for then.
func (c *compiler) settle(settings []*setting, open map[string]bool) bool {
	waits := map[string]bool{}
	for _, s := range settings {
		waits[s.name] = waits[s.name] || slices.ContainsFunc(s.reads, func(name string) bool { return open[name] })
	}
	settled := false
	for name := range open {
		if !waits[name] {
			c.varTypes[name], settled = types.DynType, true
		}
	}
	maps.DeleteFunc(open, func(name string, _ bool) bool { return !waits[name] })
	return settled
}

func varsIn(checked *cel.Ast) []string {
	var names []string
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if path := selection(e); len(path) == 2 && path[0] == "vars" {
			names = append(names, path[1])
		}
	}))
	return names
}

// joined is the type of a variable that is set to values of two types: of lists
// and of objects what they hold may differ.
func joined(a, b *types.Type) *types.Type {
	switch {
	case a == nil || a.IsExactType(b):
		return b
	case a.Kind() == types.ListKind && b.Kind() == types.ListKind:
		return types.NewListType(types.DynType)
	case a.Kind() == types.MapKind && b.Kind() == types.MapKind:
		return types.NewMapType(types.StringType, types.DynType)
	}
	return a
}

// sameVar says whether a value may be kept in a variable of a type.
func sameVar(want, got *types.Type) bool {
	return want == nil || want.Kind() == types.DynKind || got.Kind() == types.DynKind || want.IsExactType(got) ||
		want.IsAssignableType(got) || got.IsAssignableType(want)
}

// kindOfVar tells whole numbers from fractions, which are both numbers in JSON.
func kindOfVar(t *types.Type) string {
	switch t.Kind() {
	case types.IntKind:
		return "whole number"
	case types.DoubleKind:
		return "fraction"
	}
	return fullName(t)
}
