package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

const crmURL = "https://crm.example.com/whatsapp"

// callback reads the endpoint of an answer.
func (r *response) callback() (c Callback) {
	r.t.Helper()
	r.data(&c)
	return c
}

func TestACallbackEndpointIsCreatedReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	created := s.send("POST", "/api/callbacks", input{"name": "crm", "url": crmURL, "events": []string{"flow.*", "message.received"},
		"headers": map[string]string{"X-Team": "geheim"}, "auth": input{"type": "basic", "username": "ann", "password": "geheim"}}).is(201)
	c := created.callback()
	if callback.CheckSecret(c.Secret) != nil || created.header.Get("Location") != "/api/callbacks/"+c.ID || created.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", created.body, created.header)
	}
	if c.Payload != "event" || c.MaxAttempts != 10 || c.TimeoutMs != 15000 || c.Schedule != nil || c.Status != "active" || c.Account != "default" || c.Secrets != 1 ||
		fmt.Sprint(c.HeaderNames) != "[X-Team]" || *c.AuthType != "basic" || c.RateLimit != nil || c.Flows != nil {
		t.Errorf("%+v", c)
	}
	for _, path := range []string{"/api/callbacks/crm", "/api/callbacks/" + c.ID, "/api/accounts/default/callbacks/crm"} {
		got := s.get(path).is(200)
		if got.callback().ID != c.ID || strings.Contains(string(got.body), "geheim") || strings.Contains(string(got.body), "whsec_") || strings.Contains(string(got.body), "Basic") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	for i, step := range []struct {
		name, body string
		want       func(Callback) bool
	}{
		{"one field", `{"description": "ours"}`, func(c Callback) bool { return c.Description == "ours" && len(c.HeaderNames) == 1 && c.AuthType != nil }},
		{"flows", `{"flows": ["csat"], "events": ["flow.completed"]}`, func(c Callback) bool { return fmt.Sprint(c.Flows) == "[csat]" }},
		{"a schedule brings its attempts", `{"schedule": [0, 10]}`, func(c Callback) bool { return c.MaxAttempts == 2 && fmt.Sprint(c.Schedule) == "[0 10]" }},
		{"null is the default", `{"schedule": null, "flows": null, "auth": null, "headers": null}`, func(c Callback) bool {
			return c.MaxAttempts == 10 && c.Schedule == nil && c.Flows == nil && c.AuthType == nil && len(c.HeaderNames) == 0
		}},
		{"limits", `{"rateLimit": 2.5, "maxInFlight": 4, "ordered": true, "disableAfterHours": 0, "timeoutMs": 3000, "maxAttempts": 3}`, func(c Callback) bool {
			return *c.RateLimit == 2.5 && c.MaxInFlight == 4 && c.Ordered && c.DisableAfterHours == 0 && c.TimeoutMs == 3000 && c.MaxAttempts == 3
		}},
		{"another name", `{"name": "erp"}`, func(c Callback) bool { return c.Name == "erp" }},
		{"back", `{"name": "crm", "payload": "seed"}`, func(c Callback) bool { return c.Payload == "seed" }},
	} {
		if got := s.send("PATCH", "/api/callbacks/"+c.ID, step.body).is(200).callback(); !step.want(got) {
			t.Errorf("%d %s: %+v", i, step.name, got)
		}
	}
	// What a client got it may send back.
	var whole map[string]any
	s.get("/api/callbacks/crm").data(&whole)
	before := s.get("/api/callbacks/crm").header.Get("ETag")
	if got := s.send("PATCH", "/api/callbacks/crm", whole).is(200); got.header.Get("ETag") != before {
		t.Error("sending back what was read is a change")
	}
	s.send("POST", "/api/callbacks", input{"name": "crm", "url": crmURL}).failed(409, "ConflictError", "crm")
	if got := s.get("/api/callbacks").ids("name"); got != "crm" {
		t.Errorf("list: %s", got)
	}
	var deleted DeletedCallback
	s.send("DELETE", "/api/callbacks/crm", nil).is(200).data(&deleted)
	s.get("/api/callbacks/crm").failed(404, "NotFoundError", "crm")
	for _, log := range s.log.All() {
		if text := fmt.Sprint(log.Message, log.ContextMap()); strings.Contains(text, "geheim") || strings.Contains(text, "whsec_") {
			t.Errorf("the log holds a secret: %s", text)
		}
	}
}

func TestTwoWhoChangeACallbackEndpointAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("POST", "/api/callbacks", input{"name": "crm", "url": crmURL}).is(201)
	tag := s.get("/api/callbacks/crm").header.Get("ETag")
	s.get("/api/callbacks/crm", "If-None-Match", tag).is(304)
	s.send("PATCH", "/api/callbacks/crm", `{"ordered": true}`, "If-Match", tag).is(200)
	for _, r := range []*response{
		s.send("PATCH", "/api/callbacks/crm", `{"ordered": false}`, "If-Match", tag),
		s.send("POST", "/api/callbacks/crm/pause", nil, "If-Match", tag),
		s.send("POST", "/api/callbacks/crm/resume", nil, "If-Match", tag),
		s.send("POST", "/api/callbacks/crm/rotate-secret", nil, "If-Match", tag),
		s.send("DELETE", "/api/callbacks/crm", nil, "If-Match", tag),
	} {
		r.failed(412, "PRECONDITION_FAILED", "Read it again")
	}
	s.get("/api/callbacks/crm", "If-None-Match", tag).is(200)
}

func TestWrongCallbackEndpointsAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for body, words := range map[string]string{
		``:                          "body",
		`[]`:                        "expected an object",
		`{"url": "https://a"`:       "no JSON",
		`{"name": "a"}`:             "url is missing",
		`{"url": "` + crmURL + `"}`: "name is",
		`{"name": "a b", "url": "` + crmURL + `"}`:                "letters, digits",
		`{"name": "a", "url": "ftp://crm.example.com"}`:           "http://",
		`{"name": "a", "url": "https://"}`:                        "names no host",
		`{"name": "a", "url": "https://ann:geheim@example.com/"}`: "put them into auth",
		`{"name": "a", "url": "https://example.com/#a"}`:          "fragment",
		`{"name": "a", "url": "http://127.0.0.1/geheim"}`:         "CALLBACK_ALLOW_CIDRS",
		`{"name": "a", "url": "http://[::ffff:10.0.0.1]/"}`:       "not a public address",
		`{"name": "a", "url": "http://169.254.169.254/"}`:         "not a public address",
		`{"name": 7, "url": "` + crmURL + `"}`:                    "name holds a JSON number, expected a text",
		`{"name": "a", "url": "` + crmURL + `", "colour": 1}`:     "no field \"colour\"",
		`{"name": "a", "name": "b"}`:                              "twice",
	} {
		r := s.send("POST", "/api/callbacks", body).failed(400, "ValidationError", words)
		if strings.Contains(string(r.body), "geheim") {
			t.Errorf("%s: repeats a secret: %s", body, r.body)
		}
	}
	for field, words := range map[string]string{
		`"events": []`:                       "events has 0",
		`"events": ["flow.complete"]`:        "flow.completed",
		`"events": ["*.completed"]`:          "not at its end",
		`"events": ["flow.*", "flow.*"]`:     "twice",
		`"events": "flow.*"`:                 "expected a list",
		`"payload": "json"`:                  "expected seed, event or raw",
		`"payload": "seed", "events": ["*"]`: "flow.completed only",
		`"payload": "raw"`:                   "webhook.received only",
		`"events": ["webhook.received", "flow.error"], "payload": "raw"`: "webhook.received only",
		`"flows": []`: "null for every flow",
		`"flows": ["a"], "events": ["message.*"]`:                "let nothing through",
		`"headers": {"Host": "x"}`:                               "Host",
		`"headers": {"webhook-id": "x"}`:                         "webhook-id",
		`"headers": {"X-Hub-Signature-256": "x"}`:                "X-Hub-Signature-256",
		`"headers": {"X A": "x"}`:                                "no name of a header",
		`"headers": {"X-A": "a\r\nB: geheim"}`:                   "line break",
		`"headers": {"x-a": "1", "X-A": "2"}`:                    "twice",
		`"headers": {"X-A": 1}`:                                  "expected a text",
		`"auth": {"type": "bearer"}`:                             "bearer token is empty",
		`"auth": {"type": "bearer", "token": "geheim geheim"}`:   "holds a space",
		`"auth": {"type": "basic", "username": "a:b"}`:           "colon",
		`"auth": {"type": "digest"}`:                             "neither",
		`"auth": {"type": "basic", "token": "geheim"}`:           "neither",
		`"auth": "Bearer geheim"`:                                "expected an object",
		`"timeoutMs": 0`:                                         "1 to 20000",
		`"timeoutMs": 20001`:                                     "1 to 20000",
		`"timeoutMs": 1.5`:                                       "whole number",
		`"maxAttempts": 11`:                                      "1 to 10",
		`"maxAttempts": 0`:                                       "1 to 10",
		`"schedule": []`:                                         "1 to 50",
		`"schedule": [0, -1]`:                                    "pause of -1",
		`"schedule": [0, 700000]`:                                "700000",
		`"schedule": [604800,604800,604800,604800,604800]`:       "30 days",
		`"schedule": [0, 1], "maxAttempts": 3`:                   "the schedule has 2 attempts",
		`"maxInFlight": 0`:                                       "1 to 1000",
		`"rateLimit": 0`:                                         "pause the endpoint",
		`"rateLimit": -1`:                                        "requests a second",
		`"disableAfterHours": 9000`:                              "8760",
		`"secret": "geheim"`:                                     "whsec_",
		`"account": "*/"`:                                        "account",
		`"description": "` + strings.Repeat("x", 1001) + `"`:     "1001",
		`"name2": "a"`:                                           "no field",
		`"url": "https://` + strings.Repeat("x", 2100) + `.com"`: "comes twice",
		`"events": ["message.*"], "ordered": "yes"`:              "true or false",
		`"flows": ["a", "a"]`:                                    "twice",
		`"headers": {"X-A": "é"}`:                                "ASCII",
	} {
		r := s.send("POST", "/api/callbacks", `{"name": "a", "url": "`+crmURL+`", `+field+`}`).failed(400, "ValidationError", words)
		if strings.Contains(string(r.body), "geheim") {
			t.Errorf("%s: repeats a secret: %s", field, r.body)
		}
	}
	r := s.send("POST", "/api/callbacks", `{"name": "a/b", "url": "x", "events": ["nothing"]}`).failed(400, "ValidationError")
	var several struct{ Error struct{ Details []detail } }
	if r.read(&several); len(several.Error.Details) != 3 || several.Error.Details[1].Location != "body.url" {
		t.Errorf("details %s", r.body)
	}
	if got := s.get("/api/callbacks").ids("name"); got != "" {
		t.Errorf("stored: %s", got)
	}
	s.send("POST", "/api/callbacks", input{"name": "a", "url": crmURL}).is(201)
	s.send("PATCH", "/api/callbacks/a", `{}`).failed(400, "ValidationError", "At least one field")
	s.send("PATCH", "/api/callbacks/a", `{"secret": "whsec_x"}`).failed(400, "ValidationError", "rotate-secret")
	s.send("PATCH", "/api/callbacks/a", `{"events": ["message.*"], "payload": "seed"}`).failed(400, "ValidationError", "flow.completed only")
	s.send("POST", "/api/callbacks/a/rotate-secret", `{"overlapSeconds": -1}`).failed(400, "ValidationError", "overlapSeconds")
	s.send("POST", "/api/callbacks/a/rotate-secret", `{"secret": "x"}`).failed(400, "ValidationError", "whsec_")
	s.send("POST", "/api/callbacks/a/pause", `{"why": "x"}`).failed(400, "ValidationError", "why")
	s.send("POST", "/api/callbacks/nobody/pause", nil).failed(404, "NotFoundError", "nobody")
}

