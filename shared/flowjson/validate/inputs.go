package validate

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// inputRules are about one input, or the inputs of one screen.
var inputRules = []rule{
	{"min-max", pageCodes + `, MIN_VALUE_GREATER_THAN_MAX`, checkMinMax},
	{"input-pattern", pageComponents + `, TextInput "pattern"; ` + webClient + `TextInput pattern of 6.2`, checkInputPattern},
	{"required-and-enabled", webClient + `component rules REQUIRED_AND_ENABLED and REQUIRED_AND_VISIBLE`, checkRequiredAndEnabled},
	{"disabled-options", webClient + `component rule DISABLED_OPTION_SELECTED`, checkDisabledOptions},
	{"input-names", pageCodes + `, DUPLICATE_FORM_COMPONENT_NAMES`, checkInputNames},
	{"pickers-in-init-values", pageCodes + `, NATIVE_COMPONENT_IN_FORM_INIT_VALUES`, checkPickersInInitValues},
	{"form-values", `Meta: "Changelog", 7.0; ` + webClient + `form attributes of 7.0`, checkFormValues},
	{"footer-captions", pageComponents + `, Footer; ` + pageCodes + `, INVALID_DEPENDENCIES and NOT_KEYWORD_SCHEMA_VALIDATION_FAILED`, checkFooterCaptions},
}

// each calls f for every component of one of the types, all without any.
func (c *checker) each(f func(at *component), types ...string) {
	for _, s := range c.screens {
		for _, at := range s.components {
			if len(types) == 0 || slices.Contains(types, at.typ) {
				f(at)
			}
		}
	}
}

// rangesOf are the properties of which the first must not exceed the second.
var rangesOf = map[string][2]string{
	"TextInput":      {"min-chars", "max-chars"},
	"CheckboxGroup":  {"min-selected-items", "max-selected-items"},
	"ChipsSelector":  {"min-selected-items", "max-selected-items"},
	"PhotoPicker":    {"min-uploaded-photos", "max-uploaded-photos"},
	"DocumentPicker": {"min-uploaded-documents", "max-uploaded-documents"},
	"CalendarPicker": {"min-days", "max-days"},
}

func checkMinMax(c *checker) {
	c.each(func(at *component) {
		names, ok := rangesOf[at.typ]
		if !ok {
			return
		}
		least, most := at.attr(names[0]), at.attr(names[1])
		if !least.Is(jsontree.Number) || !most.Is(jsontree.Number) || number(least) <= number(most) {
			return
		}
		code := MinValueGreaterThanMax
		if at.typ == "CalendarPicker" {
			code = InvalidMinMaxDays
		}
		c.on(least, most).error(code, "%s of %s is %s, more than %s, which is %s", names[0], at.typ, least.Text, names[1], most.Text)
	})
}

// maxPattern is the longest pattern looked at, in bytes.
const maxPattern = 4096

func checkInputPattern(c *checker) {
	c.each(func(at *component) {
		pattern := at.attr("pattern")
		if pattern == nil || c.version.Below(6, 2) {
			return
		}
		if at.attr("helper-text") == nil {
			c.onStart(at.node).error(MissingRequiredProperty, "a TextInput with a pattern needs a helper-text that tells the user what to enter")
		}
		if kind := at.attr("input-type"); kind.Is(jsontree.String) && (kind.Text == "email" || kind.Text == "phone") {
			c.on(kind, pattern).error(InvalidEnumValue, "a TextInput of type %s takes no pattern: its own form of text is checked; expected text, number, password or passcode", kind.Text)
		}
		if pattern = c.static(pattern, jsontree.String); pattern == nil {
			return
		}
		if fault := regexpFault(pattern.Text); fault != "" {
			c.on(pattern).error(InvalidPropertyValueFormat, "the pattern is no regular expression: %s", fault)
		}
	}, "TextInput")
}

// regexpFault says what makes a text no regular expression of JavaScript. Go
// knows less of them (no look-ahead, no back reference), so only what both
// refuse counts.
func regexpFault(text string) string {
	if len(text) > maxPattern || strings.Contains(text, "[]") || strings.Contains(text, "[^]") {
		return "" // JavaScript takes the empty class
	}
	_, err := syntax.Parse(text, syntax.Perl)
	fault, ok := err.(*syntax.Error)
	if !ok {
		return ""
	}
	switch fault.Code {
	case syntax.ErrMissingBracket, syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingRepeatArgument, syntax.ErrTrailingBackslash:
		return fault.Code.String()
	}
	return ""
}

func isFalse(n *node) bool { return n.Is(jsontree.Boolean) && n.Text == "false" }

// isRequired says that the user must fill the input, whatever the data says.
func isRequired(at *component) bool {
	required := at.attr("required")
	return required.True() || required.Get("start-date").True() || required.Get("end-date").True()
}

// checkRequiredAndEnabled: the client shows an error instead of a required
// input that is disabled. One that is invisible it shows in drafts only.
func checkRequiredAndEnabled(c *checker) {
	c.each(func(at *component) {
		if !isRequired(at) {
			return
		}
		switch disabled, hidden := at.attr("enabled"), at.attr("visible"); {
		case isFalse(hidden):
			c.on(hidden, at.attr("required")).warn(DoubtfulRule, "this %s is required and invisible, so nobody can fill it in", at.typ)
		case isFalse(disabled):
			c.on(disabled, at.attr("required")).error(InvalidPropertyValue, "this %s is required and disabled, so nobody can fill it in", at.typ)
		}
	})
}

