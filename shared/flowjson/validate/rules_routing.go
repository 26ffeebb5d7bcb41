package validate

import (
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var routingRules = []rule{
	{"routing-model-shape", "Meta: Flow JSON, \"Routing model\"; web client: WAFlowJSONRootSchema", checkRoutingModelShape},
	{"routing-known-screens", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL; web client: WAFlowJSONRoutingModelDestinationValidator", checkRoutingKnownScreens},
	{"routing-all-screens", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL; web client: WAFlowJSONRoutingModelSourceValidator", checkRoutingAllScreens},
	{"routing-forward", "Meta: Flow JSON, \"Routing model\"; error codes, INVALID_ROUTING_MODEL: loop detected; web client: WAFlowJSONRoutingModelBackRouteValidator", checkRoutingForward},
	{"routing-branches", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL: at most 10 branches", checkRoutingBranches},
	{"routing-entry", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL; web client: WAFlowJSONRoutingModelEntryScreenValidator", checkRoutingEntry},
	{"routing-connected", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL; web client: WAFlowJSONRoutingModelPathValidator", checkRoutingConnected},
	{"routing-navigate", "Meta: Flow JSON error codes, INVALID_ROUTING_MODEL; web client: WAFlowJSONRoutesValidator", checkRoutingNavigate},
	{"routing-end", "Meta: Flow JSON, \"Routing model\": all routes must end at a terminal screen", checkRoutingEnd},
}

func checkRoutingModelShape(c *checker) {
	model := c.root.Get("routing_model")
	switch {
	case model == nil:
		return
	case model.Kind != jsontree.Object:
		c.on(model).error(InvalidPropertyType, "routing_model is %s, expected an object with an array of screen ids for each screen", model.Kind)
		return
	}
	for i := range model.Members {
		m := &model.Members[i]
		if badScreenID(m.Name) {
			c.onKey(m).error(PatternMismatch, "%q is no screen id: expected only letters and underscores", m.Name)
		}
		if m.Value.Kind != jsontree.Array {
			c.on(m.Value).error(InvalidPropertyType, "the ways from %s are %s, expected an array of screen ids", m.Name, m.Value.Kind)
			continue
		}
		for _, to := range m.Value.Items {
			switch {
			case to.Kind != jsontree.String:
				c.on(to).error(InvalidPropertyType, "this is %s, expected the id of a screen", to.Kind)
			case badScreenID(to.Text):
				c.on(to).error(PatternMismatch, "%q is no screen id: expected only letters and underscores", to.Text)
			}
		}
	}
}

func badScreenID(id string) bool { return id == "" || strings.Trim(id, screenIDLetters+",") != "" }

func (c *checker) screenIDs() []string {
	ids := make([]string, 0, min(len(c.screens), maxScreens))
	for _, s := range c.screens[:min(len(c.screens), maxScreens)] {
		ids = append(ids, s.id)
	}
	return ids
}

func checkRoutingKnownScreens(c *checker) {
	model := c.root.Get("routing_model")
	if !model.Is(jsontree.Object) {
		return
	}
	known := c.screenIDs()
	for i := range model.Members {
		m := &model.Members[i]
		if c.byID[m.Name] == nil && !badScreenID(m.Name) {
			c.onKey(m).error(InvalidRoutingModel, "there is no screen %q%s", m.Name, withSuggestion(m.Name, known))
		}
		for _, to := range m.Value.Items {
			switch {
			case to.Kind != jsontree.String || c.byID[to.Text] != nil || badScreenID(to.Text):
			case to.Text == "SUCCESS":
				c.on(to).error(InvalidRoutingModel, "SUCCESS is the answer that ends a flow, and no screen: remove it, a terminal screen needs no way on")
			default:
				c.on(to).error(InvalidRoutingModel, "there is no screen %q%s", to.Text, withSuggestion(to.Text, known))
			}
		}
	}
}

// checkRoutingAllScreens: a screen that is terminal, or stands in the model as a
// target, needs no key of its own: Meta's own example of an offer has none.
func checkRoutingAllScreens(c *checker) {
	model := c.root.Get("routing_model")
	if !model.Is(jsontree.Object) {
		return
	}
	listed := map[string]bool{}
	for _, m := range model.Members {
		listed[m.Name] = true
		for _, to := range m.Value.Items {
			listed[to.Text] = true
		}
	}
	for _, s := range c.screens {
		if s.id != "" && !s.terminal && !listed[s.id] {
			c.on(s.node.Get("id"), model).error(InvalidRoutingModel, "the screen %s is missing in routing_model: add it with the screens it leads to", s.id)
		}
	}
}

// routesOfFlow are those that count for the flow: nil when there are none to
// judge. Of a flow with an endpoint and no routing model another rule says that
// it is missing.
func (c *checker) routesOfFlow() *routes {
	if c.declared != nil {
		return c.declared
	}
	if c.endpoint || c.root.Get("routing_model") != nil || c.navigated == nil || len(c.navigated.screens) < 2 {
		return nil
	}
	return c.navigated
}

func checkRoutingForward(c *checker) {
	r := c.routesOfFlow()
	if r == nil {
		return
	}
	declared := r == c.declared
	for i, from := range r.screens {
		for j, to := range r.screens[:i+1] {
			there, back := r.edge[j][i], r.edge[i][j]
			switch {
			case there == nil || back == nil:
			case i == j && declared:
				c.on(back).error(InvalidRoutingModel, "%s leads to itself: a screen stays open without that, so remove it", from.id)
			case i == j: // the rule of navigate's target says it
			case declared:
				second, first := back, there
				if second.Start < first.Start {
					second, first = first, second
				}
				c.on(second, first).error(InvalidRoutingModel, "%s leads to %s and back: list only the way forward, going back needs none", to.id, from.id)
			default:
				c.on(back, there).warn(DoubtfulRule, "%s and %s navigate to each other: Meta's page allows only ways forward, its web client does not check navigate for it", to.id, from.id)
			}
		}
	}
	for _, circle := range r.circles() {
		c.sayCircle(r, circle)
	}
}

func (c *checker) sayCircle(r *routes, circle []int) {
	var ids []string
	var nodes []*node
	for _, i := range circle {
		ids = append(ids, r.screens[i].id)
		for _, j := range circle {
			if r.edge[i][j] != nil {
				nodes = append(nodes, r.edge[i][j])
			}
		}
	}
	all := strings.Join(ids, ", ")
	if r == c.declared {
		slices.SortFunc(nodes, func(a, b *node) int { return b.Start - a.Start }) // the last one closes the circle
		c.on(nodes...).error(InvalidRoutingModel, "the screens %s lead round in a circle: list only the ways forward, going back needs none", all)
		return
	}
	c.on(nodes...).warn(DoubtfulRule, "actions navigate round in a circle through %s: Meta's page allows only ways forward, its web client does not check navigate for it", all)
}

const maxBranches = 10

func checkRoutingBranches(c *checker) {
	r := c.routesOfFlow()
	if r == nil {
		return
	}
	for i, s := range r.screens {
		var branches []*node
		for _, at := range r.edge[i] {
			if at != nil {
				branches = append(branches, at)
			}
		}
		if len(branches) > maxBranches {
			slices.SortFunc(branches, func(a, b *node) int { return a.Start - b.Start })
			c.on(branches[maxBranches]).error(InvalidRoutingModel, "%s leads to %d screens, expected at most %d", s.id, len(branches), maxBranches)
		}
	}
}

// checkRoutingEntry: from version 7.3 on a screen is no entry either when an
// action navigates to it.
func checkRoutingEntry(c *checker) {
	r := c.routesOfFlow()
	if r == nil || len(r.screens) == 0 || r == c.navigated && c.hasNavigationList() {
		return
	}
	entered := r.entered()
	byModel := !slices.Contains(entered, false)
	if r == c.declared && c.version.AtLeast(7, 3) && c.navigated != nil {
		for i, also := range c.navigated.entered() {
			entered[i] = entered[i] || also
		}
	}
	switch {
	case !slices.Contains(entered, false) && r == c.declared:
		how := "in routing_model"
		if !byModel {
			how = "in routing_model or by a navigate action"
		}
		c.onStart(c.root.Get("routing_model")).error(InvalidRoutingModel, "there is no entry screen: another screen leads to every screen %s, so remove the ways to the first one", how)
	case !slices.Contains(entered, false):
		c.onStart(c.root.Get("screens")).error(InvalidRoutingModel, "there is no entry screen: an action navigates to every screen, so remove those to the first one")
	}
}

// hasNavigationList says that the flow has one, whose items may lead anywhere.
func (c *checker) hasNavigationList() bool {
	return c.version.AtLeast(6, 2) && slices.ContainsFunc(c.screens, func(s *screen) bool { return s.has("NavigationList") })
}

// has says that a component of that type stands somewhere on the screen.
func (s *screen) has(typ string) bool {
	return slices.ContainsFunc(s.components, func(comp *component) bool { return comp.typ == typ })
}

func checkRoutingConnected(c *checker) {
	r := c.routesOfFlow()
	if r == nil || len(r.screens) < 2 || r == c.navigated && c.hasNavigationList() {
		return
	}
	for i, is := range r.connected() {
		switch id := r.screens[i].node.Get("id"); {
		case is:
		case r == c.declared:
			c.on(id, c.root.Get("routing_model")).error(InvalidRoutingModel, "no way in routing_model connects %s with the first screen, %s", r.screens[i].id, r.screens[0].id)
		default:
			c.on(id).error(InvalidRoutingModel, "no navigate action connects %s with the first screen, %s", r.screens[i].id, r.screens[0].id)
		}
	}
}

// checkRoutingNavigate: a way that an action takes must be declared. What it
// says of unknown screens, and of the screen itself, is another rule's.
func checkRoutingNavigate(c *checker) {
	if c.declared == nil || c.navigated == nil {
		return
	}
	for i, from := range c.declared.screens {
		for j, to := range c.declared.screens {
			at := c.navigated.edge[i][j]
			switch {
			case at == nil || i == j || c.declared.edge[i][j] != nil:
			case c.declared.edge[j][i] != nil:
				c.on(at, c.declared.edge[j][i]).warn(DoubtfulRule, "%s navigates to %s, routing_model has only the way back: Meta's page wants this way in it, its web client takes either", from.id, to.id)
			case c.version.AtLeast(6, 2) && from.has("NavigationList"):
				c.on(at).warn(DoubtfulRule, "%s navigates to %s, which routing_model does not list: Meta's web client lets a screen with a NavigationList do so, its page does not say so", from.id, to.id)
			default:
				c.on(at).error(InvalidRoutingModel, "%s navigates to %s, but routing_model has no such way: add %q to the ways from %s", from.id, to.id, to.id, from.id)
			}
		}
	}
}

// checkRoutingEnd finds screens with a Footer that are not terminal and lead
// nowhere. A screen without one is a page to read, terms for example, from which
// the user goes back. Meta's web client looks for neither.
func checkRoutingEnd(c *checker) {
	r := c.routesOfFlow()
	if r == nil {
		return
	}
	for i, s := range r.screens {
		leads := slices.ContainsFunc(r.edge[i], func(at *node) bool { return at != nil })
		if !leads && !s.terminal && s.has("Footer") {
			c.on(s.node.Get("id")).warn(DoubtfulRule, "%s is not terminal and no way leads on from it: Meta's page wants all ways to end at a terminal screen, its web client does not check it", s.id)
		}
	}
}
