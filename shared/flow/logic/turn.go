package logic

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxVars bounds, in bytes, what a session remembers by `set`: it is written
// at every step.
const maxVars = 16 << 10

// Answers of the usual size are read anew each time an expression asks, larger
// ones once in a turn, and of those no more than maxRead bytes together: a
// request of megabytes would else be read in every round of a loop.
const (
	usualAnswer = 256
	maxRead     = 1 << 20
)

// Inputs are what the expressions of one turn may ask for.
type Inputs struct {
	Now            time.Time
	Fetch          Fetcher   // nil: every fetch fails
	Random         io.Reader // nil: crypto/rand.Reader
	User, UserName string
	// Form is the payload of this request, without nulls.
	Form map[string]json.RawMessage
	// Answer is what was posted on a screen under a key, Latest on whatever
	// screen posted it last.
	Answer func(screen, key string) (json.RawMessage, bool)
	Latest func(key string) (json.RawMessage, bool)
	Vars   map[string]json.RawMessage
}

// Turn runs the rules for one request. Each fetch runs at most once in it. It
// is used by one goroutine.
type Turn struct {
	ctx     context.Context
	rules   *Rules
	in      Inputs
	vars    map[string]json.RawMessage
	scope   *scope // of the expression that is being evaluated
	fetched map[*fetch]*fetched
	large   map[largeAnswer]ref.Val
	bytes   int // of large
}

// largeAnswer tells an answer by where it stands in memory, which the map keeps
// it from being used again for.
type largeAnswer struct {
	first *byte
	typ   *types.Type
}

// Turn prepares a run of the rules.
func (r *Rules) Turn(ctx context.Context, in Inputs) *Turn {
	if in.Random == nil {
		in.Random = rand.Reader
	}
	return &Turn{ctx: ctx, rules: r, in: in, vars: in.Vars}
}

// Vars are what is remembered after the turn.
func (t *Turn) Vars() map[string]json.RawMessage { return t.vars }

// read is typed for what a request, the session or vars hold.
func (t *Turn) read(raw json.RawMessage, typ *types.Type) (ref.Val, error) {
	if len(raw) <= usualAnswer {
		return typed(raw, typ)
	}
	key := largeAnswer{&raw[0], typ}
	if v, ok := t.large[key]; ok {
		return v, nil
	}
	if t.bytes += len(raw); t.bytes > maxRead {
		return nil, badInput("the answers it reads have more than %d bytes together", maxRead)
	}
	v, err := typed(raw, typ)
	if err != nil {
		return nil, err
	}
	if t.large == nil {
		t.large = map[largeAnswer]ref.Val{}
	}
	t.large[key] = v
	return v, nil
}

// RuleError says which expression did not give an answer. It repeats no value.
type RuleError struct {
	File         string
	Line, Column int
	Path         string // "screens.RECOMMEND.next[0].when"
	Reason       string
	// Input says that what came from outside does not fit: a text that is no
	// number.
	Input bool
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Path, e.Reason)
}

func (t *Turn) fault(e *expression, err error) *RuleError {
	var inner *RuleError
	if errors.As(err, &inner) {
		return inner // of a fetch this expression needed
	}
	reason, input := reasonOf(err)
	if t.ctx.Err() != nil {
		reason, input = "the time for an answer is over", false
	}
	return &RuleError{File: t.rules.File, Line: e.line, Column: e.column, Path: e.path, Reason: reason, Input: input}
}

// reasonOf turns what CEL says into words that repeat no value: its own texts
// may hold what a user typed.
func reasonOf(err error) (reason string, input bool) {
	var known *inputError
	if errors.As(err, &known) {
		return known.reason, true
	}
	var own *ownError
	if errors.As(err, &own) {
		return own.reason, false
	}
	message := err.Error()
	for _, m := range []struct {
		text, reason string
		input        bool
	}{
		{"type conversion error from", "a value cannot be converted: " + message, true},
		{"invalid RFC 3339", "a text is no timestamp", true},
		{"overflow", "a number is too large", true},
		{"no such overload", "an operation does not fit the types of its values", false},
		{"no such key", "an object lacks the key", false},
		{"out of bounds", "a list has no such item", false},
		{"by zero", "a division by zero", false},
		{"cost limit exceeded", fmt.Sprintf("it needs more than %d steps of computing", maxCost), false},
		{"interrupted", "the time for an answer is over", false},
		{"program size", "a pattern is too large", false},
		{"regexp", "a pattern is not valid", false},
	} {
		if strings.Contains(message, m.text) {
			return m.reason, m.input
		}
	}
	return "it cannot be evaluated", false
}

