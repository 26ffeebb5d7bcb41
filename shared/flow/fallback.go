package flow

import "maps"

// Fallback is what to show when there is no answer that could be shown: the
// same screen again (on INIT the entry screen, on BACK the screen that was
// left) with message as its error_message. Its data are those last shown on
// that very screen, else what the session, the payload and typed empties give;
// never the examples of the Flow JSON. false when the client would refuse that
// too: then the answer is HTTP 503, empty.
//
// s is nil when Redis is down. def may be nil; then only data shown before
// helps.
func Fallback(def *Definition, s *Session, req *Request, message string) (Reply, bool) {
	screen := req.Screen
	if req.Action == Init && def != nil {
		screen = def.entryFor(req)
	}
	if screen == "" || (def != nil && !def.HasScreen(screen)) {
		return Reply{}, false
	}
	if s != nil && s.Screen == screen && s.Shown != nil {
		if reply, err := guarded(def, req, Reply{Screen: screen, Data: maps.Clone(s.Shown)}, message); err == nil {
			return reply, true
		}
	}
	if def == nil {
		return Reply{}, false
	}
	data, err := def.fill(screen, s, req)
	if err != nil {
		return Reply{}, false
	}
	reply, err := guarded(def, req, Reply{Screen: screen, Data: data}, message)
	return reply, err == nil
}

func guarded(def *Definition, req *Request, r Reply, message string) (Reply, error) {
	if message != "" {
		r.Data[errorMessageKey] = quote(message)
	}
	return Guard(def, req, r.JSON())
}
