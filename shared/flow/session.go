package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const (
	// maxPath bounds Session.Path: the oldest screens are forgotten first.
	maxPath = 200

	// maxShown is the size in bytes above which the data shown on a screen is
	// not kept: base64 images would make every step of a session write them to
	// Redis again, and only the fallback reads them.
	maxShown = 64 << 10
)

// Session is what is known about one user's way through one flow. Its JSON goes
// to Redis at every step, hence the short keys. Its values may be parts of the
// request's plaintext or of the bytes it was parsed from: Encode is a copy, and
// Collected are the same values again.
type Session struct {
	Version    int64  `json:"v"`           // grows by one with every step
	Definition string `json:"d,omitempty"` // hash of the definition; empty when the edge has none
	Attempt    int    `json:"n"`           // from 1; another INIT begins the next
	// Screen is the last screen that was shown by a reply.
	Screen string `json:"s,omitempty"`
	// Path are the screens on the way to the current one, which is the last.
	Path []string `json:"p,omitempty"`
	// Answers are all answers of this attempt, by screen and payload key.
	Answers map[string]map[string]json.RawMessage `json:"a,omitempty"`
	// Latest names, for a key that several screens have posted, the one that
	// posted it last.
	Latest     map[string]string `json:"l,omitempty"`
	Started    time.Time         `json:"t"` // of this attempt
	Completed  bool              `json:"c,omitempty"`
	Incomplete bool              `json:"i,omitempty"` // answers are known to be missing
	User       string            `json:"u,omitempty"` // from a signed token
	UserName   string            `json:"m,omitempty"` // from a signed token
	// Vars are what the flow's logic remembers in this attempt. They are never
	// shown and never in an event.
	Vars map[string]json.RawMessage `json:"x,omitempty"`
	// Shown is the data last shown on Screen, if it is not too large.
	Shown map[string]json.RawMessage `json:"r,omitempty"`
}

// UnknownScreenError says that a request names a screen the definition does not
// have, or none where one is needed. It means HTTP 400.
type UnknownScreenError struct{ Screen string }

func (e *UnknownScreenError) Error() string {
	if e.Screen == "" {
		return "the request names no screen"
	}
	return fmt.Sprintf("the request comes from screen %q, which this version of the flow does not have", clip(e.Screen))
}

// NewAttempt says whether req begins a new attempt on prev (nil: there is no
// session yet). A new attempt runs on the current definition, any other step
// on that of prev.Definition.
func NewAttempt(prev *Session, def *Definition, req *Request) bool {
	switch {
	case prev == nil, req.Action == Init:
		return true
	case prev.Completed && def != nil && (req.Action == DataExchange || req.Action == Navigate || req.Action == Complete):
		// The user opened the message again; sent with flow_action navigate, it
		// brings no INIT.
		return def.IsEntry(req.Screen)
	}
	return false
}

// Begin takes req into the session: a copy of prev, or a new one when prev is
// nil or req begins another attempt (see NewAttempt). It adds the request's
// answers and raises the version. A session that begins on a screen that is no
// entry is marked incomplete, because earlier screens may have had answers.
//
// The session shares the values of req.Data and the bytes prev was parsed from:
// encode it before either of them ends.
//
// def is nil when the edge has no definition of the flow. For a stateless
// request pass nil as prev and store nothing. The error is an
// *UnknownScreenError.
func Begin(prev *Session, def *Definition, req *Request, now time.Time) (*Session, error) {
	if def != nil && !def.HasScreen(req.Screen) && (req.Screen != "" || req.Action != Init) {
		return nil, &UnknownScreenError{Screen: req.Screen}
	}
	var s *Session
	if NewAttempt(prev, def, req) {
		s = &Session{Attempt: 1, Started: now.UTC().Truncate(time.Millisecond)}
		if prev != nil {
			s.Version, s.Attempt, s.User, s.UserName = prev.Version, prev.Attempt+1, prev.User, prev.UserName
		}
		if req.Action != Init && def != nil {
			s.Incomplete = !def.IsEntry(req.Screen)
		}
	} else {
		s = prev.clone()
	}
	if def != nil {
		s.Definition = def.Hash()
		if req.Stateless() {
			// What an earlier step knew reaches this one only in its payload.
			s.Incomplete = def.StatelessIncomplete(req)
		}
	}
	s.Version++
	if req.Action != Init {
		s.arriveAt(req.Screen)
	}
	s.absorb(req)
	return s, nil
}

