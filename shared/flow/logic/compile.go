package logic

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// maxExpressions bounds the expressions of one file: each costs some tens of
// microseconds to compile.
const (
	maxExpressions    = 2000
	maxExpressionText = 64 << 10 // bytes of all together
)

// compiler goes through a file once and collects every mistake.
type compiler struct {
	doc    *flowjson.Document
	rules  *Rules
	errors *Errors
	base   *cel.Env

	entries     []string
	constants   *shape
	user        *shape
	screens     *shape
	session     *shape
	answers     []*shape // by screen
	vars        *shape
	varTypes    map[string]*types.Type
	varLines    map[string]int // where the type of a variable is from
	expressions int
	size        int    // of all expressions, in bytes
	inFetch     *fetch // whose expressions are being compiled
	inParams    *rule  // whose params are being compiled
}

// Compile reads a file of rules, YAML or JSON, for a flow. entries are the
// screens INIT may show. The error is an *Errors with every mistake.
func Compile(text []byte, doc *flowjson.Document, entries []string) (*Rules, error) {
	base, err := language()
	if err != nil {
		return nil, fmt.Errorf("preparing the language of rules: %w", err)
	}
	c := &compiler{doc: doc, errors: &Errors{}, base: base, entries: entries, varTypes: map[string]*types.Type{}, varLines: map[string]int{}}
	top := read(text, c.errors)
	c.rules = &Rules{File: c.errors.File, doc: doc, screens: map[string]*screenRules{}, errorKeys: map[string][]string{}}
	for i := range doc.Screens {
		c.rules.errorKeys[doc.Screens[i].ID] = errorKeys(&doc.Screens[i])
	}
	if top != nil && len(c.errors.Problems) == 0 {
		c.top(top)
	}
	if len(c.errors.Problems) > 0 {
		slices.SortStableFunc(c.errors.Problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, c.errors
	}
	return c.rules, nil
}

func (c *compiler) problemAt(line, column int, path, format string, args ...any) {
	c.errors.add(Problem{Line: line, Column: column, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) problem(n *node, format string, args ...any) {
	c.problemAt(n.line, n.column, n.path, format, args...)
}

func (c *compiler) warn(format string, args ...any) {
	c.rules.warnings = append(c.rules.warnings, fmt.Sprintf(format, args...))
}

// keys demands a group of keys, all of them known. It returns false when n is
// none.
func (c *compiler) keys(n *node, known ...string) bool {
	if n.kind != mapping {
		c.problem(n, "expected %s, got %s", listed(known, "keys"), n.kind)
		return false
	}
	for _, m := range n.members {
		if !slices.Contains(known, m.name) {
			c.problemAt(m.line, m.column, m.value.path, "%s is not known here, expected %s%s", clip(m.name), listed(known, ""), didYouMean(m.name, known))
		}
	}
	return true
}

func (c *compiler) top(n *node) {
	if !c.keys(n, "constants", "init", "screens") {
		return
	}
	c.constants = c.constantsOf(n.get("constants"))
	c.user = userShape()
	c.screens, c.session, c.answers = answerShapes(c.doc)

	byScreen := c.screenNodes(n.get("screens"))
	c.inferVars(byScreen)

	if rules := n.get("init"); rules != nil {
		s := c.scope("", nil, c.constants, c.user)
		c.rules.init = c.ruleList(rules, s, "init", "", func(screen string) string {
			if slices.Contains(c.entries, screen) {
				return ""
			}
			return fmt.Sprintf("an edge of the routing model leads to %s, so a flow cannot begin there: it may begin on %s", screen, listed(c.entries, ""))
		})
		for _, r := range c.rules.init {
			if r.goal == toBefore {
				c.problemAt(r.line, r.column, r.path, "no screen stands before init: give a screen")
			}
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(byScreen), func(a, b string) int { return byScreen[a].line - byScreen[b].line }) {
		c.screen(c.doc.Screen(id), byScreen[id])
	}
	slices.Sort(c.rules.upstream)
	c.rules.upstream = slices.Compact(c.rules.upstream)
}

func (c *compiler) constantsOf(n *node) *shape {
	s := newShape("constants", "the constants are")
	if n == nil || n.kind == null {
		return s
	}
	if n.kind != mapping {
		c.problem(n, "expected names with values, got %s", n.kind)
		return s
	}
	for _, m := range n.members {
		v, t := constant(m.value)
		if at := nullIn(m.value); at != nil {
			c.problem(at, "a value is missing; an empty text is \"\"")
			continue
		}
		s.add(m.name, t, func(*Turn) (ref.Val, bool, error) { return v, true, nil })
	}
	return s
}

// nullIn finds a null, which no constant may hold: the client refuses them.
func nullIn(n *node) *node {
	if n.kind == null {
		return n
	}
	for _, item := range n.items {
		if at := nullIn(item); at != nil {
			return at
		}
	}
	for _, m := range n.members {
		if at := nullIn(m.value); at != nil {
			return at
		}
	}
	return nil
}

func (c *compiler) screenNodes(n *node) map[string]*node {
	byScreen := map[string]*node{}
	if n == nil || n.kind == null {
		return byScreen
	}
	if n.kind != mapping {
		c.problem(n, "expected screens with their rules, got %s", n.kind)
		return byScreen
	}
	var ids []string
	for i := range c.doc.Screens {
		ids = append(ids, c.doc.Screens[i].ID)
	}
	for _, m := range n.members {
		if c.doc.Screen(m.name) == nil {
			c.problemAt(m.line, m.column, m.value.path, "%s: the flow has screens %s%s", clip(m.name), listed(ids, ""), didYouMean(m.name, ids))
			continue
		}
		if m.value.kind == null || !c.keys(m.value, "data", "set", "fetch", "check", "next", "back", "complete", "close") {
			continue
		}
		byScreen[m.name] = m.value
	}
	return byScreen
}

// scope prepares a place for expressions: the names they may begin with.
func (c *compiler) scope(screen string, fetches []*fetch, roots ...*shape) *scope {
	inner := append(slices.Clone(c.answers), roots...)
	if screen != "" {
		all, each := fetchShapes(screen, fetches)
		roots, inner = append(roots, all), append(append(inner, all), each...)
	}
	env, err := withShapes(c.base, roots, inner)
	if err != nil {
		// Only names that CEL does not take get here.
		c.problemAt(1, 1, screen, "the names of this place cannot be declared: %v", err)
		env = c.base
	}
	s := &scope{env: env, roots: map[string]*shape{}, inner: map[string]*shape{}, fetches: fetches}
	for _, r := range roots {
		s.roots[r.name] = r
		s.form = s.form || r.name == "form"
	}
	for _, i := range inner {
		s.inner[i.name] = i
	}
	return s
}

func (c *compiler) stepScope(screen *flowjson.Screen, fetches []*fetch, vars *shape) *scope {
	return c.scope(screen.ID, fetches, c.constants, c.user, c.screens, c.session, vars, formShape(screen.ID, posted(c.doc, screen)))
}

// screen compiles the rules of one screen.
func (c *compiler) screen(screen *flowjson.Screen, n *node) {
	s := &screenRules{screen: screen}
	c.rules.screens[screen.ID] = s
	s.fetches = c.fetchNames(screen.ID, n.get("fetch"))
	step := c.stepScope(screen, s.fetches, c.vars)
	show := c.scope(screen.ID, s.fetches, c.constants, c.user, c.screens, c.session, c.vars)
	c.fetches(n.get("fetch"), s.fetches, step)
	s.set = c.assignments(n.get("set"), step)
	for _, a := range s.set {
		if want := c.varTypes[a.name]; !sameVar(want, a.value.typ) {
			c.problemAt(a.value.line, a.value.column, a.value.path, "vars.%s is %s here, and %s on line %d: give it one type", a.name, withArticle(kindOfVar(a.value.typ)), withArticle(kindOfVar(want)), c.varLines[a.name])
		}
	}
	s.checks = c.checks(n.get("check"), step, screen)
	s.data = c.data(n.get("data"), show, screen)
	s.next = c.next(n, step, screen)
	if back := n.get("back"); back != nil {
		s.back = c.ruleList(back, show, "back", screen.ID, c.legal(screen))
		if !screen.RefreshOnBack {
			c.warn("screen %s has rules for back, but no refresh_on_back: BACK never comes from it", screen.ID)
		}
	}
	for _, f := range s.fetches {
		if !f.used {
			c.problemAt(f.line, f.column, n.path+".fetch."+f.name, "fetch.%s is used by no expression: remove it", f.name)
		}
		c.rules.upstream = append(c.rules.upstream, f.upstream)
	}
	c.warnAbout(s)
}

func (c *compiler) warnAbout(s *screenRules) {
	id := s.screen.ID
	if len(s.next)+len(s.checks)+len(s.set) > 0 && !slices.ContainsFunc(posting(s.screen), func(a *flowjson.Action) bool { return a.Name == flowjson.DataExchange }) {
		c.warn("screen %s has rules, but no data_exchange action: WhatsApp never asks for them", id)
	}
	if len(s.next) > 0 && !always(s.next) {
		c.warn("screen %s: no rule of next may hold (%s): then the routing model decides; a last rule without when makes it certain", id, c.rules.place(s.next[0].line, s.next[0].column))
	}
}

func (r *Rules) place(line, column int) string {
	return r.File + ":" + strconv.Itoa(line) + ":" + strconv.Itoa(column)
}

// legal says what the client has against a step from one screen to another.
func (c *compiler) legal(from *flowjson.Screen) func(string) string {
	return func(to string) string {
		if from.ID == to || slices.Contains(c.doc.RoutingModel[from.ID], to) || slices.Contains(c.doc.RoutingModel[to], from.ID) {
			return ""
		}
		return fmt.Sprintf("no edge of the routing model joins %s and %s: add %s to routing_model.%s", from.ID, to, to, from.ID)
	}
}

// next reads next, or its short forms complete and close.
func (c *compiler) next(n *node, s *scope, screen *flowjson.Screen) []*rule {
	var from *node
	for _, name := range []string{"next", "complete", "close"} {
		value := n.get(name)
		switch {
		case value == nil:
		case from != nil:
			c.problem(value, "next, complete and close exclude each other: put this one into next")
		case name == "next":
			from = value
		default:
			from = &node{kind: mapping, line: value.line, column: value.column, path: n.path,
				members: []member{{name, value.line, value.column, value}}}
		}
	}
	if from == nil {
		return nil
	}
	return c.ruleList(from, s, "next", screen.ID, c.legal(screen))
}
