package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// Screen is one screen that the user is on, or was on: its data, and what has
// been entered. It is not for concurrent use.
type Screen struct {
	ID string

	flow    *Flow
	def     *flowjson.Screen
	data    map[string]any
	entered map[string]any
	// other finds the screens that were shown before, for ${screen.ID.…}.
	other func(id string) *Screen
}

// Open shows a screen of that id, nil if the flow has none. data is what the
// endpoint, or the screen before it, has sent; other finds screens that were
// shown before.
func (f *Flow) Open(id string, data map[string]json.RawMessage, other func(id string) *Screen) *Screen {
	def := f.Definition.Flow().Screen(id)
	if def == nil {
		return nil
	}
	s := &Screen{ID: id, flow: f, def: def, entered: map[string]any{}, other: other}
	s.Refresh(data)
	return s
}

// Refresh shows the screen again with other data; what was entered stays.
func (s *Screen) Refresh(data map[string]json.RawMessage) {
	s.data = make(map[string]any, len(data))
	for key, raw := range data {
		var value any
		if json.Unmarshal(raw, &value) == nil {
			s.data[key] = value
		}
	}
}

// Renew is Refresh, unless the client could not draw the screen then: it stays as
// it is, and the error says why.
func (s *Screen) Renew(data map[string]json.RawMessage) error {
	before := s.data
	s.Refresh(data)
	err := s.Fault()
	if err != nil {
		s.data = before
	}
	return err
}

// Title is the screen's title, resolved.
func (s *Screen) Title() string { return Text(s.value(s.def.Title)) }

// Terminal says whether the flow can end here.
func (s *Screen) Terminal() bool { return s.def.Terminal }

// AsksOnBack says that leaving the screen backwards asks the endpoint.
func (s *Screen) AsksOnBack() bool { return s.def.RefreshOnBack }

// value resolves a property. One that cannot be resolved is a mistake of the
// flow, which its validation tells; the phone shows nothing there.
func (s *Screen) value(v any) any {
	resolved, err := resolve(v, s.find)
	if err != nil {
		return nil
	}
	return resolved
}

func (s *Screen) find(r reference) any {
	at := s
	if r.screen != "" && r.screen != s.ID {
		if at = nil; s.other != nil {
			at = s.other(r.screen)
		}
		if at == nil { // not shown yet: empty
			return nil
		}
	}
	var value any
	if r.store == "data" {
		value = at.data[r.path[0]]
	} else {
		value = at.answer(r.path[0])
	}
	for _, name := range r.path[1:] {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[name]
	}
	return value
}

// answer is what ${form.name} gives: what was entered, else what it began with,
// else the empty value of its component.
func (s *Screen) answer(name string) any {
	if value, ok := s.entered[name]; ok {
		return value
	}
	at, ok := s.flow.inputs[s.ID][name]
	if !ok {
		return nil
	}
	if value := s.initial(at); value != nil {
		return value
	}
	switch at.component.Type {
	case "CheckboxGroup", "ChipsSelector", "PhotoPicker", "DocumentPicker":
		return []any{}
	case "OptIn":
		return false
	case "NavigationList":
		return nil
	case "CalendarPicker":
		if s.flow.attributes[at.component]["mode"] == "range" {
			return nil
		}
	}
	return ""
}

func (s *Screen) initial(at placed) any {
	if value := s.value(s.flow.attributes[at.component]["init-value"]); value != nil {
		return value
	}
	if at.form != nil {
		if values, ok := s.value(s.flow.attributes[at.form]["init-values"]).(map[string]any); ok {
			return values[at.component.Name]
		}
	}
	return nil
}

// Item is one component that stands on the screen.
type Item struct {
	Type  string // of the component
	Text  string // what it says: the text, or the label of what can be tapped
	Lines []string
	// Input is what can be entered; nil for other components.
	Input *Input
	// Tap is what a tap runs; nil when there is nothing to tap.
	Tap     *Action
	Enabled bool
	Entries []Entry // of a NavigationList
}

// Entry is one entry of a NavigationList.
type Entry struct {
	ID, Title, Description string
	Details                []string // what else it says: metadata, badge, tags, what stands at its end
	Tap                    *Action
}

// Items are the components that are visible now, in their order.
func (s *Screen) Items() []Item {
	var items []Item
	s.walk(s.def.Children, nil, func(c, form *flowjson.Component, visible bool) {
		if visible {
			items = append(items, s.item(c, form))
		}
	})
	return items
}

// walk visits the components of the branches that hold now, those in a Form
// with it, and says of each whether it is visible.
func (s *Screen) walk(components []*flowjson.Component, form *flowjson.Component, visit func(c, form *flowjson.Component, visible bool)) {
	for _, c := range components {
		visible := true
		if value, ok := s.flow.attributes[c]["visible"]; ok {
			visible = truth(s.value(value))
		}
		switch {
		case c.Type == "Form" && visible:
			s.walk(c.Children, c, visit)
		case c.Type == "If" && visible:
			s.walk(s.branchOfIf(c), form, visit)
		case c.Type == "Switch" && visible:
			s.walk(s.branchOfSwitch(c), form, visit)
		case c.Type == "Form", c.Type == "If", c.Type == "Switch":
		default:
			visit(c, form, visible)
		}
	}
}