func TestPrivateReceiversNeedToBeAllowed(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.Callbacks.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	s.send("POST", "/api/callbacks", input{"name": "a", "url": "http://10.1.2.3:8080/x"}).is(201)
	s.send("POST", "/api/callbacks", input{"name": "b", "url": "http://192.168.0.1/x"}).failed(400, "ValidationError", "CALLBACK_ALLOW_CIDRS")
	s.send("PATCH", "/api/callbacks/a", input{"url": "http://192.168.0.1/x"}).failed(400, "ValidationError", "CALLBACK_ALLOW_CIDRS")
}

func TestSecretsOverlapWhileTheyChange(t *testing.T) {
	t.Parallel()
	s := serve(t)
	first := s.send("POST", "/api/callbacks", input{"name": "a", "url": crmURL}).is(201).callback().Secret
	own := callback.NewSecret()
	secrets := func() (all []CallbackSecret) {
		t.Helper()
		s.get("/api/callbacks/a/secrets").is(200).data(&all)
		return all
	}
	second := s.send("POST", "/api/callbacks/a/rotate-secret", nil).is(200).callback().Secret
	if got := secrets(); len(got) != 2 || got[0].Secret != second || got[0].ExpiresAt != nil || got[1].Secret != first ||
		time.Until(time.Time(*got[1].ExpiresAt)).Round(time.Minute) != 24*time.Hour {
		t.Errorf("after the first change: %+v", got)
	}
	s.send("POST", "/api/callbacks/a/rotate-secret", input{"secret": own, "overlapSeconds": 60}).is(200)
	s.send("POST", "/api/callbacks/a/rotate-secret", input{"secret": own}).failed(409, "ConflictError", "signs already")
	fourth := s.send("POST", "/api/callbacks/a/rotate-secret", input{"overlapSeconds": 3600}).is(200).callback()
	got := secrets()
	if len(got) != 3 || got[0].Secret != fourth.Secret || got[1].Secret != own || got[2].Secret != second || fourth.Secrets != 3 {
		t.Errorf("at most three: %+v", got)
	}
	if end := time.Until(time.Time(*got[2].ExpiresAt)); end > time.Minute {
		t.Errorf("an end was put off: %s", end)
	}
	if s.send("POST", "/api/callbacks/a/rotate-secret", input{"overlapSeconds": 0}).is(200); len(secrets()) != 1 {
		t.Error("without an overlap the former ones go on signing")
	}
	if s.as(readerToken).get("/api/callbacks/a/secrets").code != 403 {
		t.Error("a token that may only read sees secrets")
	}
}

