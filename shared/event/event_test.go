package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// stored turns the arguments of XADD into what XRANGE returns.
func stored(values []any) map[string]any {
	fields := make(map[string]any)
	for i := 0; i < len(values); i += 2 {
		switch v := values[i+1].(type) {
		case []byte:
			fields[values[i].(string)] = string(v)
		default:
			fields[values[i].(string)] = v
		}
	}
	return fields
}

func TestEntrySurvivesTheStream(t *testing.T) {
	at := time.UnixMilli(1763900000123).UTC()
	for name, e := range map[string]Entry{
		"step":              {Kind: KindStep, Account: "acme", ID: "ab:3", Time: at, Source: "s", Seq: 7, Body: []byte(`{"flow":"f"}`)},
		"webhook raw bytes": {Kind: KindWebhook, Account: "default", ID: "cd", Time: at, Source: "s", Seq: 1, Body: []byte("\x00\xff{\r\n")},
		"with void numbers": {Kind: KindClientError, Account: "default", ID: "ef", Time: at, Source: "s", Seq: 9, Void: []uint64{3, 4, 8}, Body: []byte("{}")},
		"with trace":        {Kind: KindStatelessStep, Account: "default", ID: "01", Time: at, Source: "s", Seq: 2, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Body: []byte("{}")},
		"mark":              {Kind: KindMark, Account: "default", Time: at, Source: "s", Seq: 0, Body: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(stored(e.Values()))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, e) {
				t.Errorf("read back %+v, wrote %+v", got, e)
			}
		})
	}
}

func TestUnreadableEntriesAreNamed(t *testing.T) {
	good := Entry{Kind: KindWebhook, Account: "default", ID: "x", Time: time.Now(), Source: "s", Seq: 1, Body: []byte("secret answer")}
	for name, c := range map[string]struct {
		field string
		value any // nil removes the field
		want  string
	}{
		"no version":            {"v", nil, "field v"},
		"newer version":         {"v", "2", `field v is "2"`},
		"unknown kind":          {"kind", "gossip", `field kind is "gossip"`},
		"no id":                 {"id", nil, "field id is missing"},
		"no body":               {"body", nil, "field body is missing"},
		"no account":            {"account", nil, "field account is missing"},
		"no source":             {"src", nil, "field src is missing"},
		"time is no number":     {"ts", "noon", `field ts is "noon"`},
		"number is negative":    {"seq", "-1", `field seq is "-1"`},
		"number is beyond 2^63": {"seq", "9223372036854775808", "field seq"},
		"void is no list":       {"void", "1;2", "field void"},
	} {
		t.Run(name, func(t *testing.T) {
			fields := stored(good.Values())
			if c.value == nil {
				delete(fields, c.field)
			} else {
				fields[c.field] = c.value
			}
			_, err := Decode(fields)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, expected it to name %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("error repeats the body")
			}
			if c.field == "v" && !errors.Is(err, ErrVersion) {
				t.Error("error does not wrap ErrVersion")
			}
		})
	}
}

func TestStepSurvivesItsEncoding(t *testing.T) {
	s := &Step{
		Flow: "csat", Definition: "d", Token: "tok", User: "u", Version: 3, Attempt: 2, Opened: true,
		Action: "data_exchange", From: "A", To: "SUCCESS",
		Answers: map[string]json.RawMessage{"score": json.RawMessage("9007199254740993")},
		Params:  json.RawMessage(`{"flow_token":"tok"}`), Outcome: OutcomeComplete,
		StartedAt: time.UnixMilli(1763900000000).UTC(), Milliseconds: 12,
	}
	got, err := DecodeStep(s.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Errorf("read back %+v, wrote %+v", got, s)
	}
}

// wholeStep is a step with everything a step can have, as workers of every
// release read it.
const wholeStep = `{"flow":"csat","definition":"d","flow_token":"tok","user":"u","version":3,"attempt":2,"opened":true,"action":"data_exchange","from":"A","to":"SUCCESS",` +
	`"answers":{"comment":"<b>\u00e9","score":9007199254740993},"params":{"flow_token":"tok"},"outcome":"complete","incomplete":true,` +
	`"collected":{"score":"4"},"started_at":"2026-11-23T12:00:00.25Z","ms":12,"error":"timeout_error","error_message":"\"late\" & lost"}`

