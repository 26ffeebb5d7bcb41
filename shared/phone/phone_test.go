package phone_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

func TestAWholeConversation(t *testing.T) {
	ctx := t.Context()
	e := &endpoint{}
	p := newPhone(t, e)
	p.Flow = definition(t)

	e.answer = `{"data":{"status":"active"}}`
	if _, err := p.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	e.answer = `{"version":"4.0","screen":"FIRST","data":{"greeting":"Olá ✓"}}`
	if _, err := p.Init(ctx); err != nil || p.Screen() != "FIRST" {
		t.Fatalf("screen %s, %v", p.Screen(), err)
	}
	e.answer = `{"screen":"SECOND","data":{"n":2}}`
	if _, err := p.Exchange(ctx, "FIRST", map[string]any{"name": "Zoë </b>"}); err != nil || p.Screen() != "SECOND" {
		t.Fatalf("screen %s, %v", p.Screen(), err)
	}
	e.answer = `{"screen":"SECOND","data":{"n":3,"error_message":"Pick 0 to 10"}}`
	if reply, err := p.Exchange(ctx, "SECOND", nil); err != nil || reply.ErrorMessage != "Pick 0 to 10" {
		t.Fatalf("reply %+v, %v", reply, err)
	}
	e.answer = `{"screen":"FIRST","data":{"greeting":"again"}}`
	if _, err := p.Back(ctx, "SECOND"); err != nil || p.Screen() != "FIRST" {
		t.Fatalf("screen %s, %v", p.Screen(), err)
	}
	e.answer = `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"flow_token":"tok-1","n":"3"}}}}`
	reply, err := p.Exchange(ctx, "LAST", nil)
	if err != nil || !reply.Ended || string(reply.Params) != `{"flow_token":"tok-1","n":"3"}` || p.Screen() != "SUCCESS" {
		t.Fatalf("reply %+v, %v", reply, err)
	}
	e.answer = `{"screen":"SUCCESS","data":{}}`
	if reply, err := p.Exchange(ctx, "LAST", nil); err != nil || !reply.Ended || reply.Params != nil {
		t.Fatalf("a silent close gave %+v, %v", reply, err)
	}

	signature := flowtoken.SignSignature([]byte(appSecret), "tok-1")
	for i, want := range []string{
		`{"version":"4.0","action":"ping"}`,
		`{"version":"4.0","action":"INIT","screen":"","data":{},"flow_token":"tok-1","flow_token_signature":"` + signature + `"}`,
		`{"version":"4.0","action":"data_exchange","screen":"FIRST","data":{"name":"Zoë </b>"},"flow_token":"tok-1","flow_token_signature":"` + signature + `"}`,
	} {
		var expected map[string]json.RawMessage
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		if len(e.requests[i]) != len(expected) {
			t.Errorf("request %d has %d members, expected %s", i, len(e.requests[i]), want)
		}
		for name, value := range expected {
			if got := e.requests[i][name]; !bytes.Equal(got, value) {
				t.Errorf("request %d: %s is %s, expected %s", i, name, got, value)
			}
		}
	}
	for _, body := range e.bodies {
		if bytes.Contains(bytes.ReplaceAll(body, []byte(`\/`), nil), []byte("/")) {
			t.Error("a slash went over the wire without Meta's escape")
		}
	}
}

