package simulate

import (
	"context"
	"errors"
	"fmt"
	"os"

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
	t := &terminal.Terminal{Hand: hand, In: s.In, Out: s.Out, Reports: s.Report, Echo: s.Echo, Opens: s.opening(data)}
	shown := token
	if flowtoken.IsSigned(token) { // it opens the flow as its user
		shown = "not shown, it is signed"
	}
	fmt.Fprintf(s.Out, "%s, flow token %s. :help tells what can be done.\n", s.name, shown)
	result, err := t.Run(ctx, func(ctx context.Context) (*phone.Reply, error) {
		if t.Opens.Do == conversation.DoOpen {
			return hand.OpenOn(t.Opens.From, data)
		}
		return hand.Open(ctx, "")
	})
	if errSave := s.save(one, &result); errSave != nil {
		fmt.Fprintln(s.Err, "simulate:", errSave)
		return Failed
	}
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
		err := postman.Deliver(ctx, "", "", result.Params)
		if err = errors.Join(err, postman.Flush(ctx)); err != nil {
			return Failed
		}
	}
	if result.Refused > 0 {
		return Failed
	}
	return Passed
}

// opening is how the flow is opened, as a script says it.
func (s *subject) opening(data map[string]any) conversation.Step {
	open := conversation.Step{Do: conversation.DoOpen, From: s.Screen}
	switch {
	case s.Screen == "" && s.Endpoint != "":
		return conversation.Step{Do: conversation.DoInit}
	case s.Screen == "": // a flow that asks nobody
		open.From = s.definition.EntryScreens()[0]
	}
	if len(data) > 0 {
		open.Send = data
	}
	return open
}

// save writes what was done as a script, if a file for it was given.
func (s *subject) save(one conversation.Conversation, result *terminal.Result) error {
	if s.Save == "" {
		return nil
	}
	if len(result.Steps) == 0 {
		return errors.New("--save: nothing was done that a script could hold")
	}
	one.Name, one.Steps = "saved from the terminal", result.Steps
	if one.Token != "unused" { // any other is this session's: it begins another one
		one.Token = ""
	}
	notes := []string{"Saved from the terminal, of the flow " + s.name + ". It holds what was entered."}
	if result.Lost > 0 {
		notes = append(notes, fmt.Sprintf("%d times a choice left the screen, which a script cannot do: those steps are left out.", result.Lost))
	}
	for i := range one.Steps {
		if one.Steps[i].HoldsPlaceholder() {
			notes = append(notes, fmt.Sprintf("Step %d holds text in braces, which a script takes for a placeholder: change it by hand.", i+1))
		}
	}
	text, err := conversation.Write([]conversation.Conversation{one}, notes)
	if err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	if err := os.WriteFile(s.Save, text, 0o600); err != nil { // it may hold anything that was typed
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

// openings is what a load holds without a script: users who open the flow.
func openings() []conversation.Conversation {
	return []conversation.Conversation{{Name: "open", Steps: []conversation.Step{{Do: conversation.DoInit, Shows: "*"}}}}
}
