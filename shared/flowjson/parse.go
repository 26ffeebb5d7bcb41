package flowjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxSize is the size in bytes above which Meta refuses a Flow JSON.
const MaxSize = 10 << 20

var byteOrderMark = []byte("\xef\xbb\xbf")

// Parse reads a Flow JSON. Its errors say where something is, what it is and
// what was expected.
func Parse(raw []byte) (*Document, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("flow JSON has %d bytes, more than the 10 MiB that Meta accepts", len(raw))
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("flow JSON is not valid UTF-8: save the file as UTF-8")
	}
	raw = bytes.TrimPrefix(raw, byteOrderMark)
	var top object
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("flow JSON is not a JSON object: %w", describe(raw, err))
	}
	if top == nil {
		return nil, errors.New("flow JSON is null, expected an object with version and screens")
	}

	d := &Document{index: map[string]int{}}
	var err error
	if d.Version, err = top.text("version"); err != nil {
		return nil, err
	}
	if d.Version == "" {
		return nil, errors.New(`version is missing, expected a string such as "7.3"`)
	}
	if d.DataAPIVersion, err = top.text("data_api_version"); err != nil {
		return nil, err
	}
	if err := d.parseScreens(top["screens"]); err != nil {
		return nil, err
	}
	if err := d.parseRouting(top["routing_model"]); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Document) parseScreens(raw json.RawMessage) error {
	if KindOf(raw) != "array" {
		return fmt.Errorf("screens: expected an array of screens, got %s", KindOf(raw))
	}
	var screens []json.RawMessage
	if err := json.Unmarshal(raw, &screens); err != nil {
		return fmt.Errorf("screens: %w", err)
	}
	if len(screens) == 0 {
		return errors.New("screens is empty, expected at least one screen")
	}
	d.Screens = make([]Screen, 0, len(screens))
	for i, raw := range screens {
		s, err := parseScreen(raw)
		if err != nil {
			return fmt.Errorf("screens[%d]%w", i, err)
		}
		if _, twice := d.index[s.ID]; twice {
			return fmt.Errorf("screens[%d]: the id %s is taken by an earlier screen", i, s.ID)
		}
		d.index[s.ID] = i
		d.Screens = append(d.Screens, s)
	}
	return nil
}

// parseScreen's errors begin with ": " or " (ID): ", to follow screens[n].
func parseScreen(raw json.RawMessage) (Screen, error) {
	o, err := parseObject(raw)
	if err != nil {
		return Screen{}, fmt.Errorf(": %w", err)
	}
	s := Screen{Success: true}
	if s.ID, err = o.text("id"); err != nil {
		return Screen{}, fmt.Errorf(": %w", err)
	}
	switch {
	case s.ID == "":
		return Screen{}, errors.New(": id is missing, expected a name in letters and underscores")
	case strings.EqualFold(s.ID, Success):
		return Screen{}, fmt.Errorf(": the id %s is reserved for the end of a flow", s.ID)
	}
	if err := s.parse(o); err != nil {
		return Screen{}, fmt.Errorf(" (%s): %w", s.ID, err)
	}
	return s, nil
}

func (s *Screen) parse(o object) (err error) {
	if s.Title, err = o.text("title"); err != nil {
		return err
	}
	for name, field := range map[string]*bool{"terminal": &s.Terminal, "success": &s.Success, "refresh_on_back": &s.RefreshOnBack} {
		if raw, ok := o[name]; ok {
			if KindOf(raw) != "boolean" {
				return fmt.Errorf("%s: expected true or false, got %s", name, KindOf(raw))
			}
			*field = raw[0] == 't'
		}
	}
	if raw, ok := o["sensitive"]; ok {
		if err := json.Unmarshal(raw, &s.Sensitive); err != nil {
			return fmt.Errorf("sensitive: expected an array of field names")
		}
	}
	if raw, ok := o["data"]; ok {
		model, err := parseObject(raw)
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		s.Data = make(map[string]*Schema, len(model))
		s.Keys = slices.Sorted(maps.Keys(model))
		for _, key := range s.Keys {
			if s.Data[key], err = parseSchema("data."+key, model[key], 0); err != nil {
				return err
			}
		}
	}
	raw, ok := o["layout"]
	if !ok {
		return errors.New("layout is missing, expected an object with type and children")
	}
	layout, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	w := walker{screen: s}
	if s.Children, err = w.components("layout.children", layout["children"], 0); err != nil {
		return err
	}
	return nil
}

func (d *Document) parseRouting(raw json.RawMessage) error {
	d.RoutingModel = make(map[string][]string, len(d.Screens))
	for i := range d.Screens {
		d.RoutingModel[d.Screens[i].ID] = nil
	}
	if raw == nil {
		d.Derived = true
		return d.deriveRouting()
	}
	model, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("routing_model: %w", err)
	}
	for _, from := range slices.Sorted(maps.Keys(model)) {
		if d.Screen(from) == nil {
			return fmt.Errorf("routing_model: %s is no screen of this flow", from)
		}
		var next []string
		if err := json.Unmarshal(model[from], &next); err != nil || next == nil {
			return fmt.Errorf("routing_model.%s: expected an array of screen ids, got %s", from, KindOf(model[from]))
		}
		for _, to := range next {
			if err := d.addEdge(from, to); err != nil {
				return fmt.Errorf("routing_model.%s: %w", from, err)
			}
		}
	}
	return nil
}

// deriveRouting follows the navigate actions, as Meta does for a flow without
// a routing model.
func (d *Document) deriveRouting() error {
	for i := range d.Screens {
		s := &d.Screens[i]
		for j := range s.Actions {
			if a := &s.Actions[j]; a.Name == Navigate && a.Next != s.ID {
				if err := d.addEdge(s.ID, a.Next); err != nil {
					return fmt.Errorf("screen %s: navigate of %s: %w", s.ID, a.Component, err)
				}
			}
		}
	}
	return nil
}

func (d *Document) addEdge(from, to string) error {
	switch {
	case to == Success:
		// Superfluous but seen in real documents: a screen that ends the flow.
		return nil
	case d.Screen(to) == nil:
		return fmt.Errorf("%q is no screen of this flow", to)
	case from == to:
		return fmt.Errorf("%s leads to itself; edges lead forward only", to)
	case slices.Contains(d.RoutingModel[from], to):
		return nil
	}
	d.RoutingModel[from] = append(d.RoutingModel[from], to)
	return nil
}

// describe keeps of a JSON error the place, as line and column.
func describe(raw []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := min(int(syntax.Offset), len(raw))
		before := raw[:at]
		line := 1 + bytes.Count(before, []byte{'\n'})
		return fmt.Errorf("line %d, column %d: %w", line, at-bytes.LastIndexByte(before, '\n')-1, err)
	}
	return fmt.Errorf("got %s", KindOf(raw))
}
