package conversation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// Upstreams are the systems that a flow asks, as whoever plays them sees it.
type Upstreams interface {
	// Expect sets what may be asked from now on, and what is answered.
	Expect(w *Words, fetches []Fetch)
	// Check says what was not asked though expected, or asked though not.
	Check() error
}

// Player has a phone hold conversations.
type Player struct {
	Phone *phone.Phone
	// Screens is the flow as forms, for taps; nil makes it of the phone's Flow.
	Screens *screen.Flow
	// Upstreams are what the flow asks; nil is somebody else's, so that the
	// fetches of a conversation are not looked at.
	Upstreams Upstreams
	Now       time.Time        // what {today} is taken of
	Clock     func() time.Time // measures steps; nil measures none
	// Reports says that the phone tells the endpoint of each answer it refuses,
	// as the client does.
	Reports bool
	// Say is told each step, before the next one begins; nil tells nobody.
	Say func(Said)
}

// Said is one step as it went.
type Said struct {
	Number int
	Step   Step
	Sent   map[string]any // the payload, placeholders filled
	Answer []byte         // the decrypted answer; nil when none came
	Took   time.Duration
	Err    error // what was not as expected
}

// Outcome is what a conversation came to.
type Outcome struct {
	Params json.RawMessage // of the SUCCESS that ended it; nil without one
	// Unspoken are the secrets that the user never entered: what is stored of
	// the conversation holds none of them.
	Unspoken map[string]string
}

// Play holds a conversation. The error names the step that did not go as the
// file says.
func (p *Player) Play(ctx context.Context, c Conversation) (Outcome, error) {
	play := &play{Player: p, words: NewWords(p.Now, p.Phone.Token)}
	outcome := Outcome{Unspoken: map[string]string{}}
	spoken := map[string]bool{}
	for i, step := range c.Steps {
		said := Said{Number: i + 1, Step: step}
		reply, err := play.step(ctx, &said)
		if err == nil && reply != nil {
			err = keepsSecrets(play.words, c.Secrets, reply.Plaintext)
		}
		said.Err = err
		if p.Say != nil {
			p.Say(said)
		}
		if err != nil {
			return outcome, fmt.Errorf("%s: step %d, %s: %w", c.Name, i+1, strings.TrimSpace(step.Do+" "+step.From), err)
		}
		if reply != nil && reply.Ended {
			outcome.Params = reply.Params
		}
		sent := Compact(said.Sent)
		for _, name := range c.Secrets {
			value, known := play.words.known[name]
			if !known {
				continue
			}
			if spoken[name] = spoken[name] || strings.Contains(sent, value); spoken[name] {
				delete(outcome.Unspoken, name)
			} else {
				outcome.Unspoken[name] = value
			}
		}
	}
	return outcome, nil
}

// play is one conversation being held.
type play struct {
	*Player
	words   *Words
	handset *handset.Handset // nil until the flow is shown as forms
}

// step does what a step says. The reply is nil where none was to come.
func (p *play) step(ctx context.Context, said *Said) (*phone.Reply, error) {
	step := said.Step
	if step.Do == DoExchange || step.Do == DoOpen {
		if err := p.posts(step); err != nil {
			return nil, err
		}
		filled, err := p.words.Fill(step.Send)
		if err != nil {
			return nil, err
		}
		said.Sent, _ = filled.(map[string]any) // what was a map is one
	}
	if p.Upstreams != nil {
		p.Upstreams.Expect(p.words, step.Fetches)
	}
	began := p.time()
	reply, err := p.do(ctx, step, said)
	said.Took = p.time().Sub(began)
	// What upstreams were asked explains an answer that is not as it should be.
	var errFetches error
	if p.Upstreams != nil {
		errFetches = p.Upstreams.Check()
	}
	if err != nil {
		p.report(ctx, step, err)
		return nil, errors.Join(p.foreseen(step, err), errFetches)
	}
	if reply != nil {
		said.Answer = reply.Plaintext
	}
	switch {
	case step.Refused != "":
		return nil, fmt.Errorf("the client takes the answer, expected that it refuses it (%s)", step.Refused)
	case step.Expired != nil:
		return nil, errors.New("the client takes the answer, expected status 427")
	case step.Invalid != nil:
		return nil, errors.New("the client sends what was entered, expected that it finds fault with " + strings.Join(slices.Sorted(maps.Keys(step.Invalid)), ", "))
	case step.Do == DoPing || step.Do == DoReport:
		return reply, nil
	case reply == nil:
		return nil, fmt.Errorf("the screen stays as it is, expected the screen %s", step.Shows)
	}
	return reply, errors.Join(p.words.expect(step, reply), errFetches)
}

