package flow

import (
	"context"
	"os"
	"testing"
)

func BenchmarkParseRequest(b *testing.B) {
	plain := []byte(`{"version":"3.0","action":"data_exchange","screen":"COMMENT","flow_token":"wf1.abc.def","data":{"score":"4","comment":"Friendly staff, but a long queue at the till."}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestHash(b *testing.B) {
	req := request(b, DataExchange, "COMMENT", "tok", `{"score":"4","comment":"Friendly staff, but a long queue at the till."}`)
	b.ReportAllocs()
	for b.Loop() {
		req.Hash("csat-feedback")
	}
}

// BenchmarkStep is everything a data_exchange costs between two round trips.
func BenchmarkStep(b *testing.B) {
	def := feedback(b)
	rating := request(b, DataExchange, "RATING", "tok", `{"score":"4"}`)
	comment := request(b, DataExchange, "COMMENT", "tok", `{"score":"4","comment":"Friendly staff, but a long queue at the till."}`)
	begun, err := Begin(nil, def, rating, noon)
	if err != nil {
		b.Fatal(err)
	}
	stored := begun.Encode()
	b.ReportAllocs()
	for b.Loop() {
		prev, err := ParseSession(stored)
		if err != nil {
			b.Fatal(err)
		}
		s, err := Begin(prev, def, comment, noon)
		if err != nil {
			b.Fatal(err)
		}
		reply, err := Answer(context.Background(), def, s, comment, Env{Now: noon})
		if err != nil {
			b.Fatal(err)
		}
		if reply, err = Guard(def, comment, reply.JSON()); err != nil {
			b.Fatal(err)
		}
		s.Finish(comment, reply)
		s.Encode()
	}
}

func BenchmarkAnswerAndGuard(b *testing.B) {
	def := feedback(b)
	req := request(b, DataExchange, "COMMENT", "tok", `{"score":"4","comment":"Friendly staff, but a long queue at the till."}`)
	s, err := Begin(nil, def, req, noon)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		reply, err := Answer(context.Background(), def, s, req, Env{Now: noon})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Guard(def, req, reply.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	raw, err := os.ReadFile("testdata/hotel.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAnswerWithLogic is a step by rules as a flow may have them: a
// variable, three checks, three rules of next, a list of options.
func BenchmarkAnswerWithLogic(b *testing.B) {
	def := surveyWith(b, surveyRules(b))
	req := request(b, DataExchange, "RECOMMEND", "tok", `{"score":"4","comment":"Friendly staff","topics":["a"],"again":false,"kind":"nps","max":10}`)
	s, err := Begin(nil, def, req, noon)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Vars = nil
		reply, err := Answer(context.Background(), def, s, req, Env{Now: noon})
		if err != nil || reply.Screen != "DETRACTOR" {
			b.Fatal(reply.Screen, err)
		}
	}
}

func BenchmarkLoadWithLogic(b *testing.B) {
	raw, rules := survey(b), []byte(surveyRules(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(raw, rules); err != nil {
			b.Fatal(err)
		}
	}
}