func TestAnswersTheClientRefuses(t *testing.T) {
	text := func(s string) *string { return &s }
	const ok = `{"screen":"SECOND","data":{"n":1}}`
	for _, c := range []struct {
		name     string
		endpoint endpoint
		key      string
	}{
		{"status 201", endpoint{status: 201, answer: ok}, phone.KeyUnexpectedStatus},
		{"status 204", endpoint{status: 204, raw: text("")}, phone.KeyUnexpectedStatus},
		{"status 302", endpoint{status: 302, raw: text("")}, phone.KeyUnexpectedStatus},
		{"status 400", endpoint{status: 400, raw: text("")}, phone.KeyUnexpectedStatus},
		{"status 432", endpoint{status: 432, raw: text("")}, phone.KeyUnexpectedStatus},
		{"status 500", endpoint{status: 500, answer: ok}, phone.KeyUnexpectedStatus},
		{"status 503", endpoint{status: 503, raw: text("")}, phone.KeyUnexpectedStatus},

		{"an empty body", endpoint{raw: text("")}, phone.KeyResponseDecryption},
		{"clear text", endpoint{raw: text(ok)}, phone.KeyResponseDecryption},
		{"base64 of clear text", endpoint{raw: text("eyJzY3JlZW4iOiJTRUNPTkQiLCJkYXRhIjp7fX0=")}, phone.KeyResponseDecryption},
		{"a JSON string of base64", endpoint{raw: text(`"AAAAAAAAAAAAAAAAAAAAAA=="`)}, phone.KeyResponseDecryption},
		{"base64 with a line end", endpoint{raw: text("AAAAAAAAAAAAAAAAAAAAAA==\n")}, phone.KeyResponseDecryption},

		{"no JSON", endpoint{answer: "hello"}, phone.KeyPayloadSchema},
		{"two objects", endpoint{answer: ok + ok}, phone.KeyPayloadSchema},
		{"an array", endpoint{answer: "[]"}, phone.KeyPayloadSchema},
		{"not UTF-8", endpoint{answer: "{\"screen\":\"SECOND\",\"data\":{\"n\":1,\"error_message\":\"\xff\"}}"}, phone.KeyPayloadSchema},
		{"no screen", endpoint{answer: `{"data":{}}`}, phone.KeyPayloadSchema},
		{"a screen that is a number", endpoint{answer: `{"screen":1,"data":{}}`}, phone.KeyPayloadSchema},
		{"a screen that is null", endpoint{answer: `{"screen":null,"data":{}}`}, phone.KeyPayloadSchema},
		{"no data", endpoint{answer: `{"screen":"SECOND"}`}, phone.KeyPayloadSchema},
		{"data that is an array", endpoint{answer: `{"screen":"SECOND","data":[]}`}, phone.KeyPayloadSchema},
		{"data that is null", endpoint{answer: `{"screen":"SUCCESS","data":null}`}, phone.KeyPayloadSchema},
		{"a null", endpoint{answer: `{"screen":"SECOND","data":{"n":null}}`}, phone.KeyPayloadSchema},
		{"a null deep inside", endpoint{answer: `{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":[{"b":null}]}}}}`}, phone.KeyPayloadSchema},
		{"an error_message that is a number", endpoint{answer: `{"screen":"SECOND","data":{"n":1,"error_message":7}}`}, phone.KeyPayloadSchema},
		{"an extension that is a string", endpoint{answer: `{"screen":"SUCCESS","data":{"extension_message_response":"x"}}`}, phone.KeyPayloadSchema},
		{"params that are an array", endpoint{answer: `{"screen":"SUCCESS","data":{"extension_message_response":{"params":[]}}}`}, phone.KeyPayloadSchema},

		{"an empty screen", endpoint{answer: `{"screen":"","data":{}}`}, phone.KeyInvalidTransition},
		{"success in lower case", endpoint{answer: `{"screen":"success","data":{}}`}, phone.KeyInvalidTransition},
		{"a screen the flow does not have", endpoint{answer: `{"screen":"THIRD","data":{}}`}, phone.KeyInvalidTransition},
		{"a screen no edge joins", endpoint{answer: `{"screen":"LAST","data":{}}`}, phone.KeyInvalidTransition},
		{"another entry screen", endpoint{answer: `{"screen":"OTHER","data":{}}`}, phone.KeyInvalidTransition},

		{"missing data", endpoint{answer: `{"screen":"SECOND","data":{}}`}, phone.KeyPayloadSchema},
		{"data of another type", endpoint{answer: `{"screen":"SECOND","data":{"n":"1"}}`}, phone.KeyPayloadSchema},
		{"data the screen does not declare", endpoint{answer: `{"screen":"SECOND","data":{"n":1,"m":2}}`}, phone.KeyPayloadSchema},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPhone(t, &c.endpoint)
			p.Flow = definition(t)
			reply, err := p.Exchange(t.Context(), "FIRST", nil)
			var refusal *phone.RefusalError
			if reply != nil || !errors.As(err, &refusal) || refusal.Key != c.key {
				t.Errorf("got %+v, %v; expected %s", reply, err, c.key)
			}
			if p.Screen() != "" {
				t.Errorf("a refused answer moved the phone to %s", p.Screen())
			}
		})
	}
}

