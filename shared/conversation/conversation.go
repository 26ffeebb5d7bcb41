// Package conversation reads and plays recorded conversations with a flow: what
// the user does, what the phone must show then, and what the flow asks of other
// systems meanwhile. One file serves the engine in its own process, the real
// edge, and endpoints of other makers.
//
// examples/README.md describes the file.
package conversation

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

// Conversation is one user's way through a flow.
type Conversation struct {
	Name string `yaml:"name"`
	// User is whom the flow token names. Without an id the token names nobody.
	User User `yaml:"user,omitempty"`
	// Token replaces the flow token, which otherwise is made for the
	// conversation. "unused" is Meta's default.
	Token string `yaml:"token,omitempty"`
	// Now is the time at which the conversation is held when it is played in
	// process; zero is the time it is. The real edge always has the real time.
	Now time.Time `yaml:"now,omitempty"`
	// Secrets name captured values that the phone must never be shown.
	Secrets []string `yaml:"secrets,omitempty"`
	Steps   []Step   `yaml:"steps"`
}

// User is the one a signed flow token names.
type User struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name,omitempty"`
}

// What a phone can do.
const (
	DoInit     = "init"     // opens the flow
	DoExchange = "exchange" // posts a payload
	DoBack     = "back"     // leaves a screen backwards
	DoPing     = "ping"     // is Meta's health check
	DoTap      = "tap"      // fills the form of the screen and taps a button
	DoReport   = "report"   // tells the endpoint that an answer was refused
	DoOpen     = "open"     // opens the flow on a screen that the message names
)

// Step is one thing the phone does, and what must come of it.
type Step struct {
	Do   string         `yaml:"do"`             // init, open, exchange, back, ping, tap or report
	From string         `yaml:"from,omitempty"` // the screen the phone is on; optional with init and tap, none with ping
	Send map[string]any `yaml:"send,omitempty"` // the payload of an exchange, the data of an open

	// Enter is what the user enters before a tap, by the names of the inputs,
	// and Button the label of what is tapped; empty is the footer.
	Enter  map[string]any `yaml:"enter,omitempty"`
	Button string         `yaml:"button,omitempty"`

	Error string `yaml:"error,omitempty"` // the error key of a report

	// Fetches are what the flow asks of upstreams during this step, in any
	// order, and what they answer. All must be asked for, and nothing else.
	Fetches []Fetch `yaml:"fetches,omitempty"`

	Shows   string         `yaml:"shows,omitempty"`   // the screen that comes
	Data    map[string]any `yaml:"data,omitempty"`    // of its data, at least this
	Exactly Members        `yaml:"exactly,omitempty"` // its data, this and nothing else
	Message string         `yaml:"message,omitempty"` // error_message; without it there must be none

	Completes Members `yaml:"completes,omitempty"` // the flow ends with exactly these params, besides flow_token
	Closes    bool    `yaml:"closes,omitempty"`    // the flow ends without a message

	// Refused is the error key under which the phone refuses the answer.
	Refused string `yaml:"refused,omitempty"`
	// Expired is the message of a 427: the flow token is no longer valid.
	Expired *string `yaml:"expired,omitempty"`
	// Invalid are the inputs at which the phone itself shows an error, so that
	// nothing is sent, and what the error says.
	Invalid map[string]any `yaml:"invalid,omitempty"`
}

// Members are those of an object of which none is something else than no object:
// completes: {} is a flow that ends with no params but its token.
type Members map[string]any

// IsZero tells YAML's omitempty so.
func (m Members) IsZero() bool { return m == nil }

// UnmarshalYAML keeps YAML from making every object inside of them Members too.
func (m *Members) UnmarshalYAML(node *yaml.Node) error {
	return node.Decode((*map[string]any)(m))
}

// Fetch is one request that an upstream gets, and its answer.
type Fetch struct {
	Upstream string `yaml:"upstream"`
	Request  string `yaml:"request"`        // method, space, path with query
	Body     any    `yaml:"body,omitempty"` // what is sent; without it anything is

	Status int           `yaml:"status,omitempty"` // 200 unless given
	Reply  any           `yaml:"reply,omitempty"`  // sent as JSON
	Delay  time.Duration `yaml:"delay,omitempty"`  // before the answer
	Down   bool          `yaml:"down,omitempty"`   // the connection is closed without an answer
	// Cached says that the edge may know the answer already, so that the
	// upstream need not be asked.
	Cached bool `yaml:"cached,omitempty"`
}