func (s *Screen) branchOfIf(c *flowjson.Component) []*flowjson.Component {
	begin := lengthOf(c.Attributes["children"])
	end := begin + lengthOf(c.Attributes["then"])
	if holds, err := condition(s.flow.attributes[c]["condition"], s.find); err == nil && holds {
		return c.Children[begin:end]
	}
	return c.Children[end:]
}

func (s *Screen) branchOfSwitch(c *flowjson.Component) []*flowjson.Component {
	var cases map[string]json.RawMessage
	if json.Unmarshal(c.Attributes["cases"], &cases) != nil {
		return nil
	}
	value := Text(s.value(s.flow.attributes[c]["value"]))
	var otherwise []*flowjson.Component // what stands under default
	begin := len(c.Children)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		begin -= lengthOf(cases[name])
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		end := begin + lengthOf(cases[name])
		switch name {
		case value:
			return c.Children[begin:end]
		case "default":
			otherwise = c.Children[begin:end]
		}
		begin = end
	}
	return otherwise
}

func (s *Screen) item(c *flowjson.Component, form *flowjson.Component) Item {
	a := s.flow.attributes[c]
	item := Item{Type: c.Type, Enabled: true, Tap: s.action(a["on-click-action"])}
	if enabled, ok := a["enabled"]; ok {
		item.Enabled = truth(s.value(enabled))
	}
	switch c.Type {
	case "TextHeading", "TextSubheading", "TextBody", "TextCaption", "RichText", "EmbeddedLink":
		switch text := s.value(a["text"]).(type) {
		case []any:
			for _, line := range text { // resolved by now: what data say is text, whatever stands in it
				item.Lines = append(item.Lines, Text(line))
			}
			item.Text = strings.Join(item.Lines, "\n")
		default:
			item.Text = Text(text)
		}
	case "Image":
		item.Text = Text(s.value(a["alt-text"]))
	case "ImageCarousel":
		images, _ := s.value(a["images"]).([]any)
		item.Text = strconv.Itoa(len(images)) + " images"
	case "Footer":
		item.Text = Text(s.value(a["label"]))
		for _, name := range []string{"left-caption", "center-caption", "right-caption"} {
			if caption := Text(s.value(a[name])); caption != "" {
				item.Lines = append(item.Lines, caption)
			}
		}
	case "NavigationList":
		item.Text = Text(s.value(a["label"]))
		if description := Text(s.value(a["description"])); description != "" {
			item.Lines = []string{description}
		}
		item.Entries = s.entries(a)
	default:
		if input := s.input(c, form); input != nil {
			item.Input, item.Text = input, input.Label
			input.Enabled = item.Enabled
		} else {
			item.Text = c.Type
		}
	}
	return item
}

func (s *Screen) entries(a map[string]any) []Entry {
	list, _ := s.value(a["list-items"]).([]any)
	var entries []Entry
	for i, raw := range list {
		members, _ := raw.(map[string]any)
		content, _ := members["main-content"].(map[string]any)
		e := Entry{ID: Text(members["id"]), Title: Text(content["title"]), Description: Text(content["description"])}
		end, _ := members["end"].(map[string]any)
		for _, value := range []any{content["metadata"], members["badge"], members["tags"], end["title"], end["description"], end["metadata"]} {
			if text := Text(value); text != "" {
				e.Details = append(e.Details, text)
			}
		}
		// The action is taken as it was written, if it was: its references are
		// resolved when it runs. That of a list that came as data came with it.
		if written, ok := a["list-items"].([]any); ok && i < len(written) {
			members, _ = written[i].(map[string]any)
		}
		if e.Tap = s.action(members["on-click-action"]); e.Tap == nil {
			e.Tap = s.action(a["on-click-action"])
		}
		entries = append(entries, e)
	}
	return entries
}

// Action is what a tap or a selection runs.
type Action struct {
	Name string // navigate, complete, data_exchange, update_data, open_url
	Next string // the screen a navigate goes to
	URL  string

	payload map[string]any
}

func (s *Screen) action(value any) *Action {
	members, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	a := &Action{Name: Text(members["name"])}
	if next, ok := members["next"].(map[string]any); ok {
		a.Next = Text(next["name"])
	}
	a.URL = Text(s.value(members["url"]))
	a.payload, _ = members["payload"].(map[string]any)
	return a
}

// Payload is what an action posts now. A reference without a value is left out.
func (s *Screen) Payload(a *Action) (map[string]any, error) {
	payload := map[string]any{}
	for key, value := range a.payload {
		resolved, err := resolve(value, s.find)
		if err != nil {
			return nil, fmt.Errorf("payload.%s: %w", key, err)
		}
		if resolved != nil {
			payload[key] = resolved
		}
	}
	return payload, nil
}

// Update is an update_data action: it changes the screen's own data.
func (s *Screen) Update(payload map[string]any) error {
	for key, value := range payload {
		if _, declared := s.def.Data[key]; !declared {
			return fmt.Errorf("update_data: the screen %s declares no data %s", s.ID, key)
		}
		s.data[key] = value
	}
	return nil
}

// Raw encodes a payload as the data of a screen.
func Raw(payload map[string]any) (map[string]json.RawMessage, error) {
	raw := make(map[string]json.RawMessage, len(payload))
	for key, value := range payload {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		raw[key] = bytes.TrimSpace(b.Bytes())
	}
	return raw, nil
}
