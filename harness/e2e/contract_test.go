package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// tokenSecret is what the installation of these tests signs flow tokens with.
const tokenSecret = "a-secret-that-signs-flow-tokens"

// TestContract is what operators and WhatsApp are promised, seen from outside.
func TestContract(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{EdgeEnv: []string{"FLOW_TOKEN_SECRET=" + tokenSecret}})
	t.Run("a conversation becomes one row and one callback", func(t *testing.T) { oneRowOneCallback(t, s) })
	t.Run("statuses", func(t *testing.T) { statuses(t, s) })
	t.Run("webhook handshake", func(t *testing.T) { handshake(t, s) })
	t.Run("worker behind the edge", func(t *testing.T) { workerPaths(t, s) })
	t.Run("users without a token never meet", func(t *testing.T) { unusedIsolation(t, s) })
	t.Run("the same envelope gets the same bytes", func(t *testing.T) { sameEnvelope(t, s) })
	t.Run("the same request at the same moment runs once", func(t *testing.T) { sameMoment(t, s) })
	t.Run("a deliberate repeat runs again", func(t *testing.T) { deliberateRepeat(t, s) })
	t.Run("answers that fit nothing are stored all the same", func(t *testing.T) { oddAnswers(t, s) })
	t.Run("no secret, token or answer is in a log", func(t *testing.T) { silentLogs(t, s) })
}

// spoken is a comment that must come through byte for byte, and never get into a
// log.
const spoken = `Grüße 👋 "quoted" \ / <b> ' -- ;`

func oneRowOneCallback(t *testing.T, s installation) {
	token := "token-" + rand.Text()
	params, err := converse(t.Context(), s.phone(t, token), "5", spoken)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(params, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"score": "5", "comment": spoken, "contact_me": true, "flow_token": token}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("SUCCESS has params %v, want %v", got, want)
	}
	body := completion("wamid.one", params)
	for range 3 {
		if status, err := s.Webhook(t.Context(), body); err != nil || status != http.StatusOK {
			t.Fatalf("webhook: status %d (%v)", status, err)
		}
	}
	s.readAll(t)
	s.wantStored(t, []string{"wamid.one"})
	s.wantDelivered(t, 1)
	var callback struct {
		EventType    string         `json:"event_type"`
		FlowToken    string         `json:"flow_token"`
		FlowID       string         `json:"flow_id"`
		PhoneNumber  string         `json:"phone_number"`
		ResponseData map[string]any `json:"response_data"`
		Timestamp    time.Time      `json:"timestamp"`
	}
	if err := json.Unmarshal(s.Receiver.Callbacks()[0].Body, &callback); err != nil {
		t.Fatal(err)
	}
	if callback.EventType != "flow_completed" || callback.FlowToken != token || callback.FlowID == "" ||
		callback.PhoneNumber != "15550100" || fmt.Sprint(callback.ResponseData) != fmt.Sprint(want) || callback.Timestamp.IsZero() {
		t.Errorf("the callback says %+v", callback)
	}
}