func (p *play) time() time.Time {
	if p.Clock == nil {
		return time.Time{}
	}
	return p.Clock()
}

// foreseen holds what went wrong against what the step says of it.
func (p *play) foreseen(step Step, err error) error {
	refusal, isRefusal := errors.AsType[*phone.RefusalError](err)
	expired, isExpired := errors.AsType[*phone.TokenError](err)
	invalid, isInvalid := errors.AsType[*handset.InvalidError](err)
	switch {
	case step.Refused != "" && isRefusal:
		if refusal.Key != step.Refused {
			return fmt.Errorf("%w; expected %s", err, step.Refused)
		}
		return nil
	case step.Expired != nil && isExpired:
		return p.words.Match("error_msg", *step.Expired, expired.Message)
	case step.Invalid != nil && isInvalid:
		got := make(map[string]any, len(invalid.Inputs))
		for name, reason := range invalid.Inputs {
			got[name] = reason
		}
		return p.words.Match("invalid", step.Invalid, got)
	}
	return err
}

// report tells the endpoint of an answer the phone refused, as the client does:
// once, whatever comes of it.
func (p *play) report(ctx context.Context, step Step, err error) {
	refusal, ok := errors.AsType[*phone.RefusalError](err)
	if !p.Reports || !ok || !refusal.Reported() {
		return
	}
	action := map[string]flow.Action{DoInit: flow.Init, DoBack: flow.Back}[step.Do]
	if action == "" {
		action = flow.DataExchange
	}
	from := step.From
	if from == "" && p.handset != nil && p.handset.Screen() != nil {
		from = p.handset.Screen().ID
	}
	_, _ = p.Phone.Report(ctx, action, from, refusal)
}