// clone is a session whose steps do not change s. What a step replaces as a
// whole is shared: Shown, Vars and the answers of one screen.
func (s *Session) clone() *Session {
	c := *s
	c.Path = append(make([]string, 0, len(s.Path)+1), s.Path...) // with room for the next
	c.Latest = maps.Clone(s.Latest)
	c.Answers = maps.Clone(s.Answers)
	return &c
}

// arriveAt brings the path to a screen: the client also moves without telling
// us, by navigate and by a plain back.
func (s *Session) arriveAt(screen string) {
	if screen == "" {
		return
	}
	for i, earlier := range slices.Backward(s.Path) {
		if earlier == screen {
			s.Path = s.Path[:i+1]
			return
		}
	}
	s.Path = append(s.Path, screen)
	if over := len(s.Path) - maxPath; over > 0 {
		s.Path = slices.Delete(s.Path, 0, over)
	}
}

func (s *Session) absorb(req *Request) {
	given := req.Answers()
	if len(given) == 0 {
		return
	}
	if s.Answers == nil {
		s.Answers = map[string]map[string]json.RawMessage{}
	}
	for key := range given {
		for screen, answers := range s.Answers {
			if _, posted := answers[key]; posted && screen != req.Screen {
				if s.Latest == nil {
					s.Latest = map[string]string{}
				}
				s.Latest[key] = req.Screen
			}
		}
	}
	// A screen may post several times, each time other keys: a choice that is
	// exchanged at once, then the whole form. What was given is the request's: it
	// is shared, never changed.
	if earlier := s.Answers[req.Screen]; len(earlier) > 0 {
		answers := make(map[string]json.RawMessage, len(earlier)+len(given))
		maps.Copy(answers, earlier)
		maps.Copy(answers, given)
		given = answers
	}
	s.Answers[req.Screen] = given
}

// answer is what was posted on a screen under a key.
func (s *Session) answer(screen, key string) (json.RawMessage, bool) {
	if s == nil {
		return nil, false
	}
	value, ok := s.Answers[screen][key]
	return value, ok
}

// latest is the latest answer of that name, of whatever screen.
func (s *Session) latest(key string) (json.RawMessage, bool) {
	if s == nil {
		return nil, false
	}
	if screen, several := s.Latest[key]; several {
		value, ok := s.Answers[screen][key]
		return value, ok
	}
	for _, answers := range s.Answers {
		if value, ok := answers[key]; ok {
			return value, true
		}
	}
	return nil, false
}

// Collected are the answers of the attempt by payload key. Of a key that
// several screens posted the latest answer counts.
func (s *Session) Collected() map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	if s == nil {
		return all
	}
	for screen, answers := range s.Answers {
		for key, value := range answers {
			if winner, several := s.Latest[key]; !several || winner == screen {
				all[key] = value
			}
		}
	}
	return all
}

// Finish records what the client was answered and says what it means. reply
// must have passed Guard; a fallback is not recorded.
func (s *Session) Finish(req *Request, reply Reply) event.Outcome {
	if reply.Ends() {
		s.Completed = true
		if _, ok := reply.Params(); ok {
			return event.OutcomeComplete
		}
		return event.OutcomeClose
	}
	outcome := event.OutcomeNext
	switch {
	case req.Action == Init:
	case reply.Screen == req.Screen:
		outcome = event.OutcomeSame
	case req.Action == Back || s.previous() == reply.Screen:
		outcome = event.OutcomeBack
		if n := len(s.Path); n > 0 && s.Path[n-1] == req.Screen {
			s.Path = s.Path[:n-1]
		}
	}
	s.arriveAt(reply.Screen)
	s.Screen = reply.Screen
	s.Shown = shown(reply.Data)
	return outcome
}

// previous is the screen before the current one on the path.
func (s *Session) previous() string {
	if n := len(s.Path); n > 1 {
		return s.Path[n-2]
	}
	return ""
}

// shown is what to keep of a reply's data: all but what is no screen data.
func shown(data map[string]json.RawMessage) map[string]json.RawMessage {
	_, message := data[errorMessageKey]
	_, extension := data[extensionKey]
	if message || extension {
		data = maps.Clone(data)
		delete(data, errorMessageKey)
		delete(data, extensionKey)
	}
	size := 0
	for key, value := range data {
		size += len(key) + len(value)
	}
	if size > maxShown {
		return nil
	}
	return data
}
