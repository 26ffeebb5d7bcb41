package simulate

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/terminal"
)

// interactive is a phone in the terminal.
func (s *subject) interactive(ctx context.Context) int {
	misused := func(err error) int {
		fmt.Fprintln(s.Err, "simulate:", err)
		return Misused
	}
	data, err := s.messageData()
	if err != nil {
		return misused(err)
	}
	if s.Screen != "" && !s.definition.HasScreen(s.Screen) {
		return misused(fmt.Errorf("--screen: the flow has no screen %s, it begins on %v", s.Screen, s.definition.EntryScreens()))
	}
	one := conversation.Conversation{Token: s.Token, User: conversation.User{ID: s.UserID, Name: s.UserName}}
	if len(s.tokenSecret) == 0 { // then the user is in the webhook alone
		one.User = conversation.User{}
	}
	if one.Token != "" {
		one.User = conversation.User{}
	}
	token, err := one.FlowToken(s.name, s.tokenSecret, s.Now())
	if err != nil {
		return misused(err)
	}
	hand := handset.New(s.newPhone(token), s.screens)
	t := &terminal.Terminal{Hand: hand, In: s.In, Out: s.Out, Reports: s.Report, Echo: s.Echo}
	shown := token
	if flowtoken.IsSigned(token) { // it opens the flow as its user
		shown = "not shown, it is signed"
	}
	fmt.Fprintf(s.Out, "%s, flow token %s. :help tells what can be done.\n", s.name, shown)
	result, err := t.Run(ctx, func(ctx context.Context) (*phone.Reply, error) {
		switch {
		case s.Screen != "":
			return hand.OpenOn(s.Screen, data)
		case s.Endpoint == "": // a flow that asks nobody
			return hand.OpenOn(s.definition.EntryScreens()[0], data)
		}
		return hand.Open(ctx, "")
	})
	switch dead, isDead := errors.AsType[*phone.TokenError](err); {
	case isDead:
		fmt.Fprintf(s.Out, "The flow token is no longer valid (status 427). The phone says: %s\n", dead.Message)
		return Failed
	case err != nil:
		fmt.Fprintln(s.Err, "simulate:", err)
		return Failed
	}
	if postman := s.postman(); postman != nil && result.Params != nil {
		postman.Sent = func(sent phone.Sending) { sayWebhook(s.Out, sent) }
		err := postman.Deliver(ctx, result.Params)
		if err = errors.Join(err, postman.Flush(ctx)); err != nil {
			return Failed
		}
	}
	if result.Refused > 0 {
		return Failed
	}
	return Passed
}

// openings is what a load holds without a script: users who open the flow.
func openings() []conversation.Conversation {
	return []conversation.Conversation{{Name: "open", Steps: []conversation.Step{{Do: conversation.DoInit, Shows: "*"}}}}
}