func TestAStepIsWrittenAsEveryWorkerReadsIt(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		step Step
		want string
	}{
		"with everything": {Step{
			Flow: "csat", Definition: "d", Token: "tok", User: "u", Version: 3, Attempt: 2, Opened: true, Action: "data_exchange", From: "A", To: "SUCCESS",
			Answers: map[string]json.RawMessage{"score": raw("9007199254740993"), "comment": raw(`"<b>\u00e9"`)},
			Params:  raw(`{"flow_token":"tok"}`), Outcome: OutcomeComplete, Incomplete: true, Collected: map[string]json.RawMessage{"score": raw(`"4"`)},
			StartedAt: time.Date(2026, 11, 23, 12, 0, 0, 250_000_000, time.UTC), Milliseconds: 12, ErrorKey: "timeout_error", ErrorMessage: `"late" & lost`,
		}, wholeStep},
		"without a session": {Step{Flow: "csat", Action: "INIT", Outcome: OutcomeNext}, `{"flow":"csat","action":"INIT","outcome":"next","ms":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(c.step.Encode()); got != c.want {
				t.Errorf("written\n%s\nexpected\n%s", got, c.want)
			}
		})
	}
}

func TestAnswersKeepTheirBytes(t *testing.T) {
	const answer = `"<b> & </b> \u00e9"`
	s := &Step{Flow: "f", Answers: map[string]json.RawMessage{"a": json.RawMessage(answer)}}
	if body := string(s.Encode()); !strings.Contains(body, answer) || strings.HasSuffix(body, "\n") {
		t.Errorf("encoded as %s, expected the answer as it came", body)
	}
}

func TestBrokenStepIsRefusedWithoutRepeatingIt(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":    `{"flow":"f","answers":{"name":secret}}`,
		"wrong type": `{"flow":"f","attempt":"secret"}`,
		"no flow":    `{"answers":{"name":"secret"}}`,
		"no object":  `["secret"]`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeStep([]byte(body))
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error repeats an answer: %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("1", "webhook", "default", "x", "1763900000123", "s", "1", "2,3", "body")
	f.Add("1", "mark", "default", "", "0", "s", "0", "", "")
	f.Fuzz(func(t *testing.T, v, kind, account, id, ts, src, seq, void, body string) {
		fields := map[string]any{"v": v, "kind": kind, "account": account, "id": id, "ts": ts, "src": src, "seq": seq, "void": void, "body": body}
		e, err := Decode(fields)
		if err != nil {
			return
		}
		again, err := Decode(stored(e.Values()))
		if err != nil {
			t.Fatalf("an entry that was read cannot be read again: %v", err)
		}
		if e.Kind == KindMark {
			e.Body, again.Body = nil, nil // a mark has none
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("read %+v, then %+v", e, again)
		}
	})
}

func FuzzDecodeStep(f *testing.F) {
	f.Add([]byte(`{"flow":"f","answers":{"a":1},"outcome":"next"}`))
	f.Add([]byte(wholeStep))
	f.Add([]byte(`{"flow":"\u2028<\ud800","version":-1,"answers":{"":[ {"a" : null} ],"é":"\u00e9"},"params":null,"collected":{},"started_at":"0000-01-01T00:00:00.000000001-23:59"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := DecodeStep(body)
		if err != nil {
			return
		}
		encoded := s.Encode()
		if _, err := DecodeStep(encoded); err != nil {
			t.Fatalf("a step that was read cannot be read again: %v", err)
		}
		var byReference, compact bytes.Buffer
		encoder := json.NewEncoder(&byReference)
		encoder.SetEscapeHTML(false)
		if err := errors.Join(encoder.Encode(s), json.Compact(&compact, encoded)); err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSuffix(byReference.String(), "\n"); compact.String() != want {
			t.Errorf("written\n%s\nencoding/json writes\n%s", encoded, want)
		}
	})
}
