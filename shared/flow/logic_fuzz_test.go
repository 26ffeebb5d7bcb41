package flow

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
)

func FuzzLogic(f *testing.F) {
	raw := survey(f)
	for _, seed := range []string{
		surveyRules(f), `{"screens": {"RECOMMEND": {"complete": {"params": {"a": "form"}}}}}`,
		"init: {screen: RECOMMEND, data: {title: |\n 'a'\n}}", "a: &a [*a]", "constants: {a: !!binary x}", "screens:\n\tRECOMMEND: x",
		"screens: {RECOMMEND: {fetch: {s: {upstream: a, path: \"'/'\"}}, set: {a: vars.a}, data: {max: fetch.s.body}}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, rules []byte) {
		def, err := Load(raw, rules)
		if err != nil {
			var mistakes *logic.Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("%v is no list of mistakes", err)
			}
			for _, p := range mistakes.Problems {
				if p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Errorf("a mistake without a place: %+v", p)
				}
			}
			return
		}
		for _, action := range []Action{Init, DataExchange, Back} {
			req := request(t, action, "RECOMMEND", "tok", `{"score":"5","topics":["a"],"comment":"x"}`)
			s, err := Begin(nil, def, req, noon)
			if err != nil {
				t.Fatal(err)
			}
			answerAndGuard(t, def, s, req)
		}
	})
}

// answerAndGuard demands an answer the client takes, or a clear error.
func answerAndGuard(t *testing.T, def *Definition, s *Session, req *Request) {
	t.Helper()
	reply, err := Answer(context.Background(), def, s, req, Env{Now: noon})
	if err != nil {
		var fault *LogicError
		if !errors.As(err, &fault) || fault.Reason == "" {
			t.Errorf("%v is no *LogicError with a reason", err)
		}
		return
	}
	guarded, err := Guard(def, req, reply.JSON())
	if err != nil {
		t.Fatalf("the guard refuses what the rules answer: %v", err)
	}
	s.Finish(req, guarded)
	again, err := ParseSession(s.Encode())
	if err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
		t.Errorf("the session changes on its way through Redis: %v", err)
	}
}

func FuzzAnswerByRules(f *testing.F) {
	for _, seed := range []string{
		`{"action":"data_exchange","screen":"RECOMMEND","data":{"score":"5","again":true}}`,
		`{"action":"data_exchange","screen":"RECOMMEND","data":{"score":5.0,"comment":null,"topics":["a",{}],"again":"true"}}`,
		`{"action":"data_exchange","screen":"DETRACTOR","data":{"reason":"\ud800"}}`,
		`{"action":"BACK","screen":"CODE"}`, `{"action":"INIT","screen":"RECOMMEND"}`, `{"action":"complete","screen":"PROMOTER","data":{"call":1e999}}`,
	} {
		f.Add([]byte(seed))
	}
	def := surveyWith(f, surveyRules(f))
	f.Fuzz(func(t *testing.T, plain []byte) {
		req, err := ParseRequest(plain)
		if err != nil {
			return
		}
		s, err := Begin(nil, def, req, noon)
		if err != nil || req.Action == Ping {
			return
		}
		answerAndGuard(t, def, s, req)
	})
}
