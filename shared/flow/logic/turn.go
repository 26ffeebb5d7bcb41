package logic

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	Form    map[string]json.RawMessage
	Answers Answers
	Vars    map[string]json.RawMessage
}

// Answers are what a user has answered so far.
type Answers interface {
	// On is what was posted on a screen under a key.
	On(screen, key string) (json.RawMessage, bool)
	// Latest is what was last posted under a key, on whatever screen.
	Latest(key string) (json.RawMessage, bool)
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
