package caddymodule

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

func TestStatusesOfTheFlowEndpoint(t *testing.T) {
	t.Setenv("FLOW_TOKEN_SECRET", "a token secret, the old one")
	s := newSite(t).load("", `
	whatsapp_flow /flows/* {
		endpoint engine
		flows testdata/flows
		max_body 4KiB
	}
	whatsapp_flow /a/* {
		endpoint engine
		flows testdata/flows
	}`)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ping := request{"version": "3.0", "action": "ping"}
	start := step("INIT", "", "a token", nil)
	envelope := func(payload any) []byte { return seal(t, s.public, payload).body }
	post := func(path string, body []byte) answer { return s.do(http.MethodPost, path, signed(body), body) }
	mangled := func(old, with string) []byte {
		return []byte(strings.Replace(string(envelope(ping)), old, with, 1))
	}

	for name, c := range map[string]struct {
		want int
		do   func() answer
	}{
		"GET": {405, func() answer { return s.do(http.MethodGet, booking, nil, nil) }},
		"PUT": {405, func() answer { return s.do(http.MethodPut, booking, nil, nil) }},
		"body over max_body": {413, func() answer {
			return post(booking, []byte(strings.Repeat("x", 5000)))
		}},
		"no signature": {432, func() answer { return s.do(http.MethodPost, booking, nil, envelope(ping)) }},
		"wrong signature": {432, func() answer {
			return s.do(http.MethodPost, booking, signed([]byte("another body")), envelope(ping))
		}},
		"signature without its prefix": {432, func() answer {
			body := envelope(ping)
			header := signed(body)
			header[signatureHeader] = strings.TrimPrefix(header[signatureHeader], "sha256=")
			return s.do(http.MethodPost, booking, header, body)
		}},
		"a wrong signature on an unknown flow": {432, func() answer {
			return s.do(http.MethodPost, "/flows/endpoint/nope", nil, envelope(ping))
		}},
		"no JSON":                      {400, func() answer { return post(booking, []byte("hello")) }},
		"a field is missing":           {400, func() answer { return post(booking, mangled("initial_vector", "initial")) }},
		"a field is no base64":         {400, func() answer { return post(booking, mangled(`"initial_vector":"`, `"initial_vector":"!`)) }},
		"encrypted for another key":    {421, func() answer { return post(booking, seal(t, &other.PublicKey, ping).body) }},
		"plaintext is no object":       {400, func() answer { return post(booking, envelope([]byte(`[1]`))) }},
		"no action":                    {400, func() answer { return post(booking, envelope(request{"version": "3.0"})) }},
		"an unknown action":            {400, func() answer { return post(booking, envelope(request{"action": "dance"})) }},
		"a screen the flow lacks":      {400, func() answer { return post(booking, envelope(step("data_exchange", "NOPE", "t", nil))) }},
		"ping":                         {200, func() answer { return post(booking, envelope(ping)) }},
		"ping of an unknown flow":      {404, func() answer { return post("/flows/endpoint/nope", envelope(ping)) }},
		"INIT of an unknown flow":      {404, func() answer { return post("/flows/endpoint/nope", envelope(start)) }},
		"no flow":                      {404, func() answer { return post("/flows/endpoint", envelope(start)) }},
		"the flow in the query":        {200, func() answer { return post("/flows/endpoint?flow=booking", envelope(start)) }},
		"a flow name with a slash":     {404, func() answer { return post("/flows/endpoint/a/b", envelope(start)) }},
		"the account in the path":      {200, func() answer { return post("/a/default/flows/endpoint/booking", envelope(start)) }},
		"an unknown account":           {404, func() answer { return post("/a/nobody/flows/endpoint/booking", envelope(start)) }},
		"INIT":                         {200, func() answer { return post(booking, envelope(start)) }},
		"a forged token":               {427, func() answer { return post(booking, envelope(step("INIT", "", "wf1.forged.token", nil))) }},
		"a wrong flow_token_signature": {427, func() answer { return post(booking, envelope(withSignature(start, "a.b.c"))) }},
		"a signature but no token, as some iOS clients": {200, func() answer {
			return post(booking, envelope(withSignature(step("INIT", "", "", nil), flowtoken.SignSignature([]byte(testSecret), "lost"))))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := c.do()
			if a.status != c.want {
				t.Fatalf("status %d, expected %d", a.status, c.want)
			}
			if sealedStatus := c.want == 200 || c.want == 427; sealedStatus == (len(a.body) == 0) {
				t.Errorf("status %d has a body of %d bytes", a.status, len(a.body))
			}
			if c.want == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
	s.t = t

	t.Run("tokens", func(t *testing.T) {
		s.t = t
		mint := func(claims flowtoken.Claims) string {
			token, err := flowtoken.Mint([]byte("old"), claims, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		t.Setenv("FLOW_TOKEN_SECRET", "new,old")
		s.load("", engineSite)
		hour := time.Now().Add(time.Hour)
		refusals.mu.Lock() // another test may have been logged less than a minute ago
		clear(refusals.last)
		refusals.mu.Unlock()
		good := mint(flowtoken.Claims{Flow: "booking", Account: "default", User: "user-7", Expires: hour})
		// The server of the configuration before takes connections for a moment yet.
		eventually(t, 5*time.Second, "the new secrets are in use", func() bool {
			a, _ := s.post(booking, step("INIT", "", mint(flowtoken.Claims{Flow: "booking", Expires: hour}), nil))
			return a.status == http.StatusOK
		})
		s.want(booking, withSignature(step("INIT", "", good, nil), flowtoken.SignSignature([]byte(testSecret), good)), "NAME")
		if !slices.ContainsFunc(s.events(), func(e event.Entry) bool {
			st, err := event.DecodeStep(e.Body)
			return err == nil && st.User == "user-7"
		}) {
			t.Error("no event names the user of the token")
		}
		for name, token := range map[string]string{
			"expired":          mint(flowtoken.Claims{Flow: "booking", Expires: time.Now().Add(-time.Second)}),
			"for another flow": mint(flowtoken.Claims{Flow: "other", Expires: hour}),
			"for another account, whose secret is the same": mint(flowtoken.Claims{Flow: "booking", Account: "shop", Expires: hour}),
		} {
			a, reply := s.post(booking, step("INIT", "", token, nil))
			if a.status != 427 || reply["error_msg"] == "" || reply["error_msg"] == nil {
				t.Errorf("%s: status %d, %v", name, a.status, reply)
			}
		}
		// A wrong secret locks every user out: the log says it, and what to do.
		log, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(log), "\n") {
			if strings.Contains(line, `"reason":"token"`) && strings.Contains(line, `"status":427`) && strings.Contains(line, "compare FLOW_TOKEN_SECRET") {
				return
			}
		}
		t.Error("no line of the log tells of the tokens that were refused")
	})
}

func withSignature(r request, jwt string) request {
	r = maps.Clone(r)
	r["flow_token_signature"] = jwt
	return r
}

func TestABodyThatDoesNotComeEndsWithTheBudget(t *testing.T) {
	s := newSite(t).load("", `
	whatsapp_flow /flows/* {
		endpoint engine
		flows testdata/flows
		timeout 200ms
	}`)
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "POST "+booking+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the connection is held: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", response.StatusCode)
	}
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection stays open: %d bytes, %v", n, err)
	}
}

func TestAnErrorNotificationIsAcknowledgedAndStored(t *testing.T) {
	s := newSite(t).load("", engineSite)
	a, reply := s.post(booking, step("data_exchange", "NAME", "tok", request{"error": "payload-schema-error", "error_message": "data.x"}))
	if a.status != 200 || reply["data"].(map[string]any)["acknowledged"] != true {
		t.Fatalf("status %d, %v", a.status, reply)
	}
	events := s.events()
	if len(events) != 1 || events[0].Kind != event.KindClientError {
		t.Fatalf("events: %v", events)
	}
	if st, err := event.DecodeStep(events[0].Body); err != nil || st.ErrorKey != "payload-schema-error" || st.From != "NAME" {
		t.Errorf("event %+v, %v", st, err)
	}
}

func TestAccountsThatDemandMoreOfTokens(t *testing.T) {
	s := newSite(t).load(`
	whatsapp_flows {
		account strict {
			token_secret secret
			require_signed_tokens
			token_expired_message "Ask us again."
		}
		account once {
			single_use_tokens
			default_flow booking
		}
	}`, `
	whatsapp_flow /a* {
		endpoint engine
		flows testdata/flows
	}`)
	for _, token := range []string{"plain", "unused", ""} {
		a, reply := s.post("/a/strict/flows/endpoint/booking", step("INIT", "", token, nil))
		if a.status != 427 || reply["error_msg"] != "Ask us again." {
			t.Errorf("token %q: status %d, %v", token, a.status, reply)
		}
	}
	// Two accounts and none named: nobody's secret could have signed this.
	if a, _ := s.post("/aa/flows/endpoint/booking", step("INIT", "", "x", nil)); a.status != 404 {
		t.Errorf("no account named: status %d, expected 404", a.status)
	}

	const path = "/a/once/flows/endpoint" // the default flow
	s.want(path, step("INIT", "", "t", nil), "NAME")
	s.want(path, step("data_exchange", "CONFIRM", "t", request{"agreed": "yes"}), "SUCCESS")
	a, reply := s.post(path, step("INIT", "", "t", nil))
	if a.status != 427 || reply["error_msg"] == nil {
		t.Errorf("after completion: status %d, %v", a.status, reply)
	}
	// The same request again within the window is a lost reply, not a second use.
	s.want(path, step("data_exchange", "CONFIRM", "t", request{"agreed": "yes"}), "SUCCESS")
}

func TestAKeyThatWasReplacedStillOpensEnvelopes(t *testing.T) {
	s := newSite(t)
	t.Setenv("PRIVATE_KEY_FILE", "")
	s.load(`
	whatsapp_flows {
		account default {
			private_key {file.testdata/other.pem}
			private_key {file.testdata/flow_encrypted.pem} test-pass
			app_secret new-secret `+testSecret+`
		}
	}`, engineSite)
	for range 2 {
		s.want(booking, step("INIT", "", "t", nil), "NAME")
	}
}
