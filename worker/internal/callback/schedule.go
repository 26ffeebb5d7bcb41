package callback

import (
	"net/http"
	"strconv"
	"time"
)

// Schedule is the pause before each attempt of a delivery, the first included:
// the example of the Standard Webhooks specification, 75.6 hours in all.
var Schedule = []time.Duration{
	0,
	5 * time.Second,
	5 * time.Minute,
	30 * time.Minute,
	2 * time.Hour,
	5 * time.Hour,
	10 * time.Hour,
	14 * time.Hour,
	20 * time.Hour,
	24 * time.Hour,
}

const (
	// jitter spreads the retries of receivers that failed together: a pause is
	// between 80 % and 120 % of what the schedule says.
	jitter = 0.2

	// longestRetryAfter bounds what a receiver may ask for. A longer
	// Retry-After is taken as this much, so that a mistake there (seconds
	// meant as milliseconds) does not bury an answer.
	longestRetryAfter = 6 * time.Hour

	// breakerAfter consecutive failures pause an endpoint: first for
	// breakerFirst, doubled by each failed probe, at most breakerLongest.
	breakerAfter   = 10
	breakerFirst   = 30 * time.Second
	breakerLongest = 5 * time.Minute
)

// MaxAttempts is the number of attempts for retries retries after the first;
// a negative number stands for the whole schedule, which nothing prolongs.
func MaxAttempts(retries int) int {
	if retries < 0 || retries >= len(Schedule) {
		return len(Schedule)
	}
	return 1 + retries
}

// pauseBefore is the jittered pause before attempt n (from 1) of schedule;
// random is in [0, 1). Attempts past the end, which only crashes make, take
// the last pause.
func pauseBefore(schedule []time.Duration, n int, random float64) time.Duration {
	base := schedule[min(n, len(schedule))-1]
	return time.Duration(float64(base) * (1 - jitter + 2*jitter*random))
}

// remaining is how long what is left of a schedule takes.
func remaining(pauses []time.Duration) (all time.Duration) {
	for _, p := range pauses {
		all += p
	}
	return all
}

// afterRetry is the pause when the receiver asked for one: its wish, but no
// less than what the schedule says, and no more than longestRetryAfter nor than
// what is left of the schedule, so that it cannot keep a delivery for longer
// than failures would.
func afterRetry(scheduled, wish, left time.Duration) time.Duration {
	return max(scheduled, min(wish, longestRetryAfter, left))
}

// retryAfter reads a Retry-After header, seconds or an HTTP date (RFC 9110
// section 10.2.3). Zero when there is none, or none that can be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		if seconds > uint64(longestRetryAfter/time.Second) {
			return longestRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