// ownError is a fault that this package words itself, without any value.
type ownError struct{ reason string }

func (e *ownError) Error() string { return e.reason }

// value evaluates an expression.
func (t *Turn) value(e *expression) (ref.Val, error) {
	if e.fixed != nil {
		return e.fixed, nil
	}
	outer := t.scope
	t.scope = e.scope
	var v ref.Val
	var err error
	if e.loops {
		v, _, err = e.program.ContextEval(t.ctx, t)
	} else {
		v, _, err = e.program.Eval(t)
	}
	t.scope = outer
	if err != nil {
		return nil, t.fault(e, err)
	}
	return v, nil
}

func (t *Turn) boolean(e *expression) (bool, error) {
	v, err := t.value(e)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, t.fault(e, &ownError{"it yields a " + v.Type().TypeName() + ", expected true or false"})
	}
	return bool(b), nil
}

func (t *Turn) text(e *expression) (string, error) {
	v, err := t.value(e)
	if err != nil {
		return "", err
	}
	s, ok := v.(types.String)
	if !ok {
		return "", t.fault(e, &ownError{"it yields a " + v.Type().TypeName() + ", expected a text"})
	}
	return string(s), nil
}

// json is what an expression yields; nil when that is null.
func (t *Turn) json(e *expression) (json.RawMessage, error) {
	if e.fixedJSON != nil {
		return e.fixedJSON, nil
	}
	v, err := t.value(e)
	if err != nil {
		return nil, err
	}
	raw, err := toJSON(v)
	switch {
	case errors.Is(err, errNull):
		return nil, nil
	case err != nil:
		var inner *RuleError
		var outside *inputError
		if errors.As(err, &inner) || errors.As(err, &outside) {
			return nil, t.fault(e, err)
		}
		return nil, t.fault(e, &ownError{err.Error()})
	}
	return raw, nil
}

// object evaluates assignments; those that yield null are left out.
func (t *Turn) object(list []*assignment) (map[string]json.RawMessage, error) {
	values := make(map[string]json.RawMessage, len(list))
	for _, a := range list {
		raw, err := t.json(a.value)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			values[a.name] = raw
		}
	}
	return values, nil
}

// set evaluates a screen's `set`: every expression sees the values from before.
func (t *Turn) set(list []*assignment) error {
	if len(list) == 0 {
		return nil
	}
	after := make(map[string]json.RawMessage, len(t.vars)+len(list))
	maps.Copy(after, t.vars)
	for _, a := range list {
		raw, err := t.json(a.value)
		if err != nil {
			return err
		}
		if raw == nil {
			delete(after, a.name)
		} else {
			after[a.name] = raw
		}
	}
	size := 0
	for name, raw := range after {
		size += len(name) + len(raw)
	}
	if size > maxVars {
		return t.fault(list[0].value, &ownError{fmt.Sprintf("the session would remember %d bytes, at most %d are allowed: set less", size, maxVars)})
	}
	t.vars = after
	return nil
}

var _ cel.FunctionActivation = (*Turn)(nil)

// ResolveName gives CEL what a name stands for.
func (t *Turn) ResolveName(name string) (any, bool) {
	if name == "now" {
		return types.Timestamp{Time: t.in.Now.UTC()}, true
	}
	if s := t.scope.roots[name]; s != nil {
		return &view{s, t}, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (t *Turn) Parent() cel.Activation { return nil }

// ResolveFunction gives CEL the functions that depend on the turn.
func (t *Turn) ResolveFunction(name string) (cel.LateBoundFunction, bool) {
	switch name {
	case "randomID":
		return t.randomID, true
	case "randomDigits":
		return t.randomDigits, true
	}
	return nil, false
}

// randomID has 128 bits.
func (t *Turn) randomID(string, ...ref.Val) ref.Val {
	var b [16]byte
	if _, err := io.ReadFull(t.in.Random, b[:]); err != nil {
		return types.WrapErr(&ownError{"randomID: there are no random bytes"})
	}
	return types.String(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])))
}

func (t *Turn) randomDigits(_ string, args ...ref.Val) ref.Val {
	n, ok := args[0].(types.Int)
	if !ok || n < 1 || n > 32 {
		return fail("randomDigits: expected 1 to 32 digits")
	}
	digits := make([]byte, 0, n)
	var b [1]byte
	for len(digits) < int(n) {
		if _, err := io.ReadFull(t.in.Random, b[:]); err != nil {
			return types.WrapErr(&ownError{"randomDigits: there are no random bytes"})
		}
		if b[0] < 250 { // so that every digit is as likely
			digits = append(digits, '0'+b[0]%10)
		}
	}
	return types.String(digits)
}
