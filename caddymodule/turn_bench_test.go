package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// turnBench is one step of a session as the edge works it out, without HTTP, the
// private operation and Redis: what Redis would return is given to it.
type turnBench struct {
	handler   *FlowHandler
	account   *Account
	http      *http.Request
	plaintext []byte
	stored    []byte // the session before the step; nil for none
	envelope  *flowcrypto.Envelope
	sealer    *flowcrypto.Sealer
}

// newTurnBench is the step of an example flow from a screen, after others.
func newTurnBench(b *testing.B, flows directory, name string, before int, token, screen string, data any) *turnBench {
	b.Helper()
	app := &App{logger: zap.NewNop()}
	h := &FlowHandler{
		logger: zap.NewNop(), app: app, backend: &backend{keys: keyspace.New("", 0)}, source: flows,
		endpoint: new(Engine), timeout: defaultTimeout, retryWindow: defaultRetryWindow,
		SessionTTL: caddy.Duration(defaultSessionTTL), MaxBody: defaultMaxBody,
	}
	account := &Account{name: defaultAccount}
	account.current.Store(&credentials{appSecrets: [][]byte{[]byte(testSecret)}, tokenSecrets: [][]byte{[]byte(testSecret)}})
	if err := app.provisionUpstreams(); err != nil {
		b.Fatal(err)
	}
	plaintext, err := json.Marshal(step("data_exchange", screen, token, request{"score": "5", "comment": data}))
	if err != nil {
		b.Fatal(err)
	}
	pem, err := os.ReadFile("testdata/flow.pem")
	if err != nil {
		b.Fatal(err)
	}
	key, err := flowcrypto.ReadPrivateKey(pem, nil)
	if err != nil {
		b.Fatal(err)
	}
	t := &turnBench{handler: h, account: account, plaintext: plaintext}
	t.http = httptest.NewRequest(http.MethodPost, "/flows/endpoint/"+name, nil)
	if t.envelope, err = flowcrypto.ParseEnvelope(seal(b, &key.PublicKey, plaintext).body); err != nil {
		b.Fatal(err)
	}
	if _, t.sealer, err = t.envelope.Open(key); err != nil {
		b.Fatal(err)
	}
	t.stored = storedAfter(b, flows[name], token, before)
	return t
}

// storedAfter is the session of a user who has given the first rating, and then
// so many others.
func storedAfter(b *testing.B, def *flow.Definition, token string, steps int) []byte {
	b.Helper()
	var session *flow.Session
	for i := range steps {
		plaintext, err := json.Marshal(step("data_exchange", "RATING", token, request{"score": "4", fmt.Sprint("field", i): "so so"}))
		if err != nil {
			b.Fatal(err)
		}
		req, err := flow.ParseRequest(plaintext)
		if err != nil {
			b.Fatal(err)
		}
		if session, err = flow.Begin(session, def, req, time.Now()); err != nil {
			b.Fatal(err)
		}
		reply, err := flow.Answer(b.Context(), def, session, req, flow.Env{Now: time.Now()})
		if err != nil {
			b.Fatal(err)
		}
		session.Finish(req, reply)
	}
	if session == nil {
		return nil
	}
	return session.Encode()
}

// exchange is the request when it has been parsed.
func (t *turnBench) exchange(b *testing.B, name string) *exchange {
	x := &exchange{FlowHandler: t.handler, account: t.account, credentials: t.account.current.Load(), name: name, http: t.http, start: time.Now(), envelope: t.envelope, sealer: t.sealer}
	var err error
	if x.request, err = flow.ParseRequest(t.plaintext); err != nil {
		b.Fatal(err)
	}
	x.action = string(x.request.Action)
	return x
}

// open is what comes before the first round trip.
func (t *turnBench) open(b *testing.B, ctx context.Context, x *exchange) (*claim, flowtoken.Claims) {
	def, err := x.source.lookup(ctx, x.account.name, x.name)
	if err != nil {
		b.Fatal(err)
	}
	x.met(def)
	recentAnswers.get(x.envelope.Hash, time.Now())
	claims, dead := x.verifyToken(time.Now())
	if dead != nil {
		b.Fatal(dead)
	}
	return &claim{lookup: x.lookup(ctx, false), id: "claim"}, claims
}

