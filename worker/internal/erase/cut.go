package erase

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// redacted stands in place of a webhook of which nothing is left.
var redacted = []byte(`{"object":"whatsapp_business_account","entry":[],"redacted":true}`)

// span is text[start:end].
type span struct{ start, end int }

// cutting is what is to be cut out of one webhook.
type cutting struct {
	who       *person
	positions map[int32]bool // of rows in webhook_messages; for elements that name nobody
	next      int32          // the running number of the next message or status
	ours      ownership
	waba      string // of the entry that is looked at

	spans    []span
	elements int // cut
	kept     int // messages, statuses and other contents that are somebody else's

	elsewhere bool // what is another account's mentions the person
}

// ownership says whether a change belongs to the account in which is erased:
// one webhook may hold changes of several. Nil: every change does.
type ownership func(phoneNumberID, waba string) bool

// leftover is what cut leaves of a webhook.
type leftover struct {
	ok        bool // false for a body that is no webhook: it cannot be cut
	body      []byte
	elements  int  // that were cut
	whole     bool // nothing of anybody else was in it: redacted takes its place
	elsewhere bool // it mentions the person in a change of another account
}

// cut takes one person's messages, statuses and contacts out of a webhook.
// Whatever is somebody else's, or another account's, stays byte for byte: nothing
// is written anew, only left out.
func cut(body []byte, who *person, positions map[int32]bool, ours ownership) leftover {
	if !json.Valid(body) {
		return leftover{}
	}
	root, err := jsontree.Parse(body)
	if err != nil || !root.Is(jsontree.Object) {
		return leftover{}
	}
	c := &cutting{who: who, positions: positions, ours: ours}
	entries := arrays(root, "entry")
	if len(entries) == 0 {
		return leftover{}
	}
	for _, entry := range entries {
		c.each(entry, c.entry)
	}
	left := leftover{ok: true, body: body, elements: c.elements, elsewhere: c.elsewhere}
	switch {
	case c.elements == 0:
	case c.kept == 0:
		left.body, left.whole = redacted, true
	default:
		left.body = c.apply(body)
	}
	return left
}

// arrays are the arrays under a name, as encoding/json compares names.
func arrays(object *jsontree.Node, name string) []*jsontree.Node {
	var all []*jsontree.Node
	for _, m := range object.Members {
		if strings.EqualFold(m.Name, name) && m.Value.Is(jsontree.Array) {
			all = append(all, m.Value)
		}
	}
	return all
}

// each leaves those items of an array out of which remove says so.
func (c *cutting) each(array *jsontree.Node, remove func(*jsontree.Node) bool) {
	gone := make([]bool, len(array.Items))
	for i, item := range array.Items {
		gone[i] = remove(item)
	}
	c.leaveOut(array.Items, gone)
}

// leaveOut marks items with the commas that go with them: an item before the
// last one that stays goes with the comma behind it, the others with the comma
// before them.
func (c *cutting) leaveOut(items []*jsontree.Node, gone []bool) {
	last := -1
	for i := range gone {
		if !gone[i] {
			last = i
		} else {
			c.elements++
		}
	}
	for i := range last {
		if gone[i] {
			c.spans = append(c.spans, span{items[i].Start, items[i+1].Start})
		}
	}
	if last == len(items)-1 {
		return
	}
	start := items[0].Start
	if last >= 0 {
		start = items[last].End
	}
	c.spans = append(c.spans, span{start, items[len(items)-1].End})
}

func (c *cutting) entry(entry *jsontree.Node) bool {
	c.waba = last(texts(entry, []string{"id"}))
	changes := arrays(entry, "changes")
	if len(changes) == 0 {
		switch mentioned := c.who.mentioned(entry); {
		case mentioned && (c.ours == nil || c.ours("", c.waba)):
			return true
		case mentioned:
			c.elsewhere = true
		}
		c.kept++
	}
	for _, array := range changes {
		c.each(array, c.change)
	}
	return false
}

// change cuts inside one change, or says that all of it goes: it is about the
// person in a way that is not known here.
func (c *cutting) change(change *jsontree.Node) bool {
	var values []*jsontree.Node
	for _, m := range change.Members {
		if strings.EqualFold(m.Name, "value") {
			values = append(values, m.Value)
		}
	}
	if !c.own(values) {
		c.kept++
		c.elsewhere = c.elsewhere || c.who.mentioned(change)
		return false
	}
	for _, m := range change.Members {
		if !strings.EqualFold(m.Name, "value") && c.who.mentioned(m.Value) {
			return true
		}
	}
	if !change.Is(jsontree.Object) && c.who.mentioned(change) {
		return true
	}
	for _, value := range values {
		if !value.Is(jsontree.Object) && c.who.mentioned(value) {
			return true
		}
		for _, m := range value.Members {
			// The business' own number is in metadata.
			if !m.Value.Is(jsontree.Array) && !strings.EqualFold(m.Name, "metadata") && c.who.mentioned(m.Value) {
				return true
			}
		}
	}
	found := false
	for _, value := range values {
		found = c.value(value) || found
	}
	if !found {
		c.kept++ // of another kind, such as what happened to a template
	}
	return false
}

