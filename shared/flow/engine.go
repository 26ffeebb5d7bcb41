package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// LogicError says that the definition does not tell what to answer.
type LogicError struct {
	Screen string // where the request came from; empty on INIT
	Reason string
}

func (e *LogicError) Error() string {
	if e.Screen == "" {
		return e.Reason
	}
	return "screen " + e.Screen + ": " + e.Reason
}

// Answer is what a flow without logic answers: INIT shows the entry screen,
// data_exchange the screen the routing model leads to, BACK the screen before,
// and the last screen ends the flow with everything the user answered. s is the
// session as Begin returned it. The error is a *LogicError.
func Answer(def *Definition, s *Session, req *Request) (Reply, error) {
	if def == nil {
		return Reply{}, &LogicError{Screen: req.Screen, Reason: "the flow has no definition: publish one, or use endpoint next"}
	}
	var screen string
	var err error
	switch req.Action {
	case Init:
		screen = def.entryFor(req)
	case Back:
		screen, err = def.screenBefore(s, req)
	case DataExchange, Navigate:
		if def.Ends(req.Screen) {
			return finished(s, req), nil
		}
		screen, err = def.screenAfter(req)
	case Complete:
		return finished(s, req), nil
	default:
		err = &LogicError{Screen: req.Screen, Reason: fmt.Sprintf("the action %q has no answer", clip(string(req.Action)))}
	}
	if err != nil {
		return Reply{}, err
	}
	data, err := def.fill(screen, s, req)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Screen: screen, Data: data}, nil
}

// finished is SUCCESS with every answer and the token, which the client does
// not add by itself when an endpoint ends the flow.
func finished(s *Session, req *Request) Reply {
	params := s.Collected()
	if req.Token != "" {
		params[flowTokenKey] = quote(req.Token)
	}
	extension := append(appendObject([]byte(`{"params":`), params), '}')
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
