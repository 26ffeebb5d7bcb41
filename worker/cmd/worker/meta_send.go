package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/meta"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type metaSend struct {
	metaFlags
	Flow string `arg:"" help:"The flow: by its name, or by its id at Meta."`
	To   string `required:"" placeholder:"NUMBER" help:"Phone number with country code, such as +4915112345678, or business-scoped user id."`
	From string `placeholder:"ID" help:"Phone number id to send from. Default META_PHONE_NUMBER_ID."`
	Dir  string `type:"existingdir" placeholder:"DIR" help:"Folder of flows whose lock file says which flow it is at Meta."`
	Env  string `default:"production" help:"Environment of that lock file."`

	Header string `help:"Text above."`
	Body   string `default:"Please fill in this form." help:"Text of the message."`
	Footer string `help:"Text below."`
	CTA    string `name:"cta" default:"Open" help:"Text of the button."`

	Template string   `placeholder:"NAME" help:"Send this template instead, which may be sent at any time: its button opens the flow."`
	Language string   `placeholder:"en_US" help:"Language of the template."`
	Param    []string `sep:"none" help:"Parameter of the template's body; repeat it, in order."`
	Button   int      `help:"Index of the template's flow button, from 0."`

	User    string        `help:"Who this is to your systems: user.id in logic.yaml. Default: the recipient, as webhooks name it."`
	Name    string        `help:"What to call the user: user.name in logic.yaml."`
	Expires time.Duration `default:"72h" help:"How long the token is valid. Meta advises 2 to 3 days."`

	Action string `enum:"auto,data_exchange,navigate" default:"auto" help:"How the flow opens: auto, data_exchange (the endpoint is asked for the first screen) or navigate (the message names it)."`
	Screen string `help:"First screen, with navigate."`
	Data   string `placeholder:"JSON" help:"Data of the first screen, with navigate: an object. -: from the standard input."`
	Draft  bool   `help:"Send a flow that is not published, to numbers that may test it."`
	DryRun bool   `help:"Only say what would be sent."`
}

// longestToken bounds --expires.
const longestToken = 30 * 24 * time.Hour