// posts refuses a payload that no data_exchange of the screen can have. What is
// sent from a screen that the flow does not have is for the server to refuse.
func (p *play) posts(step Step) error {
	if step.Do != DoExchange || p.Phone.Flow == nil || !p.Phone.Flow.HasScreen(step.From) {
		return nil
	}
	var known, unknown []string
	for _, a := range p.Phone.Flow.Flow().Screen(step.From).Actions {
		if a.Name == flowjson.DataExchange {
			known = append(known, a.Keys...)
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, key := range slices.Sorted(maps.Keys(step.Send)) {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	switch {
	case len(unknown) == 0:
		return nil
	case len(known) == 0:
		return fmt.Errorf("send has %s, but the screen %s posts nothing", strings.Join(unknown, ", "), step.From)
	}
	return fmt.Errorf("send has %s, expected what the screen %s posts: %s", strings.Join(unknown, ", "), step.From, strings.Join(known, ", "))
}

func (p *play) do(ctx context.Context, step Step, said *Said) (reply *phone.Reply, err error) {
	switch step.Do {
	case DoPing:
		return p.Phone.Ping(ctx)
	case DoReport:
		return p.Phone.Report(ctx, flow.DataExchange, step.From, &phone.RefusalError{Key: step.Error, Reason: "reported by a script"})
	case DoTap:
		return p.tap(ctx, step, said)
	case DoOpen:
		if p.Phone.Flow == nil {
			return nil, errNoFlow
		}
		return p.inHand().OpenOn(step.From, said.Sent)
	case DoInit:
		if step.From != "" {
			reply, err = p.Phone.InitOn(ctx, step.From)
		} else {
			reply, err = p.Phone.Init(ctx)
		}
	case DoExchange:
		reply, err = p.Phone.Exchange(ctx, step.From, said.Sent)
	default:
		if p.Phone.Flow != nil {
			if s := p.inHand().Screen(); s != nil && s.ID == step.From && !s.AsksOnBack() {
				return p.backAlone(ctx)
			}
		}
		reply, err = p.Phone.Back(ctx, step.From)
	}
	if err == nil && p.Phone.Flow != nil {
		err = p.inHand().Arrive(reply)
	}
	return reply, err
}

// backAlone leaves a screen backwards that has no refresh_on_back: no client asks
// the endpoint then.
func (p *play) backAlone(ctx context.Context) (*phone.Reply, error) {
	if _, err := p.handset.Back(ctx); err != nil {
		return nil, err
	}
	return &phone.Reply{Screen: p.handset.Screen().ID}, nil
}

var errNoFlow = errors.New("it needs the flow's Flow JSON, to know its screens")

// inHand is the phone with its screens.
func (p *play) inHand() *handset.Handset {
	if p.handset == nil {
		if p.Screens == nil {
			p.Screens = screen.Load(p.Phone.Flow)
		}
		p.handset = handset.New(p.Phone, p.Screens)
	}
	return p.handset
}

// tap fills the form of the screen and taps. A conversation that begins with a
// tap begins on the screen that from names, as a message sent with navigate.
func (p *play) tap(ctx context.Context, step Step, said *Said) (*phone.Reply, error) {
	if p.Phone.Flow == nil {
		return nil, errNoFlow
	}
	h := p.inHand()
	if h.Screen() == nil && step.From != "" {
		if _, err := h.OpenOn(step.From, nil); err != nil {
			return nil, err
		}
	}
	if at := h.Screen(); at != nil && step.From != "" && at.ID != step.From {
		return nil, fmt.Errorf("the phone shows the screen %s, expected %s", at.ID, step.From)
	}
	filled, err := p.words.Fill(step.Enter)
	if err != nil {
		return nil, err
	}
	values, _ := filled.(map[string]any)
	if err := enter(ctx, h, values); err != nil {
		return nil, err
	}
	outcome, err := h.Tap(ctx, step.Button)
	if outcome != nil {
		said.Sent = outcome.Sent
	}
	if err != nil {
		return nil, err
	}
	return outcome.Reply, nil
}

// enter enters values in the order in which their inputs stand, because one may
// only come into view when another has been filled in.
func enter(ctx context.Context, h *handset.Handset, values map[string]any) error {
	left := maps.Clone(values)
	for len(left) > 0 {
		s := h.Screen()
		if s == nil {
			return errors.New("the flow has ended before everything was entered")
		}
		name := ""
		for _, item := range s.Items() {
			if item.Input == nil {
				continue
			}
			if _, given := left[item.Input.Name]; given {
				name = item.Input.Name
				break
			}
		}
		if name == "" {
			name = slices.Sorted(maps.Keys(left))[0] // the error tells what is there
		}
		if _, err := h.Enter(ctx, name, left[name]); err != nil {
			return err
		}
		delete(left, name)
	}
	return nil
}

// expect compares an answer with what the step says.
func (w *Words) expect(step Step, reply *phone.Reply) error {
	switch {
	case step.Closes:
		if !reply.Ended || reply.Params != nil {
			return fmt.Errorf("the answer is %s, expected SUCCESS without params", reply.Plaintext)
		}
		return nil
	case step.Completes != nil:
		if !reply.Ended || reply.Params == nil {
			return fmt.Errorf("the answer is %s, expected SUCCESS with params", reply.Plaintext)
		}
		want := map[string]any(maps.Clone(step.Completes))
		if w.known["token"] != "" {
			want["flow_token"] = "{token}" // the client does not add it
		}
		params, err := decode(reply.Params)
		if err != nil {
			return err
		}
		return w.Match("params", want, params)
	}
	if reply.Ended || reply.Screen != step.Shows && step.Shows != "*" {
		return fmt.Errorf("the answer is %s, expected the screen %s", reply.Plaintext, step.Shows)
	}
	if step.Message != "" || reply.ErrorMessage != "" {
		if err := w.Match("error_message", step.Message, reply.ErrorMessage); err != nil {
			return err
		}
	}
	data := map[string]any{}
	for key, raw := range reply.Data {
		if key == "error_message" {
			continue
		}
		var err error
		if data[key], err = decode(raw); err != nil {
			return err
		}
	}
	if step.Exactly != nil {
		return w.Match("data", map[string]any(step.Exactly), data)
	}
	return w.matchMembers("data", step.Data, data)
}

func decode(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	return value, decoder.Decode(&value)
}

// keepsSecrets looks for the values of secrets in what the phone was sent.
func keepsSecrets(w *Words, secrets []string, answer []byte) error {
	for _, name := range secrets {
		if value, known := w.known[name]; known && bytes.Contains(answer, []byte(value)) {
			return fmt.Errorf("the answer holds the secret %s", name)
		}
	}
	return nil
}
