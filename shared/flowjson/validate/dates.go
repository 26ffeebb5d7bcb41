package validate

import (
	"strconv"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// dateRules are about DatePicker and CalendarPicker.
var dateRules = []rule{
	{"date-format", `Meta: "Changelog", 5.0; ` + pageComponents + `, DatePicker; ` + webClient + `date validator of 5.0`, checkDateFormat},
	{"date-range", pageComponents + `, DatePicker; ` + webClient + `date validator of 5.0`, checkDateRange},
	{"calendar-mode", pageComponents + `, CalendarPicker; ` + webClient + `CalendarPicker validator of 6.1`, checkCalendarMode},
}

// datesOf calls f for each static date of a component.
func (c *checker) datesOf(at *component, f func(date *node)) {
	for _, name := range []string{"min-date", "max-date", "init-value", "unavailable-dates"} {
		value := at.attr(name)
		if value == nil {
			continue
		}
		for _, date := range append([]*node{value, value.Get("start-date"), value.Get("end-date")}, value.Items...) {
			if date = c.static(date, jsontree.String); date != nil {
				f(date)
			}
		}
	}
}

func checkDateFormat(c *checker) {
	c.each(func(at *component) {
		c.datesOf(at, func(date *node) {
			switch {
			case date.Parent == at.node && c.version.AtLeast(6, 0) && strings.TrimSpace(date.Text) == "":
				// blank-texts says it
			case c.version.Below(5, 0):
				if _, err := strconv.ParseInt(date.Text, 10, 64); err != nil {
					c.on(date).error(InvalidDateRange, "%q is no date: before Flow JSON 5.0 it is milliseconds since 1970 as a string, like \"1735689600000\"", date.Text)
				}
			case !isDateShape(date.Text):
				c.on(date).error(InvalidDateRange, "%q is no date: expected YYYY-MM-DD like 2025-01-31", date.Text)
			default:
				if _, err := time.Parse(time.DateOnly, date.Text); err != nil {
					c.on(date).warn(DoubtfulRule, "%q is not in the calendar", date.Text)
				}
			}
		})
	}, "DatePicker", "CalendarPicker")
}

func isDateShape(s string) bool {
	if len(s) != len(time.DateOnly) {
		return false
	}
	for i := range len(s) {
		if dash := i == 4 || i == 7; dash != (s[i] == '-') || !dash && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// checkDateRange compares dates from 5.0 on, whose text sorts like the days;
// before, they are numbers.
func checkDateRange(c *checker) {
	c.each(func(at *component) {
		first, last := c.day(at.attr("min-date")), c.day(at.attr("max-date"))
		if first != nil && last != nil && c.later(first, last) {
			c.on(first, last).error(InvalidDateRange, "min-date %s is after max-date %s", first.Text, last.Text)
			return
		}
		if c.version.Below(5, 0) {
			return
		}
		initial := at.attr("init-value")
		start, end := c.day(initial.Get("start-date")), c.day(initial.Get("end-date"))
		if start != nil && end != nil && c.later(start, end) {
			c.on(start, end).error(InvalidDateRange, "start-date %s is after end-date %s", start.Text, end.Text)
			return
		}
		c.datesOf(at, func(date *node) {
			if date = c.day(date); date == nil || date == first || date == last {
				return
			}
			if first != nil && c.later(first, date) {
				c.on(date, first).error(InvalidDateRange, "%s is before the min-date %s", date.Text, first.Text)
			}
			if last != nil && c.later(date, last) {
				c.on(date, last).error(InvalidDateRange, "%s is after the max-date %s", date.Text, last.Text)
			}
		})
	}, "DatePicker", "CalendarPicker")
}

// day returns a static, well-formed date, else nil.
func (c *checker) day(n *node) *node {
	if n = c.static(n, jsontree.String); n == nil {
		return nil
	}
	if _, err := strconv.ParseInt(n.Text, 10, 64); c.version.Below(5, 0) && err == nil {
		return n
	}
	if c.version.AtLeast(5, 0) && isDateShape(n.Text) {
		return n
	}
	return nil
}

func (c *checker) later(a, b *node) bool {
	if c.version.AtLeast(5, 0) {
		return a.Text > b.Text
	}
	x, _ := strconv.ParseInt(a.Text, 10, 64)
	y, _ := strconv.ParseInt(b.Text, 10, 64)
	return x > y
}

// checkCalendarMode: in the mode range several properties are objects with a
// value for each of the two dates.
func checkCalendarMode(c *checker) {
	c.each(func(at *component) {
		if !hasMode(at) {
			return
		}
		if !isRange(at) {
			for _, name := range []string{"min-days", "max-days", "title", "description"} {
				if m := at.node.Member(name); m != nil {
					c.onKey(m).error(InvalidPropertyForCondition, "%s is for the mode range: add \"mode\": \"range\" or remove %s", name, name)
				}
			}
		}
		for _, name := range []string{"label", "helper-text", "required", "init-value", "error-message"} {
			c.checkDatePair(at, name, at.attr(name))
		}
	}, "CalendarPicker")
	for _, name := range []string{"init-values", "error-messages"} {
		c.formValues(name, func(at *component, _ *jsontree.Member, value *node) {
			if at != nil && at.typ == "CalendarPicker" && hasMode(at) {
				c.checkDatePair(at, name, value)
			}
		})
	}
}

// hasMode says that the mode is known before there is any data.
func hasMode(at *component) bool {
	mode := at.attr("mode")
	return mode == nil || mode.Text == "single" || mode.Text == "range"
}

func (c *checker) checkDatePair(at *component, name string, value *node) {
	switch {
	case value == nil || c.isBound(value):
		return
	case !isRange(at):
		if value.Kind == jsontree.Object {
			c.on(value).error(InvalidType, "%s is an object, which is for the mode range: add \"mode\": \"range\" or give one value", name)
		}
		return
	case value.Kind != jsontree.Object:
		c.on(value).error(InvalidType, "%s is %s, in the mode range it is an object with start-date and end-date", name, value.Kind)
		return
	}
	kind := jsontree.String
	if name == "required" {
		kind = jsontree.Boolean
	}
	for i := range value.Members {
		switch m := &value.Members[i]; {
		case m.Name != "start-date" && m.Name != "end-date":
			c.onKey(m).error(UnexpectedRangeProperty, "%s has start-date and end-date, not %q%s", name, m.Name, withSuggestion(m.Name, []string{"start-date", "end-date"}))
		case m.Value.Kind != kind && !c.isBound(m.Value):
			c.on(m.Value).error(InvalidPropertyType, "%s of %s is %s, expected %s", m.Name, name, m.Value.Kind, kind)
		}
	}
	if value.Get("start-date") == nil {
		c.onStart(value).error(MissingRangeProperty, "%s has no start-date", name)
	}
	if name == "label" && value.Get("end-date") == nil {
		c.onStart(value).error(MissingRangeProperty, "%s has no end-date", name)
	}
}