func checkDisabledOptions(c *checker) {
	c.each(func(at *component) {
		if at.form == nil {
			c.checkChosen(at, at.attr("init-value"))
		}
	}, "CheckboxGroup", "RadioButtonsGroup", "Dropdown", "ChipsSelector")
	seen := map[*component]bool{} // a hostile document names one input a million times
	c.formValues("init-values", func(at *component, _ *jsontree.Member, value *node) {
		if at != nil && !seen[at] {
			seen[at] = true
			c.checkChosen(at, value)
		}
	})
}

func (c *checker) checkChosen(at *component, initial *node) {
	options := at.attr("data-source")
	if initial == nil || !options.Is(jsontree.Array) {
		return
	}
	disabled := map[string]bool{}
	for _, option := range options.Items {
		if id := option.Get("id"); id.Is(jsontree.String) && isFalse(option.Get("enabled")) {
			disabled[id.Text] = true
		}
	}
	for _, chosen := range append([]*node{initial}, initial.Items...) {
		if chosen.Kind == jsontree.String && disabled[chosen.Text] {
			c.on(chosen).error(InvalidPropertyValue, "the option %q is disabled and cannot be chosen at the start", chosen.Text)
		}
	}
}

// formValues calls f for each member of a property of every Form that is an
// object with the names of its inputs; at is nil for a name that none has.
func (c *checker) formValues(property string, f func(at *component, m *jsontree.Member, value *node)) {
	c.each(func(form *component) {
		values := form.attr(property)
		if !values.Is(jsontree.Object) {
			return
		}
		for i := range values.Members {
			m := &values.Members[i]
			at := form.screen.inputs[m.Name]
			if at != nil && at.form != form {
				at = nil
			}
			f(at, m, m.Value)
		}
	}, "Form")
}

// checkInputNames: a name stands for one input of its screen, even when only
// one branch of an If shows at a time.
func checkInputNames(c *checker) {
	for _, s := range c.screens {
		places := map[string][]*node{}
		var order []string
		for _, at := range s.components {
			if spec := at.spec(); spec == nil || !spec.input || at.name == "" {
				continue
			}
			if places[at.name] = append(places[at.name], at.attr("name")); len(places[at.name]) == 2 {
				order = append(order, at.name)
			}
		}
		for _, name := range order {
			c.on(places[name]...).error(DuplicateFormComponentNames, "%d inputs of the screen are named %q: give each its own name", len(places[name]), name)
		}
	}
}

func checkPickersInInitValues(c *checker) {
	c.formValues("init-values", func(at *component, m *jsontree.Member, value *node) {
		if at != nil && at.spec().media {
			c.onKey(m).error(NativeComponentInFormInitValue, "%q is a %s: files cannot be given at the start", m.Name, at.typ)
		}
	})
}

// checkFormValues holds init-values and error-messages of a Form against its
// inputs; before 7.0 Meta looks at neither.
func checkFormValues(c *checker) {
	if c.version.Below(7, 0) {
		return
	}
	c.formValues("init-values", func(at *component, m *jsontree.Member, value *node) {
		switch {
		case at == nil:
			c.onKey(m).error(InvalidPropertyValue, "init-values has %q, which no input of the Form is named", m.Name)
		case at.spec().media:
		case c.isBound(value):
			if types := c.boundTypes(value, at.screen); !fits(types, initKind(at)) {
				c.on(value).error(InvalidPropertyValue, "the init-value of %q is %s, which is %s, a %s takes %s", m.Name, value.Text, types, at.typ, initKind(at))
			}
		case !initKind(at).has(value.Kind):
			c.on(value).error(InvalidPropertyValue, "the init-value of %q is %s, a %s takes %s", m.Name, value.Kind, at.typ, initKind(at))
		}
	})
	c.formValues("error-messages", func(at *component, m *jsontree.Member, value *node) {
		takes := aString
		if at != nil && (at.spec().media || at.typ == "CalendarPicker" && isRange(at)) {
			takes |= anObject
		}
		if !takes.has(value.Kind) {
			c.on(value).error(InvalidPropertyValue, "the error message of %q is %s, expected %s", m.Name, value.Kind, takes)
		}
	})
}

// boundTypes is what a reference stands for, 0 if that is not known.
func (c *checker) boundTypes(n *node, on *screen) valueType {
	r, whole := parseReference(n.Text)
	if !whole {
		return 0
	}
	return c.resolve(r, on).types
}

// initKind is what an init-value of the input is.
func initKind(at *component) valueType {
	if at.typ == "TextInput" && entersNumber(at) {
		return aNumber
	}
	return at.spec().yields(at)
}

func checkFooterCaptions(c *checker) {
	c.each(func(at *component) {
		left, right, center := at.attr("left-caption"), at.attr("right-caption"), at.attr("center-caption")
		switch {
		case center != nil && (left != nil || right != nil):
			c.on(center, left, right).error(NotKeyword, "a Footer has either a center-caption or a left-caption and a right-caption")
		case left != nil && right == nil:
			c.on(left).error(InvalidDependencies, "a left-caption needs a right-caption beside it")
		case right != nil && left == nil:
			c.on(right).error(InvalidDependencies, "a right-caption needs a left-caption beside it")
		}
	}, "Footer")
}
