package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const hook = "/webhooks/whatsapp"

func TestTheHandshakeOfAWebhook(t *testing.T) {
	s := newSite(t).load("", engineSite)
	ask := func(mode, token, challenge string) answer {
		return s.do(http.MethodGet, hook+"?"+url.Values{
			"hub.mode": {mode}, "hub.verify_token": {token}, "hub.challenge": {challenge},
		}.Encode(), nil, nil)
	}
	a := ask("subscribe", testVerify, `<script>1158201444`)
	if a.status != 200 || string(a.body) != `<script>1158201444` || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("status %d, %q, %q", a.status, a.body, a.header.Get("Content-Type"))
	}
	for name, a := range map[string]answer{
		"a wrong token":   ask("subscribe", "wrong", "1"),
		"no token":        ask("subscribe", "", "1"),
		"another mode":    ask("unsubscribe", testVerify, "1"),
		"no challenge":    ask("subscribe", testVerify, ""),
		"no query at all": s.do(http.MethodGet, hook, nil, nil),
	} {
		if a.status != http.StatusForbidden || len(a.body) != 0 {
			t.Errorf("%s: status %d, %d bytes", name, a.status, len(a.body))
		}
	}
}

func TestARefusedHandshakeSaysWhatIsWrong(t *testing.T) {
	ask := func(mode, token, challenge string) url.Values {
		return url.Values{"hub.mode": {mode}, "hub.verify_token": {token}, "hub.challenge": {challenge}}
	}
	for want, query := range map[string]url.Values{
		"":                ask("subscribe", testVerify, "1"),
		"no_verify_token": {},
		"verify_token":    ask("unsubscribe", "wrong", ""), // nothing of the rest
		"mode":            ask("unsubscribe", testVerify, "1"),
		"no_challenge":    ask("subscribe", testVerify, ""),
		"challenge":       ask("subscribe", testVerify, strings.Repeat("1", maxChallenge+1)),
	} {
		got := handshakeProblem(query, testVerify)
		if got != want || want != "" && hints[want] == "" {
			t.Errorf("%q, expected %q and a hint", got, want)
		}
	}
}

func TestAWebhookIsStoredAsItCame(t *testing.T) {
	s := newSite(t).load("", engineSite)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	// The edge never parses one: escapes, spaces and broken JSON stay.
	body := "{\"a\" : \"\\u00e4\\/\"}\n not JSON"
	header := signed([]byte(body))
	header["Traceparent"] = trace
	if a := s.do(http.MethodPost, hook, header, []byte(body)); a.status != 200 || len(a.body) != 0 {
		t.Fatalf("status %d, %d bytes", a.status, len(a.body))
	}
	big := strings.Repeat("x", 100<<10)
	if a := webhook(s, big); a.status != 200 {
		t.Fatalf("status %d", a.status)
	}
	events := s.events()
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	for _, e := range events {
		id := sha256.Sum256(e.Body)
		if e.Kind != event.KindWebhook || e.Account != "default" || e.ID != hex.EncodeToString(id[:]) {
			t.Errorf("event %s of %s with id %s", e.Kind, e.Account, e.ID)
		}
		switch len(e.Body) {
		case len(body):
			if string(e.Body) != body || e.Traceparent != trace {
				t.Errorf("body or traceparent %q differ", e.Traceparent)
			}
		case len(big):
		default:
			t.Errorf("a body of %d bytes", len(e.Body))
		}
	}
}

func TestStatusesOfTheWebhook(t *testing.T) {
	s := newSite(t).load(`
	whatsapp_flows {
		account one {
		}
		account two {
			app_secret another-secret
		}
	}`, `
	whatsapp_webhook /webhooks/whatsapp two
	whatsapp_webhook /a/*`)
	body := []byte(`{"object":"whatsapp_business_account"}`)
	for name, c := range map[string]struct {
		status int
		answer answer
	}{
		"the account in the path":      {200, s.do(http.MethodPost, "/a/one"+hook, signed(body), body)},
		"another account's secret":     {401, s.do(http.MethodPost, hook, signed(body), body)},
		"an unknown account":           {404, s.do(http.MethodPost, "/a/three"+hook, signed(body), body)},
		"its handshake":                {404, s.do(http.MethodGet, "/a/three"+hook+"?hub.verify_token="+testVerify, nil, nil)},
		"no signature":                 {401, s.do(http.MethodPost, "/a/one"+hook, nil, body)},
		"a signature of another body":  {401, s.do(http.MethodPost, "/a/one"+hook, signed(nil), body)},
		"a signature of an odd length": {401, s.do(http.MethodPost, "/a/one"+hook, map[string]string{signatureHeader: "sha256=abc"}, body)},
		"DELETE":                       {405, s.do(http.MethodDelete, hook, nil, nil)},
		"over 4 MiB":                   {413, s.do(http.MethodPost, "/a/one"+hook, map[string]string{"Expect": "100-continue"}, make([]byte, 4<<20+1))},
	} {
		if c.answer.status != c.status || len(c.answer.body) != 0 {
			t.Errorf("%s: status %d, expected %d, %d bytes", name, c.answer.status, c.status, len(c.answer.body))
		}
	}
	if n := len(s.events()); n != 1 {
		t.Errorf("%d events, expected 1", n)
	}
}

func TestMetricsHaveBoundedLabels(t *testing.T) {
	s := newSite(t).load("", engineSite+"\n\tmetrics /metrics")
	s.want(booking, step("INIT", "", privateToken, nil), "NAME")
	s.post("/flows/endpoint/made-up-by-a-stranger", request{"action": "ping"})
	webhook(s, `{}`)
	s.load("", engineSite+"\n\tmetrics /metrics\n\theader X-Reloaded yes")
	text := string(s.do(http.MethodGet, "/metrics", nil, nil).body)
	for _, want := range []string{
		`caddy_whatsapp_flows_requests_total{account="default",action="INIT",flow="booking",outcome="next"}`,
		`caddy_whatsapp_flows_requests_total{account="default",action="ping",flow="_other",outcome="refused"}`,
		`caddy_whatsapp_flows_key_hits_total{account="default",key="`,
		`caddy_whatsapp_flows_webhooks_total{account="default",outcome="stored"}`,
		`caddy_whatsapp_flows_request_duration_seconds_bucket`,
		`caddy_whatsapp_flows_redis_up 1`,
		`caddy_whatsapp_flows_definitions_loaded `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, private := range []string{"made-up-by-a-stranger", privateToken} {
		if strings.Contains(text, private) {
			t.Errorf("the metrics hold %q", private)
		}
	}
}
