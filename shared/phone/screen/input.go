package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// Input is one input as it stands on the screen.
type Input struct {
	Type, Name, Label, Helper string
	Title, Description        string // above its label; most have none

	Required, Enabled bool
	// Error is what the endpoint says of it (error-message, error-messages).
	Error string
	// Value is what was entered, or what it began with; nil when empty.
	Value any

	Options            []Option // of what is chosen
	MinItems, MaxItems int      // how many may be chosen; 0 is any number
	Several            bool     // more than one may be chosen

	Kind               string // input-type of a TextInput
	Pattern            string
	MinChars, MaxChars int

	Dates Dates

	onSelect, onUnselect *Action
}

// Option is one option of an input.
type Option struct {
	ID, Title, Description, Metadata string
	Enabled                          bool

	onSelect, onUnselect *Action
	image, color         bool // it has one
}

// Dates are the days that a DatePicker or CalendarPicker offers.
type Dates struct {
	Min, Max         string   // as written; empty is any
	Unavailable      []string // single days
	Days             []string // Mon … Sun; empty is all
	Range            bool     // two days are entered
	OnlyFirst        bool     // of a range the first day will do
	MinDays, MaxDays int      // the length of a range; 0 is any
}

const (
	defaultMaxChars  = 80  // of a TextInput
	defaultMaxLength = 600 // of a TextArea

	// What a DatePicker offers that says nothing of it.
	defaultMinDate, defaultMaxDate = "1900-01-01", "2100-12-31"
)

// input reads a component that can be filled in; nil for any other.
func (s *Screen) input(c *flowjson.Component, form *flowjson.Component) *Input {
	a := s.flow.attributes[c]
	in := &Input{
		Type: c.Type, Name: c.Name, Label: s.label(a["label"]), Helper: s.label(a["helper-text"]),
		Title: Text(s.value(a["title"])), Description: Text(s.value(a["description"])),
		Required: s.required(a["required"]), Enabled: true,
		onSelect: s.action(a["on-select-action"]), onUnselect: s.action(a["on-unselect-action"]),
	}
	whole := func(name string, otherwise int) int {
		if n := int(number(s.value(a[name]))); n > 0 {
			return n
		}
		return otherwise
	}
	switch c.Type {
	case "TextInput":
		in.Kind, in.Pattern = Text(a["input-type"]), Text(s.value(a["pattern"]))
		in.MinChars, in.MaxChars = whole("min-chars", 0), whole("max-chars", defaultMaxChars)
	case "TextArea":
		in.MaxChars = whole("max-length", defaultMaxLength)
	case "CheckboxGroup", "ChipsSelector":
		in.Several = true
		in.MinItems, in.MaxItems = whole("min-selected-items", 0), whole("max-selected-items", 0)
		in.Options = s.options(a)
	case "RadioButtonsGroup", "Dropdown":
		in.Options = s.options(a)
	case "OptIn":
	case "DatePicker", "CalendarPicker":
		in.Dates = Dates{
			Min: Text(s.value(a["min-date"])), Max: Text(s.value(a["max-date"])),
			Unavailable: texts(s.value(a["unavailable-dates"])), Days: texts(s.value(a["include-days"])),
			Range: c.Type == "CalendarPicker" && Text(s.value(a["mode"])) == "range", MinDays: whole("min-days", 0), MaxDays: whole("max-days", 0),
		}
		if c.Type == "DatePicker" {
			in.Dates.Min, in.Dates.Max = cmp.Or(in.Dates.Min, defaultMinDate), cmp.Or(in.Dates.Max, defaultMaxDate)
		}
		if each, ok := s.value(a["required"]).(map[string]any); ok {
			in.Dates.OnlyFirst = truth(each["start-date"]) && !truth(each["end-date"])
		}
	case "PhotoPicker":
		in.MinItems, in.MaxItems = whole("min-uploaded-photos", 0), whole("max-uploaded-photos", 30)
	case "DocumentPicker":
		in.MinItems, in.MaxItems = whole("min-uploaded-documents", 0), whole("max-uploaded-documents", 30)
	default:
		return nil
	}
	if in.Label == "" { // before Flow JSON 4.0 a text beside it said what it is
		in.Label = c.Name
	}
	at := placed{c, form}
	in.Error = s.endpointError(at)
	if value, ok := s.entered[c.Name]; ok {
		in.Value = value
	} else {
		in.Value = s.initial(at)
	}
	in.dropUnknown()
	return in
}