func TestScreensINITMayLandOn(t *testing.T) {
	for _, c := range []struct {
		name, named, answer string
		def, ok             bool
	}{
		{"the entry", "", `{"screen":"FIRST","data":{"greeting":"hi"}}`, true, true},
		{"the other entry", "", `{"screen":"OTHER","data":{}}`, true, true},
		{"the entry the message named", "OTHER", `{"screen":"OTHER","data":{}}`, true, true},
		{"an entry the message did not name", "OTHER", `{"screen":"FIRST","data":{"greeting":"hi"}}`, true, false},
		{"a screen an edge leads to", "", `{"screen":"SECOND","data":{"n":1}}`, true, false},
		{"SUCCESS", "", `{"screen":"SUCCESS","data":{}}`, true, true},
		{"anything without a definition", "", `{"screen":"SECOND","data":{"x":1}}`, false, true},
		{"not the named one, without a definition", "FIRST", `{"screen":"SECOND","data":{}}`, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPhone(t, &endpoint{answer: c.answer})
			if c.def {
				p.Flow = definition(t)
			}
			_, err := p.InitOn(t.Context(), c.named)
			var refusal *phone.RefusalError
			if c.ok && err != nil || !c.ok && (!errors.As(err, &refusal) || refusal.Key != phone.KeyInvalidTransition) {
				t.Errorf("got %v, expected it to be accepted: %v", err, c.ok)
			}
		})
	}
}

func TestPingIsHealthyOnlyWhenActive(t *testing.T) {
	for answer, ok := range map[string]bool{
		`{"data":{"status":"active"}}`:                 true,
		`{"version":"3.0","data":{"status":"active"}}`: true,
		`{"data":{"status":"ok"}}`:                     false,
		`{"status":"active"}`:                          false,
		`{"data":{}}`:                                  false,
		`active`:                                       false,
	} {
		p := newPhone(t, &endpoint{answer: answer})
		if _, err := p.Ping(t.Context()); (err == nil) != ok {
			t.Errorf("%s: %v, expected healthy: %v", answer, err, ok)
		}
	}
}

func TestTokenThatIsNoLongerValid(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name     string
		endpoint endpoint
		message  string
		refused  string
	}{
		{"an encrypted message", endpoint{answer: `{"error_msg":"This order is closed"}`}, "This order is closed", ""},
		{"an empty body", endpoint{raw: text("")}, "", ""},
		{"a message in clear text", endpoint{raw: text(`{"error_msg":"closed"}`)}, "", phone.KeyResponseDecryption},
		{"no message", endpoint{answer: `{}`}, "", phone.KeyPayloadSchema},
		{"a message that is a number", endpoint{answer: `{"error_msg":1}`}, "", phone.KeyPayloadSchema},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.endpoint.status = 427
			_, err := newPhone(t, &c.endpoint).Exchange(t.Context(), "FIRST", nil)
			var dead *phone.TokenError
			var refusal *phone.RefusalError
			switch {
			case c.refused == "" && (!errors.As(err, &dead) || dead.Message != c.message):
				t.Errorf("got %v, expected a TokenError with %q", err, c.message)
			case c.refused != "" && (!errors.As(err, &refusal) || refusal.Key != c.refused):
				t.Errorf("got %v, expected %s", err, c.refused)
			}
		})
	}
}