func TestPausedAndDisabledEndpointsAreResumed(t *testing.T) {
	t.Parallel()
	c := &collected{served: serve(t)}
	for _, e := range []input{{"name": "a", "url": crmURL}, {"name": "watch", "url": crmURL, "events": []string{"endpoint.*"}},
		{"name": "deaf", "url": crmURL, "events": []string{"flow.*"}}} {
		c.send("POST", "/api/callbacks", e).is(201)
	}
	c.exec("UPDATE callback_endpoints SET failures = 12, failing_since = now() - interval '6 days', paused_until = now() + interval '1 hour' WHERE name = 'a'")
	if got := c.send("POST", "/api/callbacks/a/pause", input{"reason": "moving"}).is(200).callback(); got.Status != "paused" || *got.StatusReason != "moving" {
		t.Errorf("%+v", got)
	}
	if got := c.send("POST", "/api/callbacks/a/resume", nil).is(200).callback(); got.Status != "active" || got.StatusReason != nil || got.Failures != 0 ||
		got.FailingSince != nil || got.PausedUntil != nil {
		t.Errorf("%+v", got)
	}
	c.exec("UPDATE callback_endpoints SET status = 'disabled', status_reason = 'gone', failures = 3 WHERE name = 'a'")
	c.send("POST", "/api/callbacks/a/resume", nil).is(200)
	c.send("POST", "/api/callbacks/a/resume", nil).is(200) // once more does no harm
	if got := c.get("/api/callbacks/a/events").ids("kind"); got != "enabled" {
		t.Errorf("events %s", got)
	}
	if got := c.get("/api/deliveries").ids("endpoint"); got != "watch" {
		t.Errorf("told of it: %s", got)
	}
	if got := c.get("/api/deliveries").ids("eventType"); got != "endpoint.enabled" {
		t.Errorf("told of it: %s", got)
	}
}

