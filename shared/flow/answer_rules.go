package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// turn is one answer by a flow's rules. Where they say nothing, the routing
// model decides.
type turn struct {
	def   *Definition
	s     *Session
	req   *Request
	rules *logic.Turn
}

func answerByRules(ctx context.Context, def *Definition, s *Session, req *Request, env Env) (Reply, error) {
	in := logic.Inputs{
		Now: env.Now, Fetch: env.Fetch, Random: env.Random,
		Form: req.Answers(), Answers: answersOf{s},
	}
	if s != nil {
		in.User, in.UserName, in.Vars = s.User, s.UserName, s.Vars
	}
	t := &turn{def, s, req, def.rules.Turn(ctx, in)}
	reply, err := t.answer()
	if err != nil {
		return Reply{}, asLogicError(req, err)
	}
	if s != nil {
		s.Vars = t.rules.Vars()
	}
	return reply, nil
}

// answersOf are the answers of a session, which may be nil.
type answersOf struct{ s *Session }

func (a answersOf) On(screen, key string) (json.RawMessage, bool) { return a.s.answer(screen, key) }
func (a answersOf) Latest(key string) (json.RawMessage, bool)     { return a.s.latest(key) }

func asLogicError(req *Request, err error) error {
	var fault *logic.RuleError
	if errors.As(err, &fault) {
		return &LogicError{Screen: req.Screen, Place: fmt.Sprintf("%s:%d:%d", fault.File, fault.Line, fault.Column), Reason: fault.Path + ": " + fault.Reason}
	}
	return err
}

func (t *turn) answer() (Reply, error) {
	var decision *logic.Decision
	var failed *logic.Failed
	var err error
	switch t.req.Action {
	case Init:
		// A message that names a screen opens that one, whatever the rules say.
		named := t.def.IsEntry(t.req.Screen)
		decision, err = t.rules.Init(func(screen string) bool { return !named || screen == t.req.Screen })
	case Back:
		decision, err = t.rules.Back(t.req.Screen)
	case DataExchange, Navigate, Complete:
		decision, failed, err = t.rules.Step(t.req.Screen)
	}
	switch {
	case err != nil:
		return Reply{}, err
	case failed != nil:
		return t.again(failed)
	case decision == nil:
		screen, ends, err := t.def.route(t.s, t.req)
		if ends || err != nil {
			return finishedOr(t.s, t.req, err)
		}
		return t.show(screen, nil)
	case decision.Close:
		return closed(), nil
	case decision.Complete && decision.Params == nil:
		return finished(t.s, t.req), nil
	case decision.Complete:
		return finishedWith(decision.Params, t.req), nil
	case decision.Back:
		screen, err := t.def.screenBefore(t.s, t.req)
		if err != nil {
			return Reply{}, err
		}
		return t.show(screen, nil)
	}
	return t.show(decision.Screen, decision)
}

// again shows the same screen with what is wrong.
func (t *turn) again(failed *logic.Failed) (Reply, error) {
	reply, err := t.show(t.req.Screen, nil)
	if err != nil {
		return Reply{}, err
	}
	maps.Copy(reply.Data, failed.Data)
	if failed.Message != "" {
		reply.Data[errorMessageKey] = quote(failed.Message)
	}
	return reply, nil
}

// show is a screen with data from the rule that leads to it, else from the
// screen's own rules, else as without rules. A screen that is shown again keeps
// what it last showed, without the errors of its fields.
func (t *turn) show(screen string, by *logic.Decision) (Reply, error) {
	data := map[string]json.RawMessage{}
	if by != nil {
		data = by.Data
		for key, value := range data {
			if fault := t.fitting(screen, key, value); fault != nil {
				fault.Place = by.Place()
				return Reply{}, fault
			}
		}
	}
	kept := t.kept(screen)
	own, err := t.rules.Data(screen, func(key string) bool {
		if _, given := data[key]; given {
			return true
		}
		// Where only what is wrong is new, the rules of the screen need not run.
		_, shown := kept[key]
		return shown && by == nil
	})
	if err != nil {
		return Reply{}, err
	}
	for key, value := range own {
		if fault := t.fitting(screen, key, value); fault != nil {
			fault.Place = t.def.rules.DataPlace(screen, key)
			return Reply{}, fault
		}
		data[key] = value
	}
	for key, value := range kept {
		if _, ok := data[key]; !ok {
			data[key] = value
		}
	}
	rest, err := t.def.fillRest(screen, t.s, t.req, data)
	return Reply{Screen: screen, Data: rest}, err
}

// kept is what a screen that is shown again keeps of what it last showed; nil for
// any other.
func (t *turn) kept(screen string) map[string]json.RawMessage {
	if t.req.Action == Init || screen != t.req.Screen || t.s == nil || t.s.Screen != screen {
		return nil
	}
	kept := maps.Clone(t.s.Shown)
	for _, key := range t.def.rules.ErrorKeys(screen) {
		delete(kept, key)
	}
	return kept
}

// fitting holds what a rule gives to a screen against the screen's model, and
// against what the components that live on it need.
func (t *turn) fitting(screen, key string, value json.RawMessage) *LogicError {
	target := t.def.flow.Screen(screen)
	if fault := check("data."+key, target.Data[key], value); fault != nil {
		return &LogicError{Screen: t.req.Screen, Reason: fault.Error()}
	}
	if feed, feeds := target.Feeds[key]; feeds && !enough(feed, value) {
		return &LogicError{Screen: t.req.Screen, Reason: fmt.Sprintf(
			"data.%s of screen %s has too little in it: %s of %s needs %s", key, screen, feed.Attribute, article(feed.Component), feedNeed(feed.MinItems))}
	}
	return nil
}

func feedNeed(items int) string {
	if items == 0 {
		return "an image"
	}
	return fmt.Sprintf("at least %d items", items)
}

func closed() Reply {
	return Reply{Screen: flowjson.Success, Data: map[string]json.RawMessage{}}
}
