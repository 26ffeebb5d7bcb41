package conversation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words fill and compare the values of a conversation. In a string
//
//	{today}, {today+3}, {today-1}  is that day in UTC, as 2026-11-26
//	{today+3:Monday, 2 January}    is it in that layout of Go's time package
//	{token}                        is the flow token
//	{=code}                        takes what stands there under the name code
//	{code}                         is what was taken before
//
// and "*" as a whole value fits any.
type Words struct {
	today time.Time
	known map[string]string
}

// NewWords count days from now and know the flow token.
func NewWords(now time.Time, token string) *Words {
	return &Words{today: now.UTC(), known: map[string]string{"token": token}}
}

var placeholder = regexp.MustCompile(`\{(=?)([a-z][a-z_]*)([+-][0-9]{1,4})?(?::([^{}]+))?\}`)

// value is what a placeholder stands for.
func (w *Words) value(m []string) (string, error) {
	name, offset, layout := m[2], m[3], m[4]
	if name == "today" {
		days := 0
		if offset != "" {
			days, _ = strconv.Atoi(offset) // the expression lets nothing else in
		}
		if layout == "" {
			layout = time.DateOnly
		}
		return w.today.AddDate(0, 0, days).Format(layout), nil
	}
	value, ok := w.known[name]
	if !ok || offset != "" || layout != "" {
		return "", fmt.Errorf("%s: nothing has this name, known are today and %s; {=name} takes a value", m[0], strings.Join(slices.Sorted(maps.Keys(w.known)), ", "))
	}
	return value, nil
}

// FillString replaces the placeholders of a text that is sent.
func (w *Words) FillString(s string) (string, error) {
	var err error
	filled := placeholder.ReplaceAllStringFunc(s, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		if m[1] != "" {
			err = errors.Join(err, fmt.Errorf("%s takes a value, but here one is sent", found))
			return ""
		}
		value, errValue := w.value(m)
		err = errors.Join(err, errValue)
		return value
	})
	return filled, err
}

// Fill replaces the placeholders of a value that is sent.
func (w *Words) Fill(value any) (any, error) {
	switch v := value.(type) {
	case string:
		return w.FillString(v)
	case []any:
		filled := make([]any, len(v))
		for i, item := range v {
			var err error
			if filled[i], err = w.Fill(item); err != nil {
				return nil, err
			}
		}
		return filled, nil
	case map[string]any:
		filled := make(map[string]any, len(v))
		for key, member := range v {
			var err error
			if filled[key], err = w.Fill(member); err != nil {
				return nil, err
			}
		}
		return filled, nil
	default:
		return v, nil
	}
}

// Match compares what came with what was expected, and takes the values of its
// {=name}. path says where the value stands.
func (w *Words) Match(path string, want, got any) error {
	if want == "*" {
		return nil
	}
	differ := func() error { return fmt.Errorf("%s is %s, expected %s", path, Compact(got), Compact(want)) }
	switch want := want.(type) {
	case string:
		s, ok := got.(string)
		if !ok {
			return differ()
		}
		return w.matchString(path, want, s)
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return differ()
		}
		for i := range want {
			if err := w.Match(fmt.Sprintf("%s[%d]", path, i), want[i], list[i]); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return differ()
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			if _, expected := want[key]; !expected {
				return fmt.Errorf("%s.%s is %s, expected no such key", path, key, Compact(object[key]))
			}
		}
		return w.matchMembers(path, want, object)
	default:
		if number(want) != number(got) {
			return differ()
		}
		return nil
	}
}

// matchMembers compares the members of want; got may have more.
func (w *Words) matchMembers(path string, want, got map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[key]
		if !ok {
			return fmt.Errorf("%s.%s is missing, expected %s", path, key, Compact(want[key]))
		}
		if err := w.Match(path+"."+key, want[key], value); err != nil {
			return err
		}
	}
	return nil
}

func (w *Words) matchString(path, want, got string) error {
	var pattern strings.Builder
	var names []string
	rest := want
	for {
		at := placeholder.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		m := placeholder.FindStringSubmatch(rest)
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		rest = rest[at[1]:]
		if m[1] != "" {
			names = append(names, m[2])
			pattern.WriteString("(.+)")
			continue
		}
		value, err := w.value(m)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		pattern.WriteString(regexp.QuoteMeta(value))
	}
	pattern.WriteString(regexp.QuoteMeta(rest))
	found := regexp.MustCompile(`(?s)\A` + pattern.String() + `\z`).FindStringSubmatch(got)
	if found == nil {
		return fmt.Errorf("%s is %q, expected %q", path, got, want)
	}
	for i, name := range names {
		w.known[name] = found[i+1]
	}
	return nil
}

// number makes YAML's and JSON's numbers comparable; other values stay.
func number(value any) any {
	switch v := value.(type) {
	case int:
		return float64(v)
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	default:
		return v
	}
}

// Compact is a value as JSON on one line.
func Compact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// SplitRequest reads "GET /slots?day=…".
func SplitRequest(request string) (method string, target *url.URL, err error) {
	method, path, found := strings.Cut(request, " ")
	if !found || !strings.HasPrefix(path, "/") || method != strings.ToUpper(method) {
		return "", nil, fmt.Errorf("request is %q, expected a method and a path, such as GET /orders/1", request)
	}
	if target, err = url.Parse(path); err != nil {
		return "", nil, fmt.Errorf("request is %q: %w", request, err)
	}
	return method, target, nil
}
