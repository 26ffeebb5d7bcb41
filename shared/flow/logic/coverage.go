package logic

import "slices"

// Ending is how the rules of a screen end the flow.
type Ending struct {
	All     bool     // with all answers, by some rule
	Reads   []Answer // of params
	Certain bool     // the routing model is never asked
}

// Ending says how the rules of a screen end the flow.
func (r *Rules) Ending(screen string) Ending {
	var e Ending
	if s := r.screens[screen]; s != nil {
		for _, rule := range s.next {
			e.All = e.All || rule.goal == complete && rule.params == nil
			e.Reads = append(e.Reads, rule.reads...)
		}
		e.Certain = always(s.next)
	}
	return e
}

// Sends says whether the params of a complete name the answer of a screen, so
// that it reaches the result whatever later screens post under its key.
func (r *Rules) Sends(screen, key string) bool {
	for id := range r.screens {
		if slices.Contains(r.Ending(id).Reads, Answer{screen, key}) {
			return true
		}
	}
	return false
}

// HasNext says whether the rules decide where a screen leads.
func (r *Rules) HasNext(screen string) bool {
	s := r.screens[screen]
	return s != nil && len(s.next) > 0
}

// always says whether one rule of a list holds in any case.
func always(rules []*rule) bool { return len(rules) > 0 && rules[len(rules)-1].when == nil }

func gives(list []*assignment, key string) bool {
	return slices.ContainsFunc(list, func(a *assignment) bool { return a.name == key })
}

// Supplies says whether the rules give a key to a screen on every way the
// endpoint is asked to show it; entry says that the screen is one that INIT may
// show.
func (r *Rules) Supplies(screen, key string, entry bool) bool {
	if s := r.screens[screen]; s != nil && gives(s.data, key) {
		return true
	}
	if entry && !r.every(r.init, screen, key) {
		return false
	}
	for i := range r.doc.Screens {
		from := &r.doc.Screens[i]
		forward := slices.Contains(r.doc.RoutingModel[from.ID], screen)
		backward := slices.Contains(r.doc.RoutingModel[screen], from.ID)
		var rules screenRules
		if s := r.screens[from.ID]; s != nil {
			rules = *s
		}
		if len(posting(from)) > 0 && (forward || backward) {
			for _, rule := range rules.next {
				if rule.goal == toScreen && rule.screen == screen && !gives(rule.data, key) || rule.goal == toBefore && backward {
					return false
				}
			}
			if forward && !always(rules.next) {
				return false
			}
		}
		if backward && from.RefreshOnBack && !r.every(rules.back, screen, key) {
			return false
		}
	}
	return true
}

// every says that each rule which leads to a screen gives it that key, and that
// no way is left to the routing model.
func (r *Rules) every(rules []*rule, screen, key string) bool {
	for _, rule := range rules {
		if rule.goal == toScreen && rule.screen == screen && !gives(rule.data, key) || rule.goal == toBefore {
			return false
		}
	}
	return always(rules)
}
