package callback

import (
	"net/http"
	"testing"
	"time"
)

func TestPausesFollowTheScheduleWithin20Percent(t *testing.T) {
	want := []time.Duration{0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour, 24 * time.Hour}
	for i, base := range want {
		n := i + 1
		if p := pauseBefore(Schedule, n, 0); p != base*8/10 {
			t.Errorf("shortest pause before attempt %d = %s, want %s", n, p, base*8/10)
		}
		if p := pauseBefore(Schedule, n, 0.5); p != base {
			t.Errorf("middle pause before attempt %d = %s, want %s", n, p, base)
		}
		if p := pauseBefore(Schedule, n, 0.999999); p > base*12/10 || p < base*119/100 {
			t.Errorf("longest pause before attempt %d = %s, want just under %s", n, p, base*12/10)
		}
	}
}

func TestMaxAttempts(t *testing.T) {
	for retries, want := range map[int]int{-1: 10, 0: 1, 3: 4, 9: 10, 10: 10, 1000: 10} {
		if got := MaxAttempts(retries); got != want {
			t.Errorf("MaxAttempts(%d) = %d, want %d", retries, got, want)
		}
	}
}

func TestRetryAfterIsReadAndClamped(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, value string
		want        time.Duration
	}{
		{"none", "", 0},
		{"seconds", "120", 2 * time.Minute},
		{"a date", "Mon, 23 Nov 2026 12:10:00 GMT", 10 * time.Minute},
		{"a date that has passed", "Mon, 23 Nov 2026 11:00:00 GMT", 0},
		{"nonsense", "soon", 0},
		{"negative", "-5", 0},
		{"a day", "86400", 6 * time.Hour},
		{"more than a duration holds", "9223372036854775807", 6 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			if c.value != "" {
				h.Set("Retry-After", c.value)
			}
			if got := retryAfter(h, now); got != c.want {
				t.Errorf("retryAfter = %s, want %s", got, c.want)
			}
		})
	}
}

func TestWhatFollowsFromAnAttempt(t *testing.T) {
	schedule := []time.Duration{0, 10 * time.Second, 10 * time.Hour}
	for _, c := range []struct {
		name    string
		attempt int
		max     int
		result  Result
		state   string
		wait    time.Duration
		pause   time.Duration
	}{
		{name: "200 is delivered", attempt: 1, max: 3, result: Result{Status: 200}, state: "delivered"},
		{name: "204 is delivered", attempt: 3, max: 3, result: Result{Status: 204}, state: "delivered"},
		{name: "500 is tried again", attempt: 1, max: 3, result: Result{Status: 500}, state: "due", wait: 10 * time.Second},
		{name: "404 is tried again", attempt: 2, max: 3, result: Result{Status: 404}, state: "due", wait: 10 * time.Hour},
		{name: "a redirect is a failure", attempt: 1, max: 3, result: Result{Status: 302}, state: "due", wait: 10 * time.Second},
		{name: "no answer is tried again", attempt: 1, max: 3, result: Result{}, state: "due", wait: 10 * time.Second},
		{name: "the last attempt is dead", attempt: 3, max: 3, result: Result{Status: 500}, state: "dead"},
		{name: "fewer retries are dead sooner", attempt: 1, max: 1, result: Result{Status: 500}, state: "dead"},
		{name: "an attempt past the end, after crashes, is dead", attempt: 9, max: 3, result: Result{Status: 500}, state: "dead"},
		{name: "410 waits, even at the end", attempt: 3, max: 3, result: Result{Status: 410}, state: "due"},
		{name: "429 with Retry-After pauses the endpoint too", attempt: 1, max: 3,
			result: Result{Status: 429, RetryAfter: time.Minute}, state: "due", wait: time.Minute, pause: time.Minute},
		{name: "503 with a long Retry-After pauses the endpoint for 5 minutes", attempt: 1, max: 3,
			result: Result{Status: 503, RetryAfter: 2 * time.Hour}, state: "due", wait: 2 * time.Hour, pause: 5 * time.Minute},
		{name: "a Retry-After below the schedule is not obeyed", attempt: 1, max: 3,
			result: Result{Status: 500, RetryAfter: time.Second}, state: "due", wait: 10 * time.Second},
		{name: "a Retry-After cannot shorten a pause longer than 6 h", attempt: 2, max: 3,
			result: Result{Status: 500, RetryAfter: 6 * time.Hour}, state: "due", wait: 10 * time.Hour},
		{name: "a date far away counts as 6 h", attempt: 1, max: 3,
			result: Result{Status: 500, RetryAfter: 1000 * time.Hour}, state: "due", wait: 6 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Delivery{Attempt: c.attempt, Endpoint: &Endpoint{MaxAttempts: c.max}}
			o := decide(schedule, d, c.result, 0.5)
			if o.state != c.state || o.wait != c.wait || o.pause != c.pause {
				t.Errorf("state %s, wait %s, pause %s; want %s, %s, %s", o.state, o.wait, o.pause, c.state, c.wait, c.pause)
			}
		})
	}
}
