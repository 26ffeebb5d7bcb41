// Package terminal is a phone for people who sit at a terminal: each screen is
// drawn as a form, and what the user enters and taps is read line by line. A
// pipe will do as well as a keyboard.
package terminal

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

// ErrInputEnded says that there was nothing more to read before the flow ended.
var ErrInputEnded = errors.New("the input ended before the flow")

// errQuit is the user's own wish.
var errQuit = errors.New("the user left")

// maxLine bounds one line of input, in bytes: a TextArea takes 600 characters,
// and a picker a list of files.
const maxLine = 1 << 20

// Terminal is one user with one flow open.
type Terminal struct {
	Hand *handset.Handset
	In   io.Reader
	Out  io.Writer
	// Reports says that the phone tells the endpoint of each answer it refuses,
	// as the client does.
	Reports bool
	// Echo writes what was read behind its prompt, as a keyboard's terminal does
	// by itself and a pipe does not.
	Echo bool
	// Opens is how the flow is opened, as the first of the Result's Steps; without
	// anything to do in it that is init.
	Opens conversation.Step

	lines   chan typed
	asked   map[string]bool // the inputs of the screen that were asked for
	entered map[string]any  // what was entered since the screen was shown
	doing   *conversation.Step
	steps   []conversation.Step
	lost    int
}

// Result is how it ended.
type Result struct {
	Params  json.RawMessage // what goes into the chat; nil when nothing does
	Ended   bool            // the flow ended, not the user's patience
	Refused int             // how many answers the client refused
	// Steps are what was done and what came of it, as a script has it. Lost says
	// how many are not among them: a script cannot leave a screen by a choice.
	Steps []conversation.Step
	Lost  int
}

// Run plays the flow to its end. open opens it. The error is one that ends the
// run; what the client refuses is shown, and the user may try again, as on a
// phone.
func (t *Terminal) Run(ctx context.Context, open func(context.Context) (*phone.Reply, error)) (Result, error) {
	t.steps, t.lost = nil, 0
	t.Opens.Do = cmp.Or(t.Opens.Do, conversation.DoInit)
	result, err := t.run(ctx, open)
	result.Steps, result.Lost = t.steps, t.lost
	return result, err
}

func (t *Terminal) run(ctx context.Context, open func(context.Context) (*phone.Reply, error)) (Result, error) {
	done := make(chan struct{})
	defer close(done)
	t.lines = make(chan typed)
	// The end of ctx must not wait for a keyboard: what reads it is left behind
	// until it is given a line, or the process ends.
	go listen(t.In, t.lines, done)
	var result Result
	reply, err := open(ctx)
	t.doing = &t.Opens
	t.note(reply, err)
	if err != nil {
		err = t.refused(ctx, &result, flow.Init, err)
		return result, err
	}
	for !reply.Ended {
		t.asked, t.entered = map[string]bool{}, map[string]any{}
		t.draw(false)
		t.snackbar(reply)
		if reply, err = t.onScreen(ctx, &result); errors.Is(err, errQuit) {
			return result, nil
		} else if err != nil {
			return result, err
		}
	}
	result.Ended, result.Params = true, reply.Params
	if reply.Params == nil {
		t.say("The flow closes. No message goes into the chat.")
		return result, nil
	}
	t.say("The flow ends. Into the chat goes an nfm_reply with response_json:")
	t.say("  " + string(reply.Params))
	return result, nil
}