// answer is what comes between the round trips.
func (t *turnBench) answer(b *testing.B, ctx context.Context, x *exchange, c *claim, claims flowtoken.Claims) state.Step {
	prev := x.previous(t.stored)
	def, err := x.definition(ctx, prev, claims)
	if err != nil {
		b.Fatal(err)
	}
	session, err := flow.Begin(prev, def, x.request, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	session.User, session.UserName = claims.User, claims.Name
	said, err := x.ask(ctx, c, def, session)
	if err != nil {
		b.Fatal(err)
	}
	reply, err := flow.Guard(def, x.request, said)
	if err != nil {
		b.Fatal(err)
	}
	return x.finish(c, def, session, session.Version-1, reply)
}

func examples(b *testing.B) directory {
	b.Helper()
	flows, err := loadDirectory("../examples")
	if err != nil {
		b.Fatal(err)
	}
	return flows
}

// manyFlows are copies of an example, each a definition of its own.
func manyFlows(b *testing.B, n int) directory {
	b.Helper()
	dir := b.TempDir()
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join("../examples/csat-feedback", name))
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	document, rules := read("flow.json"), read("logic.yaml")
	for i := range n {
		own := filepath.Join(dir, fmt.Sprint("feedback", i))
		rules := append([]byte(fmt.Sprintf("# %d\n", i)), rules...)
		if err := errorsOf(
			os.Mkdir(own, 0o700),
			os.WriteFile(filepath.Join(own, "flow.json"), document, 0o600),
			os.WriteFile(filepath.Join(own, "logic.yaml"), rules, 0o600),
		); err != nil {
			b.Fatal(err)
		}
	}
	flows, err := loadDirectory(dir)
	if err != nil {
		b.Fatal(err)
	}
	return flows
}

// BenchmarkTurn is one data_exchange between the opened and the sealed text,
// without Redis: whole, in its parts, and as sessions, flows and payloads grow.
func BenchmarkTurn(b *testing.B) {
	const name = "csat-feedback"
	signed, err := flowtoken.Mint([]byte(testSecret), flowtoken.Claims{Flow: name, User: "4711", Name: "Ada", Expires: time.Now().Add(time.Hour)}, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	comment := "Friendly staff, but a long queue at the till."
	flows := examples(b)
	whole := func(t *turnBench, name string) func(*testing.B) {
		return func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				x := t.exchange(b, name)
				c, claims := t.open(b, ctx, x)
				step := t.answer(b, ctx, x, c, claims)
				step.Event.Values()
			}
		}
	}
	for _, screen := range []string{"RATING", "COMMENT"} {
		b.Run("from="+screen, whole(newTurnBench(b, flows, name, 1, "tok-of-one-user", screen, comment), name))
	}
	b.Run("token=signed", whole(newTurnBench(b, flows, name, 1, signed, "COMMENT", comment), name))
	for _, steps := range []int{0, 10, 100} {
		b.Run(fmt.Sprintf("earlier=%d", steps), whole(newTurnBench(b, flows, name, steps, "tok-of-one-user", "COMMENT", comment), name))
	}
	for _, size := range []int{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("payload=%d", size), whole(newTurnBench(b, flows, name, 1, "tok-of-one-user", "COMMENT", strings.Repeat("word ", size/5)), name))
	}
	benchParts(b, newTurnBench(b, flows, name, 1, "tok-of-one-user", "COMMENT", comment), name)
	// Both with a thousand definitions in memory, which the garbage collector
	// goes through: what is compared is how they are found.
	many := manyFlows(b, 1000)
	for _, n := range []int{1, 1000} {
		served := directory{"feedback0": many["feedback0"]}
		if n > 1 {
			served = many
		}
		b.Run(fmt.Sprintf("flows=%d", n), whole(newTurnBench(b, served, "feedback0", 1, "tok-of-one-user", "COMMENT", comment), "feedback0"))
	}
}

// benchParts are the parts of the step from COMMENT.
func benchParts(b *testing.B, t *turnBench, name string) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	x := t.exchange(b, name)
	c, claims := t.open(b, ctx, x)
	prev := x.previous(t.stored)
	session, err := flow.Begin(prev, x.def, x.request, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	said, err := x.ask(ctx, c, x.def, session)
	if err != nil {
		b.Fatal(err)
	}
	reply, err := flow.Guard(x.def, x.request, said)
	if err != nil {
		b.Fatal(err)
	}
	session.User = claims.User
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"parse", func() { t.exchange(b, name) }},
		{"open", func() { t.open(b, ctx, x) }},
		{"previous", func() { x.previous(t.stored) }},
		{"begin", func() { _, _ = flow.Begin(prev, x.def, x.request, time.Now()) }},
		{"ask", func() { _, _ = x.ask(ctx, c, x.def, session) }},
		{"guard", func() { _, _ = flow.Guard(x.def, x.request, said) }},
		{"finish", func() { moved := *session; x.finish(c, x.def, &moved, 1, reply) }},
		{"seal", func() { x.sealed(http.StatusOK, said) }},
		{"encode", func() { session.Encode() }},
	} {
		b.Run("part="+part.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				part.run()
			}
		})
	}
}
