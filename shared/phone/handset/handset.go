// Package handset is the phone in a user's hand: the screens one behind the
// other, what a tap does, and what the client does by itself without asking the
// endpoint. It holds a phone.Phone, which does the talking.
package handset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// Handset is one user with one flow open. It is not for concurrent use.
type Handset struct {
	Phone *phone.Phone
	Flow  *screen.Flow

	stack []*screen.Screen
	seen  map[string]*screen.Screen // the latest of each id
	ended bool
}

// New takes a phone in hand. Its Flow must be the definition of flow.
func New(p *phone.Phone, flow *screen.Flow) *Handset {
	return &Handset{Phone: p, Flow: flow, seen: map[string]*screen.Screen{}}
}

// Screen is the screen that is shown; nil before the first and after the end.
func (h *Handset) Screen() *screen.Screen {
	if h.ended || len(h.stack) == 0 {
		return nil
	}
	return h.stack[len(h.stack)-1]
}

// InvalidError says that the client does not send what was entered: what it
// shows at the inputs, by their names.
type InvalidError struct{ Inputs map[string]string }

func (e *InvalidError) Error() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Inputs)) {
		parts = append(parts, name+": "+e.Inputs[name])
	}
	return "the client does not send what was entered: " + strings.Join(parts, "; ")
}

// Outcome is what an action came to.
type Outcome struct {
	// Reply is the endpoint's answer, or what the client did by itself in the
	// form of one; nil when an action changed nothing but data, or opened a URL.
	Reply *phone.Reply
	Asked bool           // the endpoint was asked
	Sent  map[string]any // the payload
	URL   string         // of an open_url
}

