// Package flow decides what a WhatsApp Flow answers. It is pure: requests,
// sessions and replies are values, the time is passed in, and nothing here
// touches a network, a clock or a disk.
//
// One step of a conversation is
//
//	req, err := flow.ParseRequest(plaintext)         // any error: HTTP 400
//	s, err := flow.Begin(prev, def, req, now)        // *UnknownScreenError: HTTP 400
//	reply, err := flow.Answer(ctx, def, s, req, env) // by its rules and its routing model, or ask another server
//	reply, err = flow.Guard(def, req, reply.JSON())  // what the client would refuse
//	outcome := s.Finish(req, reply)
//
// after which the session and the reply are stored and the reply is sealed.
// When Answer or Guard fails, Fallback gives something to show instead.
package flow
