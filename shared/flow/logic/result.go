package logic

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"
)

// maxResult bounds, in bytes of JSON, what one expression may yield.
const maxResult = 1 << 20

// errNull says that an expression yields null, or nothing but nulls.
var errNull = errors.New("it yields null")

// toJSON writes what an expression yields. Nulls inside are left out, as the
// client refuses them; at the top they are errNull.
func toJSON(v ref.Val) (json.RawMessage, error) {
	if v == types.NullValue {
		return nil, errNull
	}
	return appendValue(nil, v, 0)
}

func appendValue(b []byte, v ref.Val, depth int) ([]byte, error) {
	if depth > maxValueDepth {
		return nil, fmt.Errorf("it yields a value nested deeper than %d levels", maxValueDepth)
	}
	if len(b) > maxResult {
		return nil, fmt.Errorf("it yields more than %d bytes", maxResult)
	}
	switch v := v.(type) {
	case types.String:
		if len(v) > maxResult {
			return nil, fmt.Errorf("it yields more than %d bytes", maxResult)
		}
		return appendText(b, string(v)), nil
	case types.Bool:
		return strconv.AppendBool(b, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(b, uint64(v), 10), nil
	case types.Double:
		return appendDouble(b, float64(v))
	case types.Timestamp:
		return appendText(b, v.Time.UTC().Format(time.RFC3339Nano)), nil
	case types.Duration:
		return appendText(b, v.Duration.String()), nil
	case traits.Mapper:
		return appendMap(b, v, depth)
	case traits.Lister:
		return appendList(b, v, depth)
	case *view:
		return v.appendTo(b, depth)
	}
	return nil, fmt.Errorf("it yields a %s, which JSON does not have", v.Type().TypeName())
}

func appendText(b []byte, s string) []byte {
	if out, err := jsontext.AppendQuote(b, s); err == nil {
		return out
	}
	b, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\ufffd"))
	return b
}

func appendDouble(b []byte, f float64) ([]byte, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, errors.New("it yields a number that JSON does not have (a division by zero?)")
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return strconv.AppendInt(b, int64(f), 10), nil
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64), nil
}

func appendList(b []byte, v traits.Lister, depth int) ([]byte, error) {
	b = append(b, '[')
	first := true
	for i := v.Iterator(); i.HasNext() == types.True; {
		item := i.Next()
		if item == types.NullValue {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		var err error
		if b, err = appendValue(b, item, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, v traits.Mapper, depth int) ([]byte, error) {
	var names []string
	for i := v.Iterator(); i.HasNext() == types.True; {
		name, ok := i.Next().(types.String)
		if !ok {
			return nil, errors.New("it yields a map whose keys are no texts")
		}
		names = append(names, string(name))
		if len(names) > maxResult/4 {
			return nil, fmt.Errorf("it yields more than %d bytes", maxResult)
		}
	}
	slices.Sort(names)
	b = append(b, '{')
	first := true
	for _, name := range names {
		member := v.Get(types.String(name))
		if member == types.NullValue {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendText(b, name), ':')
		var err error
		if b, err = appendValue(b, member, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}
