package load_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch is a clock that goes on by a millisecond when it is looked at, and by
// what is waited.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func (w *watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(time.Millisecond)
	return w.now
}

func (w *watch) Pause(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	return ctx.Err()
}

const small = `{"version":"7.3","data_api_version":"3.0","routing_model":{"A":["B"],"B":[]},"screens":[
	{"id":"A","layout":{"type":"SingleColumnLayout","children":[{"type":"TextInput","name":"x","label":"X"},{"type":"Footer","label":"Go","on-click-action":{"name":"data_exchange","payload":{"x":"${form.x}"}}}]}},
	{"id":"B","terminal":true,"layout":{"type":"SingleColumnLayout","children":[{"type":"Footer","label":"End","on-click-action":{"name":"data_exchange","payload":{}}}]}}]}`

func newLoad(t testing.TB, endpoint *phonetest.Endpoint) *load.Load {
	t.Helper()
	definition, err := flow.Load([]byte(small), nil)
	if err != nil {
		t.Fatal(err)
	}
	endpoint.Definition = definition
	conversations, err := conversation.Read([]byte(`conversations: [{name: a, steps: [
        {do: init, shows: A}, {do: exchange, from: A, send: {x: "1"}, shows: B}, {do: exchange, from: B, send: {}, completes: {x: "1"}}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	return &load.Load{
		Flow: "small", Screens: screen.Load(definition), Conversations: conversations, Users: 1, Duration: 2 * time.Second, Clock: w.Now, Pause: w.Pause,
		NewPhone: func(token string) *phone.Phone {
			return &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: token, Flow: definition, Send: endpoint.Send}
		},
	}
}

func TestALoadAtARate(t *testing.T) {
	endpoint := &phonetest.Endpoint{}
	l := newLoad(t, endpoint)
	l.Rate = 30
	got, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// 30 a second for two seconds are 60 requests, in 20 conversations.
	if got.Requests != 60 || got.Conversations != 20 || got.Failed != 0 || got.Broken != 0 || len(got.Errors) != 0 || len(endpoint.Requests()) != 60 {
		t.Errorf("got %+v, the endpoint %d requests", got, len(endpoint.Requests()))
	}
	if got.Mean != time.Millisecond || got.P50 != time.Millisecond || got.P99 != time.Millisecond || got.Max != time.Millisecond {
		t.Errorf("an answer takes one millisecond of this clock: %+v", got)
	}
	tokens := map[string]bool{}
	for _, r := range endpoint.Requests() {
		tokens[r.Token] = true
	}
	if len(tokens) != 20 {
		t.Errorf("%d flow tokens, want one for each conversation", len(tokens))
	}
}

// An endpoint that stands still for two seconds makes one answer slow for a user
// who waits for it, and all that were due meanwhile for users who do not.
func TestAStandstillShowsInWhatWasDue(t *testing.T) {
	endpoint := &phonetest.Endpoint{}
	l := newLoad(t, endpoint)
	w := &watch{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	l.Clock, l.Pause, l.Rate, l.Duration = w.Now, w.Pause, 10, 10*time.Second
	made := l.NewPhone
	l.NewPhone = func(token string) *phone.Phone {
		p := made(token)
		send := p.Send
		p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
			if len(endpoint.Requests()) == 30 {
				_ = w.Pause(ctx, 2*time.Second)
			}
			return send(ctx, body, header)
		}
		return p
	}
	got, err := l.Run(t.Context())
	if err != nil || got.Requests != 100 {
		t.Fatalf("got %+v (%v)", got, err)
	}
	if got.P95 > 10*time.Millisecond || got.Max < 2*time.Second || got.Mean < 20*time.Millisecond || got.Mean > 40*time.Millisecond {
		t.Errorf("of 100 answers one took two seconds: %+v", got.Quantiles)
	}
	// 20 requests fell due in those two seconds: the 95th of a hundred waited a
	// second and more.
	if since := got.SinceDue; since.P95 < time.Second || since.P50 > 100*time.Millisecond || since.Max < 2*time.Second {
		t.Errorf("since they were due: %+v", since)
	}
}

func TestErrorsOfALoadAreCountedByKind(t *testing.T) {
	endpoint := &phonetest.Endpoint{Fault: phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
		if r.Screen == "A" {
			return []byte(`{"screen":"B","data":{"surplus":1}}`)
		}
		return good
	}}}
	l := newLoad(t, endpoint)
	l.Rate = 10
	got, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fault := got.Errors[phone.KeyPayloadSchema]
	if got.Requests != 20 || got.Broken != 10 || got.Failed != 10 || fault.Count != 10 || fault.First == "" || len(got.Errors) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestManyUsersWithoutARate(t *testing.T) {
	endpoint := &phonetest.Endpoint{}
	l := newLoad(t, endpoint)
	l.Users, l.Duration = 8, 500*time.Millisecond
	keys := load.NewKeys(&phonetest.Key().PublicKey, 16)
	if err := keys.Fill(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	made := l.NewPhone
	l.NewPhone = func(token string) *phone.Phone {
		p := made(token)
		p.Keys = keys.Take
		return p
	}
	got, err := l.Run(t.Context())
	if err != nil || got.Requests == 0 || got.Failed != 0 || got.Requests != len(endpoint.Requests()) {
		t.Errorf("got %+v (%v), the endpoint %d requests", got, err, len(endpoint.Requests()))
	}
	if key := keys.Take(&phonetest.Key().PublicKey); key != nil {
		t.Error("there is a key left of the 16 that were made ahead")
	}
}

func TestALoadThatIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	endpoint := &phonetest.Endpoint{}
	l := newLoad(t, endpoint)
	made := l.NewPhone
	l.NewPhone = func(token string) *phone.Phone {
		p := made(token)
		send := p.Send
		p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
			if len(endpoint.Requests()) == 5 {
				cancel(stop)
				return 0, nil, ctx.Err()
			}
			return send(ctx, body, header)
		}
		return p
	}
	got, err := l.Run(ctx)
	if !errors.Is(err, stop) || got.Failed != 0 || got.Conversations != 1 || got.Requests != 5 || len(got.Errors) != 0 {
		t.Errorf("got %+v (%v)", got, err)
	}
}

func TestAScriptThatSendsNothingEndsALoad(t *testing.T) {
	endpoint := &phonetest.Endpoint{}
	l := newLoad(t, endpoint)
	l.Conversations = []conversation.Conversation{{Name: "none", Steps: []conversation.Step{{Do: "exchange", From: "A", Send: map[string]any{"y": "1"}, Shows: "B"}}}}
	l.Users = 3
	got, err := l.Run(t.Context())
	if err != nil || got.Requests != 0 || got.Broken != 3 || got.Errors["unexpected"].Count != 3 {
		t.Errorf("got %+v (%v), want each of three users to give up", got, err)
	}
}

func TestKeysAreTakenOnceAndOnlyForTheirPublicKey(t *testing.T) {
	public := &phonetest.Key().PublicKey
	keys := load.NewKeys(public, 3)
	if err := keys.Fill(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	other := *public
	if keys.Take(&other) != nil {
		t.Error("a key was given for another public key")
	}
	seen := map[*phone.SessionKey]bool{}
	for range 3 {
		seen[keys.Take(public)] = true
	}
	if len(seen) != 3 || seen[nil] || keys.Take(public) != nil {
		t.Errorf("%d keys", len(seen))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- keys.KeepFull(ctx) }()
	for keys.Take(public) == nil { // made again for those that were taken
		if ctx.Err() != nil {
			t.Fatal("no key came")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestQuantilesAreWithinASixtyFourth(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var h load.Histogram
	var all []time.Duration
	for range 20000 {
		d := time.Duration(math.Exp(dice.Float64()*16) * float64(time.Microsecond)).Truncate(time.Microsecond)
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.95, 0.99} {
		want := all[int(q*float64(len(all)))]
		if got := h.Quantile(q); float64(got) < float64(want)*(1-1.0/64) || float64(got) > float64(want)*(1+1.0/32)+float64(time.Microsecond) {
			t.Errorf("quantile %v is %s, want about %s", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("the longest is %s, want %s", h.Max(), all[len(all)-1])
	}
	var none load.Histogram
	if none.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
