package ingest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

func TestSessionAndAnswerMeet(t *testing.T) {
	for name, order := range map[string]func(s *suite, step, answer stream.Entry){
		"the session first": func(s *suite, step, answer stream.Entry) { s.write(step); s.write(answer) },
		"the answer first":  func(s *suite, step, answer stream.Entry) { s.write(answer); s.write(step) },
		"in one batch":      func(s *suite, step, answer stream.Entry) { s.write(answer, step) },
		"twice each": func(s *suite, step, answer stream.Entry) {
			s.write(answer)
			s.write(answer, step)
			s.write(step)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.endpoint("*", true)
			flow := s.flow("csat")
			order(s, s.step(event.Step{Token: "T", Version: 3, Attempt: 2, Outcome: event.OutcomeComplete, Incomplete: true, Params: raw(`{"a":1}`)}),
				s.hook(completionBody("wamid.1", "1", `{"flow_token":"T","a":1}`)))
			s.expect("csat 2 t "+flow, "SELECT concat_ws(' ', flow, attempt, incomplete, flow_id) FROM flow_responses")
			s.expect("1", "SELECT count(*) FROM flow_responses r JOIN flow_sessions s ON s.id = r.session_id")
			s.expect("true", "SELECT run_at <= now() FROM deliveries")
			if s.nudges.Load() == 0 {
				t.Error("nobody was told that a delivery is due")
			}
		})
	}
}

// Two transactions that do not see each other must still bring the two halves
// together.
func TestSessionAndAnswerMeetUnderConcurrency(t *testing.T) {
	s := newSuite(t)
	const pairs = 60
	var wait sync.WaitGroup
	for i := range pairs {
		step := s.step(event.Step{Token: fmt.Sprint("T", i), Version: 1, Attempt: 1, Outcome: event.OutcomeComplete})
		answer := s.hook(completionBody(fmt.Sprint("wamid.", i), "1", fmt.Sprintf(`{"flow_token":"T%d"}`, i)))
		wait.Go(func() { s.write(step) })
		wait.Go(func() { s.write(answer) })
	}
	wait.Wait()
	s.expect(fmt.Sprint(pairs), "SELECT count(*) FROM flow_responses WHERE session_id IS NOT NULL")
}

func TestUnusedTokenNeverMeetsASession(t *testing.T) {
	s := newSuite(t)
	s.write(s.stateless(event.Step{Token: "unused", Outcome: event.OutcomeNext}), s.hook(completionBody("w", "1", `{"flow_token":"unused"}`)))
	s.expect("0", "SELECT count(*) FROM flow_sessions")
	s.expect("<null>", "SELECT session_id FROM flow_responses")
	s.expect("<null>", "SELECT token_hash FROM flow_steps")
}

// However the steps of a session arrive, the row ends up the same.
func TestSessionVersions(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	steps := []event.Step{
		{Version: 1, Attempt: 1, Outcome: event.OutcomeNext, To: "RATE"},
		{Version: 2, Attempt: 1, Outcome: event.OutcomeComplete, Params: raw(`{"n":1}`), To: "RATE"},
		{Version: 3, Attempt: 1, Outcome: event.OutcomeBack, To: "START"},
		{Version: 4, Attempt: 2, Outcome: event.OutcomeNext, To: "AGAIN"},
	}
	tests := map[string]struct {
		take int // the first so many steps happened
		want string
	}{
		"one step":                  {1, "1 1 active RATE - -"},
		"completed":                 {2, `2 1 completed RATE {"n":1} 2`},
		"back after the completion": {3, `3 1 completed START {"n":1} 2`},
		"a second attempt":          {4, `4 2 active AGAIN {"n":1} 2`},
	}
	shared := newSuite(t)
	n := 0
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, pool: shared.pool, writer: shared.writer}
			permute(test.take, func(order []int) {
				n++
				token := fmt.Sprint("T", n)
				var batch []stream.Entry
				for _, i := range order {
					step := steps[i]
					step.Token, step.StartedAt = token, at
					if step.Attempt > 1 {
						step.StartedAt = at.Add(time.Duration(step.Version)*time.Second - time.Millisecond)
					}
					e := s.step(step)
					e.Event.Time = at.Add(time.Duration(step.Version) * time.Second)
					batch = append(batch, e)
				}
				if n%2 == 0 {
					s.write(batch[:len(batch)/2]...)
					s.write(batch[len(batch)/2:]...)
				} else {
					for _, e := range batch {
						s.write(e)
					}
				}
				s.expect(test.want, `SELECT concat_ws(' ', version, attempt, status, current_screen, coalesce(answers::text, '-'),
					coalesce(extract(second FROM completed_at)::int::text, '-')) FROM flow_sessions WHERE flow_token = $1`, token)
				if t.Failed() {
					t.Fatalf("order %v", order)
				}
			})
		})
	}
}

func permute(n int, visit func([]int)) {
	order := make([]int, n)
	used := make([]bool, n)
	var place func(int)
	place = func(i int) {
		if i == n {
			visit(order)
			return
		}
		for v := range n {
			if !used[v] {
				used[v], order[i] = true, v
				place(i + 1)
				used[v] = false
			}
		}
	}
	place(0)
}