// label is a text, or the two of a CalendarPicker's range.
func (s *Screen) label(value any) string {
	switch v := s.value(value).(type) {
	case map[string]any:
		return strings.Join(slices.DeleteFunc([]string{Text(v["start-date"]), Text(v["end-date"])}, func(s string) bool { return s == "" }), " – ")
	default:
		return Text(v)
	}
}

func (s *Screen) required(value any) bool {
	switch v := s.value(value).(type) {
	case map[string]any:
		return truth(v["start-date"]) || truth(v["end-date"])
	default:
		return truth(v)
	}
}

func (s *Screen) endpointError(at placed) string {
	message := s.value(s.flow.attributes[at.component]["error-message"])
	if message == nil && at.form != nil {
		if all, ok := s.value(s.flow.attributes[at.form]["error-messages"]).(map[string]any); ok {
			message = all[at.component.Name]
		}
	}
	members, ok := message.(map[string]any)
	if !ok {
		return Text(message)
	}
	var parts []string
	for _, key := range sorted(members) {
		if text := Text(members[key]); text != "" {
			parts = append(parts, key+": "+text)
		}
	}
	return strings.Join(parts, "; ")
}

func (s *Screen) options(a map[string]any) []Option {
	list, _ := s.value(a["data-source"]).([]any)
	options := make([]Option, 0, len(list))
	for i, raw := range list {
		members, ok := raw.(map[string]any)
		if !ok {
			continue
		}
		_, image := members["image"]
		_, color := members["color"]
		o := Option{image: image, color: color, ID: Text(members["id"]), Title: Text(members["title"]), Description: Text(members["description"]), Metadata: Text(members["metadata"]), Enabled: true}
		if enabled, ok := members["enabled"]; ok {
			o.Enabled = truth(enabled)
		}
		// Actions of options are resolved when they run, not when they are shown.
		if written, ok := a["data-source"].([]any); ok && i < len(written) {
			members, _ = written[i].(map[string]any)
		}
		o.onSelect, o.onUnselect = s.action(members["on-select-action"]), s.action(members["on-unselect-action"])
		options = append(options, o)
	}
	return options
}

// dropUnknown forgets chosen options that are no longer offered.
func (in *Input) dropUnknown() {
	if in.Options == nil {
		return
	}
	if !in.Several {
		if id := Text(in.Value); id == "" || in.option(id) == nil {
			in.Value = nil
		}
		return
	}
	list, _ := in.Value.([]any)
	kept := make([]any, 0, len(list))
	for _, id := range list {
		if in.option(Text(id)) != nil {
			kept = append(kept, id)
		}
	}
	if in.Value = nil; len(kept) > 0 {
		in.Value = kept
	}
}

func (in *Input) option(id string) *Option {
	for i := range in.Options {
		if in.Options[i].ID == id {
			return &in.Options[i]
		}
	}
	return nil
}

// Input finds an input that is visible now; the error says what is there.
func (s *Screen) Input(name string) (*Input, error) {
	var names []string
	for _, item := range s.Items() {
		if item.Input == nil {
			continue
		}
		if item.Input.Name == name {
			return item.Input, nil
		}
		names = append(names, item.Input.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the screen %s shows no input %s, and no other", s.ID, name)
	}
	return nil, fmt.Errorf("the screen %s shows no input %s, expected one of %s", s.ID, name, strings.Join(names, ", "))
}

func texts(value any) []string {
	list, _ := value.([]any)
	var out []string
	for _, item := range list {
		out = append(out, Text(item))
	}
	return out
}

// Chosen says whether an option is chosen.
func (in *Input) Chosen(id string) bool { return slices.Contains(chosen(in.Value), id) }
