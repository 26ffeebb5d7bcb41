package flow

import (
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// field is a payload key of a screen.
type field struct{ screen, key string }

// StatelessIncomplete says whether the answers of a stateless request that ends
// the flow are known to be incomplete: some earlier screen has an answer that
// no way brings, through declared screen data, into the payload of the last
// one. Without a session nothing else remembers it.
func (d *Definition) StatelessIncomplete(req *Request) bool {
	switch req.Action {
	case DataExchange, Navigate, Complete:
		return len(d.lost[req.Screen]) > 0
	}
	return false
}

// findLost finds, for each screen that ends the flow, the answers of earlier
// screens that do not reach its result: those its payload does not carry, and
// of a rule with params those it reads from the session.
func (d *Definition) findLost() map[string][]field {
	lost := map[string][]field{}
	for i := range d.flow.Screens {
		last := &d.flow.Screens[i]
		// A page to read, from which the user can only go back, ends nothing.
		collected := d.Ends(last.ID) && len(leaving(last)) > 0
		if d.rules != nil && d.rules.HasNext(last.ID) {
			ending := d.rules.Ending(last.ID)
			collected = ending.All || collected && !ending.Certain
			lost[last.ID] = d.readElsewhere(last, ending.Reads)
		}
		if collected {
			lost[last.ID] = append(lost[last.ID], d.notCarried(last)...)
		}
	}
	return lost
}

// readElsewhere are the answers of other screens among those that rules of the
// last screen read.
func (d *Definition) readElsewhere(last *flowjson.Screen, reads []logic.Answer) []field {
	var lost []field
	for _, r := range reads {
		if r.Screen == last.ID || r.Screen == "" && slices.Contains(answerKeys(last), r.Key) {
			continue
		}
		for i := range d.flow.Screens {
			s := &d.flow.Screens[i]
			if s.ID != last.ID && (r.Screen == "" || r.Screen == s.ID) && slices.Contains(answerKeys(s), r.Key) {
				lost = append(lost, field{s.ID, r.Key})
			}
		}
	}
	return lost
}

// notCarried are the answers of earlier screens that no payload brings to the
// last one.
func (d *Definition) notCarried(last *flowjson.Screen) []field {
	var lost []field
	c := carrier{d: d, last: last, known: map[field]bool{}}
	for i := range d.flow.Screens {
		s := &d.flow.Screens[i]
		if s.ID == last.ID || d.Ends(s.ID) || !d.reaches(s.ID, last.ID) {
			continue
		}
		for _, key := range answerKeys(s) {
			if !c.carries(s, key) {
				lost = append(lost, field{s.ID, key})
			}
		}
	}
	return lost
}

// carrier follows answers to one last screen.
type carrier struct {
	d     *Definition
	last  *flowjson.Screen
	known map[field]bool // whether data of that key on that screen reaches the last payload
}

// carries says whether what a screen posts under a key reaches the payload of
// the last screen on every way there.
func (c *carrier) carries(s *flowjson.Screen, key string) bool {
	if c.lastRefersTo(s, key) {
		return true
	}
	for _, next := range c.d.flow.RoutingModel[s.ID] {
		if (next == c.last.ID || c.d.reaches(next, c.last.ID)) && !c.carriesData(next, key) {
			return false
		}
	}
	return true
}

// lastRefersTo says whether the last screen itself refers to the inputs behind
// a key, by ${screen.ID.form.input}, which needs no passing on.
func (c *carrier) lastRefersTo(s *flowjson.Screen, key string) bool {
	var inputs []string
	for _, a := range exchanges(s) {
		inputs = append(inputs, formReferences(a.Payload[key])...)
	}
	return onEvery(leaving(c.last), func(a *flowjson.Action) bool {
		for _, value := range a.Payload {
			for _, r := range flowjson.References(value) {
				if r.Screen == s.ID && r.Source == "form" && slices.Contains(inputs, r.Key) {
					return true
				}
			}
		}
		return false
	})
}

func (c *carrier) carriesData(screen, key string) bool {
	s := c.d.flow.Screen(screen)
	if _, declared := s.Data[key]; !declared {
		return false
	}
	at := field{screen, key}
	if reached, ok := c.known[at]; ok {
		return reached
	}
	c.known[at] = true // holds while a circle is followed
	c.known[at] = onEvery(leaving(s), func(a *flowjson.Action) bool {
		for _, posted := range a.Keys {
			if !slices.Contains(flowjson.DataReferences(a.Payload[posted]), key) {
				continue
			}
			if s.ID == c.last.ID || c.carriesOn(s, a, posted) {
				return true
			}
		}
		return false
	})
	return c.known[at]
}

// carriesOn follows a key from a screen's action to the screens it may lead to.
func (c *carrier) carriesOn(s *flowjson.Screen, a *flowjson.Action, key string) bool {
	for _, next := range c.d.flow.RoutingModel[s.ID] {
		if a.Name == flowjson.Navigate && a.Next != next {
			continue
		}
		if (next == c.last.ID || c.d.reaches(next, c.last.ID)) && !c.carriesData(next, key) {
			return false
		}
	}
	return true
}

// leaving are the actions by which a user goes on from a screen: its Footers,
// else whatever can be tapped.
func leaving(s *flowjson.Screen) []*flowjson.Action {
	var footers, others []*flowjson.Action
	for i := range s.Actions {
		a := &s.Actions[i]
		switch {
		case !a.OnClick() || a.Name == flowjson.UpdateData || a.Name == flowjson.OpenURL:
		case a.Component == "Footer":
			footers = append(footers, a)
		default:
			others = append(others, a)
		}
	}
	if len(footers) > 0 {
		return footers
	}
	return others
}

func onEvery(actions []*flowjson.Action, holds func(*flowjson.Action) bool) bool {
	for _, a := range actions {
		if !holds(a) {
			return false
		}
	}
	return len(actions) > 0
}
