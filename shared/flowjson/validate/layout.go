package validate

import (
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var layoutRules = []rule{
	{"inputs-in-form", pageCodes + `, KEYWORD_ONE_OF and COMPONENTS_OUTSIDE_FORM`, checkInputsInForm},
	{"component-place", pageComponents + `, If and Switch; ` + webClient + `schemas of Form, If and Switch`, checkComponentPlace},
	{"branches", pageComponents + `, If and Switch; ` + pageCodes + `, "IF" component errors`, checkBranches},
	{"if-nesting", pageComponents + `, If; ` + webClient + `If nesting validator`, checkIfNesting},
	{"type-counts", pageCodes + `, MAX_FOOTER_PER_SCREEN and others; ` + webClient + `component types per screen`, checkTypesPerScreen},
	{"carousels-per-flow", pageComponents + `, ImageCarousel`, checkCarouselsPerFlow},
	{"footer-in-branches", pageCodes + `, MISSING_FOOTER_IN_IF_ELSE_BRANCHES and MISSING_FOOTER_IN_SWITCH_BRANCHES`, checkFooterInBranches},
	{"lone-components", pageComponents + `, RichText and NavigationList; ` + webClient + `component placement of 6.0, 6.2 and 6.3, and NavigationList on terminal screens`, checkLoneComponents},
}

func checkInputsInForm(c *checker) {
	for _, s := range c.screens {
		hasForm := slices.ContainsFunc(s.components, func(at *component) bool { return at.typ == "Form" })
		for _, at := range s.components {
			spec := at.spec()
			if spec == nil || !spec.input || at.form != nil || at.typ == "NavigationList" {
				continue
			}
			switch {
			case c.version.Below(4, 0):
				c.on(at.attr("type")).error(KeywordOneOf, "%s must stand inside a Form: the Form may be left out from Flow JSON 4.0 on, this document is %s", at.typ, c.version)
			case !hasForm:
			case at.typ == "CalendarPicker" || at.typ == "ChipsSelector":
				c.on(at.attr("type")).warn(DoubtfulRule, "%s stands beside a Form: other inputs must stand inside it", at.typ)
			default:
				c.on(at.attr("type")).error(ComponentsOutsideForm, "%s stands beside a Form: move it into the Form, or remove the Form around the others", at.typ)
			}
		}
	}
}

// checkComponentPlace is about what a Form, an If and a Switch may hold.
func checkComponentPlace(c *checker) {
	c.each(func(at *component) {
		if at.parent == nil || at.spec() == nil {
			return
		}
		where := at.parent.typ
		since, ok := placeSince(where, at)
		switch {
		case !ok:
			c.on(at.attr("type")).error(InvalidPropertyValue, "%s cannot stand inside %s", at.typ, where)
		case c.version.Below(since.Major, since.Minor) && c.version.AtLeast(at.spec().since.Major, at.spec().since.Minor):
			c.on(at.attr("type")).error(InvalidPropertyValue, "%s may stand inside %s from Flow JSON %s on, this document is %s", at.typ, where, since, c.version)
		}
	})
}

// placeSince says from which version on a component may stand inside another,
// if ever.
func placeSince(where string, at *component) (since Version, ok bool) {
	switch at.typ {
	case "Form", "RichText":
		return Version{}, false
	case "NavigationList", "ImageCarousel":
		return Version{}, where == "Form"
	case "If", "Switch":
		return Version{4, 0}, where != "Switch"
	case "ChipsSelector":
		if where != "Form" {
			return Version{7, 1}, true
		}
	case "Footer":
		return Version{}, at.depth < 2 || where == "Switch"
	}
	return Version{}, true
}

func checkBranches(c *checker) {
	c.each(func(at *component) {
		if then := at.attr("then"); then.Is(jsontree.Array) && len(then.Items) == 0 {
			c.on(then).error(InvalidPropertyValue, "then is empty: an If needs at least one component to show")
		}
		if otherwise := at.attr("else"); otherwise.Is(jsontree.Array) && len(otherwise.Items) == 0 {
			c.on(otherwise).warn(DoubtfulRule, "else is empty: leave it out")
		}
	}, "If")
	c.each(func(at *component) {
		cases := at.attr("cases")
		if !cases.Is(jsontree.Object) {
			return
		}
		if len(cases.Members) == 0 {
			c.on(cases).error(InvalidPropertyValue, "cases is empty: a Switch needs at least one case")
		}
		for i := range cases.Members {
			m := &cases.Members[i]
			if m.Value.Kind != jsontree.Array {
				c.on(m.Value).error(InvalidPropertyType, "the case %q is %s, expected an array of components", m.Name, m.Value.Kind)
			}
			if !isCaseName(m.Name) && c.version.AtLeast(5, 0) {
				c.onKey(m).error(PatternMismatch, "the case %q: expected a letter, then letters, digits, - and _", m.Name)
			}
		}
	}, "Switch")
}

func isCaseName(s string) bool {
	for i := range len(s) {
		b := s[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if !letter && (i == 0 || b != '-' && b != '_' && (b < '0' || b > '9')) {
			return false
		}
	}
	return s != ""
}

// checkIfNesting reports the outermost If that is too deep, not those in it.
func checkIfNesting(c *checker) {
	const most = 3
	levels := map[*component]int{}
	c.each(func(at *component) {
		levels[at] = 1
		if at.parent != nil && at.parent.typ == "If" {
			levels[at] += levels[at.parent]
		}
		if levels[at] == most+1 {
			c.on(at.attr("type")).error(MaximumIfNesting, "this If stands inside %d others: at most %d may stand inside each other", most, most)
		}
	}, "If")
}
