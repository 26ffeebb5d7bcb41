// Package simulate is what `caddy whatsapp-flows simulate` and `record` do: it
// reads the operator's files and environment, and gives a phone of shared/phone
// an endpoint to talk to.
package simulate

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// The exit codes of the commands.
const (
	Passed  = 0 // everything went as expected
	Failed  = 1 // something did not
	Misused = 2 // it could not begin: a file, a flag or a variable is wrong
)

// Options are the flags of the command.
type Options struct {
	Flow      string // a directory with flow.json, or a flow.json
	Endpoint  string
	PublicKey string
	Script    string
	CA        string // more certificate authorities, a PEM file
	Timeout   time.Duration

	AppSecretFile   string // else META_APP_SECRET
	TokenSecretFile string // else FLOW_TOKEN_SECRET

	Report bool
	JUnit  string
	JSON   bool
	Quiet  bool

	Webhook        string
	WebhookCopies  int
	WebhookDelay   time.Duration
	WebhookShuffle bool
	WABA           string
	PhoneNumberID  string
	From           string
	UserID         string

	Token    string // of the interactive phone
	UserName string
	Screen   string // opens with navigate on it
	Data     string // what the message carries then
	Save     string // a file for what was done, as a script

	Users    int
	Rate     float64
	Duration time.Duration
}

// World is what the command may touch beside its options.
type World struct {
	In       io.Reader
	Out, Err io.Writer
	Env      setting.Source
	Now      func() time.Time
	// Pause waits for requests and webhooks that are not due yet; nil waits in
	// real time.
	Pause    func(context.Context, time.Duration) error
	Terminal bool // a person reads Err, so that a line may be written over
	Echo     bool // In is no keyboard, whose terminal shows what is typed
}

// subject is what a run is about: the flow, and how a phone reaches the endpoint.
type subject struct {
	Options
	World
	progressTo  io.Writer // World.Err as it was, for a line that is written over
	name        string
	definition  *flow.Definition
	screens     *screen.Flow
	key         atomic.Pointer[rsa.PublicKey] // as it was read last
	appSecret   []byte
	tokenSecret []byte
	transport   *transport
}

// Run runs the command and returns its exit code. What went wrong has been
// written by then.
func Run(ctx context.Context, o Options, w World) int {
	out, progress := w.Out, w.Err
	w.Out, w.Err = people{w.Out}, people{w.Err}
	if o.JSON {
		w.Out = programs{out}
	}
	if w.Pause == nil {
		w.Pause = pause
	}
	s, err := prepare(o, w)
	if err != nil {
		fmt.Fprintln(w.Err, "simulate:", err)
		return Misused
	}
	s.progressTo = progress
	defer s.transport.close()
	switch {
	case o.isLoad():
		return s.load(ctx)
	case o.Script != "":
		return s.script(ctx)
	default:
		return s.interactive(ctx)
	}
}

// prepare reads everything that is needed, so that what is wrong is said before
// anything is sent.
func prepare(o Options, w World) (*subject, error) {
	s := &subject{Options: o, World: w}
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := s.readFlow(); err != nil {
		return nil, err
	}
	if err := checkURL("--endpoint", o.Endpoint); err != nil {
		return nil, err
	}
	switch hasEndpoint := s.definition.Flow().DataAPIVersion != ""; {
	case o.Endpoint == "" && hasEndpoint:
		return nil, errors.New("no --endpoint, and the flow has one: give the URL that WhatsApp is to call")
	case o.Endpoint == "" && o.isLoad():
		return nil, errors.New("no --endpoint: there is nothing to put a load on")
	}
	if o.Webhook != "" {
		if err := checkURL("--webhook", o.Webhook); err != nil {
			return nil, err
		}
	}
	if o.Endpoint != "" {
		if o.PublicKey == "" {
			return nil, errors.New("no --public-key: give the file of the public key that was uploaded to Meta; a phone needs no other")
		}
		if _, err := s.readKey(context.Background()); err != nil {
			return nil, err
		}
	}
	var err error
	if s.appSecret, err = s.secret("--app-secret-file", o.AppSecretFile, "META_APP_SECRET"); err != nil {
		return nil, err
	}
	if len(s.appSecret) == 0 && (o.Endpoint != "" || o.Webhook != "") {
		fmt.Fprintln(w.Err, "warning: no app secret (META_APP_SECRET, META_APP_SECRET_FILE or --app-secret-file), so nothing is signed, and an endpoint that checks signatures answers 432")
	}
	if s.tokenSecret, err = s.secret("--token-secret-file", o.TokenSecretFile, "FLOW_TOKEN_SECRET"); err != nil {
		return nil, err
	}
	if s.transport, err = newTransport(o.CA, max(64, o.Users)); err != nil {
		return nil, err
	}
	return s, nil
}

