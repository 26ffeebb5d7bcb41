package logic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// maxValueDepth bounds nesting of values that come from outside.
const maxValueDepth = 64

// inputError is an evaluation that failed because of what came from outside: a
// text that is no number, an answer of another type. It repeats no value.
type inputError struct{ reason string }

func (e *inputError) Error() string { return e.reason }

func badInput(format string, args ...any) error { return &inputError{fmt.Sprintf(format, args...)} }

// typed reads a JSON value as a value of a declared type. Numbers become texts
// where a text is declared, because clients differ in what they post for a
// number; nulls are the typed empty.
func typed(raw json.RawMessage, t *types.Type) (ref.Val, error) {
	kind := flowjson.KindOf(raw)
	if kind == "null" || kind == "nothing" {
		return empty(t), nil
	}
	switch t.Kind() {
	case types.StringKind:
		switch kind {
		case "string":
			return text(raw)
		case "number":
			return types.String(numberText(string(bytes.TrimSpace(raw)))), nil
		case "boolean":
			return types.String(bytes.TrimSpace(raw)), nil
		}
	case types.BoolKind:
		switch string(bytes.TrimSpace(raw)) {
		case "true", `"true"`:
			return types.True, nil
		case "false", `"false"`:
			return types.False, nil
		}
	case types.IntKind:
		if kind == "number" {
			if v, ok := number(string(bytes.TrimSpace(raw))).(types.Int); ok {
				return v, nil
			}
		}
	case types.DoubleKind:
		if kind == "number" {
			return number(string(bytes.TrimSpace(raw))).ConvertToType(types.DoubleType), nil
		}
	case types.TimestampKind, types.DurationKind:
		if kind == "string" {
			v, err := text(raw)
			if err != nil {
				return nil, err
			}
			if converted := v.ConvertToType(t); !types.IsError(converted) {
				return converted, nil
			}
			return nil, badInput("a text that is no %s", t)
		}
	case types.ListKind:
		if kind == "array" {
			return typedList(raw, t.Parameters()[0])
		}
	case types.MapKind:
		if kind == "object" {
			return untyped(raw)
		}
	default:
		return untyped(raw)
	}
	return nil, badInput("it is of type %s, expected %s", kind, typeName(t))
}

func typedList(raw json.RawMessage, item *types.Type) (ref.Val, error) {
	if item.Kind() == types.DynKind || item.Kind() == types.MapKind {
		return untyped(raw)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, badInput("it is no valid JSON")
	}
	values := make([]ref.Val, len(items))
	for i, item1 := range items {
		var err error
		if values[i], err = typed(item1, item); err != nil {
			return nil, err
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values), nil
}

func text(raw json.RawMessage) (types.String, error) {
	raw = bytes.TrimSpace(raw)
	if bytes.IndexByte(raw, '\\') < 0 {
		return types.String(raw[1 : len(raw)-1]), nil
	}
	out, err := jsontext.AppendUnquote(nil, raw)
	if err != nil && !bytes.Contains(raw, []byte(`\u`)) {
		return "", badInput("it is no valid JSON")
	}
	return types.String(out), nil // half of a surrogate pair has become U+FFFD
}

// number takes whole numbers for int and others for double, however they are
// written.
func number(literal string) ref.Val {
	if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return types.Int(n)
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return types.Double(math.Inf(1)) // 1e999; the guard refuses what comes of it
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return types.Int(int64(f))
	}
	return types.Double(f)
}

func numberText(literal string) string {
	if n, ok := number(literal).(types.Int); ok {
		return strconv.FormatInt(int64(n), 10)
	}
	return literal
}

// untyped reads any JSON value.
func untyped(raw json.RawMessage) (ref.Val, error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	v, err := readValue(d, 0)
	if err == nil {
		if _, after := d.ReadToken(); !errors.Is(after, io.EOF) {
			err = errors.New("more follows")
		}
	}
	if err != nil {
		return nil, badInput("it is no JSON, or nested deeper than %d levels", maxValueDepth)
	}
	return v, nil
}

var errTooDeep = errors.New("too deep")

func readValue(d *jsontext.Decoder, depth int) (ref.Val, error) {
	if depth > maxValueDepth {
		return nil, errTooDeep
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"':
		return types.String(token.String()), nil
	case '0':
		return number(token.String()), nil
	case 't', 'f':
		return types.Bool(token.Bool()), nil
	case '[':
		var items []ref.Val
		for d.PeekKind() != ']' {
			item, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		_, err := d.ReadToken()
		return types.NewRefValList(types.DefaultTypeAdapter, items), err
	case '{':
		members := map[ref.Val]ref.Val{}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := types.String(name.String())
			if members[key], err = readValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return types.NewRefValMap(types.DefaultTypeAdapter, members), err
	}
	return types.NullValue, nil
}

// empty is the typed empty, what a declared key without a value reads as.
func empty(t *types.Type) ref.Val {
	switch t.Kind() {
	case types.BoolKind:
		return types.False
	case types.IntKind:
		return types.IntZero
	case types.UintKind:
		return types.Uint(0)
	case types.DoubleKind:
		return types.Double(0)
	case types.ListKind:
		return types.NewRefValList(types.DefaultTypeAdapter, nil)
	case types.MapKind:
		return types.NewRefValMap(types.DefaultTypeAdapter, map[ref.Val]ref.Val{})
	case types.TimestampKind:
		return types.Timestamp{Time: time.Unix(0, 0).UTC()}
	case types.DurationKind:
		return types.Duration{}
	}
	return types.String("")
}

// common is the type that fits two values: theirs if it is the same, else any.
func common(a, b *types.Type) *types.Type {
	switch {
	case a == nil || a.IsExactType(b):
		return b
	default:
		return types.DynType
	}
}

// typeName names a type in words of JSON.
func typeName(t *types.Type) string {
	switch t.Kind() {
	case types.StringKind:
		return "string"
	case types.BoolKind:
		return "boolean"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "number"
	case types.ListKind:
		return "array"
	case types.MapKind, types.StructKind:
		return "object"
	case types.DynKind:
		return "any"
	}
	return t.String()
}