// onScreen asks for the inputs of one screen, and for what to tap then. It
// returns when a screen is shown anew.
func (t *Terminal) onScreen(ctx context.Context, result *Result) (*phone.Reply, error) {
	at := t.Hand.Screen()
	for {
		in := t.next()
		prompt := t.footerPrompt()
		if in != nil {
			prompt = in.Label + hint(in) + " > "
		}
		line, err := t.read(ctx, prompt, in != nil && hides(in))
		if err != nil {
			return nil, err
		}
		var outcome *handset.Outcome
		action := flow.DataExchange
		t.doing = nil
		switch command, isCommand := strings.CutPrefix(line, ":"); {
		case isCommand:
			if isBack(command) {
				action = flow.Back
			}
			outcome, err = t.command(ctx, command)
		case in != nil:
			outcome, err = t.enter(ctx, in, strings.TrimPrefix(line, `\`))
		default:
			outcome, err = t.tap(ctx, line)
		}
		t.note(t.cameOf(outcome, action), err)
		if t.doing == nil && t.Hand.Screen() != at {
			t.lost++
		}
		switch {
		case errors.Is(err, errQuit):
			return nil, err
		case err != nil:
			if err := t.refused(ctx, result, action, err); err != nil {
				return nil, err
			}
			continue
		case outcome == nil:
			continue
		case outcome.URL != "":
			t.say("The phone opens " + outcome.URL)
			continue
		}
		switch reply := outcome.Reply; {
		case reply == nil && action == flow.Back: // to the screen before, as it was left
			return &phone.Reply{}, nil
		case reply == nil: // only data changed
		case reply.Ended || t.Hand.Screen() != at || in == nil:
			return reply, nil
		default: // the same screen, in the middle of being filled in
			t.draw(false)
			t.snackbar(reply)
		}
	}
}

// cameOf is what an action came to in the form of an answer, nil if nothing did.
func (t *Terminal) cameOf(outcome *handset.Outcome, action flow.Action) *phone.Reply {
	switch s := t.Hand.Screen(); {
	case outcome == nil:
		return nil
	case outcome.Reply == nil && action == flow.Back && s != nil: // to the screen before, as it was left
		return &phone.Reply{Screen: s.ID}
	}
	return outcome.Reply
}

// note takes down what was done, if a script can say it.
func (t *Terminal) note(reply *phone.Reply, err error) {
	if t.doing != nil && t.doing.Came(reply, err) {
		t.steps = append(t.steps, *t.doing)
	}
}

// taps says that something is tapped now, after what was entered; empty is the
// footer.
func (t *Terminal) taps(button string) {
	t.doing = &conversation.Step{Do: conversation.DoTap, From: t.Hand.Screen().ID, Enter: maps.Clone(t.entered), Button: button}
}

func isBack(command string) bool {
	name, _, _ := strings.Cut(command, " ")
	return name == "back" || name == "b"
}

// next is the input to ask for: the first that is visible, can be filled in and
// was not asked for.
func (t *Terminal) next() *screen.Input {
	for _, item := range t.Hand.Screen().Items() {
		if in := item.Input; in != nil && in.Enabled && !t.asked[in.Name] {
			return in
		}
	}
	return nil
}

// typed is one line, or why there is none.
type typed struct {
	line string
	err  error
}

// listen reads lines until there are no more, or nobody wants them.
func listen(in io.Reader, lines chan<- typed, done <-chan struct{}) {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	for {
		next := typed{err: ErrInputEnded}
		if scanner.Scan() {
			next = typed{line: strings.TrimRight(scanner.Text(), "\r")}
		} else if err := scanner.Err(); err != nil {
			next.err = fmt.Errorf("reading the input: %w", err)
		}
		select {
		case lines <- next:
		case <-done:
			return
		}
		if next.err != nil {
			return
		}
	}
}

// read reads one line behind a prompt.
func (t *Terminal) read(ctx context.Context, prompt string, hidden bool) (string, error) {
	fmt.Fprint(t.Out, Printable(prompt))
	var next typed
	select {
	case next = <-t.lines:
	case <-ctx.Done():
		next.err = context.Cause(ctx)
	}
	if next.err != nil {
		fmt.Fprintln(t.Out)
		return "", next.err
	}
	line := next.line
	switch {
	case t.Echo && hidden:
		fmt.Fprintln(t.Out, masked(line))
	case t.Echo:
		fmt.Fprintln(t.Out, Printable(line))
	}
	return line, nil
}

func (t *Terminal) say(line string) { fmt.Fprintln(t.Out, Printable(line)) }

func (t *Terminal) snackbar(reply *phone.Reply) {
	if reply.ErrorMessage != "" {
		t.say("  (!) " + reply.ErrorMessage)
	}
}

func (t *Terminal) enter(ctx context.Context, in *screen.Input, line string) (*handset.Outcome, error) {
	if line == "" { // as it is
		t.asked[in.Name] = true
		return nil, nil
	}
	value, err := Parse(in, line)
	if err != nil {
		t.say("  ! " + err.Error())
		return nil, nil
	}
	t.asked[in.Name] = true
	outcome, err := t.Hand.Enter(ctx, in.Name, value)
	if _, ok := errors.AsType[*handset.InvalidError](err); ok {
		delete(t.asked, in.Name)
		return nil, err
	}
	t.entered[in.Name] = value // whatever the endpoint said to it
	if err != nil {
		return nil, err
	}
	return outcome, nil
}

// tap taps the footer, or the entry of a NavigationList with that number, or
// asks again for the input with that number.
func (t *Terminal) tap(ctx context.Context, line string) (*handset.Outcome, error) {
	line = strings.TrimSpace(line)
	n, err := strconv.Atoi(line)
	if line != "" && err != nil {
		t.say("  ! Enter taps the button, a number goes to that line; :help tells more")
		return nil, nil
	}
	if line == "" {
		t.taps("")
		outcome, err := t.Hand.Tap(ctx, "")
		return outcome, t.orSay(err)
	}
	return t.pick(ctx, n)
}

// pick goes to what stands there under a number.
func (t *Terminal) pick(ctx context.Context, n int) (*handset.Outcome, error) {
	i := 0
	for _, item := range t.Hand.Screen().Items() {
		if item.Input != nil {
			if i++; i == n {
				delete(t.asked, item.Input.Name)
				return nil, nil
			}
		}
		for _, entry := range item.Entries {
			if i++; i == n && entry.Tap != nil {
				t.taps(cmp.Or(entry.ID, entry.Title))
				return t.Hand.Run(ctx, entry.Tap)
			}
		}
		if item.Input == nil && item.Tap != nil && item.Type == "EmbeddedLink" {
			if i++; i == n {
				t.taps(item.Text)
				return t.Hand.Run(ctx, item.Tap)
			}
		}
	}
	t.say(fmt.Sprintf("  ! there is no line %d", n))
	return nil, nil
}

const help = `  Enter        leaves an input as it is; after the last one it taps the button
  1            for choices: the number or the id of an option, several with commas;
               =1 is the id 1
  -            empties a choice or a date
  :back        goes back          :tap TEXT  taps a button, link or entry
  :edit 2      goes to line 2     :draw      shows the screen again (:draw all with
                                             all options)
  :quit        closes the flow    \:text     enters a text that begins with a colon`

func (t *Terminal) command(ctx context.Context, command string) (*handset.Outcome, error) {
	name, argument, _ := strings.Cut(command, " ")
	argument = strings.TrimSpace(argument)
	switch name {
	case "quit", "q":
		return nil, errQuit
	case "back", "b":
		t.doing = &conversation.Step{Do: conversation.DoBack, From: t.Hand.Screen().ID}
		outcome, err := t.Hand.Back(ctx)
		return outcome, t.orSay(err)
	case "tap", "t":
		t.taps(argument)
		outcome, err := t.Hand.Tap(ctx, argument)
		return outcome, t.orSay(err)
	case "edit", "e":
		if n, err := strconv.Atoi(argument); err == nil {
			return t.pick(ctx, n)
		}
		delete(t.asked, argument)
	case "draw", "d":
		t.draw(argument == "all")
	default:
		fmt.Fprintln(t.Out, help)
	}
	return nil, nil
}

// orSay says what is only the user's mistake, and passes on what the phone says.
func (t *Terminal) orSay(err error) error {
	_, refused := errors.AsType[*phone.RefusalError](err)
	_, dead := errors.AsType[*phone.TokenError](err)
	_, invalid := errors.AsType[*handset.InvalidError](err)
	if err == nil || refused || dead || invalid {
		return err
	}
	t.say("  ! " + err.Error())
	return nil
}

// refused shows why the phone goes no further. It returns the error when that is
// the end of it.
func (t *Terminal) refused(ctx context.Context, result *Result, action flow.Action, err error) error {
	if invalid, ok := errors.AsType[*handset.InvalidError](err); ok {
		for _, name := range slices.Sorted(maps.Keys(invalid.Inputs)) {
			t.say("  ! " + name + ": " + invalid.Inputs[name])
			delete(t.asked, name)
		}
		return nil
	}
	refusal, ok := errors.AsType[*phone.RefusalError](err)
	if !ok {
		return err
	}
	result.Refused++
	t.say("  x The phone refuses the answer (" + refusal.Key + "): " + refusal.Reason)
	if t.Reports && refusal.Reported() {
		from := ""
		if s := t.Hand.Screen(); s != nil {
			from = s.ID
		}
		if _, err := t.Hand.Phone.Report(ctx, action, from, refusal); err != nil {
			t.say("  x The endpoint did not acknowledge the phone's report: " + err.Error())
		} else {
			t.say("    The phone has told the endpoint so.")
		}
	}
	if t.Hand.Screen() == nil || ctx.Err() != nil {
		return err
	}
	t.say("    The user sees that something went wrong, and may try again.")
	return nil
}