func TestTheEnvironmentsEndpoint(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.Callbacks.FixedSecrets = true })
	env := endpoint.Environment{URL: "http://127.0.0.1/x", Timeout: 7 * time.Second, MaxAttempts: 4, Secrets: []string{callback.NewSecret()}}
	if err := endpoint.Ensure(t.Context(), s.pool, env); err != nil {
		t.Fatal(err)
	}
	for body, words := range map[string]string{
		`{"url": "https://example.com"}`: "CALLBACK_WEBHOOK_URL", `{"timeoutMs": 1}`: "CALLBACK_TIMEOUT",
		`{"maxAttempts": 2}`: "CALLBACK_MAX_RETRIES", `{"name": "x"}`: "cannot change",
	} {
		s.send("PATCH", "/api/callbacks/env", body).failed(400, "ValidationError", words)
	}
	s.send("DELETE", "/api/callbacks/env", nil).failed(409, "ConflictError", "CALLBACK_WEBHOOK_URL")
	s.send("POST", "/api/callbacks/env/rotate-secret", nil).failed(409, "ConflictError", "CALLBACK_SECRET")
	s.send("POST", "/api/callbacks", input{"name": "env", "account": "*", "url": crmURL}).failed(409, "ConflictError", "env")
	got := s.send("PATCH", "/api/callbacks/env", `{"events": ["*"], "payload": "event", "schedule": [0, 1], "description": "ours"}`).is(200).callback()
	if got.Account != "*" || got.MaxAttempts != 4 || got.Payload != "event" || got.TimeoutMs != 7000 {
		t.Errorf("%+v", got)
	}
	s.as(shopToken).get("/api/callbacks/env").failed(404, "NotFoundError")
	s.as(shopToken).get("/api/callbacks/"+got.ID).failed(404, "NotFoundError")
	if list := s.as(shopToken).get("/api/callbacks").ids("name"); list != "" {
		t.Errorf("a token of one account sees %s", list)
	}
	// A restart keeps what is not its own.
	env.URL = ""
	if err := endpoint.Ensure(t.Context(), s.pool, env); err != nil {
		t.Fatal(err)
	}
	if got := s.get("/api/callbacks/env").is(200).callback(); got.Status != "off" || got.Description != "ours" || got.URL == "" {
		t.Errorf("%+v", got)
	}
	for _, action := range []string{"pause", "resume"} {
		s.send("POST", "/api/callbacks/env/"+action, nil).failed(409, "ConflictError", "CALLBACK_WEBHOOK_URL")
	}
}

