// Package terminal is a phone for people who sit at a terminal: each screen is
// drawn as a form, and what the user enters and taps is read line by line. A
// pipe will do as well as a keyboard.
package terminal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

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

	lines chan typed
	asked map[string]bool // the inputs of the screen that were asked for
}

// Result is how it ended.
type Result struct {
	Params  json.RawMessage // what goes into the chat; nil when nothing does
	Ended   bool            // the flow ended, not the user's patience
	Refused int             // how many answers the client refused
}

// Run plays the flow to its end. open opens it. The error is one that ends the
// run; what the client refuses is shown, and the user may try again, as on a
// phone.
func (t *Terminal) Run(ctx context.Context, open func(context.Context) (*phone.Reply, error)) (Result, error) {
	done := make(chan struct{})
	defer close(done)
	t.lines = make(chan typed)
	// The end of ctx must not wait for a keyboard: what reads it is left behind
	// until it is given a line, or the process ends.
	go listen(t.In, t.lines, done)
	var result Result
	reply, err := open(ctx)
	if err != nil {
		err = t.refused(ctx, &result, flow.Init, err)
		return result, err
	}
	for !reply.Ended {
		t.asked = map[string]bool{}
		t.draw()
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
		switch command, isCommand := strings.CutPrefix(line, ":"); {
		case isCommand:
			if strings.HasPrefix(command, "back") {
				action = flow.Back
			}
			outcome, err = t.command(ctx, command)
		case in != nil:
			outcome, err = t.enter(ctx, in, strings.TrimPrefix(line, `\`))
		default:
			outcome, err = t.tap(ctx, line)
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
			t.draw()
			t.snackbar(reply)
		}
	}
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
	fmt.Fprint(t.Out, printable(prompt))
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
		fmt.Fprintln(t.Out, printable(line))
	}
	return line, nil
}

func (t *Terminal) say(line string) { fmt.Fprintln(t.Out, printable(line)) }

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
	if err != nil {
		if _, ok := errors.AsType[*handset.InvalidError](err); ok {
			delete(t.asked, in.Name)
		}
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
				return t.Hand.Run(ctx, entry.Tap)
			}
		}
		if item.Input == nil && item.Tap != nil && item.Type == "EmbeddedLink" {
			if i++; i == n {
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
  :edit 2      goes to line 2     :draw      shows the screen again
  :quit        closes the flow    \:text     enters a text that begins with a colon`

func (t *Terminal) command(ctx context.Context, command string) (*handset.Outcome, error) {
	name, argument, _ := strings.Cut(command, " ")
	argument = strings.TrimSpace(argument)
	switch name {
	case "quit", "q":
		return nil, errQuit
	case "back", "b":
		outcome, err := t.Hand.Back(ctx)
		return outcome, t.orSay(err)
	case "tap", "t":
		outcome, err := t.Hand.Tap(ctx, argument)
		return outcome, t.orSay(err)
	case "edit", "e":
		if n, err := strconv.Atoi(argument); err == nil {
			return t.pick(ctx, n)
		}
		delete(t.asked, argument)
	case "draw", "d":
		t.draw()
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
