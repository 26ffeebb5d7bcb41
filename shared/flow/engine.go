package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

// LogicError says that the definition does not tell what to answer.
type LogicError struct {
	Screen string // where the request came from; empty on INIT
	Place  string // of the rule that failed, "logic.yaml:12:9"; empty without one
	Reason string // never holds a value
}

func (e *LogicError) Error() string {
	text := e.Reason
	if e.Place != "" {
		text = e.Place + ": " + text
	}
	if e.Screen != "" {
		text = "screen " + e.Screen + ": " + text
	}
	return text
}

// Answer is what a flow answers: by the rules of its logic, and where they say
// nothing by its routing model. That is, INIT shows the entry screen,
// data_exchange the screen the routing model leads to, BACK the screen before,
// and the last screen ends the flow with everything the user answered.
//
// s is the session as Begin returned it; what rules remember is written to it
// when there is an answer. ctx bounds the fetches and the computing of rules.
// The error is a *LogicError.
func Answer(ctx context.Context, def *Definition, s *Session, req *Request, env Env) (Reply, error) {
	if def == nil {
		return Reply{}, &LogicError{Screen: req.Screen, Reason: "the flow has no definition: publish one, or use endpoint next"}
	}
	if def.rules != nil {
		return answerByRules(ctx, def, s, req, env)
	}
	screen, ends, err := def.route(s, req)
	if ends || err != nil {
		return finishedOr(s, req, err)
	}
	data, err := def.fill(screen, s, req)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Screen: screen, Data: data}, nil
}

// route is the screen the routing model leads to; ends says that the flow ends
// instead.
func (d *Definition) route(s *Session, req *Request) (screen string, ends bool, err error) {
	switch req.Action {
	case Init:
		return d.entryFor(req), false, nil
	case Back:
		screen, err = d.screenBefore(s, req)
		return screen, false, err
	case DataExchange, Navigate:
		if d.Ends(req.Screen) {
			return "", true, nil
		}
		screen, err = d.screenAfter(req)
		return screen, false, err
	case Complete:
		return "", true, nil
	}
	return "", false, &LogicError{Screen: req.Screen, Reason: fmt.Sprintf("the action %q has no answer", clip(string(req.Action)))}
}

func finishedOr(s *Session, req *Request, err error) (Reply, error) {
	if err != nil {
		return Reply{}, err
	}
	return finished(s, req), nil
}

// finished is SUCCESS with every answer and the token, which the client does
// not add by itself when an endpoint ends the flow.
func finished(s *Session, req *Request) Reply {
	return finishedWith(s.Collected(), req)
}

func finishedWith(params map[string]json.RawMessage, req *Request) Reply {
	if req.Token != "" {
		params[flowTokenKey] = quote(req.Token)
	}
	extension := append(rawjson.AppendObject([]byte(`{"params":`), params), '}')
	return Reply{Screen: flowjson.Success, Data: map[string]json.RawMessage{extensionKey: extension}}
}

func (d *Definition) screenAfter(req *Request) (string, error) {
	next := d.flow.RoutingModel[req.Screen]
	if len(next) == 1 {
		return next[0], nil
	}
	for _, name := range namedScreens(req) {
		if slices.Contains(next, name) {
			return name, nil
		}
	}
	return "", &LogicError{Screen: req.Screen, Reason: fmt.Sprintf(
		"%d screens may follow (%s) and the payload names none of them: add next_screen to the payload, add logic or use endpoint next",
		len(next), strings.Join(next, ", "))}
}

// namedScreens are the screens the author's payload may mean, best first.
func namedScreens(req *Request) []string {
	var names []string
	for _, key := range []string{"next_screen", "screen", "next"} {
		if name, ok := stringOf(req.Data[key]); ok {
			names = append(names, name)
		}
	}
	var next struct {
		Name string `json:"name"`
	}
	if raw := req.Data["next"]; kindOf(raw) == "object" && json.Unmarshal(raw, &next) == nil {
		names = append(names, next.Name)
	}
	return names
}

// screenBefore is the screen the user came from: the one before on the path if
// the client may go there, else the only one that leads here.
func (d *Definition) screenBefore(s *Session, req *Request) (string, error) {
	if s != nil {
		if before := s.previous(); before != "" && d.Joined(before, req.Screen) {
			return before, nil
		}
	}
	switch before := d.before[req.Screen]; len(before) {
	case 1:
		return before[0], nil
	case 0:
		return "", &LogicError{Screen: req.Screen, Reason: "BACK was pressed but no screen leads here: set refresh_on_back to false on an entry screen"}
	default:
		return "", &LogicError{Screen: req.Screen, Reason: fmt.Sprintf(
			"BACK was pressed and it is not known which of %s the user came from: send a flow token, or use endpoint next", strings.Join(before, ", "))}
	}
}