func TestPublicKeyIsFetchedAgainOnceAfter421(t *testing.T) {
	old, next := newKey(), businessKey()
	for _, c := range []struct {
		name  string
		fresh *rsa.PublicKey
		sends int
		ok    bool
	}{
		{"and the new one fits", &next.PublicKey, 2, true},
		{"and the new one does not fit either", &old.PublicKey, 2, false},
		{"but not by the Builder's preview", nil, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &endpoint{key: next, answer: `{"screen":"FIRST","data":{}}`}
			p := newPhone(t, e)
			p.PublicKey = &old.PublicKey
			var paused time.Duration
			p.Pause = func(_ context.Context, d time.Duration) error { paused += d; return nil }
			if c.fresh != nil {
				p.KeySource = func(context.Context) (*rsa.PublicKey, error) { return c.fresh, nil }
			}
			_, err := p.Init(t.Context())
			var refusal *phone.RefusalError
			if c.ok && err != nil || !c.ok && (!errors.As(err, &refusal) || refusal.Key != phone.KeyBusinessDecryption) {
				t.Errorf("got %v", err)
			}
			if len(e.bodies) != c.sends {
				t.Errorf("sent %d times, expected %d", len(e.bodies), c.sends)
			}
			if len(e.bodies) == 2 && (bytes.Equal(e.bodies[0], e.bodies[1]) || paused != 500*time.Millisecond) {
				t.Errorf("the retry came after %s, with the same envelope: %v", paused, bytes.Equal(e.bodies[0], e.bodies[1]))
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	p := newPhone(t, &endpoint{})
	p.Send = func(context.Context, []byte, map[string]string) (int, []byte, error) {
		return 0, nil, errors.New("connection refused")
	}
	var refusal *phone.RefusalError
	if _, err := p.Init(t.Context()); !errors.As(err, &refusal) || refusal.Key != phone.KeyNoResponse {
		t.Errorf("got %v, expected %s", err, phone.KeyNoResponse)
	}
	p.Timeout = time.Millisecond
	p.Send = func(ctx context.Context, _ []byte, _ map[string]string) (int, []byte, error) {
		<-ctx.Done()
		return 0, nil, ctx.Err()
	}
	if _, err := p.Init(t.Context()); !errors.As(err, &refusal) || refusal.Key != phone.KeyTimeout {
		t.Errorf("got %v, expected %s", err, phone.KeyTimeout)
	}
}

func TestSameEnvelopeCanBeSentTwice(t *testing.T) {
	e := &endpoint{answer: `{"screen":"SECOND","data":{}}`}
	p := newPhone(t, e)
	payload, err := p.Payload(flow.DataExchange, "FIRST", map[string]any{"a": 1})
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := p.Seal(payload)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		status, body, err := p.Post(t.Context(), envelope)
		if err != nil || status != 200 {
			t.Fatalf("status %d, %v", status, err)
		}
		if plaintext, err := envelope.Open(body); err != nil || string(plaintext) != e.answer {
			t.Fatalf("opened %s, %v", plaintext, err)
		}
	}
	if !bytes.Equal(e.bodies[0], e.bodies[1]) {
		t.Error("the second sending had another body")
	}
	p.Random = bytes.NewReader(make([]byte, 32))
	if _, err := p.Seal(payload); err != nil {
		t.Error(err)
	}
	if _, err := p.Seal(payload); err == nil {
		t.Error("sealed without random bytes")
	}
}

// Meta's proxy bounds each sending: an answer that takes six seconds is in time
// twice.
func TestTheSecondSendingAfterA421HasTenSecondsOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: `{"screen":"FIRST","data":{}}`}
		p := newPhone(t, e)
		p.KeySource = func(context.Context) (*rsa.PublicKey, error) { return &businessKey().PublicKey, nil }
		takes, sent := 6*time.Second, 0
		p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
			sent++
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return 0, nil, ctx.Err()
			}
			if sent == 1 {
				return 421, nil, nil
			}
			return e.send(ctx, body, header)
		}
		if _, err := p.Init(t.Context()); err != nil {
			t.Errorf("two answers that take %s each: %v", takes, err)
		}
		takes, sent = phone.DefaultTimeout+time.Millisecond, 0
		var refusal *phone.RefusalError
		if _, err := p.Init(t.Context()); !errors.As(err, &refusal) || refusal.Key != phone.KeyTimeout {
			t.Errorf("an answer that takes %s: %v, expected %s", takes, err, phone.KeyTimeout)
		}
	})
}

