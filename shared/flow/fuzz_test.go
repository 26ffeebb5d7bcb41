package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"version":"3.0","action":"ping"}`,
		`{"version":300,"action":"data_exchange","screen":"RATING","flow_token":"t","data":{"a":[{"b":null}],"error":"payload-schema-error"}}`,
		`{"action":"INIT","data":null}`, `{"action":"BACK","data":{"\u0061":1e999}}`, `[]`, `{"action":{}}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	def := feedback(f)
	f.Fuzz(func(t *testing.T, plain []byte) {
		req, err := ParseRequest(plain)
		if err != nil {
			return
		}
		if first, again := req.Hash("x"), req.Hash("x"); first != again {
			t.Error("one request, two hashes")
		}
		req.ErrorNotification()
		s, err := Begin(nil, def, req, noon)
		if err != nil {
			return
		}
		reply, err := Answer(context.Background(), def, s, req, Env{Now: noon})
		if err != nil {
			return
		}
		if _, err := Guard(def, req, reply.JSON()); err != nil {
			t.Errorf("the guard refuses the engine's own reply: %v", err)
		}
		s.Finish(req, reply)
		again, err := ParseSession(s.Encode())
		if err != nil {
			t.Fatalf("the session does not come back: %v", err)
		}
		if !bytes.Equal(again.Encode(), s.Encode()) {
			t.Error("the session changes on its way through Redis")
		}
	})
}

func FuzzGuard(f *testing.F) {
	for _, seed := range []string{
		`{"screen":"LIST","data":{"items":[{"id":"1","tags":["a"]}],"title":"T"}}`,
		`{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":[null]}}}}`,
		`{"screen":"PLAIN","data":{"error_message":"x"}}`, `{"screen":"PLAIN","data":{"a":"\"n\\"}}`, `null`,
		`{"screen":"PLAIN","screen":"LIST","data":null,"data":{"items":[{"id":"1","i\u0064":"2","price":1e999,"\ud800":"\udc00"},{"id":"2","id":3,"price":"4"}],"title":"T","m":1,"k":2}}`,
		`{"screen":"LIST","data":{"items":[{"id":"1","title":"a"},{ "title":"\u0061","id":"1"}],"title":"T"}}`,
		` { "screen" : "SUCCESS" , "data" : { "extension_message_response" : { "x" : [ 1 , 2 ] , "params" : { "b\u2028<" : { } } } } } `,
	} {
		f.Add([]byte(seed))
	}
	def := catalog(f)
	req := request(f, DataExchange, "PLAIN", "tok", "")
	f.Fuzz(func(t *testing.T, plain []byte) {
		reply, err := Guard(def, req, plain)
		expected, refused := guardByReference(def, req, plain)
		if fmt.Sprint(err) != fmt.Sprint(refused) {
			t.Fatalf("the error is %v, the reference says %v", err, refused)
		}
		if err != nil {
			return
		}
		if want := `{"screen":` + string(quote(expected.Screen)) + `,"data":` + string(objectByReference(expected.Data)) + `}`; string(reply.JSON()) != want {
			t.Fatalf("the reply is\n%s\nthe reference says\n%s", reply.JSON(), want)
		}
		if _, err := Guard(nil, req, plain); err != nil {
			t.Errorf("accepted with a definition, refused without: %v", err)
		}
		again, err := Guard(def, req, reply.JSON())
		if err != nil {
			t.Fatalf("what was accepted is refused when it is written again: %v", err)
		}
		if !bytes.Equal(again.JSON(), reply.JSON()) {
			t.Error("one reply, two spellings")
		}
	})
}

// FuzzCursor holds what reads valid JSON here against encoding/json.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":"x","a":{"c":[1,"]",{}]}}`, ` [ 1 , -2.5e+3 , "\"" , { "a" : [ ] } , true , null ] `, `{"\u0061\ud800":"\ud83d\ude00","\"":"\\"}`,
		"{\"\xff\":\"\xfe\"}", `"\u2028"`, `"a`, `[1,]`, `{"a":1,}`, `[01]`, `{"a"}`, "[\"\t\"]", `[1}`, ``, ` `, `[] []`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, want := valid(raw), json.Valid(raw); got != want {
			t.Fatalf("valid is %v, expected %v", got, want)
		}
		members, items := object(raw), countItems(raw) // must end on any bytes
		var wantText string
		isText := kindOf(raw) == "string" && json.Unmarshal(raw, &wantText) == nil
		if text, ok := stringOf(raw); text != wantText || ok != isText {
			t.Errorf("the text is %q %v, expected %q %v", text, ok, wantText, isText)
		}
		if !json.Valid(raw) {
			return
		}
		var whole any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&whole); err != nil {
			t.Fatal(err)
		}
		// Of members with one name only the last is in whole.
		if null := holdsNull(whole); null && !hasNull(raw) || hasNull(raw) && !bytes.Contains(raw, []byte("null")) {
			t.Errorf("a null in it: %v, encoding/json finds %v", hasNull(raw), null)
		}
		switch kindOf(raw) {
		case "object":
			var want map[string]json.RawMessage
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(members, want) {
				t.Errorf("the members are %s, expected %s", members, want)
			}
			for name := range want {
				if value, ok := memberOf(raw, name); !ok || !bytes.Equal(value, want[name]) {
					t.Errorf("the member %q is %s, expected %s", name, value, want[name])
				}
			}
			if got := objectByReference(want); !bytes.Equal(rawjson.AppendObject(nil, members), got) {
				t.Errorf("written as %s, expected %s", rawjson.AppendObject(nil, members), got)
			}
		case "array":
			var want []json.RawMessage
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			if items != len(want) {
				t.Fatalf("%d items, expected %d", items, len(want))
			}
			c := within(raw)
			for i := 0; c.more(); i++ {
				if item := c.value(); !bytes.Equal(item, want[i]) {
					t.Errorf("item %d is %s, expected %s", i, item, want[i])
				}
			}
		}
	})
}

func holdsNull(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, holdsNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsNull)
	}
	return false
}

func TestANullIsFoundOutsideTextsOnly(t *testing.T) {
	for raw, want := range map[string]bool{
		`null`: true, ` null `: true, `[null]`: true, `{"a":null}`: true, `{"a":{"b":[1,null]}}`: true, `["\"",null]`: true, `["n",null,"n"]`: true,
		`"null"`: false, `{"null":1}`: false, `["n","\"n","\\"]`: false, `{"a":"n\\\"null"}`: false, `[true,1e5,{}]`: false, `["\\",null]`: true,
	} {
		if got := hasNull([]byte(raw)); got != want {
			t.Errorf("%s: found %v, expected %v", raw, got, want)
		}
	}
}
