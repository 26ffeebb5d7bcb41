package flow

import (
	"bytes"
	"context"
	"testing"
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
	} {
		f.Add([]byte(seed))
	}
	def := catalog(f)
	req := request(f, DataExchange, "PLAIN", "tok", "")
	f.Fuzz(func(t *testing.T, plain []byte) {
		reply, err := Guard(def, req, plain)
		if err != nil {
			_ = err.Error()
			return
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