func TestAReportIsSentOnce(t *testing.T) {
	e := &endpoint{key: newKey()}
	p := newPhone(t, e)
	p.PublicKey = &businessKey().PublicKey
	p.KeySource = func(context.Context) (*rsa.PublicKey, error) { return &businessKey().PublicKey, nil }
	var refusal *phone.RefusalError
	if _, err := p.Report(t.Context(), flow.Init, "", &phone.RefusalError{Key: phone.KeyPayloadSchema}); !errors.As(err, &refusal) || refusal.Key != phone.KeyBusinessDecryption || len(e.bodies) != 1 {
		t.Errorf("sent %d times, expected once, with %v", len(e.bodies), err)
	}
}

// The endpoint is another's: what it nests costs the phone no more than its size.
func TestANullThatLiesDeep(t *testing.T) {
	const depth = 5000
	deep := strings.Repeat(`{"a":`, depth) + `[0,null]` + strings.Repeat(`}`, depth)
	p := newPhone(t, &endpoint{answer: `{"screen":"SUCCESS","data":{"x":` + deep + `,"y":"` + strings.Repeat("z", 100_000) + `"}}`})
	var refusal *phone.RefusalError
	if _, err := p.Exchange(t.Context(), "FIRST", nil); !errors.As(err, &refusal) || !strings.HasPrefix(refusal.Reason, "data.x.a.a") || len(refusal.Reason) > 400 {
		t.Errorf("got %v", err)
	}
}

func TestReportOfARefusal(t *testing.T) {
	e := &endpoint{answer: `{"data":{"acknowledged":true}}`}
	p := newPhone(t, e)
	p.Flow = definition(t)
	refusal := &phone.RefusalError{Key: phone.KeyPayloadSchema, Reason: "data.n is missing"}
	if _, err := p.Report(t.Context(), flow.DataExchange, "FIRST", refusal); err != nil {
		t.Fatal(err)
	}
	got := e.requests[0]
	if string(got["data"]) != `{"error":"payload-schema-error","error_message":"data.n is missing"}` || string(got["screen"]) != `"FIRST"` {
		t.Errorf("reported %s", got)
	}
	if _, signed := got["flow_token_signature"]; signed {
		t.Error("a report carries no flow_token_signature")
	}
	e.answer = `{"data":{"acknowledged":"true"}}`
	if _, err := p.Report(t.Context(), flow.DataExchange, "FIRST", refusal); err == nil {
		t.Error("a wrong acknowledgement was accepted")
	}
}

func TestTokenSignatureIsSentForNewFlowsOnly(t *testing.T) {
	for _, c := range []struct {
		name  string
		setUp func(*phone.Phone)
		want  bool
	}{
		{"data API 3.0", func(p *phone.Phone) { p.Version = "3.0" }, false},
		{"data API 4.0", func(p *phone.Phone) { p.Version = "4.0" }, true},
		{"no token", func(p *phone.Phone) { p.Version, p.Token = "4.0", "" }, false},
		{"a forged one", func(p *phone.Phone) { p.TokenSignature = "a.b.c" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &endpoint{answer: `{"screen":"FIRST","data":{}}`}
			p := newPhone(t, e)
			c.setUp(p)
			if _, err := p.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, ok := e.requests[0]["flow_token_signature"]; ok != c.want {
				t.Errorf("flow_token_signature sent: %v, expected %v", ok, c.want)
			}
		})
	}
}

func TestPhoneWithoutAppSecretSendsNoSignature(t *testing.T) {
	e := &endpoint{}
	p := newPhone(t, e)
	p.AppSecret = nil
	var refusal *phone.RefusalError
	if _, err := p.Init(t.Context()); !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, "432") {
		t.Errorf("got %v, expected status 432", err)
	}
}
