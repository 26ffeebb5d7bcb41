package logic

import (
	"strings"

	"cel.dev/cel-go/common/types"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// ruleList reads one rule or a list of them. legal says what is against a
// screen as a goal.
func (c *compiler) ruleList(n *node, s *scope, name, from string, legal func(string) string) []*rule {
	items := []*node{n}
	switch n.kind {
	case list:
		items = n.items
		if len(items) == 0 {
			c.problem(n, "%s is empty: leave it out, or give a rule", name)
		}
	case mapping:
	default:
		c.problem(n, "expected a rule or a list of rules, got %s", n.kind)
		return nil
	}
	var rules []*rule
	var unconditional *rule
	for _, item := range items {
		r := c.rule(item, s, legal)
		if r == nil {
			continue
		}
		if unconditional != nil {
			c.problem(item, "this rule is never reached: the one on line %d has no when", unconditional.line)
		}
		if item.get("when") == nil {
			unconditional = r
		}
		rules = append(rules, r)
	}
	return rules
}

func (c *compiler) rule(n *node, s *scope, legal func(string) string) *rule {
	if !c.keys(n, "when", "screen", "data", "back", "complete", "close") {
		return nil
	}
	r := &rule{line: n.line, column: n.column, path: n.path}
	r.when = c.compileAs(n.get("when"), s, types.BoolType)
	for _, goal := range []string{"screen", "back", "complete", "close"} {
		value := n.get(goal)
		if value == nil {
			continue
		}
		if r.goal != 0 {
			c.problem(value, "a rule has one goal: screen, back, complete or close")
			continue
		}
		switch goal {
		case "screen":
			r.goal = toScreen
			c.target(r, n, value, s, legal)
		case "complete":
			r.goal = complete
			c.params(r, value, s)
		case "back":
			r.goal = toBefore
			c.onlyTrue(value)
		case "close":
			r.goal = closed
			c.onlyTrue(value)
		}
	}
	if r.goal == 0 {
		c.problem(n, "a rule needs a goal: screen, back, complete or close")
	}
	if data := n.get("data"); data != nil && r.goal != toScreen {
		c.problem(data, "data goes with screen only")
	}
	return r
}

func (c *compiler) onlyTrue(n *node) {
	if n.kind != scalar || n.isString || !strings.EqualFold(n.text, "true") {
		c.problem(n, "expected true; a condition goes into when")
	}
}

func (c *compiler) target(r *rule, n, value *node, s *scope, legal func(string) string) {
	var ids []string
	for i := range c.doc.Screens {
		ids = append(ids, c.doc.Screens[i].ID)
	}
	screen := c.doc.Screen(value.text)
	switch {
	case value.kind != scalar:
		c.problem(value, "expected the name of a screen, got %s", value.kind)
		return
	case value.text == flowjson.Success:
		c.problem(value, "SUCCESS is no screen: write complete or close")
		return
	case screen == nil:
		c.problem(value, "%s: the flow has screens %s%s", clip(value.text), listed(ids, ""), didYouMean(value.text, ids))
		return
	}
	r.screen = screen.ID
	if against := legal(screen.ID); against != "" {
		c.problem(value, "%s", against)
	}
	r.data = c.data(n.get("data"), s, screen)
}

// params reads what a complete gives; nil means all answers.
func (c *compiler) params(r *rule, n *node, s *scope) {
	if n.kind == scalar && !n.isString && strings.EqualFold(n.text, "true") {
		return
	}
	if !c.keys(n, "params") {
		return
	}
	params := n.get("params")
	if params == nil {
		return
	}
	r.params = []*assignment{}
	c.inParams = r
	r.params = append(r.params, c.assignments(params, s)...)
	c.inParams = nil
	for _, m := range params.members {
		if m.name == "flow_token" {
			c.problemAt(m.line, m.column, m.value.path, "flow_token is added by itself: remove it")
		}
	}
}

// note keeps which answers the params of a rule name.
func (r *rule) note(path []string) {
	switch {
	case len(path) == 3 && path[0] == "screen":
		r.reads = append(r.reads, Answer{path[1], path[2]})
	case len(path) == 2 && path[0] == "session":
		r.reads = append(r.reads, Answer{"", path[1]})
	}
}

// assignments reads names with expressions.
func (c *compiler) assignments(n *node, s *scope) []*assignment {
	if n == nil || n.kind == null {
		return nil
	}
	if n.kind != mapping {
		c.problem(n, "expected names with expressions, got %s", n.kind)
		return nil
	}
	var made []*assignment
	for _, m := range n.members {
		if e := c.compile(m.value, s); e != nil {
			made = append(made, &assignment{m.name, e})
		}
	}
	return made
}

// data reads what is given to a screen, and holds it against its data model.
func (c *compiler) data(n *node, s *scope, target *flowjson.Screen) []*assignment {
	made := c.assignments(n, s)
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if target.Data[m.name] == nil {
			c.problemAt(m.line, m.column, m.value.path, "data.%s: screen %s declares %s%s", clip(m.name), target.ID, listed(target.Keys, "no data"), didYouMean(m.name, target.Keys))
		}
	}
	for _, a := range made {
		if schema := target.Data[a.name]; schema != nil && !fits(schema, a.value.typ) {
			hint := ""
			if schema.Type == flowjson.String {
				hint = ": string(…) makes a text of it"
			} else if schema.Type == flowjson.Number && typeName(a.value.typ) == "string" {
				hint = ": int(…) makes a number of it"
			}
			c.problemAt(a.value.line, a.value.column, a.value.path, "screen %s declares data.%s as %s, but this yields %s%s",
				target.ID, a.name, withArticle(schemaName(schema)), withArticle(fullName(a.value.typ)), hint)
		}
	}
	return made
}

