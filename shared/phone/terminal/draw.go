package terminal

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

const (
	width      = 72
	maxOptions = 20 // of one input that are drawn unless all are asked for
)

// draw shows the screen, of each input's options the first or all.
func (t *Terminal) draw(all bool) {
	s := t.Hand.Screen()
	title := Printable(s.Title())
	line := max(4, width-columns(title)-columns(s.ID)-6)
	fmt.Fprintf(t.Out, "\n┌─ %s %s %s\n", title, strings.Repeat("─", line), s.ID)
	n := 0
	for _, item := range s.Items() {
		switch {
		case item.Input != nil:
			n++
			t.drawInput(n, item, all)
		case item.Type == "NavigationList":
			if item.Text != "" {
				t.line(item.Text)
			}
			for _, text := range item.Lines {
				t.line("     " + text)
			}
			for _, entry := range item.Entries {
				n++
				t.line(fmt.Sprintf("%d. %s ›", n, joined(append([]string{entry.Title, entry.Description}, entry.Details...)...)))
			}
		case item.Type == "Footer":
			if len(item.Lines) > 0 {
				t.line(strings.Join(item.Lines, "   "))
			}
			state := ""
			if !item.Enabled {
				state = " (not enabled)"
			}
			t.line("[ " + item.Text + " ]" + state)
		case item.Type == "EmbeddedLink":
			n++
			t.line(fmt.Sprintf("%d. → %s", n, item.Text))
		case item.Type == "Image", item.Type == "ImageCarousel":
			t.line("[image: " + item.Text + "]")
		default:
			t.drawText(item)
		}
	}
	fmt.Fprintln(t.Out, "└"+strings.Repeat("─", width-1))
}

func (t *Terminal) drawText(item screen.Item) {
	if item.Text == "" {
		return
	}
	before := map[string]string{"TextHeading": "# ", "TextSubheading": "## ", "TextCaption": "· "}[item.Type]
	for _, line := range wrap(item.Text, width-4-len(before)) {
		t.line(before + line)
	}
}

func (t *Terminal) drawInput(n int, item screen.Item, all bool) {
	in := item.Input
	for _, text := range []string{in.Title, in.Description} {
		for _, line := range wrap(text, width-4) {
			t.line(line)
		}
	}
	mark := ""
	if in.Required {
		mark = " *"
	}
	if !in.Enabled {
		mark += " (not enabled)"
	}
	value := ""
	if in.Options == nil {
		value = ": " + shown(in)
	}
	t.line(fmt.Sprintf("%d. %s%s%s", n, in.Label, mark, value))
	for i, o := range in.Options {
		if i == maxOptions && !all {
			t.line(fmt.Sprintf("     … and %d more, which :draw all shows", len(in.Options)-i))
			break
		}
		box, full := "( )", "(•)"
		if in.Several {
			box, full = "[ ]", "[x]"
		}
		if in.Chosen(o.ID) {
			box = full
		}
		text := fmt.Sprintf("     %s %d %s", box, i+1, joined(o.Title, o.Description, o.Metadata))
		if !o.Enabled {
			text += " (not enabled)"
		}
		t.line(text)
	}
	if in.Helper != "" {
		t.line("     " + in.Helper)
	}
	if in.Error != "" {
		t.line("     ! " + in.Error)
	}
}

// line writes one line of a screen. What comes from an endpoint must not move a
// terminal's cursor.
func (t *Terminal) line(text string) { fmt.Fprintln(t.Out, "│ "+Printable(text)) }

// shown is an input's value.
func shown(in *screen.Input) string {
	switch v := in.Value.(type) {
	case nil:
		if in.Type == "OptIn" {
			return "[ ]"
		}
		return "___"
	case bool:
		if v {
			return "[x]"
		}
		return "[ ]"
	case map[string]any:
		if v["end-date"] == nil {
			return screen.Text(v["start-date"])
		}
		return screen.Text(v["start-date"]) + " – " + screen.Text(v["end-date"])
	case []any:
		return fmt.Sprintf("%d files", len(v))
	case string:
		if v == "" {
			return "___"
		}
		if hides(in) {
			return masked(v)
		}
		return v
	default:
		return screen.Text(v)
	}
}

// hides says whether the phone shows dots for what is entered.
func hides(in *screen.Input) bool { return in.Kind == "password" || in.Kind == "passcode" }

func masked(text string) string { return strings.Repeat("•", utf8.RuneCountInString(text)) }

// hint says behind a prompt what can be entered.
func hint(in *screen.Input) string {
	switch {
	case in.Several:
		return " (numbers)"
	case in.Options != nil:
		return " (number)"
	case in.Type == "OptIn":
		return " (y/n)"
	case in.Dates.Range && in.Dates.OnlyFirst:
		return " (a day, or the first and the last, as 2026-11-24 2026-11-26)"
	case in.Dates.Range:
		return " (first and last day, as 2026-11-24 2026-11-26)"
	case in.Type == "DatePicker", in.Type == "CalendarPicker":
		return " (a day, as 2026-11-24)"
	case in.Type == "PhotoPicker", in.Type == "DocumentPicker":
		return " (JSON list of files)"
	case in.Kind != "" && in.Kind != "text":
		return " (" + in.Kind + ")"
	}
	return ""
}

func (t *Terminal) footerPrompt() string {
	for _, item := range t.Hand.Screen().Items() {
		switch item.Type {
		case "Footer":
			return "[ " + Printable(item.Text) + " ] Enter, or a line's number > "
		case "NavigationList":
			return "a line's number > "
		}
	}
	return ":tap, :back or :quit > "
}

func joined(parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, " — ")
}
