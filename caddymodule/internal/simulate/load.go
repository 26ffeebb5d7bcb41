package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/load"
)

// maxKeys bounds the keys that are prepared ahead: about 700 bytes each.
const maxKeys = 100_000

// progressEvery is how often a load says where it stands.
const progressEvery = time.Second

// load puts a load on the endpoint.
func (s *subject) load(ctx context.Context) int {
	conversations := openings()
	if s.Script != "" {
		var err error
		if conversations, err = s.readScript(); err != nil {
			fmt.Fprintln(s.Err, "simulate:", err)
			return Misused
		}
	}
	for i := range conversations {
		if c := &conversations[i]; c.User.ID != "" && len(s.tokenSecret) == 0 {
			fmt.Fprintf(s.Err, "simulate: the conversation %q has a user, whom only a signed flow token can name: set FLOW_TOKEN_SECRET or --token-secret-file\n", c.Name)
			return Misused
		}
	}
	users := max(1, s.Users)
	keys, enough, err := s.prepareKeys(ctx)
	if err != nil {
		fmt.Fprintln(s.Err, "simulate:", err)
		return Misused
	}
	l := &load.Load{
		Flow: s.name, Screens: s.screens, Conversations: conversations, TokenSecret: s.tokenSecret, Postman: s.postman(),
		NewPhone: func(token string) *phone.Phone {
			p := s.newPhone(token)
			p.Keys = keys.Take
			return p
		},
		Users: users, Rate: s.Rate, Duration: s.Duration, Clock: s.Now, Pause: s.Pause,
	}
	filling, filled := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // what is taken is made again, as far as the processor goes
		defer close(done)
		if !enough {
			_ = keys.KeepFull(filling)
		}
	}()
	stop := s.progress(l)
	result, err := l.Run(ctx)
	stop()
	filled()
	<-done
	s.sayLoad(&result, users)
	if err != nil {
		fmt.Fprintln(s.Err, "simulate:", err)
		return Failed
	}
	if len(result.Errors) > 0 {
		return Failed
	}
	return Passed
}

// prepareKeys makes the keys of the whole run ahead if its rate is known, else
// as many as fit. It says whether they are enough for the run.
func (s *subject) prepareKeys(ctx context.Context) (keys *load.Keys, enough bool, err error) {
	n := 20_000.0
	if s.Rate > 0 {
		n = s.Rate*s.Duration.Seconds() + 1
		enough = n <= maxKeys
	}
	n = min(n, maxKeys)
	keys = load.NewKeys(s.key.Load(), int(n))
	fmt.Fprintf(s.Err, "preparing %d keys…\n", int(n))
	return keys, enough, keys.Fill(ctx, runtime.GOMAXPROCS(0))
}

// progress says every second where the run stands, until stop is called.
func (s *subject) progress(l *load.Load) (stop func()) {
	ticker := time.NewTicker(progressEvery)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				now := l.Snapshot()
				line := progressLine(&now)
				if s.Terminal {
					fmt.Fprint(s.progressTo, "\r\x1b[K"+line)
				} else {
					fmt.Fprintln(s.Err, line)
				}
			case <-end:
				if s.Terminal {
					fmt.Fprintln(s.Err)
				}
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(end)
		<-ended
	}
}

func progressLine(s *load.Snapshot) string {
	return fmt.Sprintf("%4.0f s  %d requests  %.0f/s  %d failed  p50 %s  p95 %s  p99 %s",
		s.Took.Seconds(), s.Requests, s.Rate(), s.Failed, inMilliseconds(s.P50), inMilliseconds(s.P95), inMilliseconds(s.P99))
}

func inMilliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// sayLoad writes the result.
func (s *subject) sayLoad(r *load.Snapshot, users int) {
	if s.JSON {
		writeLoadJSON(s.Out, r, users, s.Rate)
		return
	}
	fmt.Fprintf(s.Out, "users          %d\n", users)
	fmt.Fprintf(s.Out, "requests       %d in %.1f s, %.0f/s", r.Requests, r.Took.Seconds(), r.Rate())
	if s.Rate > 0 {
		fmt.Fprintf(s.Out, " (asked for %.0f/s)", s.Rate)
	}
	fmt.Fprintln(s.Out)
	fmt.Fprintf(s.Out, "conversations  %d held, %d broken off by an error\n", r.Conversations, r.Broken)
	fmt.Fprintf(s.Out, "answers        %s\n", inWords(&r.Quantiles))
	if s.Rate > 0 {
		fmt.Fprintf(s.Out, "since due      %s\n", inWords(&r.SinceDue))
	}
	if len(r.Errors) == 0 {
		fmt.Fprintln(s.Out, "errors         none")
	}
	for _, key := range slices.Sorted(maps.Keys(r.Errors)) {
		fault := r.Errors[key]
		fmt.Fprintf(s.Out, "errors         %d %s; the first: %s\n", fault.Count, key, fault.First)
	}
}

func inWords(q *load.Quantiles) string {
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, slowest %s, mean %s", inMilliseconds(q.P50), inMilliseconds(q.P95), inMilliseconds(q.P99), inMilliseconds(q.Max), inMilliseconds(q.Mean))
}

func writeLoadJSON(w io.Writer, r *load.Snapshot, users int, rate float64) {
	milliseconds := func(q *load.Quantiles) map[string]float64 {
		in := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		return map[string]float64{"p50": in(q.P50), "p95": in(q.P95), "p99": in(q.P99), "max": in(q.Max), "mean": in(q.Mean)}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	out := map[string]any{
		"users": users, "asked_rate": rate, "rate": r.Rate(), "seconds": r.Took.Seconds(), "requests": r.Requests, "failed": r.Failed,
		"conversations": r.Conversations, "broken": r.Broken, "errors": r.Errors,
		"milliseconds": milliseconds(&r.Quantiles),
	}
	if rate > 0 {
		out["milliseconds_since_due"] = milliseconds(&r.SinceDue)
	}
	_ = encoder.Encode(out) // what cannot be written cannot be complained of either
}