func schemaName(s *flowjson.Schema) string {
	if s.Type == flowjson.Array && s.Items != nil {
		return "array of " + schemaName(s.Items) + "s"
	}
	return string(s.Type)
}

func fullName(t *types.Type) string {
	if t.Kind() == types.ListKind && t.Parameters()[0].Kind() != types.DynKind {
		return "array of " + fullName(t.Parameters()[0]) + "s"
	}
	return typeName(t)
}

func (c *compiler) checks(n *node, s *scope, screen *flowjson.Screen) []*check {
	if n == nil {
		return nil
	}
	items := []*node{n}
	switch n.kind {
	case list:
		items = n.items
	case mapping:
	default:
		c.problem(n, "expected a check or a list of checks, got %s", n.kind)
	}
	var made []*check
	for _, item := range items {
		if !c.keys(item, "unless", "error", "message") {
			continue
		}
		one := &check{}
		if unless := item.get("unless"); unless == nil {
			c.problem(item, "a check needs unless: the condition that must hold")
		} else {
			one.unless = c.compileAs(unless, s, types.BoolType)
		}
		fields, message := item.get("error"), item.get("message")
		if fields == nil && message == nil {
			c.problem(item, "a check needs error, a text for each field, or message, a text for the screen")
		}
		one.message = c.compileAs(message, s, types.StringType)
		if fields != nil {
			one.errors = c.fieldErrors(fields, s, screen)
		}
		made = append(made, one)
	}
	return made
}

func (c *compiler) fieldErrors(n *node, s *scope, screen *flowjson.Screen) []fieldError {
	if n.kind != mapping || len(n.members) == 0 {
		c.problem(n, "expected fields with texts, got %s", n.kind)
		return nil
	}
	form := s.roots["form"]
	var made []fieldError
	for _, m := range n.members {
		text := c.compileAs(m.value, s, types.StringType)
		if form.fields[m.name] == nil {
			c.problemAt(m.line, m.column, m.value.path, "%s: screen %s has fields %s%s", clip(m.name), screen.ID, listed(form.names, "none"), didYouMean(m.name, form.names))
			continue
		}
		place, err := placeOf(screen, m.name)
		if err != nil {
			c.problemAt(m.line, m.column, m.value.path, "%v", err)
			continue
		}
		made = append(made, fieldError{place, text})
	}
	return made
}
