package conversation

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// Runner holds the conversations of a file, one after the other, each with a
// phone of its own. One that fails does not keep the next from being held.
type Runner struct {
	Flow    string // its name, which signed flow tokens carry
	Screens *screen.Flow
	// NewPhone makes the phone that has the flow token.
	NewPhone    func(token string) *phone.Phone
	TokenSecret []byte // signs the flow tokens of conversations with a user
	Clock       func() time.Time
	Reports     bool           // see Player
	Postman     *phone.Postman // delivers the closing webhooks; nil delivers none
	// Begins and Say are told what goes on; nil tells nobody.
	Begins func(Conversation)
	Say    func(Said)
}

// Run holds them all. ctx ends the run; what was not begun then is not in the
// report.
func (r *Runner) Run(ctx context.Context, conversations []Conversation) *Report {
	report := &Report{Flow: r.Flow}
	for _, c := range conversations {
		if ctx.Err() != nil {
			report.Err = context.Cause(ctx)
			return report
		}
		if r.Begins != nil {
			r.Begins(c)
		}
		report.Held = append(report.Held, r.hold(ctx, c))
	}
	if r.Postman != nil {
		report.Err = r.Postman.Flush(ctx)
	}
	return report
}

func (r *Runner) hold(ctx context.Context, c Conversation) *Held {
	began := r.Clock()
	held := &Held{Name: c.Name}
	defer func() { held.Took = r.Clock().Sub(began) }()
	token, err := c.FlowToken(r.Flow, r.TokenSecret, began)
	if err != nil {
		held.Err = fmt.Errorf("%s: %w", c.Name, err)
		return held
	}
	player := &Player{
		Phone: r.NewPhone(token), Screens: r.Screens, Now: began, Clock: r.Clock, Reports: r.Reports,
		Say: func(s Said) {
			held.Steps = append(held.Steps, s)
			if r.Say != nil {
				r.Say(s)
			}
		},
	}
	outcome, err := player.Play(ctx, c)
	held.Params = outcome.Params
	if held.Err = err; err != nil || outcome.Params == nil || r.Postman == nil {
		return held
	}
	if err := r.Postman.Deliver(ctx, c.User.ID, c.User.Name, outcome.Params); err != nil {
		held.Err = fmt.Errorf("%s: %w", c.Name, err)
	}
	return held
}
