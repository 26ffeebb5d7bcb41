// Package load drives an HTTP/1.1 server from the same machine so cheaply that
// one core can ask more of it than another core can answer: requests are made
// ahead, each connection is one socket and one goroutine, and answers are read
// by a small strict reader (see answerReader).
//
// Nothing is hidden: every answer is judged, a late request counts its lateness,
// a connection that breaks is the error of the request it carried.
package load

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Call is one request made ahead and how to judge the answer to it.
type Call struct {
	Request []byte // a whole HTTP/1.1 request; see Request
	// Judge returns what is wrong with an answer, nil for nothing. The body is
	// valid until it returns. Calls are judged concurrently.
	Judge func(status int, body []byte) error
	Class string // for the reader of the results; not looked at here
}

// Answer is what became of one call.
type Answer struct {
	Status int // 0 when no whole answer came
	// Took is the time until the last byte of the answer, or until there could
	// be none any more: in an open loop from the moment the call was due, in a
	// closed one from the moment before it was sent.
	Took time.Duration
	Err  error // of the connection, of the answer's form, or of Judge
}

// Result is one run: Answers[i] is the answer to calls[i].
type Result struct {
	Took    time.Duration // from the start, all connections being open, to the last answer
	Answers []Answer
}

// Err is nil when every answer was found good, else says how many were not and
// what was wrong with the first of them.
func (r Result) Err() error {
	var first error
	wrong := 0
	for i, a := range r.Answers {
		if a.Err == nil {
			continue
		}
		if wrong++; first == nil {
			first = fmt.Errorf("call %d: %w", i, a.Err)
		}
	}
	if first == nil {
		return nil
	}
	return fmt.Errorf("%d of %d answers are not good; %w", wrong, len(r.Answers), first)
}

// Times are the times of those answers that keep says yes to; i is the number of
// the call.
func (r Result) Times(keep func(i int, a Answer) bool) Times {
	times := make(Times, 0, len(r.Answers))
	for i, a := range r.Answers {
		if keep(i, a) {
			times = append(times, a.Took)
		}
	}
	slices.Sort(times)
	return times
}

// Times are durations in rising order.
type Times []time.Duration

// Quantile is the shortest of the times that at least the share q of all (0 to
// 1) does not exceed: one that was measured, none in between. 0 when there is
// none.
func (t Times) Quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	// The smallest count of times that is a share of at least q. The product is
	// rounded, so the count may be one off; the comparison is what counts.
	rank := int(q * float64(len(t)))
	for rank < len(t) && float64(rank)/float64(len(t)) < q {
		rank++
	}
	return t[max(rank, 1)-1]
}

// Max is the longest time, 0 when there is none.
func (t Times) Max() time.Duration { return t.Quantile(1) }

// Request makes a POST of body to path. headers are whole lines without their
// ends, such as "X-Hub-Signature-256: sha256=…"; Host, Content-Type
// (application/json) and Content-Length are there already.
func Request(path string, headers []string, body []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(path) + 64*(len(headers)+3) + len(body))
	b.WriteString("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
	for _, header := range headers {
		b.WriteString(header + "\r\n")
	}
	b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}
