package validate

import (
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var screenRules = []rule{
	{"screen-keys", "Meta: Flow JSON, \"Screens\"; Changelog, versions 3.1 and 5.1", checkScreenKeys},
	{"screen-id", "Meta: Flow JSON, \"Screens\"; error codes, \"Screen ID errors\"; web client: WAFlowJSONScreenSchema", checkScreenID},
	{"duplicate-screen-ids", "Meta: Flow JSON error codes, DUPLICATE_SCREEN_IDS", checkDuplicateScreenIDs},
	{"screen-title", "Meta: Flow JSON, \"Screens\" (optional); web client: WAFlowJSONScreenSchema (required, not blank)", checkScreenTitle},
	{"screen-layout", "Meta: Flow JSON, \"Layout\"", checkScreenLayout},
	{"screen-flags", "Meta: Flow JSON, \"Screens\": terminal, success, refresh_on_back are booleans", checkScreenFlags},
	{"success-on-terminal", "Meta: Flow JSON, \"success\"; error codes, NOT_KEYWORD_SCHEMA_VALIDATION_FAILED", checkSuccessOnTerminal},
	{"refresh-on-back", "Meta: Flow JSON, \"refresh_on_back\"; error codes, INVALID_PROPERTY_VALUE", checkRefreshOnBack},
	{"terminal-screen", "Meta: Flow JSON error codes, MISSING_TERMINAL_SCREEN", checkTerminalScreen},
	{"successful-terminal", "Meta: Flow JSON error codes, INVALID_PROPERTY_VALUE; web client: WAFlowJSONSuccessOnTerminalScreenValidator", checkSuccessfulTerminal},
	{"terminal-footer", "Meta: Flow JSON error codes, MISSING_FOOTER_ON_TERMINAL_SCREEN", checkTerminalFooter},
	{"footer-outside-form", "Meta: Flow JSON error codes, INVALID_FOOTER_PAYLOAD_OUTSIDE_FORM", checkFooterOutsideForm},
	{"sensitive", "Meta: Flow JSON, \"Sensitive fields\"; web client: WAFlowSensitiveFieldsValidator", checkSensitive},
	{"components-per-screen", "Meta: Flow JSON, \"Layout\" (50); web client: WAFlowJSONTotalComponentsPerScreenValidator (100)", checkComponentsPerScreen},
}

var screenKeys = []string{"id", "layout", "title", "terminal", "success", "refresh_on_back", "sensitive", "data"}

// screenKeySince holds the keys that are younger than version 2.1.
var screenKeySince = map[string]Version{"success": {3, 1}, "sensitive": {5, 1}}

func checkScreenKeys(c *checker) {
	for _, s := range c.screens {
		for i := range s.node.Members {
			m := &s.node.Members[i]
			if !slices.Contains(screenKeys, m.Name) {
				c.onKey(m).error(InvalidPropertyKey, "a screen has no property %q%s", m.Name, withSuggestion(m.Name, screenKeys))
			} else if since := screenKeySince[m.Name]; c.version.Below(since.Major, since.Minor) {
				c.onKey(m).error(InvalidPropertyKey, "%s exists from version %s, the document has version %s: remove it, or raise the version", m.Name, since, c.version)
			}
		}
	}
}

func checkScreenID(c *checker) {
	for _, s := range c.screens {
		n := s.node.Get("id")
		switch {
		case n == nil:
			c.onStart(s.node).error(MissingRequiredProperty, "id is missing, expected a name of letters and underscores")
		case n.Kind != jsontree.String:
			c.on(n).error(InvalidPropertyType, "id is %s, expected a string", n.Kind)
		case n.Text == "":
			c.on(n).error(MinCharsRequired, "id is empty, expected at least one letter")
		case strings.EqualFold(n.Text, "SUCCESS"):
			c.on(n).error(ScreenIDIsReservedKeyword, "%q is reserved for the answer that ends a flow: give the screen another id", n.Text)
		case strings.Trim(n.Text, screenIDLetters+",") != "":
			c.on(n).error(PatternMismatch, "id is %q, expected only letters and underscores", n.Text)
		case strings.Contains(n.Text, ","):
			c.on(n).warn(DoubtfulRule, "id is %q: Meta's pages allow only letters and underscores, its web client commas too", n.Text)
		case strings.Trim(n.Text, "_") == "":
			c.on(n).warn(DoubtfulRule, "id is %q: Meta's web client is ready to refuse ids without a letter", n.Text)
		}
	}
}

const screenIDLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

func checkDuplicateScreenIDs(c *checker) {
	for _, s := range c.screens {
		if first := c.byID[s.id]; s.id != "" && first != s {
			c.on(s.node.Get("id"), first.node.Get("id")).error(DuplicateScreenIDs, "another screen already has the id %q: ids must be different", s.id)
		}
	}
}

func checkScreenTitle(c *checker) {
	for _, s := range c.screens {
		n := s.node.Get("title")
		switch {
		case n == nil && c.version.AtLeast(5, 1):
			c.onStart(s.node).warn(DoubtfulRule, "the screen has no title: Meta's page calls it optional, its web client requires it: add one")
		case n == nil:
		case n.Kind != jsontree.String:
			c.on(n).error(InvalidPropertyType, "title is %s, expected a string", n.Kind)
		case c.version.AtLeast(5, 0) && strings.TrimSpace(n.Text) == "":
			c.on(n).warn(DoubtfulRule, "title is blank: Meta's web client refuses that, its page does not say so")
		}
	}
}

func checkScreenLayout(c *checker) {
	for _, s := range c.screens {
		layout := s.node.Get("layout")
		if layout == nil {
			c.onStart(s.node).error(MissingRequiredProperty, "layout is missing, expected {\"type\": \"SingleColumnLayout\", \"children\": […]}")
			continue
		}
		if layout.Kind == jsontree.String {
			c.on(layout).error(InvalidPropertyValue, "layout is %q, expected {\"type\": \"SingleColumnLayout\", \"children\": […]}", layout.Text)
			continue
		}
		if layout.Kind != jsontree.Object {
			c.on(layout).error(InvalidPropertyType, "layout is %s, expected an object with type and children", layout.Kind)
			continue
		}
		for i := range layout.Members {
			if m := &layout.Members[i]; m.Name != "type" && m.Name != "children" {
				c.onKey(m).error(InvalidPropertyKey, "a layout has no property %q%s", m.Name, withSuggestion(m.Name, []string{"type", "children"}))
			}
		}
		switch typ := layout.Get("type"); {
		case typ == nil:
			c.onStart(layout).error(MissingRequiredType, "the layout has no type, expected \"SingleColumnLayout\"")
		case typ.Kind != jsontree.String:
			c.on(typ).error(InvalidPropertyType, "type is %s, expected the string \"SingleColumnLayout\"", typ.Kind)
		case typ.Text != "SingleColumnLayout":
			c.on(typ).error(InvalidPropertyValue, "type is %q, expected \"SingleColumnLayout\"", typ.Text)
		}
		switch children := layout.Get("children"); {
		case children == nil:
			c.onStart(layout).error(MissingRequiredProperty, "the layout has no children, expected an array of components")
		case children.Kind != jsontree.Array:
			c.on(children).error(InvalidPropertyType, "children is %s, expected an array of components", children.Kind)
		}
	}
}

func checkScreenFlags(c *checker) {
	for _, s := range c.screens {
		for _, name := range []string{"terminal", "success", "refresh_on_back"} {
			if n := s.node.Get(name); n != nil && n.Kind != jsontree.Boolean {
				c.on(n).error(InvalidPropertyType, "%s is %s, expected true or false", name, n.Kind)
			}
		}
	}
}

func checkSuccessOnTerminal(c *checker) {
	for _, s := range c.screens {
		if m := s.node.Member("success"); m != nil && !s.terminal {
			c.onKey(m).error(NotKeyword, "success has a meaning on terminal screens only: add \"terminal\": true, or remove success")
		}
	}
}

func checkRefreshOnBack(c *checker) {
	for _, s := range c.screens {
		if n := s.node.Get("refresh_on_back"); saysTrue(n) && !c.endpoint {
			c.on(n).error(InvalidPropertyValue, "refresh_on_back asks the endpoint, but the flow has no data_api_version: add it, or remove refresh_on_back")
		}
	}
}

func checkTerminalScreen(c *checker) {
	for _, s := range c.screens {
		if s.terminal {
			return
		}
	}
	if list := c.root.Get("screens"); list.Is(jsontree.Array) && len(list.Items) > 0 {
		c.onStart(list).error(MissingTerminalScreen, "no screen is terminal, so the flow has no end: add \"terminal\": true to its last screen")
	}
}

func checkSuccessfulTerminal(c *checker) {
	var unsuccessful []*node
	for _, s := range c.screens {
		if !s.terminal {
			continue
		}
		success := s.node.Get("success")
		if success == nil || success.Text != "false" {
			return
		}
		unsuccessful = append(unsuccessful, success)
	}
	if len(unsuccessful) > 0 {
		c.on(unsuccessful...).error(InvalidPropertyValue, "no terminal screen is a success: at least one must have \"success\": true, or leave success out")
	}
}

func checkTerminalFooter(c *checker) {
	for _, s := range c.screens {
		if s.terminal && !s.has("Footer") {
			c.on(s.node.Member("terminal").Value).error(MissingFooterOnTerminalScreen, "the terminal screen %q has no Footer, so nobody can finish the flow: add one", s.id)
		}
	}
}

// checkFooterOutsideForm: below version 4.0 a Footer beside a Form does not see
// what is entered in it.
func checkFooterOutsideForm(c *checker) {
	if c.version.AtLeast(4, 0) {
		return
	}
	for _, s := range c.screens {
		if !s.has("Form") {
			continue
		}
		for _, comp := range s.components {
			if comp.typ != "Footer" || comp.form != nil {
				continue
			}
			if at := formReference(comp.attr("on-click-action").Get("payload")); at != nil {
				c.on(at).error(InvalidFooterPayload, "this Footer stands beside the Form, so it cannot read %q below version 4.0: move it to the end of the Form's children", at.Text)
			}
		}
	}
}

// formReference is the first string in a value that refers to the form.
func formReference(value *node) *node {
	switch {
	case value == nil:
		return nil
	case value.Kind == jsontree.String && strings.Contains(value.Text, "${form."):
		return value
	}
	for _, m := range value.Members {
		if found := formReference(m.Value); found != nil {
			return found
		}
	}
	for _, item := range value.Items {
		if found := formReference(item); found != nil {
			return found
		}
	}
	return nil
}

func checkSensitive(c *checker) {
	for _, s := range c.screens {
		list := s.node.Get("sensitive")
		if list == nil || c.version.Below(5, 1) {
			continue
		}
		if list.Kind != jsontree.Array {
			c.on(list).error(InvalidPropertyType, "sensitive is %s, expected an array of names of inputs", list.Kind)
			continue
		}
		names, known := map[string]bool{}, s.names()
		for _, comp := range s.components {
			names[comp.name] = true
		}
		for _, n := range list.Items {
			switch {
			case n.Kind != jsontree.String:
				c.on(n).error(InvalidPropertyType, "this is %s, expected the name of an input", n.Kind)
			case n.Text == "" || !names[n.Text]:
				c.on(n).error(InvalidSensitiveField, "the screen has no component %q%s", n.Text, withSuggestion(n.Text, known))
			}
		}
	}
}

// names are those of the screen's components that have one. Suggestions do not
// need more than a screen may hold.
func (s *screen) names() []string {
	var names []string
	for _, comp := range s.components {
		if comp.name != "" && len(names) < maxComponents {
			names = append(names, comp.name)
		}
	}
	return names
}

// Meta's page names the smaller number, its web client enforces the larger one.
const (
	documentedComponents = 50
	maxComponents        = 100
)

func checkComponentsPerScreen(c *checker) {
	for _, s := range c.screens {
		count := 0
		var documented, enforced *node // the first component beyond each limit
		for _, comp := range s.components {
			if comp.typ == "Form" {
				continue
			}
			switch count++; count {
			case documentedComponents + 1:
				documented = comp.node
			case maxComponents + 1:
				enforced = comp.node
			}
		}
		switch {
		case enforced != nil:
			c.onStart(enforced).error(MaxComponentsPerScreen, "the screen has %d components, expected at most %d", count, documentedComponents)
		case documented != nil:
			c.onStart(documented).warn(DoubtfulRule, "the screen has %d components: Meta's page allows %d, its web client %d", count, documentedComponents, maxComponents)
		}
	}
}