func TestCallbackEndpointsOfOtherAccountsAreInvisible(t *testing.T) {
	t.Parallel()
	s := serve(t)
	shop, two, reader := s.as(shopToken), s.as(twoToken), s.as(readerToken)
	mine := shop.send("POST", "/api/callbacks", input{"name": "crm", "url": crmURL}).is(201).callback()
	if mine.Account != "shop" {
		t.Errorf("account %s", mine.Account)
	}
	two.send("POST", "/api/callbacks?account=bank", input{"name": "crm", "url": crmURL}).is(201)
	two.send("POST", "/api/callbacks", input{"name": "x", "url": crmURL}).failed(400, "ValidationError", "?account=")
	bank := two.get("/api/accounts/bank/callbacks/crm").is(200).callback()
	s.send("POST", "/api/callbacks", input{"name": "all", "account": "*", "url": crmURL}).is(201)
	shop.send("POST", "/api/callbacks", input{"name": "all", "account": "*", "url": crmURL}).failed(403, "ForbiddenError", "every account")
	shop.send("POST", "/api/callbacks", input{"name": "all", "account": "bank", "url": crmURL}).failed(400, "ValidationError", "bank")
	s.send("POST", "/api/callbacks?account=shop", input{"name": "y", "account": "*", "url": crmURL}).failed(400, "ValidationError")
	for token, want := range map[*served]string{s: "all crm crm", shop: "crm", two: "crm crm", reader: "all crm crm"} {
		if got := token.get("/api/callbacks").ids("name"); got != want {
			t.Errorf("list %q, want %q", got, want)
		}
	}
	for _, path := range []string{"", "/secrets", "/events"} {
		shop.get("/api/callbacks/"+bank.ID+path).failed(404, "NotFoundError", bank.ID)
	}
	for method, path := range map[string]string{"PATCH": "", "DELETE": ""} {
		shop.send(method, "/api/callbacks/"+bank.ID+path, map[string]string{"PATCH": `{"ordered": true}`, "DELETE": ""}[method]).failed(404, "NotFoundError")
		reader.send(method, "/api/callbacks/"+bank.ID+path, `{"ordered": true}`).failed(403, "ForbiddenError", "only read")
	}
	for _, path := range []string{"rotate-secret", "pause", "resume", "test"} {
		shop.send("POST", "/api/callbacks/"+bank.ID+"/"+path, nil).failed(404, "NotFoundError")
		reader.send("POST", "/api/callbacks/"+bank.ID+"/"+path, nil).failed(403, "ForbiddenError")
	}
	seen := ""
	for cursor := ""; ; {
		r := s.get("/api/callbacks?limit=1" + cursor)
		seen += r.ids("account") + " "
		_, next := r.page()
		if next == nil {
			break
		}
		cursor = "&cursor=" + *next
	}
	if seen != "* bank shop " {
		t.Errorf("by pages: %s", seen)
	}
}

func TestATestEventSaysWhatTheReceiverDid(t *testing.T) {
	t.Parallel()
	var asked uuid.UUID
	result := endpoint.Ping{Status: 503, Problem: "the receiver answered 503, expected 2xx", Took: 12 * time.Millisecond, Response: []byte("\xffno\x00")}
	s := serve(t, func(c *Config) {
		c.Pinger = func(_ context.Context, id uuid.UUID) (endpoint.Ping, error) { asked = id; return result, nil }
	})
	c := s.send("POST", "/api/callbacks", input{"name": "a", "url": crmURL}).is(201).callback()
	var got CallbackTest
	s.send("POST", "/api/callbacks/a/test", nil).is(200).data(&got)
	if asked.String() != c.ID || got.Delivered || *got.Status != 503 || got.Error == nil || got.Milliseconds != 12 || got.Response != "\uFFFDno\uFFFD" {
		t.Errorf("%s %+v", asked, got)
	}
	result = endpoint.Ping{Status: 204}
	if s.send("POST", "/api/callbacks/a/test", nil).is(200).data(&got); !got.Delivered {
		t.Errorf("%+v", got)
	}
}

// The example of the documentation can be created as it is.
func TestTheExampleOfACallbackEndpointIsOne(t *testing.T) {
	t.Parallel()
	s := serve(t)
	raw, err := json.Marshal(callbackExample)
	if err != nil {
		t.Fatal(err)
	}
	s.send("POST", "/api/callbacks", string(raw)).is(201)
}
