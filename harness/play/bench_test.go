package play

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// turn is one step of a recorded conversation as the engine meets it.
type turn struct {
	previous *flow.Session
	request  *flow.Request
	user     User
	now      time.Time
	fetched  memory
}

// memory answers fetches with what was recorded, in order.
type memory struct {
	results []flow.FetchResult
	errs    []error
	next    int
}

func (m *memory) Fetch(context.Context, flow.FetchRequest) (flow.FetchResult, error) {
	i := m.next % len(m.results)
	m.next++
	return m.results[i], m.errs[i]
}

// recorder notes what the upstreams answered.
type recorder struct {
	client
	memory *memory
}

func (r recorder) Fetch(ctx context.Context, f flow.FetchRequest) (flow.FetchResult, error) {
	result, err := r.client.Fetch(ctx, f)
	r.memory.results, r.memory.errs = append(r.memory.results, result), append(r.memory.errs, err)
	return result, err
}

// record plays every conversation of an example and keeps its turns.
func record(b *testing.B, example *Example) []*turn {
	b.Helper()
	upstreams := testUpstreams(b)
	var turns []*turn
	for _, c := range example.Conversations {
		player, err := example.InProcess(c, upstreams)
		if err != nil {
			b.Fatal(err)
		}
		key, err := playKey()
		if err != nil {
			b.Fatal(err)
		}
		engine := &Engine{Definition: example.Definition, Key: key, TokenSecret: tokenSecret, Now: func() time.Time { return player.Now }}
		player.Phone.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
			t := &turn{request: opened(b, key, body), user: c.User, now: player.Now}
			if t.request.Action == flow.Ping {
				return engine.Send(ctx, body, header)
			}
			if engine.session != nil && !t.request.Stateless() {
				if t.previous, err = flow.ParseSession(engine.session); err != nil {
					b.Fatal(err)
				}
			}
			engine.Fetch = recorder{client{upstreams}, &t.fetched}
			turns = append(turns, t)
			return engine.Send(ctx, body, header)
		}
		if _, err := player.Play(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	return turns
}

func opened(b *testing.B, key *rsa.PrivateKey, body []byte) *flow.Request {
	b.Helper()
	envelope, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		b.Fatal(err)
	}
	plaintext, _, err := envelope.Open(key)
	if err != nil {
		b.Fatal(err)
	}
	request, err := flow.ParseRequest(plaintext)
	if err != nil {
		b.Fatal(err)
	}
	return request
}

// BenchmarkExamples is what one step of each example costs the engine, upstreams
// answering from memory: Begin, Answer, Guard and Finish. ns/op is the mean over
// the example's recorded steps, answer-ns/op the part of the rules in it.
func BenchmarkExamples(b *testing.B) {
	for _, example := range examples(b) {
		b.Run(example.Name, func(b *testing.B) {
			turns := record(b, example)
			var answering time.Duration
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				t := turns[i%len(turns)]
				session, err := flow.Begin(t.previous, example.Definition, t.request, t.now)
				if err != nil {
					b.Fatal(err)
				}
				session.User, session.UserName = t.user.ID, t.user.Name
				began := time.Now()
				said, err := flow.Answer(context.Background(), example.Definition, session, t.request, flow.Env{Now: t.now, Fetch: &t.fetched, Random: rand.Reader})
				answering += time.Since(began)
				if err != nil {
					b.Fatal(err)
				}
				guarded, err := flow.Guard(example.Definition, t.request, said.JSON())
				if err != nil {
					b.Fatal(err)
				}
				session.Finish(t.request, guarded)
			}
			b.ReportMetric(float64(answering.Nanoseconds())/float64(b.N), "answer-ns/op")
		})
	}
}