func statuses(t *testing.T, s installation) {
	user := s.phone(t, "token-"+rand.Text())
	seal := func(payload string) []byte {
		envelope, err := user.Seal([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return envelope.Body
	}
	sign := func(body []byte) string { return hubsignature.Sign([]byte(s.Secrets.AppSecret), body) }
	init := seal(`{"version":"4.0","action":"INIT","flow_token":"x","data":{}}`)
	ping := seal(`{"version":"3.0","action":"ping"}`)
	unreadable := []byte(`{"encrypted_aes_key":"AAAA","encrypted_flow_data":"AAAA","initial_vector":"AAAA"}`)
	const endpoint = "/flows/endpoint/" + csat
	cases := []struct {
		name, path string
		body       []byte
		signature  string
		want       int
	}{
		{"a wrong signature", endpoint, init, "sha256=" + strings.Repeat("0", 64), 432},
		{"no signature", endpoint, init, "", 432},
		{"no JSON", endpoint, []byte("hello"), "", 400},
		{"a missing field", endpoint, []byte(`{"initial_vector":"AAAA"}`), "", 400},
		{"bad base64", endpoint, []byte(`{"encrypted_aes_key":"*","encrypted_flow_data":"*","initial_vector":"*"}`), "", 400},
		{"not for our key", endpoint, unreadable, "", 421},
		{"plaintext that is no object", endpoint, seal(`[1]`), "", 400},
		{"no action", endpoint, seal(`{"version":"4.0"}`), "", 400},
		{"an unknown action", endpoint, seal(`{"version":"4.0","action":"dance"}`), "", 400},
		{"an unknown screen", endpoint, seal(`{"version":"4.0","action":"data_exchange","screen":"NOWHERE","flow_token":"x","data":{}}`), "", 400},
		{"an unknown flow", "/flows/endpoint/no-such-flow", init, "", 404},
		{"a ping for an unknown flow", "/flows/endpoint/no-such-flow", ping, "", 404},
		{"no flow named", "/flows/endpoint", init, "", 404},
		{"the flow as a query", "/flows/endpoint?flow=" + csat, ping, "", 200},
		{"the account in the path", "/a/default" + endpoint, ping, "", 200},
		{"an unknown account", "/a/nobody" + endpoint, ping, "", 404},
		{"a request over max_body", endpoint, bytes.Repeat([]byte("x"), 11<<20), "", 413},
		{"a mistyped path", "/flow/endpoint", init, "", 404},
		{"a webhook with a wrong signature", "/webhooks/whatsapp", []byte(`{}`), "sha256=" + strings.Repeat("0", 64), 401},
		{"a webhook without signature", "/webhooks/whatsapp", []byte(`{}`), "none", 401},
		{"a webhook over 4 MiB", "/webhooks/whatsapp", bytes.Repeat([]byte("x"), 5<<20), "", 413},
		{"a webhook of a named account", "/a/default/webhooks/whatsapp", []byte(`{"object":"x"}`), "", 200},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			header := map[string]string{}
			switch {
			case c.signature != "":
				header["X-Hub-Signature-256"] = c.signature
			case c.name != "no signature":
				header["X-Hub-Signature-256"] = sign(c.body)
			}
			if c.signature == "none" {
				delete(header, "X-Hub-Signature-256")
			}
			status, answer, err := s.Post(t.Context(), c.path, c.body, header)
			if err != nil {
				t.Fatal(err)
			}
			if status != c.want {
				t.Errorf("status %d, want %d", status, c.want)
			}
			if status != http.StatusOK && len(answer) > 0 {
				t.Errorf("status %d has a body of %d bytes", status, len(answer))
			}
		})
	}
	t.Run("GET instead of POST", func(t *testing.T) {
		if status, _, err := s.Get(t.Context(), endpoint); err != nil || status != http.StatusMethodNotAllowed {
			t.Errorf("status %d (%v), want 405", status, err)
		}
	})
	t.Run("a token that is forged or expired", func(t *testing.T) {
		claims := flowtoken.Claims{Flow: csat, Expires: time.Now().Add(time.Hour)}
		good, err := flowtoken.Mint([]byte(tokenSecret), claims, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		forged, err := flowtoken.Mint([]byte("another secret"), claims, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		claims.Expires = time.Now().Add(-time.Minute)
		expired, err := flowtoken.Mint([]byte(tokenSecret), claims, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.phone(t, good).Init(t.Context()); err != nil {
			t.Errorf("a good token: %v", err)
		}
		for name, token := range map[string]string{"forged": forged, "expired": expired} {
			_, err := s.phone(t, token).Init(t.Context())
			var dead *phone.TokenError
			if !errors.As(err, &dead) || dead.Message == "" {
				t.Errorf("a token that is %s: %v, want 427 with an encrypted message", name, err)
			}
		}
	})
	t.Run("a wrong flow_token_signature", func(t *testing.T) {
		stranger := s.phone(t, "token-"+rand.Text())
		stranger.TokenSignature = flowtoken.SignSignature([]byte("another app"), stranger.Token)
		_, err := stranger.Init(t.Context())
		var dead *phone.TokenError
		if !errors.As(err, &dead) {
			t.Errorf("%v, want 427", err)
		}
	})
	t.Run("an error notification is acknowledged", func(t *testing.T) {
		refusal := &phone.RefusalError{Key: phone.KeyPayloadSchema, Reason: "score: expected a string"}
		if _, err := user.Report(t.Context(), flow.DataExchange, "RATING", refusal); err != nil {
			t.Error(err)
		}
	})
}

func handshake(t *testing.T, s installation) {
	get := func(token string) (int, string) {
		status, answer, err := s.Get(t.Context(), "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="+token)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(answer)
	}
	if status, answer := get(s.Secrets.VerifyToken); status != http.StatusOK || answer != "1158201444" {
		t.Errorf("status %d, answer %q; want 200 and the challenge", status, answer)
	}
	if status, answer := get("wrong"); status != http.StatusForbidden || answer != "" {
		t.Errorf("wrong token: status %d, answer %q; want 403 and nothing", status, answer)
	}
}

func workerPaths(t *testing.T, s installation) {
	status, answer, err := s.Get(t.Context(), "/health")
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d (%v)", status, err)
	}
	var health map[string]any
	if err := json.Unmarshal(answer, &health); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"status", "timestamp", "version", "uptime", "environment", "database", "redis", "responseTime"} {
		if _, ok := health[field]; !ok {
			t.Errorf("/health has no %s: %s", field, answer)
		}
	}
	metrics, err := s.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(metrics, "caddy_whatsapp_flows_") {
		t.Error("the edge's metrics show nothing of ours")
	}
}

// unusedIsolation has two users with Meta's default token take turns.
func unusedIsolation(t *testing.T, s installation) {
	for _, token := range []string{"unused", ""} {
		ann, bob := s.phone(t, token), s.phone(t, token)
		turn := func(who *phone.Phone, screen string, data map[string]any, foreign ...string) *phone.Reply {
			t.Helper()
			reply, err := who.Exchange(t.Context(), screen, data)
			if err != nil {
				t.Fatalf("%s: %v", screen, err)
			}
			for _, word := range foreign {
				if bytes.Contains(reply.Plaintext, []byte(word)) {
					t.Errorf("token %q: one user's answer shows another's: %s", token, reply.Plaintext)
				}
			}
			return reply
		}
		turn(ann, "RATING", map[string]any{"score": "5"})
		turn(bob, "RATING", map[string]any{"score": "1"}, `"5"`)
		turn(ann, "COMMENT", map[string]any{"score": "5", "comment": "from-ann"}, `"1"`)
		turn(bob, "COMMENT", map[string]any{"score": "1"}, "from-ann", `"5"`)
		turn(bob, "RATING", map[string]any{}, "from-ann", `"5"`)
		last := turn(bob, "THANKS", map[string]any{"contact_me": false}, "from-ann", `"5"`)
		if !last.Ended {
			t.Errorf("token %q: the flow leads to %s, want SUCCESS", token, last.Screen)
		}
		end := turn(ann, "THANKS", map[string]any{"score": "5", "comment": "from-ann", "contact_me": true}, `"1"`)
		if !bytes.Contains(end.Params, []byte("from-ann")) {
			t.Errorf("token %q: what the flow passed on is lost: %s", token, end.Params)
		}
	}
}

func sameEnvelope(t *testing.T, s installation) {
	for _, token := range []string{"token-" + rand.Text(), "unused", "wf1.forged.token"} {
		user := s.phone(t, token)
		payload, err := user.Payload(flow.DataExchange, "RATING", map[string]any{"score": "2"})
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := user.Seal(payload)
		if err != nil {
			t.Fatal(err)
		}
		var first []byte
		for i := range 4 {
			status, body, err := user.Post(t.Context(), envelope)
			if err != nil || len(body) == 0 {
				t.Fatalf("token %q: status %d (%v), no body", token, status, err)
			}
			if i == 0 {
				first = body
			} else if !bytes.Equal(body, first) {
				t.Errorf("token %q: the same envelope got other bytes at time %d", token, i+1)
			}
		}
	}
}

// sameMoment sends one request under many envelopes at once.
func sameMoment(t *testing.T, s installation) {
	user := s.phone(t, "token-"+rand.Text())
	if _, err := user.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	payload, err := user.Payload(flow.DataExchange, "RATING", map[string]any{"score": "4"})
	if err != nil {
		t.Fatal(err)
	}
	const taps = 8
	answers := make([]string, taps)
	sealed := make([]string, taps)
	var wg sync.WaitGroup
	for i := range taps {
		wg.Go(func() {
			envelope, err := user.Seal(payload)
			if err != nil {
				t.Error(err)
				return
			}
			status, body, err := user.Post(t.Context(), envelope)
			if err != nil || status != http.StatusOK {
				t.Errorf("status %d (%v)", status, err)
				return
			}
			plaintext, err := envelope.Open(body)
			if err != nil {
				t.Error(err)
			}
			answers[i], sealed[i] = string(plaintext), string(body)
		})
	}
	wg.Wait()
	for i := range answers {
		if answers[i] != answers[0] {
			t.Errorf("answers differ: %s and %s", answers[0], answers[i])
		}
		if i > 0 && sealed[i] == sealed[0] {
			t.Error("two envelopes got the same sealed bytes")
		}
	}
	s.wantSteps(t, user.Token, 2) // INIT and one data_exchange
}

// deliberateRepeat is a user who goes back and forth, and one who sends the same
// form again after the retry window.
func deliberateRepeat(t *testing.T, s installation) {
	t.Run("forth and back twice", func(t *testing.T) {
		user := s.phone(t, "token-"+rand.Text())
		if _, err := user.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := user.Exchange(t.Context(), "RATING", map[string]any{"score": "3"}); err != nil {
				t.Fatal(err)
			}
			reply, err := user.Back(t.Context(), "COMMENT")
			if err != nil {
				t.Fatal(err)
			}
			if reply.Screen != "RATING" {
				t.Errorf("BACK leads to %s, want RATING", reply.Screen)
			}
		}
		s.wantSteps(t, user.Token, 5)
	})
	t.Run("the same form again after the retry window", func(t *testing.T) {
		user := s.phone(t, "token-"+rand.Text())
		if _, err := user.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		send := func(ctx context.Context) {
			reply, err := user.Exchange(ctx, "RATING", map[string]any{"score": "3"})
			if err != nil || reply.Screen != "COMMENT" {
				t.Fatalf("screen %v (%v)", reply, err)
			}
		}
		send(t.Context())
		send(t.Context())
		s.wantSteps(t, user.Token, 2) // the second was a retry
		const retryWindow = 15 * time.Second
		eventually(t, retryWindow+10*time.Second, "the form runs again", func(ctx context.Context) error {
			<-time.NewTimer(time.Second).C
			send(ctx)
			s.readAll(t)
			if n := s.steps(t, user.Token); n < 3 {
				return fmt.Errorf("%d steps", n)
			}
			return nil
		})
	})
}

