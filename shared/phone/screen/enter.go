package screen

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// InvalidError is what the client shows at an input, instead of taking what was
// entered.
type InvalidError struct {
	Input  string // its name
	Reason string
}

func (e *InvalidError) Error() string { return e.Input + ": " + e.Reason }

// Enter puts a value into an input that is visible: a text, a list of option
// ids, true or false, a day, or {start-date, end-date}. It returns the actions
// that this sets off. What the client would not let anybody enter is an
// *InvalidError; what only the footer complains of is for Check.
func (s *Screen) Enter(name string, value any) ([]*Action, error) {
	in, err := s.Input(name)
	if err != nil {
		return nil, err
	}
	invalid := func(format string, args ...any) error { return &InvalidError{name, fmt.Sprintf(format, args...)} }
	if !in.Enabled {
		return nil, invalid("it is not enabled")
	}
	before := in.Value
	switch in.Type {
	case "OptIn":
		if _, ok := value.(bool); !ok {
			return nil, invalid("it takes true or false")
		}
	case "CheckboxGroup", "ChipsSelector":
		list, ok := value.([]any)
		if !ok {
			return nil, invalid("it takes a list of option ids")
		}
		ids := make([]any, 0, len(list))
		for _, item := range list {
			id := Text(item)
			if err := in.offers(id); err != nil {
				return nil, invalid("%s", err)
			}
			if slices.Contains(ids, any(id)) { // a second tap takes the choice back
				return nil, invalid("the option %q is chosen twice", id)
			}
			ids = append(ids, id)
		}
		value = ids
		if in.MaxItems > 0 && len(list) > in.MaxItems {
			return nil, invalid("at most %d may be chosen", in.MaxItems)
		}
	case "RadioButtonsGroup", "Dropdown":
		id := Text(value)
		if id != "" {
			if err := in.offers(id); err != nil {
				return nil, invalid("%s", err)
			}
		}
		value = id
	case "DatePicker", "CalendarPicker":
		if value, err = s.enterDate(in, value); err != nil {
			return nil, invalid("%s", err)
		}
	case "PhotoPicker", "DocumentPicker":
		files, ok := value.([]any)
		if !ok {
			return nil, invalid("it takes a list of files")
		}
		for _, file := range files {
			if _, ok := file.(map[string]any); !ok {
				return nil, invalid("a file is an object, with the members that the endpoint is to get")
			}
		}
	default:
		text, ok := value.(string)
		if n, isNumber := value.(int); isNumber {
			text, ok = strconv.Itoa(n), true
		}
		if !ok {
			return nil, invalid("it takes a text")
		}
		if utf8.RuneCountInString(text) > in.MaxChars {
			return nil, invalid("it takes at most %d characters", in.MaxChars)
		}
		if in.Type == "TextInput" && strings.ContainsAny(text, "\r\n") {
			return nil, invalid("it takes one line")
		}
		if in.Kind == "passcode" && strings.Trim(text, "0123456789") != "" {
			return nil, invalid("it takes digits")
		}
		value = text
	}
	s.entered[name] = value
	return in.setOff(before, value), nil
}

func (in *Input) offers(id string) error {
	o := in.option(id)
	switch {
	case o == nil:
		var ids []string
		for _, o := range in.Options {
			ids = append(ids, o.ID)
		}
		return fmt.Errorf("it has no option %q, expected one of %s", id, strings.Join(ids, ", "))
	case !o.Enabled:
		return fmt.Errorf("the option %q is not enabled", id)
	}
	return nil
}

// setOff are the actions of a change: those of the options that came and went,
// else those of the input.
func (in *Input) setOff(before, after any) []*Action {
	was, is := chosen(before), chosen(after)
	var actions []*Action
	more, fewer := false, false
	for _, id := range was {
		if slices.Contains(is, id) {
			continue
		}
		fewer = true
		if o := in.option(id); o != nil && o.onUnselect != nil {
			actions = append(actions, o.onUnselect)
		}
	}
	for _, id := range is {
		if slices.Contains(was, id) {
			continue
		}
		more = true
		if o := in.option(id); o != nil && o.onSelect != nil {
			actions = append(actions, o.onSelect)
		}
	}
	switch {
	case len(actions) > 0:
	case more && in.onSelect != nil:
		actions = append(actions, in.onSelect)
	case fewer && !more && in.onUnselect != nil:
		actions = append(actions, in.onUnselect)
	case fewer && !more && in.onSelect != nil: // it handles both
		actions = append(actions, in.onSelect)
	}
	return actions
}

func chosen(value any) []string {
	switch v := value.(type) {
	case []any:
		return texts(v)
	case string:
		if v != "" {
			return []string{v}
		}
	case bool:
		if v {
			return []string{"true"}
		}
	case map[string]any:
		return []string{Text(v["start-date"]) + "/" + Text(v["end-date"])}
	}
	return nil
}

// Check is what the client complains of when the footer is tapped: by the name
// of each visible input. It is empty when everything may be sent.
func (s *Screen) Check() map[string]string {
	complaints := map[string]string{}
	for _, item := range s.Items() {
		if item.Input == nil {
			continue
		}
		if err := item.Input.check(); err != nil {
			complaints[item.Input.Name] = err.Error()
		}
	}
	return complaints
}