// Read decodes a file of conversations. A key it does not know is an error.
func Read(text []byte) ([]Conversation, error) {
	var file struct {
		Conversations []Conversation `yaml:"conversations"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(file.Conversations) == 0 {
		return nil, errors.New("it holds no conversation, expected a list under conversations")
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds a second YAML document, expected one")
	}
	for i := range file.Conversations {
		if err := file.Conversations[i].check(); err != nil {
			return nil, fmt.Errorf("conversation %d: %w", i+1, err)
		}
	}
	return file.Conversations, nil
}

func (c *Conversation) check() error {
	switch {
	case c.Name == "":
		return errors.New("it has no name")
	case len(c.Steps) == 0:
		return errors.New("it has no steps")
	case c.User.Name != "" && c.User.ID == "":
		return errors.New("user has a name but no id")
	case c.User.ID != "" && c.Token != "":
		return errors.New("it has user and token, expected one: a token for the user is made")
	}
	for i := range c.Steps {
		if err := c.Steps[i].check(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *Step) check() error {
	if err := s.checkDoing(); err != nil {
		return err
	}
	if err := s.checkExpectation(); err != nil {
		return err
	}
	for i := range s.Fetches {
		if err := s.Fetches[i].check(); err != nil {
			return fmt.Errorf("fetch %d: %w", i+1, err)
		}
	}
	for name, value := range map[string]map[string]any{"send": s.Send, "enter": s.Enter, "data": s.Data, "exactly": s.Exactly, "completes": s.Completes, "invalid": s.Invalid} {
		if err := checkValue(name, value); err != nil {
			return err
		}
	}
	return nil
}

// checkDoing checks what the phone does.
func (s *Step) checkDoing() error {
	switch s.Do {
	case DoInit, DoExchange, DoBack, DoPing, DoTap, DoReport, DoOpen:
	default:
		return fmt.Errorf("do is %q, expected init, open, exchange, back, ping, tap or report", s.Do)
	}
	needs := s.Do == DoExchange || s.Do == DoBack || s.Do == DoReport || s.Do == DoOpen
	switch {
	case needs && s.From == "":
		return fmt.Errorf("%s needs from, the screen the phone is on", s.Do)
	case s.Send != nil && s.Do != DoExchange && s.Do != DoOpen:
		return errors.New("send is the payload of an exchange, or the data of an open, and of nothing else")
	case (s.Enter != nil || s.Button != "") && s.Do != DoTap:
		return errors.New("enter and button belong to a tap")
	case (s.Error != "") != (s.Do == DoReport):
		return errors.New("error is the error key of a report, which needs one")
	}
	return nil
}

// checkExpectation checks what must come of it.
func (s *Step) checkExpectation() error {
	ends := 0
	for _, given := range []bool{s.Shows != "", s.Completes != nil, s.Closes, s.Refused != "", s.Expired != nil, s.Invalid != nil} {
		if given {
			ends++
		}
	}
	answered := s.Do == DoPing || s.Do == DoReport // there is one right answer
	switch {
	case s.Do == DoPing && (s.Shows != "" || s.Completes != nil || s.Closes || s.From != "" || len(s.Fetches) > 0):
		return errors.New("a ping has no screen and no end")
	case s.Do == DoReport && (s.Shows != "" || s.Completes != nil || s.Closes):
		return errors.New("a report is acknowledged, and shows nothing")
	case answered && ends > 1 || !answered && ends != 1:
		return errors.New("expected exactly one of shows, completes, closes, refused, expired and invalid")
	case s.Invalid != nil && s.Do != DoTap:
		return errors.New("invalid belongs to a tap: only there the phone checks what is entered")
	case s.Shows == "" && (s.Data != nil || s.Exactly != nil || s.Message != ""):
		return errors.New("data, exactly and message belong to shows")
	case s.Data != nil && s.Exactly != nil:
		return errors.New("it has data and exactly, expected one")
	}
	return nil
}

func (f *Fetch) check() error {
	if f.Upstream == "" {
		return errors.New("it names no upstream")
	}
	if _, _, err := SplitRequest(f.Request); err != nil {
		return err
	}
	if f.Down && (f.Status != 0 || f.Reply != nil) {
		return errors.New("an upstream that is down answers nothing: it has down beside status or reply")
	}
	if err := checkValue("body", f.Body); err != nil {
		return err
	}
	return checkValue("reply", f.Reply)
}

// checkValue refuses what has no place in JSON, above all dates that YAML reads
// as such because they have no quotes.
func checkValue(path string, value any) error {
	switch v := value.(type) {
	case nil, string, bool, int, float64:
		return nil
	case time.Time:
		return fmt.Errorf("%s is a date of YAML, expected a string: write it in quotes", path)
	case []any:
		for i, item := range v {
			if err := checkValue(fmt.Sprintf("%s[%d]", path, i), item); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for key, member := range v {
			if err := checkValue(path+"."+key, member); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("%s is %T, expected what JSON has", path, value)
	}
}

// FlowToken makes the flow token of a conversation: its own one, a signed one
// for its user that holds for an hour from now, or a random one.
func (c *Conversation) FlowToken(flowName string, secret []byte, now time.Time) (string, error) {
	switch {
	case c.Token != "":
		return c.Token, nil
	case c.User.ID == "":
		return "play-" + rand.Text(), nil
	case len(secret) == 0:
		return "", errors.New("it has a user, whom only a signed flow token can name: give the secret of flow tokens")
	}
	claims := flowtoken.Claims{Flow: flowName, User: c.User.ID, Name: c.User.Name, Expires: now.Add(time.Hour)}
	return flowtoken.Mint(secret, claims, rand.Reader)
}
