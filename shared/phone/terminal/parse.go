package terminal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// Parse reads what was typed for an input. Whether the client takes it, Enter
// and Check of the screen say.
func Parse(in *screen.Input, line string) (any, error) {
	trimmed := strings.TrimSpace(line)
	switch {
	case in.Several:
		list := []any{}
		if trimmed == "-" {
			return list, nil
		}
		for _, part := range strings.Split(trimmed, ",") {
			id, err := option(in, strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			list = append(list, id)
		}
		return list, nil
	case in.Options != nil:
		if trimmed == "-" {
			return "", nil
		}
		return option(in, trimmed)
	case in.Type == "OptIn":
		switch strings.ToLower(trimmed) {
		case "y", "yes", "true", "1":
			return true, nil
		case "n", "no", "false", "0", "-":
			return false, nil
		}
		return nil, errors.New("it takes y or n")
	case in.Type == "DatePicker", in.Type == "CalendarPicker":
		if trimmed == "-" {
			trimmed = ""
		}
		if !in.Dates.Range {
			return trimmed, nil
		}
		days := strings.FieldsFunc(trimmed, func(r rune) bool { return r == ' ' || r == ',' || r == '–' })
		switch {
		case trimmed == "":
			return map[string]any{}, nil
		case len(days) == 1 && in.Dates.OnlyFirst:
			return map[string]any{"start-date": days[0]}, nil
		case len(days) != 2:
			return nil, errors.New("it takes the first and the last day, as 2026-11-24 2026-11-26")
		}
		return map[string]any{"start-date": days[0], "end-date": days[1]}, nil
	case in.Type == "PhotoPicker", in.Type == "DocumentPicker":
		var files []any
		if json.Unmarshal([]byte(trimmed), &files) != nil {
			return nil, errors.New("a terminal has no files: leave it, or give the JSON list of files that the endpoint is to get")
		}
		return files, nil
	case in.Type == "TextArea":
		return strings.ReplaceAll(line, `\n`, "\n"), nil
	default:
		return line, nil
	}
}

// option finds an option by its number on the screen, which is what a person
// sees, else by its id; =5 is the id 5.
func option(in *screen.Input, text string) (string, error) {
	id, isID := strings.CutPrefix(text, "=")
	if n, err := strconv.Atoi(text); err == nil && !isID && n >= 1 && n <= len(in.Options) {
		return in.Options[n-1].ID, nil
	}
	for _, o := range in.Options {
		if o.ID == id {
			return o.ID, nil
		}
	}
	return "", fmt.Errorf("there is no option %q, expected a number from 1 to %d", text, len(in.Options))
}