// Open opens the flow: the endpoint says what comes first (flow_action
// data_exchange). Without a screen the message names none.
func (h *Handset) Open(ctx context.Context, id string) (*phone.Reply, error) {
	var reply *phone.Reply
	var err error
	if id == "" {
		reply, err = h.Phone.Init(ctx)
	} else {
		reply, err = h.Phone.InitOn(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	h.stack, h.ended = nil, false
	return reply, h.Arrive(reply)
}

// OpenOn opens the flow on a screen that the message names (flow_action
// navigate), with the data it carries. The endpoint is not asked.
func (h *Handset) OpenOn(id string, data map[string]any) (*phone.Reply, error) {
	if !h.Flow.Definition.IsEntry(id) {
		return nil, &phone.RefusalError{Key: phone.KeyInvalidTransition, Reason: fmt.Sprintf("the message opens %q, expected an entry screen: %s", id, strings.Join(h.Flow.Definition.EntryScreens(), ", "))}
	}
	h.stack, h.ended = nil, false
	return h.turnTo(flow.Init, id, id, data)
}

// Arrive shows what an answer brought. The error is a *phone.RefusalError when
// the client cannot draw it; then it shows what it showed before.
func (h *Handset) Arrive(reply *phone.Reply) error {
	if reply.Ended {
		h.ended = true
		return nil
	}
	data := maps.Clone(reply.Data)
	delete(data, "error_message")
	delete(data, "extension_message_response")
	// A screen that lies in the stack is gone back to, with what was entered.
	for i, s := range h.stack {
		if s.ID == reply.Screen {
			if err := s.Renew(data); err != nil {
				return refuse(s, err)
			}
			h.stack = h.stack[:i+1]
			return nil
		}
	}
	s := h.Flow.Open(reply.Screen, data, h.shown)
	if s == nil { // the phone has judged that there is one
		return fmt.Errorf("the flow has no screen %s", reply.Screen)
	}
	if err := s.Fault(); err != nil {
		return refuse(s, err)
	}
	h.stack = append(h.stack, s)
	h.seen[s.ID] = s
	return nil
}

func refuse(s *screen.Screen, fault error) error {
	return &phone.RefusalError{Key: phone.KeyComponents, Reason: "screen " + s.ID + ": " + fault.Error()}
}

// shown finds a screen that was shown before.
func (h *Handset) shown(id string) *screen.Screen { return h.seen[id] }

// Enter puts a value into an input, and runs what that sets off, which may ask
// the endpoint.
func (h *Handset) Enter(ctx context.Context, name string, value any) (*Outcome, error) {
	s := h.Screen()
	if s == nil {
		return nil, errNoScreen
	}
	actions, err := s.Enter(name, value)
	if err != nil {
		if invalid, ok := errors.AsType[*screen.InvalidError](err); ok {
			return nil, &InvalidError{map[string]string{invalid.Input: invalid.Reason}}
		}
		return nil, err
	}
	last := &Outcome{}
	for _, action := range actions {
		if h.Screen() != s { // an action before it has left the screen
			break
		}
		if last, err = h.Run(ctx, action); err != nil {
			return nil, err
		}
	}
	return last, nil
}

var errNoScreen = errors.New("the phone shows no screen: open the flow first")

// Tap taps what has that label; empty is the footer, before which the client
// checks every input that is visible.
func (h *Handset) Tap(ctx context.Context, label string) (*Outcome, error) {
	s := h.Screen()
	if s == nil {
		return nil, errNoScreen
	}
	var labels []string
	for _, item := range s.Items() {
		for _, entry := range item.Entries {
			labels = append(labels, entry.Title)
			if label != "" && (label == entry.Title || label == entry.ID) && entry.Tap != nil {
				return h.Run(ctx, entry.Tap)
			}
		}
		if item.Tap == nil || item.Type == "NavigationList" {
			continue
		}
		labels = append(labels, item.Text)
		if label != item.Text && (label != "" || item.Type != "Footer") {
			continue
		}
		if !item.Enabled {
			return nil, &InvalidError{map[string]string{item.Text: "it is not enabled"}}
		}
		if item.Type == "Footer" {
			if complaints := s.Check(); len(complaints) > 0 {
				return nil, &InvalidError{complaints}
			}
		}
		return h.Run(ctx, item.Tap)
	}
	what := "no footer"
	if label != "" {
		what = "nothing that says " + label
	}
	return nil, fmt.Errorf("the screen %s has %s to tap, it has: %s", s.ID, what, strings.Join(labels, ", "))
}

// Run runs an action of the screen that is shown.
func (h *Handset) Run(ctx context.Context, action *screen.Action) (*Outcome, error) {
	s := h.Screen()
	payload, err := s.Payload(action)
	if err != nil {
		return nil, fmt.Errorf("screen %s, %s: %w", s.ID, action.Name, err)
	}
	out := &Outcome{Sent: payload}
	switch action.Name {
	case flowjson.DataExchange:
		out.Asked = true
		if out.Reply, err = h.Phone.Exchange(ctx, s.ID, payload); err == nil {
			err = h.Arrive(out.Reply)
		}
	case flowjson.Navigate:
		out.Reply, err = h.turnTo(flow.DataExchange, s.ID, action.Next, payload)
	case flowjson.Complete:
		out.Reply, err = h.complete(payload)
	case flowjson.UpdateData:
		err = s.Update(payload)
	case flowjson.OpenURL:
		out.URL = action.URL
	default:
		err = fmt.Errorf("screen %s: the action %q is none that the client has", s.ID, action.Name)
	}
	if err != nil {
		return out, err
	}
	return out, nil
}

// Back leaves the screen backwards: the endpoint is asked if the screen has
// refresh_on_back, otherwise the one before it is shown as it was left.
func (h *Handset) Back(ctx context.Context) (*Outcome, error) {
	s := h.Screen()
	switch {
	case s == nil:
		return nil, errNoScreen
	case s.AsksOnBack():
		reply, err := h.Phone.Back(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		stack := h.stack
		h.stack = stack[:len(stack)-1]
		if err := h.Arrive(reply); err != nil {
			h.stack = stack
			return nil, err
		}
		return &Outcome{Reply: reply, Asked: true}, nil
	case len(h.stack) < 2:
		return nil, errors.New("this is the first screen: there is none to go back to")
	}
	h.stack = h.stack[:len(h.stack)-1]
	return &Outcome{}, nil
}

// turnTo shows a screen without asking the endpoint. The client holds the data
// against its model all the same.
func (h *Handset) turnTo(action flow.Action, from, to string, payload map[string]any) (*phone.Reply, error) {
	data, err := screen.Raw(payload)
	if err != nil {
		return nil, err
	}
	reply := &phone.Reply{Screen: to, Data: data}
	if reply.Plaintext, err = encode(map[string]any{"screen": to, "data": data}); err != nil {
		return nil, err
	}
	request := &flow.Request{Action: action, Screen: from, Data: map[string]json.RawMessage{}}
	if _, err := flow.Guard(h.Flow.Definition, request, reply.Plaintext); err != nil {
		key := phone.KeyPayloadSchema
		if guard, ok := errors.AsType[*flow.GuardError](err); ok && guard.Path == "screen" {
			key = phone.KeyInvalidTransition
		}
		return nil, &phone.RefusalError{Key: key, Reason: err.Error()}
	}
	return reply, h.Arrive(reply)
}

// complete ends the flow on the phone. The client adds the flow token, which an
// endpoint's SUCCESS must carry itself.
func (h *Handset) complete(payload map[string]any) (*phone.Reply, error) {
	params := maps.Clone(payload)
	if h.Phone.Token != "" {
		params["flow_token"] = h.Phone.Token
	}
	raw, err := encode(params)
	if err != nil {
		return nil, err
	}
	reply := &phone.Reply{Screen: flowjson.Success, Ended: true, Params: raw}
	reply.Plaintext, err = encode(map[string]any{"screen": flowjson.Success, "data": map[string]any{
		"extension_message_response": map[string]any{"params": json.RawMessage(raw)}}})
	h.ended = true
	return reply, err
}

func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
