package records

import (
	"encoding/json"
	"regexp"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// options are, by payload key and option id, the titles that a flow holds.
type options map[string]map[string]string

// optionsOf finds for every payload key of a flow the options among which its
// value is chosen. A key is fed by a component directly, ${form.x} or
// ${screen.S.form.x}, or by data that an earlier screen passed on, ${data.x}.
// An id that stands for different titles in different places has none.
func optionsOf(d *flowjson.Document) options {
	f := finder{document: d, found: make(options), doubtful: make(map[[2]string]bool)}
	for i := range d.Screens {
		s := &d.Screens[i]
		for j := range s.Actions {
			a := &s.Actions[j]
			if a.Name != flowjson.DataExchange && a.Name != flowjson.Complete && a.Name != flowjson.Navigate {
				continue
			}
			for _, key := range a.Keys {
				f.follow(key, s, a.Payload[key], make(map[[2]string]bool))
			}
		}
		eachComponent(s.Children, func(c *flowjson.Component) { f.itemPayloads(c) })
	}
	for doubt := range f.doubtful {
		delete(f.found[doubt[0]], doubt[1])
	}
	return f.found
}

type finder struct {
	document *flowjson.Document
	found    options
	doubtful map[[2]string]bool // key and id
}

// whole is an expression that is one reference and nothing else.
var whole = regexp.MustCompile(`^\s*\$\{[^{}]*\}\s*$`)

// follow looks for the component that feeds value on screen s. visited are the
// screens and data keys on the way, for data may be passed in circles.
func (f *finder) follow(key string, s *flowjson.Screen, value json.RawMessage, visited map[[2]string]bool) {
	var expression string
	if flowjson.KindOf(value) != "string" || json.Unmarshal(value, &expression) != nil || !whole.MatchString(expression) {
		return
	}
	references := flowjson.References(value)
	if len(references) != 1 {
		return
	}
	r := references[0]
	if r.Screen != "" {
		if s = f.document.Screen(r.Screen); s == nil {
			return
		}
	}
	if r.Source == "form" {
		eachComponent(s.Children, func(c *flowjson.Component) {
			if c.Name == r.Key {
				f.take(key, c)
			}
		})
		return
	}
	if visited[[2]string{s.ID, r.Key}] {
		return
	}
	visited[[2]string{s.ID, r.Key}] = true
	for i := range f.document.Screens {
		from := &f.document.Screens[i]
		for j := range from.Actions {
			if a := &from.Actions[j]; a.Name == flowjson.Navigate && a.Next == s.ID && a.Payload[r.Key] != nil {
				f.follow(key, from, a.Payload[r.Key], visited)
			}
		}
	}
}

// item is an option of a choice, or an entry of a NavigationList.
type item struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Main  struct {
		Title string `json:"title"`
	} `json:"main-content"`
	OnClick struct {
		Payload map[string]json.RawMessage `json:"payload"`
	} `json:"on-click-action"`
}

func (i *item) title() string {
	if i.Main.Title != "" {
		return i.Main.Title
	}
	return i.Title
}

// items are those that the document holds; an expression has none.
func items(c *flowjson.Component) []item {
	var all []item
	for _, attribute := range []string{"data-source", "list-items"} {
		var raw []json.RawMessage
		if flowjson.KindOf(c.Attributes[attribute]) != "array" || json.Unmarshal(c.Attributes[attribute], &raw) != nil {
			continue
		}
		for _, r := range raw {
			var i item
			if json.Unmarshal(r, &i) == nil && i.ID != "" && i.title() != "" {
				all = append(all, i)
			}
		}
	}
	return all
}

func (f *finder) take(key string, c *flowjson.Component) {
	for _, i := range items(c) {
		f.add(key, i.ID, i.title())
	}
}

// itemPayloads takes the entries of a list that have an action of their own,
// which posts the id of its entry.
func (f *finder) itemPayloads(c *flowjson.Component) {
	for _, i := range items(c) {
		for key, value := range i.OnClick.Payload {
			var posted string
			if json.Unmarshal(value, &posted) == nil && posted == i.ID {
				f.add(key, i.ID, i.title())
			}
		}
	}
}

func (f *finder) add(key, id, title string) {
	if f.found[key] == nil {
		f.found[key] = make(map[string]string)
	}
	if old, ok := f.found[key][id]; ok && old != title {
		f.doubtful[[2]string{key, id}] = true
		return
	}
	f.found[key][id] = title
}

// eachComponent visits components and those inside them.
func eachComponent(list []*flowjson.Component, visit func(*flowjson.Component)) {
	for _, c := range list {
		visit(c)
		eachComponent(c.Children, visit)
	}
}

// titles are those of one response's answers; nil for none. data is what came:
// any JSON.
func (o options) titles(data []byte) Titles {
	if len(o) == 0 {
		return nil
	}
	var titles Titles
	eachMember(data, func(key, value []byte) {
		known := o[string(key)]
		if len(known) == 0 {
			return
		}
		if title := titleOf(known, value); title != nil {
			if titles == nil {
				titles = make(Titles)
			}
			titles[string(key)] = title
		}
	})
	return titles
}

// titleOf is the title of an id, or of each of a list of ids: one without a
// title stays an id. nil when nothing of value has a title.
func titleOf(known map[string]string, value []byte) any {
	switch flowjson.KindOf(value) {
	case "string":
		if title, ok := known[unquote(value)]; ok {
			return title
		}
	case "array":
		var ids []json.RawMessage
		if json.Unmarshal(value, &ids) != nil {
			return nil
		}
		list, any := make([]string, len(ids)), false
		for i, raw := range ids {
			if flowjson.KindOf(raw) != "string" {
				return nil
			}
			list[i] = unquote(raw)
			if title, ok := known[list[i]]; ok {
				list[i], any = title, true
			}
		}
		if any {
			return list
		}
	}
	return nil
}
