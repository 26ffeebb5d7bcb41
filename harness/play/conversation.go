// Package play plays recorded conversations with a flow: what the user does,
// what the phone must show then, and what the flow asks of other systems
// meanwhile. The same file is played against the engine in this process and,
// by the end-to-end tests, against the real edge.
//
// examples/README.md describes the file.
package play

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

// Conversation is one user's way through a flow.
type Conversation struct {
	Name string `yaml:"name"`
	// User is whom the flow token names. Without an id the token names nobody.
	User User `yaml:"user"`
	// Token replaces the flow token, which otherwise is made for the
	// conversation. "unused" is Meta's default.
	Token string `yaml:"token"`
	// Now is the time at which the conversation is held when it is played in
	// process; zero is the time it is. The real edge always has the real time.
	Now time.Time `yaml:"now"`
	// Secrets name captured values that the phone must never be shown.
	Secrets []string `yaml:"secrets"`
	Steps   []Step   `yaml:"steps"`
}

// User is the one a signed flow token names.
type User struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

// What a phone can do.
const (
	doInit     = "init"
	doExchange = "exchange"
	doBack     = "back"
	doPing     = "ping"
)

// Step is one thing the phone does, and what must come of it.
type Step struct {
	Do   string         `yaml:"do"`   // init, exchange, back or ping
	From string         `yaml:"from"` // the screen the phone is on; optional with init, none with ping
	Send map[string]any `yaml:"send"` // the payload of an exchange

	// Fetches are what the flow asks of upstreams during this step, in any
	// order, and what they answer. All must be asked for, and nothing else.
	Fetches []Fetch `yaml:"fetches"`

	Shows   string         `yaml:"shows"`   // the screen that comes
	Data    map[string]any `yaml:"data"`    // of its data, at least this
	Exactly map[string]any `yaml:"exactly"` // its data, this and nothing else
	Message string         `yaml:"message"` // error_message; without it there must be none

	Completes map[string]any `yaml:"completes"` // the flow ends with exactly these params, besides flow_token
	Closes    bool           `yaml:"closes"`    // the flow ends without a message
}

// Fetch is one request that an upstream gets, and its answer.
type Fetch struct {
	Upstream string `yaml:"upstream"`
	Request  string `yaml:"request"` // method, space, path with query
	Body     any    `yaml:"body"`    // what is sent; without it anything is

	Status int           `yaml:"status"` // 200 unless given
	Reply  any           `yaml:"reply"`  // sent as JSON
	Delay  time.Duration `yaml:"delay"`  // before the answer
	Down   bool          `yaml:"down"`   // the connection is closed without an answer
	// Cached says that the edge may know the answer already, so that the
	// upstream need not be asked.
	Cached bool `yaml:"cached"`
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
	switch s.Do {
	case doInit, doExchange, doBack, doPing:
	default:
		return fmt.Errorf("do is %q, expected init, exchange, back or ping", s.Do)
	}
	if needs := s.Do == doExchange || s.Do == doBack; needs && s.From == "" {
		return fmt.Errorf("%s needs from, the screen the phone is on", s.Do)
	}
	if s.Send != nil && s.Do != doExchange {
		return errors.New("send is the payload of an exchange and of nothing else")
	}
	ends := 0
	for _, given := range []bool{s.Shows != "", s.Completes != nil, s.Closes} {
		if given {
			ends++
		}
	}
	switch {
	case s.Do == doPing && (ends > 0 || s.From != "" || len(s.Fetches) > 0):
		return errors.New("a ping has no screen and no end")
	case s.Do != doPing && ends != 1:
		return errors.New("expected exactly one of shows, completes and closes")
	case s.Shows == "" && (s.Data != nil || s.Exactly != nil || s.Message != ""):
		return errors.New("data, exactly and message belong to shows")
	case s.Data != nil && s.Exactly != nil:
		return errors.New("it has data and exactly, expected one")
	}
	for i := range s.Fetches {
		if err := s.Fetches[i].check(); err != nil {
			return fmt.Errorf("fetch %d: %w", i+1, err)
		}
	}
	for name, value := range map[string]any{"send": s.Send, "data": s.Data, "exactly": s.Exactly, "completes": s.Completes} {
		if err := checkValue(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fetch) check() error {
	if f.Upstream == "" {
		return errors.New("it names no upstream")
	}
	if _, _, err := splitRequest(f.Request); err != nil {
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
