package flowjson

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// walker collects from the components of one screen its actions and the data
// keys that must not be empty.
type walker struct {
	screen *Screen
}

func (w *walker) components(path string, raw json.RawMessage, depth int) ([]*Component, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d levels", path, maxDepth)
	}
	if raw == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if KindOf(raw) != "array" || json.Unmarshal(raw, &list) != nil {
		return nil, fmt.Errorf("%s: expected an array of components, got %s", path, KindOf(raw))
	}
	components := make([]*Component, 0, len(list))
	for i, raw := range list {
		c, err := w.component(fmt.Sprintf("%s[%d]", path, i), raw, depth)
		if err != nil {
			return nil, err
		}
		components = append(components, c)
	}
	return components, nil
}

func (w *walker) component(path string, raw json.RawMessage, depth int) (*Component, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := &Component{Attributes: o}
	if c.Type, err = o.text("type"); err != nil {
		return nil, fmt.Errorf("%s.%w", path, err)
	}
	if c.Type == "" {
		return nil, fmt.Errorf("%s: type is missing, expected the name of a component", path)
	}
	if c.Name, err = o.text("name"); err != nil {
		return nil, fmt.Errorf("%s.%w", path, err)
	}
	for _, attribute := range []string{"on-click-action", "on-select-action", "on-unselect-action"} {
		if err := w.action(path, c, attribute, o[attribute]); err != nil {
			return nil, err
		}
	}
	for _, attribute := range []string{"data-source", "list-items"} {
		w.feed(c, attribute, o[attribute])
		if err := w.itemActions(path+"."+attribute, c, o[attribute]); err != nil {
			return nil, err
		}
	}
	if c.Type == "Image" {
		w.feed(c, "src", o["src"])
	}
	w.images(c, o["images"])

	for _, branch := range []string{"children", "then", "else"} {
		inside, err := w.components(path+"."+branch, o[branch], depth+1)
		if err != nil {
			return nil, err
		}
		c.Children = append(c.Children, inside...)
	}
	if raw, ok := o["cases"]; ok {
		cases, err := parseObject(raw)
		if err != nil {
			return nil, fmt.Errorf("%s.cases: %w", path, err)
		}
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			inside, err := w.components(path+".cases."+name, cases[name], depth+1)
			if err != nil {
				return nil, err
			}
			c.Children = append(c.Children, inside...)
		}
	}
	return c, nil
}

func (w *walker) action(path string, c *Component, attribute string, raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	path += "." + attribute
	o, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	a := Action{Attribute: attribute, Component: c.Type, Input: c.Name}
	if a.Name, err = o.text("name"); err != nil {
		return fmt.Errorf("%s.%w", path, err)
	}
	switch a.Name {
	case Navigate:
		next, err := parseObject(o["next"])
		if err != nil {
			return fmt.Errorf("%s.next: %w", path, err)
		}
		if a.Next, err = next.text("name"); err != nil {
			return fmt.Errorf("%s.next.%w", path, err)
		}
	case Complete, DataExchange, UpdateData, OpenURL:
	default:
		return fmt.Errorf("%s: name is %q, expected navigate, complete, data_exchange, update_data or open_url", path, a.Name)
	}
	if raw, ok := o["payload"]; ok {
		payload, err := parseObject(raw)
		if err != nil {
			return fmt.Errorf("%s.payload: %w", path, err)
		}
		a.Payload = payload
		a.Keys = slices.Sorted(maps.Keys(payload))
	}
	w.screen.Actions = append(w.screen.Actions, a)
	return nil
}

// itemActions reads the actions that stand in the items of a list.
func (w *walker) itemActions(path string, c *Component, raw json.RawMessage) error {
	var items []json.RawMessage
	if KindOf(raw) != "array" || json.Unmarshal(raw, &items) != nil {
		return nil
	}
	for i, raw := range items {
		item, err := parseObject(raw)
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", path, i, err)
		}
		for _, attribute := range []string{"on-click-action", "on-select-action", "on-unselect-action"} {
			if err := w.action(fmt.Sprintf("%s[%d]", path, i), c, attribute, item[attribute]); err != nil {
				return err
			}
		}
	}
	return nil
}

// feed notes that attribute of c takes its whole value from screen data.
func (w *walker) feed(c *Component, attribute string, raw json.RawMessage) {
	if KindOf(raw) != "string" {
		return
	}
	f := Feed{Component: c.Type, Attribute: attribute, MinItems: 1}
	switch {
	case attribute == "src":
		f.MinItems = 0
	case c.Type == "ChipsSelector":
		f.MinItems = 2
	}
	for _, key := range DataReferences(raw) {
		if w.screen.Feeds == nil {
			w.screen.Feeds = map[string]Feed{}
		}
		if old, ok := w.screen.Feeds[key]; !ok || old.MinItems < f.MinItems {
			w.screen.Feeds[key] = f
		}
	}
}

// images reads an ImageCarousel's images: one reference, or a list of images
// whose src may be references.
func (w *walker) images(c *Component, raw json.RawMessage) {
	if KindOf(raw) == "string" {
		w.feed(c, "images", raw)
		return
	}
	var list []object
	if KindOf(raw) != "array" || json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, image := range list {
		w.feed(c, "src", image["src"])
	}
}

var (
	reference       = regexp.MustCompile(`\$\{\s*(data|form|screen)\.([^}]*)\}`)
	screenReference = regexp.MustCompile(`^([^.]+)\.(data|form)\.([^.]+)`)
)

// Reference is one `${…}` of an expression.
type Reference struct {
	Screen string // of ${screen.ID.…}; empty for the screen it stands on
	Source string // data or form
	Key    string // first name after the source: ${data.user.name} has the key user
}

// References lists the references in an attribute's or payload's value.
func References(raw json.RawMessage) []Reference {
	if KindOf(raw) != "string" || !strings.Contains(string(raw), "${") {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	var list []Reference
	for _, m := range reference.FindAllStringSubmatch(s, -1) {
		r := Reference{Source: m[1], Key: strings.TrimSpace(m[2])}
		if m[1] == "screen" {
			parts := screenReference.FindStringSubmatch(r.Key)
			if parts == nil {
				continue
			}
			r = Reference{Screen: parts[1], Source: parts[2], Key: parts[3]}
		}
		r.Key, _, _ = strings.Cut(r.Key, ".")
		r.Key = strings.TrimSpace(r.Key)
		list = append(list, r)
	}
	return list
}

// DataReferences lists the keys of the screen's own data model that a value
// refers to.
func DataReferences(raw json.RawMessage) []string {
	var keys []string
	for _, r := range References(raw) {
		if r.Source == "data" && r.Screen == "" && !slices.Contains(keys, r.Key) {
			keys = append(keys, r.Key)
		}
	}
	return keys
}