func checkURL(flag, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s is %q, expected a URL such as https://flows.example.com/flows/endpoint/csat", flag, value)
	}
	return nil
}

// readFlow reads a directory with flow.json and the logic beside it, or a file.
// The logic is the endpoint's affair: it need not be there.
func (s *subject) readFlow() error {
	path := s.Flow
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("FLOW: %w", err)
	}
	dir := path
	if info.IsDir() {
		path = filepath.Join(path, "flow.json")
	} else {
		dir = filepath.Dir(path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("FLOW: %w; expected a directory with flow.json, or the file itself", err)
	}
	if s.definition, err = flow.Load(text, nil); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	s.name = filepath.Base(dir)
	if base := filepath.Base(path); base != "flow.json" {
		s.name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	s.screens = screen.Load(s.definition)
	return nil
}

// readKey reads the public key; after a 421 it is read again, as a phone asks
// WhatsApp for it again. Phones that come later have the one that was read last.
func (s *subject) readKey(context.Context) (*rsa.PublicKey, error) {
	text, err := os.ReadFile(s.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("--public-key: %w", err)
	}
	key, err := flowcrypto.ReadPublicKey(text)
	if err == nil {
		err = flowcrypto.CheckPublicKey(key)
	}
	if err != nil {
		return nil, fmt.Errorf("--public-key %s: %w", s.PublicKey, err)
	}
	if old := s.key.Load(); old != nil && key.Equal(old) {
		return old, nil // for which AES keys may be wrapped already
	}
	s.key.Store(key)
	return key, nil
}

// secret reads a secret from the file of a flag, else from the environment.
func (s *subject) secret(flag, file, variable string) ([]byte, error) {
	if file == "" {
		value, _, err := s.Env.Lookup(variable)
		// Current first: the others are only for checking.
		first, _, _ := strings.Cut(strings.ReplaceAll(value, "\n", ","), ",")
		return []byte(strings.TrimSpace(first)), err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, fmt.Errorf("%s: %s is empty", flag, file)
	}
	return text, nil
}

func (s *subject) newPhone(token string) *phone.Phone {
	p := &phone.Phone{
		PublicKey: s.key.Load(), AppSecret: s.appSecret, Token: token, Flow: s.definition,
		Send: s.transport.to(s.Endpoint), KeySource: s.readKey, Timeout: s.Timeout, Pause: s.Pause,
	}
	if s.Endpoint == "" { // a flow that asks nobody; a script may think otherwise
		p.Before = func(context.Context) error {
			return errors.New("the flow has no endpoint that could be asked: open it with `do: open`, go on with `do: tap`")
		}
	}
	return p
}

// postman delivers webhooks as the flags say; nil without --webhook.
func (s *subject) postman() *phone.Postman {
	if s.Webhook == "" {
		return nil
	}
	p := &phone.Postman{
		Send: s.transport.to(s.Webhook), AppSecret: s.appSecret, Copies: s.WebhookCopies, Delay: s.WebhookDelay,
		Timeout: s.Timeout, Clock: s.Now, Pause: s.Pause,
		From: phone.Completion{WABA: s.WABA, PhoneNumberID: s.PhoneNumberID, DisplayPhone: s.PhoneNumberID, Phone: s.From, UserID: s.UserID, Name: s.UserName},
	}
	if s.WebhookShuffle {
		p.Shuffle = mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64()))
	}
	return p
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readScript reads the conversations of --script.
func (s *subject) readScript() ([]conversation.Conversation, error) {
	text, err := os.ReadFile(s.Script)
	if err != nil {
		return nil, fmt.Errorf("--script: %w", err)
	}
	conversations, err := conversation.Read(text)
	if err != nil {
		return nil, fmt.Errorf("--script %s: %w", s.Script, err)
	}
	return conversations, nil
}

