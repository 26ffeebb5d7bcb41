package screen

import (
	"errors"
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// Fault says what keeps the client from drawing the screen with the data it got,
// under its key components-validation-error: what a data model cannot say. It
// holds no value of the data. The rules are those of the Flows runtime of
// WhatsApp Web.
func (s *Screen) Fault() error {
	var fault error
	s.walk(s.def.Children, nil, func(c, form *flowjson.Component, visible bool) {
		if fault != nil {
			return
		}
		in := s.input(c, form)
		if in == nil {
			return
		}
		if enabled, ok := s.flow.attributes[c]["enabled"]; ok {
			in.Enabled = truth(s.value(enabled))
		}
		if err := s.faultOf(in, placed{c, form}, visible); err != nil {
			fault = fmt.Errorf("%s %s: %w", c.Type, c.Name, err)
		}
	})
	return fault
}

func (s *Screen) faultOf(in *Input, at placed, visible bool) error {
	switch {
	case in.Required && !visible:
		return errors.New("it is required and not visible, so that nobody can go on")
	case in.Required && !in.Enabled:
		return errors.New("it is required and not enabled, so that nobody can go on")
	case in.MaxItems > 0 && in.MinItems > in.MaxItems, in.MaxChars > 0 && in.MinChars > in.MaxChars:
		return errors.New("its least is more than its most")
	}
	ids := map[string]bool{}
	images, colors := false, false
	for i, o := range in.Options {
		switch {
		case o.ID == "":
			return fmt.Errorf("option %d has no id", i+1)
		case ids[o.ID]:
			return fmt.Errorf("option %d has the id of an option before it", i+1)
		}
		ids[o.ID] = true
		images, colors = images || o.image, colors || o.color
	}
	if images && colors {
		return errors.New("its options have images and colors, expected one of them")
	}
	return in.faultOfInitial(s.initial(at))
}

// faultOfInitial checks what an input begins with.
func (in *Input) faultOfInitial(value any) error {
	if value == nil {
		return nil
	}
	want, fits := "a string or a number", false
	switch value.(type) {
	case string, float64:
		fits = true
	}
	switch _, isObject := value.(map[string]any); {
	case in.Several:
		want = "an array"
		_, fits = value.([]any)
	case in.Type == "OptIn":
		want = "a boolean"
		_, fits = value.(bool)
	case in.Dates.Range:
		want, fits = "an object", isObject
	}
	if !fits {
		return errors.New("what it begins with is of another type, expected " + want)
	}
	for _, id := range chosen(value) {
		if o := in.option(id); o != nil && !o.Enabled {
			return errors.New("it begins with an option that is not enabled")
		}
	}
	return nil
}