// own says whether a change is of the account in which is erased. So is one of
// which rows were stored under it, whatever its ids belong to by now. What is
// another account's is counted past, or later elements would get wrong numbers.
func (c *cutting) own(values []*jsontree.Node) bool {
	if c.ours == nil {
		return true
	}
	phone, next := "", c.next
	for _, value := range values {
		for _, m := range value.Members {
			if strings.EqualFold(m.Name, "metadata") {
				phone = last(texts(m.Value, []string{"phone_number_id"}))
			}
		}
		for _, kind := range []string{messages, statuses} {
			for _, list := range arrays(value, kind) {
				for _, element := range list.Items {
					if element.Is(jsontree.Object) {
						if c.positions[next] {
							return true
						}
						next++
					}
				}
			}
		}
	}
	if c.ours(phone, c.waba) {
		return true
	}
	c.next = next
	return false
}

// last is the one of several values under a name that counts, as to encoding/json.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// kinds of elements: the messages of a change are numbered before its statuses.
const (
	messages = "messages"
	statuses = "statuses"
	contacts = "contacts"
)

// value reports whether it had elements.
func (c *cutting) value(value *jsontree.Node) bool {
	lists := map[string][]*jsontree.Node{}
	var others []*jsontree.Node
	for _, m := range value.Members {
		if !m.Value.Is(jsontree.Array) {
			continue
		}
		switch name := strings.ToLower(m.Name); name {
		case messages, statuses, contacts:
			lists[name] = append(lists[name], m.Value)
		default:
			others = append(others, m.Value)
		}
	}
	leaving, staying := set{}, set{}
	kept, cutBefore := c.kept, c.elements
	for _, kind := range []string{messages, statuses} {
		for _, list := range lists[kind] {
			c.each(list, func(element *jsontree.Node) bool { return c.element(element, leaving, staying) })
		}
	}
	for _, list := range others {
		c.each(list, func(element *jsontree.Node) bool {
			if c.who.mentioned(element) {
				return true
			}
			c.kept++
			return false
		})
	}
	alone := c.kept == kept && c.elements > cutBefore
	for _, list := range lists[contacts] {
		// The one contact of messages that name nobody is who sent them.
		only := alone && len(list.Items) == 1 && len(lists[contacts]) == 1
		c.each(list, func(contact *jsontree.Node) bool {
			s := listen(contact)
			if only && (len(leaving) == 0 || len(s.phones)+len(s.users) == 0) || c.who.is(s) || leaves(s, leaving, staying) || !contact.Is(jsontree.Object) && c.who.mentioned(contact) {
				return true
			}
			c.kept++
			return false
		})
	}
	return len(lists)+len(others) > 0
}

// element says whether a message or status is the person's, and notes who it
// names: the contact of a message that goes goes with it, unless something of
// the same contact stays.
func (c *cutting) element(element *jsontree.Node, leaving, staying set) bool {
	if !element.Is(jsontree.Object) {
		if c.who.mentioned(element) {
			return true
		}
		c.kept++
		return false
	}
	position := c.next
	c.next++
	s := listen(element)
	theirs := c.who.is(s) || c.who.answered(element) || s.nobody() && c.positions[position]
	names := staying
	if theirs {
		names = leaving
	} else {
		c.kept++
	}
	for _, name := range slices.Concat(s.phones, s.users) {
		names.add(name)
	}
	return theirs
}

func leaves(s said, leaving, staying set) bool {
	names := slices.Concat(s.phones, s.users)
	return hasAny(leaving, names) && !hasAny(staying, names)
}

// apply leaves the spans out.
func (c *cutting) apply(body []byte) []byte {
	slices.SortFunc(c.spans, func(a, b span) int { return a.start - b.start })
	left := make([]byte, 0, len(body))
	from := 0
	for _, s := range c.spans {
		if s.start > from {
			left = append(left, body[from:s.start]...)
		}
		from = max(from, s.end) // a change that goes may have had elements that go
	}
	return append(left, body[from:]...)
}
