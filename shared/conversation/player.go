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

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Player has a phone hold conversations.
type Player struct {
	Phone     *phone.Phone
	Upstreams *Upstreams
	Now       time.Time // what {today} is taken of
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
	w := NewWords(p.Now, p.Phone.Token)
	outcome := Outcome{Unspoken: map[string]string{}}
	spoken := map[string]bool{}
	for i, step := range c.Steps {
		said := Said{Number: i + 1, Step: step}
		reply, err := p.step(ctx, w, &said)
		if err == nil {
			err = keepsSecrets(w, c.Secrets, reply.Plaintext)
		}
		said.Err = err
		if p.Say != nil {
			p.Say(said)
		}
		if err != nil {
			return outcome, fmt.Errorf("%s: step %d, %s: %w", c.Name, i+1, strings.TrimSpace(step.Do+" "+step.From), err)
		}
		if reply.Ended {
			outcome.Params = reply.Params
		}
		sent := Compact(said.Sent)
		for _, name := range c.Secrets {
			value, known := w.known[name]
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

func (p *Player) step(ctx context.Context, w *Words, said *Said) (*phone.Reply, error) {
	step := said.Step
	if step.Do == doExchange {
		if err := p.posts(step); err != nil {
			return nil, err
		}
		filled, err := w.Fill(step.Send)
		if err != nil {
			return nil, err
		}
		said.Sent, _ = filled.(map[string]any) // what was a map is one
	}
	p.Upstreams.expect(w, step.Fetches)
	began := time.Now()
	reply, err := p.do(ctx, step, said.Sent)
	said.Took = time.Since(began)
	// What upstreams were asked explains an answer that is not as it should be.
	errFetches := p.Upstreams.check()
	if err != nil {
		return nil, errors.Join(err, errFetches)
	}
	said.Answer = reply.Plaintext
	if step.Do == doPing {
		return reply, nil
	}
	return reply, errors.Join(expect(w, step, reply), errFetches)
}

// posts refuses a payload that no data_exchange of the screen can have. What is
// sent from a screen that the flow does not have is for the server to refuse.
func (p *Player) posts(step Step) error {
	if p.Phone.Flow == nil || !p.Phone.Flow.HasScreen(step.From) {
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

func (p *Player) do(ctx context.Context, step Step, sent map[string]any) (*phone.Reply, error) {
	switch step.Do {
	case doInit:
		if step.From != "" {
			return p.Phone.InitOn(ctx, step.From)
		}
		return p.Phone.Init(ctx)
	case doExchange:
		return p.Phone.Exchange(ctx, step.From, sent)
	case doBack:
		return p.Phone.Back(ctx, step.From)
	default:
		return p.Phone.Ping(ctx)
	}
}

// expect compares an answer with what the step says.
func expect(w *Words, step Step, reply *phone.Reply) error {
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
		want := maps.Clone(step.Completes)
		if w.known["token"] != "" {
			want["flow_token"] = "{token}" // the client does not add it
		}
		params, err := decode(reply.Params)
		if err != nil {
			return err
		}
		return w.Match("params", want, params)
	}
	if reply.Screen != step.Shows {
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
		return w.Match("data", step.Exactly, data)
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
