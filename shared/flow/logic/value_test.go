package logic

import (
	"encoding/json"
	"testing"

	"cel.dev/cel-go/common/types"
)

// Clients differ in what they post: the declared type decides what is read.
func TestValuesByDeclaredType(t *testing.T) {
	texts := types.NewListType(types.StringType)
	for _, test := range []struct {
		raw  string
		typ  *types.Type
		want string // JSON, or the error
	}{
		{`"5"`, types.StringType, `"5"`}, {`5`, types.StringType, `"5"`}, {`5.0`, types.StringType, `"5"`}, {`5.50`, types.StringType, `"5.50"`}, {`true`, types.StringType, `"true"`},
		{`null`, types.StringType, `""`}, {`[]`, types.StringType, "it is of type array, expected string"},
		{`"a\u00e4\n"`, types.StringType, "\"aä\\n\""}, {`"\ud83d\ude00"`, types.StringType, `"😀"`}, {`"\ud800x"`, types.StringType, "\"\ufffdx\""},
		{`true`, types.BoolType, `true`}, {`"false"`, types.BoolType, `false`}, {`1`, types.BoolType, "it is of type number, expected boolean"},
		{`3`, types.IntType, `3`}, {`3.0`, types.IntType, `3`}, {`3.5`, types.IntType, "it is of type number, expected number"}, {`3`, types.DoubleType, `3`},
		{`["a",1]`, texts, `["a","1"]`}, {`"a"`, texts, "it is of type string, expected array"}, {`[["a"]]`, texts, "it is of type array, expected string"},
		{`{"b":[1,{"c":null}],"a":1.5}`, types.DynType, `{"a":1.5,"b":[1,{}]}`}, {`1e400`, types.DynType, "it yields a number that JSON does not have (a division by zero?)"},
		{`"2026-11-23T12:00:00Z"`, types.TimestampType, `"2026-11-23T12:00:00Z"`}, {`"noon"`, types.TimestampType, "a text that is no google.protobuf.Timestamp"},
	} {
		v, err := typed(json.RawMessage(test.raw), test.typ)
		var got string
		if err == nil {
			var raw json.RawMessage
			raw, err = toJSON(v)
			got = string(raw)
		}
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s as %s: got %s, expected %s", test.raw, test.typ, got, test.want)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,"x\ud800",null,true]}`, `[`, `1e999`, `{"a":1,"a":2}`, `"\u0000"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := untyped(raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("%q is taken for JSON", raw)
		}
		if out, err := toJSON(v); err == nil && !json.Valid(out) {
			t.Errorf("%q becomes %q", raw, out)
		}
	})
}