// sending is what is sent, for people and for programs. The token is not in it:
// whoever has it is the user.
type sending struct {
	Message  string `json:"message_id,omitempty"`
	Flow     string `json:"flow"`      // the name that the token carries; empty: none
	Name     string `json:"flow_name"` // at Meta
	FlowID   string `json:"flow_id"`
	Action   string `json:"flow_action,omitempty"` // of a template it stands in the template
	Screen   string `json:"screen,omitempty"`
	Template string `json:"template,omitempty"`
	Signed   bool   `json:"signed_token"`
	Expires  string `json:"expires,omitempty"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

// Run sends a message.
func (c metaSend) Run(p *process) error {
	if err := c.check(); err != nil {
		return err
	}
	recipient, err := graph.RecipientID(c.To)
	if err != nil {
		return err
	}
	c.To = recipient
	data, err := c.data(p)
	if err != nil {
		return err
	}
	secret, err := settings.ReadFlowTokenSecret(p.source)
	if err != nil {
		return err
	}
	return c.withMeta(p, func(s *metaSession) error {
		from, err := s.set.Phone(c.From)
		if err != nil {
			return err
		}
		f, name, err := c.find(s)
		if err != nil {
			return err
		}
		switch f.Status {
		case graph.Deprecated:
			return fmt.Errorf("the flow %s is deprecated, which is for good: send another one", f.ID)
		case graph.Blocked:
			return fmt.Errorf("the flow %s is blocked, because its endpoint failed too often: `worker meta health` says more", f.ID)
		}
		out := sending{Flow: name, Name: f.Name, FlowID: f.ID, Signed: len(secret) > 0, DryRun: c.DryRun}
		if c.Template != "" {
			out.Template = c.Template + " (" + c.Language + ")"
		} else {
			opening := meta.Opening{Screen: c.Screen, Data: data}
			if c.Action != "auto" {
				opening.Action = c.Action
			}
			if opening, err = meta.Open(s.ctx, s.graph, f, opening); err != nil {
				return err
			}
			out.Action, out.Screen, data = opening.Action, opening.Screen, opening.Data
		}
		token, expires, err := c.token(secret, name)
		if err != nil {
			return err
		}
		if out.Signed {
			out.Expires = expires.UTC().Format(time.RFC3339)
		}
		if !c.DryRun {
			if out.Message, err = c.send(s, from, f.ID, token, out, data); err != nil {
				return c.explain(err, f)
			}
		}
		return c.print(p, f, out)
	})
}

func (c metaSend) check() error {
	switch {
	case c.Template == "" && (c.Language != "" || len(c.Param) > 0 || c.Button != 0):
		return errors.New("--language, --param and --button belong to --template")
	case c.Template != "" && c.Language == "":
		return errors.New("--template needs --language, such as en_US")
	case c.Template != "" && (c.Action != "auto" || c.Screen != "" || c.Draft):
		return errors.New("--action, --screen and --draft are not for --template: the template itself says how the flow opens")
	case c.Button < 0 || c.Button > 9:
		return fmt.Errorf("--button is %d, expected 0 to 9", c.Button)
	case c.Expires < time.Minute || c.Expires > longestToken:
		return fmt.Errorf("--expires is %s, expected 1m to 720h", c.Expires)
	}
	return nil
}

func (c metaSend) data(p *process) (map[string]json.RawMessage, error) {
	text := []byte(c.Data)
	if c.Data == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(p.input(), 1<<20)); err != nil {
			return nil, fmt.Errorf("reading the standard input: %w", err)
		}
	}
	if len(text) == 0 {
		return nil, nil
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(text, &data); err != nil || data == nil {
		return nil, errors.New(`--data is no JSON object, expected one such as {"greeting":"Hello"}`)
	}
	return data, nil
}

// find is the flow at Meta, and its name as the edge knows it, which the token
// carries.
func (c metaSend) find(s *metaSession) (f *graph.Flow, name string, err error) {
	if c.Dir != "" {
		var id string
		if id, err = lockedFlow(c.Dir, c.Env, s.account, c.Flow); err != nil {
			return nil, "", err
		}
		f, err = s.graph.Flow(s.ctx, id)
	} else {
		f, err = meta.FindFlow(s.ctx, s.graph, s.account, c.Flow)
	}
	if err != nil {
		return nil, "", err
	}
	name = meta.EndpointName(f.EndpointURI)
	switch {
	case name != "": // what the edge takes for the name, whatever else it is called
	case c.Dir != "":
		name = c.Flow
	case f.DataAPIVersion == "" && strings.Trim(c.Flow, "0123456789") != "":
		name = c.Flow // no edge will see it
	}
	return f, name, nil
}

// token is a signed one or, without a secret, one that nobody can guess.
func (c metaSend) token(secret []byte, name string) (string, time.Time, error) {
	expires := time.Now().Add(c.Expires)
	if len(secret) == 0 {
		return "ft-" + rand.Text(), expires, nil
	}
	claims := flowtoken.Claims{Flow: name, User: c.User, Name: c.Name, Expires: expires, Version: c.version()}
	if c.Account != "default" { // a single account may be called otherwise at the edge
		claims.Account = c.Account
	}
	if claims.User == "" {
		claims.User = c.To
	}
	token, err := flowtoken.Mint(secret, claims, rand.Reader)
	return token, expires, err
}

// version is the hash of the definition, by which the edge finds it when the
// message is opened; empty without a folder.
func (c metaSend) version() string {
	if c.Dir == "" {
		return ""
	}
	folder := filepath.Join(c.Dir, c.Flow)
	text, err := os.ReadFile(filepath.Join(folder, "flow.json"))
	var rules []byte
	switch {
	case errors.Is(err, fs.ErrNotExist): // a flow that is one file has no logic
		text, err = os.ReadFile(folder + ".json")
	case err == nil:
		rules, _, err = flow.ReadLogic(os.DirFS(folder), ".")
	}
	if err != nil {
		return "" // flows load says what is wrong with it
	}
	_, hash, err := flow.EncodeDocument(text, rules)
	if err != nil {
		return ""
	}
	return hash
}

func (c metaSend) send(s *metaSession, from, flowID, token string, out sending, data map[string]json.RawMessage) (string, error) {
	if c.Template != "" {
		return s.graph.SendTemplate(s.ctx, from, graph.TemplateMessage{To: c.To, Name: c.Template, Language: c.Language, Body: c.Param, Button: c.Button, Token: token, Data: data})
	}
	return s.graph.SendFlow(s.ctx, from, graph.FlowMessage{To: c.To, Header: c.Header, Body: c.Body, Footer: c.Footer, CTA: c.CTA,
		FlowID: flowID, Token: token, Draft: c.Draft, Action: out.Action, Screen: out.Screen, Data: data})
}

// explain adds what the flow's status has to do with a refusal.
func (c metaSend) explain(err error, f *graph.Flow) error {
	var refused *graph.Error
	switch {
	case !errors.As(err, &refused):
		return err
	case f.Status == graph.Draft && !c.Draft:
		return fmt.Errorf("the flow is a draft: publish it, or send it to a test number with --draft: %w", err)
	case f.Status != graph.Draft && c.Draft:
		return fmt.Errorf("the flow is %s, no draft: send it without --draft: %w", f.Status, err)
	}
	return err
}

func (c metaSend) print(p *process, f *graph.Flow, out sending) error {
	if c.JSON {
		return writeJSON(p.stdout, out)
	}
	what := "sent " + out.Message
	if c.DryRun {
		what = "would send"
	}
	opens := out.Action
	if out.Screen != "" {
		opens += " to " + out.Screen
	}
	if out.Template != "" {
		opens = "template " + out.Template
	}
	token := "not signed, since FLOW_TOKEN_SECRET is not set: it does not expire, and names no user"
	if out.Signed {
		token = "signed, valid until " + out.Expires
	}
	if err := said(p, nil, "%s\n  flow   %s %s (%s)\n  opens  with %s\n  token  %s\n", what, plain(cmp.Or(out.Flow, out.Name)), f.ID, plain(f.Status), plain(opens), token); err != nil {
		return err
	}
	if out.Signed && out.Flow == "" {
		if err := said(p, nil, "  note: the token is good for any flow: the end of the endpoint's path does not say what the edge calls this one; --dir does\n"); err != nil {
			return err
		}
	}
	if f.Status == graph.Throttled {
		return said(p, nil, "  note: the flow is throttled to 10 messages an hour: `worker meta health` says why\n")
	}
	return nil
}
