package graph

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever comes as an answer: no panic, no token, nothing without end.
func FuzzAnswers(f *testing.F) {
	const token = "EAAJgeheim0123456789abcdef"
	c, err := New(Config{HTTP: &http.Client{}, Token: token})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(400, `{"error":{"message":"Malformed access token `+token+`","code":190,"error_data":{"details":"x"}}}`, `{"109":[{"type":"whatsapp","call_count":1e300}]}`, "17")
	f.Add(200, `{"error":{"message":"\u001b[31m","code":-1,"error_data":"text"}}`, `{"109":{}}`, "Sun, 29 Nov 2026 10:00:00 GMT")
	f.Add(503, `<html>`, `null`, "-1")
	f.Fuzz(func(t *testing.T, status int, body, usage, after string) {
		r := &http.Response{StatusCode: status, Header: http.Header{"X-Business-Use-Case-Usage": {usage}, "X-App-Usage": {usage}, "Retry-After": {after}, "Date": {"Sun, 29 Nov 2026 09:00:00 GMT"}}}
		if regain := c.note(r.Header); regain < 0 {
			t.Fatalf("regained after %s", regain)
		}
		for _, u := range c.Usage() {
			if u.Percent() < 0 {
				t.Fatalf("%+v", u)
			}
		}
		e := c.refusal(call{method: "GET", path: "1"}, r, []byte(body))
		if e == nil {
			if status < 200 || status > 299 {
				t.Fatalf("%d is no refusal", status)
			}
			return
		}
		if text := e.Error(); strings.Contains(text, token) || len(text) > 10*longestText || strings.ContainsAny(text, "\x1b\n\r") || e.RetryAfter < 0 {
			t.Fatalf("%d bytes, after %s: %q", len(text), e.RetryAfter, text)
		}
	})
}

func TestWhenToTryAgain(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"": 0, "17": 17 * time.Second, "0": 0, "-5": 0, "soon": 0, "99999999999": 7 * 24 * time.Hour,
		"Sun, 29 Nov 2026 09:01:00 GMT": time.Minute, "Sun, 29 Nov 2026 08:00:00 GMT": 0,
	} {
		header := http.Header{"Retry-After": {after}, "Date": {"Sun, 29 Nov 2026 09:00:00 GMT"}}
		if got := retryAfter(header); got != want {
			t.Errorf("%q: %s, expected %s", after, got, want)
		}
	}
}