func (s installation) steps(t *testing.T, token string) int {
	t.Helper()
	return s.number(t, "SELECT count(*) FROM flow_steps WHERE token_hash = $1", keyspace.TokenHash(token))
}

func (s installation) wantSteps(t *testing.T, token string, want int) {
	t.Helper()
	s.readAll(t)
	if got := s.steps(t, token); got != want {
		t.Errorf("the flow's logic ran %d times, want %d", got, want)
	}
}

func oddAnswers(t *testing.T, s installation) {
	cases := map[string]string{
		"wamid.no-token":  `{"score":"1"}`,
		"wamid.unknown":   `{"score":"1","flow_token":"nobody-knows-it"}`,
		"wamid.unused":    `{"score":"1","flow_token":"unused"}`,
		"wamid.array":     `[1,2]`,
		"wamid.no-json":   `oops`,
		"wamid.zero-byte": `{"score":"a\u0000b"}`,
	}
	for wamid, params := range cases {
		if status, err := s.Webhook(t.Context(), completion(wamid, json.RawMessage(params))); err != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d (%v)", wamid, status, err)
		}
	}
	// A batch with a message that is broken between two that are not.
	good := func(wamid string) string {
		return `{"from":"15550100","id":"` + wamid + `","timestamp":"1749416383","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"score\":\"2\"}"}}}`
	}
	batch := `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"phone_number_id":"106540352242922"},"messages":[` +
		good("wamid.before") + `,{"id":17,"type":{}},` + good("wamid.after") + `]}}]}]}`
	if status, err := s.Webhook(t.Context(), []byte(batch)); err != nil || status != http.StatusOK {
		t.Fatalf("batch: status %d (%v)", status, err)
	}
	// And a body that is no JSON at all: Meta's signature says it is Meta's.
	if status, err := s.Webhook(t.Context(), []byte("not JSON")); err != nil || status != http.StatusOK {
		t.Fatalf("no JSON: status %d (%v)", status, err)
	}
	s.readAll(t)
	for wamid := range cases {
		if n := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid = $1", wamid); n != 1 {
			t.Errorf("%s: %d rows, want 1", wamid, n)
		}
	}
	if n := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid IN ('wamid.before', 'wamid.after')"); n != 2 {
		t.Errorf("%d of the 2 whole messages of a batch are stored", n)
	}
	if n := s.number(t, "SELECT count(*) FROM webhook_events WHERE body = 'not JSON' AND problem IS NOT NULL"); n != 1 {
		t.Errorf("the body that is no JSON: %d rows that say so, want 1", n)
	}
	if n := s.number(t, "SELECT count(*) FROM flow_responses WHERE flow_token = 'unused' AND session_id IS NOT NULL"); n != 0 {
		t.Errorf("%d answers were joined to a session by the token unused", n)
	}
}

// silentLogs looks for what the tests above have sent.
func silentLogs(t *testing.T, s installation) {
	logs := s.Edge.Tail() + s.Worker.Tail()
	var tokens []string
	err := s.Query(t.Context(), func(conn *pgx.Conn) error {
		rows, err := conn.Query(t.Context(), "SELECT flow_token FROM flow_sessions")
		if err != nil {
			return err
		}
		tokens, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, word := range map[string]string{
		"the app secret": s.Secrets.AppSecret, "the verify token": s.Secrets.VerifyToken, "the token secret": tokenSecret,
		"the callback secret": s.Secrets.CallbackSecret, "an answer": "Grüße", "a phone number": "15550100",
	} {
		if strings.Contains(logs, word) {
			t.Errorf("a log holds %s", what)
		}
	}
	for _, token := range tokens {
		if len(token) > 8 && strings.Contains(logs, token) {
			t.Errorf("a log holds the flow token %s", token)
		}
	}
}
