package validate

import (
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// checkFooterInBranches: where one branch has a Footer, all have one.
func checkFooterInBranches(c *checker) {
	for _, s := range c.screens {
		has := map[branchKey]bool{}
		for _, at := range s.components {
			if at.typ != "Footer" {
				continue
			}
			for inside := at; inside.parent != nil && !has[branchKey{inside.parent, inside.branch}]; inside = inside.parent {
				has[branchKey{inside.parent, inside.branch}] = true
			}
		}
		if len(has) == 0 {
			continue
		}
		for _, at := range s.components {
			switch at.typ {
			case "If":
				c.checkFooterInIf(at, has[branchKey{at, "then"}], has[branchKey{at, "else"}])
			case "Switch":
				c.checkFooterInSwitch(at, has)
			}
		}
	}
}

func (c *checker) checkFooterInIf(at *component, then, otherwise bool) {
	switch {
	case then == otherwise:
	case then && at.attr("else") == nil:
		c.on(at.attr("type")).error(MissingFooterInIfElseBranches, "this If has a Footer in then and no else: without a Footer the screen has no way on; add an else with one")
	case then:
		c.on(at.attr("else")).error(MissingFooterInIfElseBranches, "then has a Footer and else has none: give both one")
	default:
		c.on(at.attr("then"), at.attr("type")).error(MissingFooterInIfElseBranches, "else has a Footer and then has none: give both one")
	}
}

func (c *checker) checkFooterInSwitch(at *component, has map[branchKey]bool) {
	cases := at.attr("cases")
	if !cases.Is(jsontree.Object) {
		return
	}
	var without []*node
	for i := range cases.Members {
		if m := &cases.Members[i]; !has[branchKey{at, m.Name}] {
			without = append(without, m.Value)
		}
	}
	if n := len(without); n > 0 && n < len(cases.Members) {
		c.on(without...).error(MissingFooterInSwitchBranches, "%d of %d cases have no Footer while others have one: give all cases one", n, len(cases.Members))
	}
}

// checkLoneComponents: RichText and NavigationList fill a screen.
func checkLoneComponents(c *checker) {
	for _, s := range c.screens {
		if c.version.AtLeast(5, 1) {
			c.checkLone(s, "RichText", 1, "Footer", Version{6, 3})
		}
		if c.version.AtLeast(6, 2) {
			c.checkLone(s, "NavigationList", 2, "Form", Version{6, 2})
		}
	}
	c.each(func(at *component) {
		if m := at.screen.node.Member("terminal"); at.screen.terminal && m != nil {
			c.onKey(m).error(InvalidPropertyKey, "a screen with a NavigationList cannot be terminal: its items lead on")
		}
	}, "NavigationList")
}

// checkLone: at most so many of a type, and beside them only those of the type
// that may be there from a version on.
func (c *checker) checkLone(s *screen, typ string, most int, beside string, since Version) {
	var own, others []*node
	for _, at := range s.components {
		switch {
		case at.typ == typ:
			own = append(own, at.attr("type"))
		case at.typ == beside && c.version.AtLeast(since.Major, since.Minor):
		default:
			others = append(others, at.node)
		}
	}
	if len(own) == 0 || len(own) <= most && len(others) == 0 {
		return
	}
	code := InvalidComponentPlacement
	if c.version.Below(6, 0) {
		code = InvalidRichTextPlacement
	}
	if len(others) == 0 {
		if typ == "RichText" {
			c.on(own[most:]...).error(code, "the screen has %d RichTexts, the most is 1: join their texts", len(own))
		}
		return // type-counts says it of NavigationLists
	}
	hint := ""
	if typ == "RichText" && c.version.Below(6, 3) && slices.ContainsFunc(s.components, func(at *component) bool { return at.typ == "Footer" }) {
		hint = "; with a Footer from Flow JSON 6.3 on"
	}
	c.on(append(own[:1:1], others...)...).error(code, "%s must stand alone on its screen%s: %d other components stand there", typ, hint, len(others))
}