func (in *Input) check() error {
	if empty(in.Value) {
		if in.Required {
			return errors.New("it must be filled in")
		}
		return nil
	}
	switch in.Type {
	case "TextInput", "TextArea":
		return in.checkText(Text(in.Value))
	case "CheckboxGroup", "ChipsSelector", "PhotoPicker", "DocumentPicker":
		list, _ := in.Value.([]any)
		if len(list) < in.MinItems {
			return fmt.Errorf("at least %d are needed", in.MinItems)
		}
		if in.MaxItems > 0 && len(list) > in.MaxItems {
			return fmt.Errorf("at most %d may be chosen", in.MaxItems)
		}
	case "DatePicker", "CalendarPicker":
		return in.checkDates(in.Value)
	}
	return nil
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return Text(v["start-date"]) == "" && Text(v["end-date"]) == ""
	}
	return false
}

var (
	emailAddress = regexp.MustCompile(`^[^\s@]+@[^\s@]+\.[^\s@]+$`)
	phoneNumber  = regexp.MustCompile(`^\+?[0-9][0-9 ().-]{2,}$`)
	decimal      = regexp.MustCompile(`^[+-]?[0-9]*[.,]?[0-9]+$`)
)

func (in *Input) checkText(text string) error {
	if n := utf8.RuneCountInString(text); n < in.MinChars {
		return fmt.Errorf("at least %d characters are needed", in.MinChars)
	} else if n > in.MaxChars {
		return fmt.Errorf("it takes at most %d characters", in.MaxChars)
	}
	switch in.Kind {
	case "number":
		if !decimal.MatchString(text) {
			return errors.New("it takes a number")
		}
	case "email":
		if !emailAddress.MatchString(text) {
			return errors.New("it takes an email address")
		}
	case "phone":
		if !phoneNumber.MatchString(text) {
			return errors.New("it takes a phone number")
		}
	}
	if in.Pattern == "" {
		return nil
	}
	// The client's expressions are those of JavaScript, and may fit anywhere in
	// the text: Meta's page says of its pattern 007 "Contains: 007". One that Go's
	// do not have (lookaheads) is not checked: better than to refuse what is right.
	if pattern, err := regexp.Compile(in.Pattern); err == nil && !pattern.MatchString(text) {
		return fmt.Errorf("it does not match the pattern %s", in.Pattern)
	}
	return nil
}

// enterDate takes a day as 2026-11-24, or as milliseconds, and gives it as this
// flow's version has it.
func (s *Screen) enterDate(in *Input, value any) (any, error) {
	one := func(value any) (string, error) {
		text := Text(value)
		if text == "" {
			return "", nil
		}
		day, err := day(text)
		if err != nil {
			return "", err
		}
		if !s.flow.days {
			return strconv.FormatInt(day.UnixMilli(), 10), nil
		}
		return day.Format(time.DateOnly), nil
	}
	if !in.Dates.Range {
		text, err := one(value)
		if err == nil && text != "" {
			err = in.checkDates(text)
		}
		return text, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it takes two days, start-date and end-date")
	}
	start, err := one(members["start-date"])
	if err != nil {
		return nil, err
	}
	end, err := one(members["end-date"])
	if err != nil {
		return nil, err
	}
	both := map[string]any{}
	if start != "" {
		both["start-date"] = start
	}
	if end != "" {
		both["end-date"] = end
	}
	if len(both) == 0 { // taken back
		return nil, nil
	}
	return both, in.checkDates(both)
}

func (in *Input) checkDates(value any) error {
	members, isRange := value.(map[string]any)
	if !isRange {
		return in.Dates.checkDay(Text(value))
	}
	start, end := Text(members["start-date"]), Text(members["end-date"])
	switch {
	case start != "" && end == "" && in.Dates.OnlyFirst:
		return in.Dates.checkDay(start)
	case start == "" || end == "":
		return errors.New("it needs both days")
	}
	if err := errors.Join(in.Dates.checkDay(start), in.Dates.checkDay(end)); err != nil {
		return err
	}
	from, errFrom := day(start)
	to, errTo := day(end)
	if err := errors.Join(errFrom, errTo); err != nil {
		return err
	}
	length := int(to.Sub(from).Hours()/24) + 1
	switch {
	case length < 1:
		return errors.New("it ends before it begins")
	case in.Dates.MinDays > 0 && length < in.Dates.MinDays:
		return fmt.Errorf("at least %d days are needed", in.Dates.MinDays)
	case in.Dates.MaxDays > 0 && length > in.Dates.MaxDays:
		return fmt.Errorf("at most %d days may be chosen", in.Dates.MaxDays)
	}
	return nil
}

func (d *Dates) checkDay(text string) error {
	at, err := day(text)
	if err != nil {
		return err
	}
	if first, err := day(d.Min); err == nil && at.Before(first) {
		return fmt.Errorf("it is before the first day, %s", first.Format(time.DateOnly))
	}
	if last, err := day(d.Max); err == nil && at.After(last) {
		return fmt.Errorf("it is after the last day, %s", last.Format(time.DateOnly))
	}
	for _, taken := range d.Unavailable {
		if t, err := day(taken); err == nil && t.Equal(at) {
			return errors.New("this day is not available")
		}
	}
	if len(d.Days) > 0 && !slices.Contains(d.Days, at.Format("Mon")) {
		return fmt.Errorf("this is a %s, expected one of %s", at.Format("Mon"), strings.Join(d.Days, ", "))
	}
	return nil
}

// day reads 2026-11-24, or milliseconds since 1970 as before Flow JSON 5.0, as
// midnight UTC of that day.
func day(text string) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) > 8 {
		return time.UnixMilli(ms).UTC().Truncate(24 * time.Hour), nil
	}
	return time.Time{}, fmt.Errorf("%q is no day, expected one such as 2026-11-24", text)
}

func sorted(members map[string]any) []string { return slices.Sorted(maps.Keys(members)) }

// atLeast says whether a Flow JSON version is major or newer.
func atLeast(version string, major int) bool {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n >= major
}