// script holds the conversations of a file and reports.
func (s *subject) script(ctx context.Context) int {
	conversations, err := s.readScript()
	if err != nil {
		fmt.Fprintln(s.Err, "simulate:", err)
		return Misused
	}
	runner := &conversation.Runner{
		Flow: s.name, Screens: s.screens, NewPhone: s.newPhone, TokenSecret: s.tokenSecret, Clock: s.Now,
		Reports: s.Report, Postman: s.postman(),
	}
	lines := s.Out
	if s.JSON {
		lines = io.Discard
	}
	if runner.Postman != nil {
		runner.Postman.Sent = func(sent phone.Sending) { sayWebhook(lines, sent) }
	}
	runner.Begins = func(c conversation.Conversation) { fmt.Fprintf(lines, "%s: %s\n", s.name, c.Name) }
	runner.Say = func(said conversation.Said) { sayStep(lines, said, s.Quiet) }
	report := runner.Run(ctx, conversations)
	if err := s.write(report); err != nil {
		fmt.Fprintln(s.Err, "simulate:", err)
		return Misused
	}
	if report.Err != nil {
		fmt.Fprintln(s.Err, "simulate:", report.Err)
	}
	if failed := report.Failed(); failed > 0 {
		fmt.Fprintf(lines, "%d of %d conversations failed.\n", failed, len(report.Held))
	} else if report.Err == nil {
		fmt.Fprintf(lines, "%d conversations went as expected.\n", len(report.Held))
	}
	if !report.Passed() {
		return Failed
	}
	return Passed
}

func sayStep(w io.Writer, said conversation.Said, quiet bool) {
	fmt.Fprintf(w, "%4d  %-8s %-14s %7.1f ms", said.Number, said.Step.Do, said.Step.From, float64(said.Took.Microseconds())/1000)
	if said.Sent != nil && !quiet {
		fmt.Fprintf(w, "  %s", conversation.Compact(said.Sent))
	}
	fmt.Fprintln(w)
	if said.Answer != nil && !quiet {
		fmt.Fprintf(w, "      %s\n", said.Answer)
	}
	if said.Err != nil {
		fmt.Fprintf(w, "      FAILED (%s): %v\n", conversation.ErrorKey(said.Err), said.Err)
	}
}

func sayWebhook(w io.Writer, sent phone.Sending) {
	what := fmt.Sprintf("status %d", sent.Status)
	if sent.Err != nil {
		what = "FAILED: " + sent.Err.Error()
	}
	fmt.Fprintf(w, "      webhook %.24s…, copy %d: %s\n", sent.MessageID, sent.Copy, what)
}

// write writes the reports that were asked for.
func (s *subject) write(report *conversation.Report) error {
	if s.JUnit != "" {
		var b bytes.Buffer
		if err := report.WriteJUnit(&b); err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
		if err := os.WriteFile(s.JUnit, hideTokens(b.Bytes()), 0o644); err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	if s.JSON {
		return report.WriteJSON(s.Out)
	}
	return nil
}

// messageData is the data that the message carries, of --data.
func (s *subject) messageData() (map[string]any, error) {
	if s.Data == "" {
		return map[string]any{}, nil
	}
	var data map[string]any
	if err := json.Unmarshal([]byte(s.Data), &data); err != nil || data == nil {
		return nil, errors.New(`--data is no JSON object, expected one such as {"name":"Ann"}`)
	}
	return data, nil
}