// After SUCCESS without params no webhook comes: the step itself is the answer.
func TestClosedWithoutParams(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	flow := s.flow("csat")
	closing := event.Step{Token: "T", Version: 2, Attempt: 1, Outcome: event.OutcomeClose, User: "u-1", Incomplete: true,
		Collected: map[string]json.RawMessage{"score": raw(`9`)}}
	s.write(s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeNext}), s.step(closing), s.step(closing))
	s.write(s.step(closing))
	s.expect(`endpoint 1 csat T {"score":9} t u-1 `+flow,
		"SELECT concat_ws(' ', source, attempt, flow, flow_token, response_data, incomplete, user_id, flow_id) FROM flow_responses")
	s.expect(`completed {"score":9}`, "SELECT status || ' ' || answers FROM flow_sessions")
	s.expect("true", "SELECT run_at <= now() FROM deliveries")
	closing.Version, closing.Attempt = 3, 2
	s.write(s.step(closing))
	s.expect("2", "SELECT count(*) FROM flow_responses")
	s.write(s.stateless(event.Step{Outcome: event.OutcomeClose, Collected: map[string]json.RawMessage{"x": raw(`1`)}}))
	s.expect("1", "SELECT count(*) FROM flow_responses WHERE session_id IS NULL AND flow = 'csat' AND flow_id IS NOT NULL")
}

// A stateless flow that could not carry all its fields is found by what its
// answer and its last step have in common.
func TestStatelessIncomplete(t *testing.T) {
	step := event.Step{Token: "unused", Outcome: event.OutcomeComplete, Incomplete: true,
		Params: raw(`{"flow_token":"unused","b":[1.0, {"y":2,"x":null}],"a":"é"}`)}
	const answer = `{"a":"\u00e9", "b":[1,{"x":null,"y":2}], "flow_token":"unused", "response_message":"Sent"}`
	for name, order := range map[string]func(s *suite, step, answer stream.Entry){
		"the step first":   func(s *suite, step, answer stream.Entry) { s.write(step); s.write(answer) },
		"the answer first": func(s *suite, step, answer stream.Entry) { s.write(answer); s.write(step) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			order(s, s.stateless(step), s.hook(completionBody("w", "1", answer)))
			s.write(s.hook(completionBody("x", "1", `{"a":"other"}`)))
			s.expect("w", "SELECT string_agg(wamid, ' ') FROM flow_responses WHERE incomplete")
		})
	}
}

func TestClientErrorIsKept(t *testing.T) {
	s := newSuite(t)
	s.write(s.entry(event.KindClientError, "h", (&event.Step{Flow: "csat", Token: "T", Action: "data_exchange", From: "A",
		Outcome: event.OutcomeError, ErrorKey: "invalid-screen-transition", ErrorMessage: "m\x00"}).Encode()))
	s.expect("client_error invalid-screen-transition m\uFFFD", "SELECT concat_ws(' ', kind, error_key, error_message) FROM flow_steps")
	s.expect("0", "SELECT count(*) FROM flow_sessions")
}

// An equal answer of long ago was complete and stays so; a complete step leaves
// nothing that later answers would have to be held against.
func TestIncompleteIsFlaggedAsFarBackAsMetaRedelivers(t *testing.T) {
	s := newSuite(t)
	s.write(s.hook(completionBody("w-old", "1", `{"a":1}`)))
	s.exec("UPDATE flow_responses SET received_at = now() - interval '9 days'")
	s.write(s.stateless(event.Step{Outcome: event.OutcomeComplete, Params: raw(`{"a":1}`)}))
	s.expect("0", "SELECT count(*) FROM flow_steps WHERE params_hash IS NOT NULL")
	s.write(s.stateless(event.Step{Outcome: event.OutcomeComplete, Params: raw(`{"a":1}`), Incomplete: true}), s.hook(completionBody("w-new", "2", `{"a":1}`)))
	s.expect("w-new", "SELECT string_agg(wamid, ' ') FROM flow_responses WHERE incomplete")
}

// The edge's session expired, or Redis lost it: versions and attempts start
// over, and what the user sends then is not what was stored already.
func TestSameTokenAfterItsSessionWasForgotten(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	life := func(started time.Time, answer string) []stream.Entry {
		shown := s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeNext, To: "A", StartedAt: started})
		closed := s.step(event.Step{Token: "T", Version: 2, Attempt: 1, Outcome: event.OutcomeClose, StartedAt: started,
			Collected: map[string]json.RawMessage{"x": raw(answer)}})
		shown.Event.Time, closed.Event.Time = started.Add(time.Second), started.Add(2*time.Second)
		// BACK, and closed once more: the same attempt.
		again := s.step(event.Step{Token: "T", Version: 3, Attempt: 1, Outcome: event.OutcomeClose, StartedAt: started,
			Collected: map[string]json.RawMessage{"x": raw(`"again"`)}})
		again.Event.Time = started.Add(3 * time.Second)
		return []stream.Entry{shown, closed, again}
	}
	first, second := life(s.began.Add(-80*time.Hour), "1"), life(s.began, "2")
	for range 2 { // each entry is delivered twice
		s.write(first...)
	}
	s.write(second[0])
	s.expect("1 active A", "SELECT concat_ws(' ', version, status, current_screen) FROM flow_sessions")
	for range 2 {
		s.write(second...)
	}
	s.write(first...) // once more, late
	s.expect(`{"x":1} {"x":2}`, "SELECT string_agg(response_data::text, ' ' ORDER BY answered_at) FROM flow_responses")
	s.expect("2", "SELECT count(*) FROM deliveries")
	s.expect("6", "SELECT count(*) FROM flow_steps")
	s.expect("3 completed t", "SELECT concat_ws(' ', version, status, started_at = $1) FROM flow_sessions", s.began)
}
