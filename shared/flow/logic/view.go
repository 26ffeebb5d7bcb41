package logic

import (
	"errors"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// shape is what an expression may ask of one of the names it knows: form,
// session, screen.RECOMMEND. Its type is known when the rules are compiled, so
// a slip of the pen is an error then; its values are read from the turn when
// an expression asks for them.
type shape struct {
	name   string // "form", "screen.RECOMMEND"
	has    string // beginning of the sentence that lists its fields
	fields map[string]*field
	names  []string // of fields, sorted
	// typ has a name that no expression can write, so that it is nothing but the
	// type of a value.
	typ *types.Type
}

type field struct {
	name string
	typ  *types.Type
	// get returns the value, false when there is none: then it reads as the
	// typed empty.
	get func(*Turn) (ref.Val, bool, error)
	ft  *types.FieldType
}

// addShape adds a field that is a shape itself; there says what has() of it is.
func (s *shape) addShape(name string, inner *shape, there func(*Turn) bool) {
	s.add(name, inner.typ, func(t *Turn) (ref.Val, bool, error) { return &view{inner, t}, true, nil })
	s.fields[name].ft.IsSet = func(target any) bool {
		v, ok := target.(*view)
		return ok && there(v.turn)
	}
}

func newShape(name, has string) *shape {
	return &shape{name: name, has: has, fields: map[string]*field{}, typ: types.NewObjectType("@" + name)}
}

func (s *shape) add(name string, t *types.Type, get func(*Turn) (ref.Val, bool, error)) {
	f := &field{name: name, typ: t, get: get}
	f.ft = &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			v, ok := target.(*view)
			if !ok {
				return false
			}
			_, present, err := get(v.turn)
			return present && err == nil
		},
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*view)
			if !ok {
				return nil, errors.New("no such field")
			}
			return f.value(v.turn)
		},
	}
	s.fields[name] = f
	s.names = append(s.names, name)
	slices.Sort(s.names)
}

func (f *field) value(t *Turn) (ref.Val, error) {
	v, present, err := f.get(t)
	if err != nil {
		return nil, err
	}
	if !present {
		return empty(f.typ), nil
	}
	return v, nil
}

// view is a shape with the turn it reads from.
type view struct {
	shape *shape
	turn  *Turn
}

var (
	_ traits.Indexer     = (*view)(nil)
	_ traits.FieldTester = (*view)(nil)
)

// Get is asked by expressions whose type is not known, dyn(form).score.
func (v *view) Get(key ref.Val) ref.Val {
	name, _ := key.(types.String)
	f := v.shape.fields[string(name)]
	if f == nil {
		return types.NewErr("no such key")
	}
	value, err := f.value(v.turn)
	if err != nil {
		return types.WrapErr(err)
	}
	return value
}

// IsSet is has() of such an expression.
func (v *view) IsSet(key ref.Val) ref.Val {
	name, _ := key.(types.String)
	f := v.shape.fields[string(name)]
	if f == nil {
		return types.False
	}
	return types.Bool(f.ft.IsSet(v))
}

func (v *view) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("no such conversion")
}

func (v *view) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return v.shape.typ
	}
	return types.NewErr("type conversion error from '%s' to '%s'", v.shape.name, t.TypeName())
}

func (v *view) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(v)) }
func (v *view) Type() ref.Type              { return v.shape.typ }
func (v *view) Value() any                  { return v }

// appendTo writes the values that are there.
func (v *view) appendTo(b []byte, depth int) ([]byte, error) {
	b = append(b, '{')
	first := true
	for _, name := range v.shape.names {
		value, present, err := v.shape.fields[name].get(v.turn)
		if err != nil {
			return nil, err
		}
		if !present || value == types.NullValue {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendText(b, name), ':')
		if b, err = appendValue(b, value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// provider tells CEL the types of the shapes of one place.
type provider struct {
	types.Provider
	shapes map[string]*shape // by the name of their type
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if s := p.shapes[name]; s != nil {
		return types.NewTypeTypeWithParam(s.typ), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if s := p.shapes[name]; s != nil {
		return s.names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if s := p.shapes[name]; s != nil {
		if f := s.fields[field]; f != nil {
			return f.ft, true
		}
		return nil, false
	}
	return p.Provider.FindStructFieldType(name, field)
}

// withShapes declares the shapes an expression of one place may begin with, and
// those their fields lead to.
func withShapes(base *cel.Env, roots, inner []*shape) (*cel.Env, error) {
	p := &provider{Provider: base.CELTypeProvider(), shapes: map[string]*shape{}}
	options := []cel.EnvOption{cel.CustomTypeProvider(p)}
	for _, s := range roots {
		p.shapes[s.typ.TypeName()] = s
		options = append(options, cel.Variable(s.name, s.typ))
	}
	for _, s := range inner {
		p.shapes[s.typ.TypeName()] = s
	}
	return base.Extend(options...)
}
