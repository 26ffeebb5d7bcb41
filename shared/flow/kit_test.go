package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func load(t testing.TB, file string) *Definition {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	def, err := Load(raw, nil)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return def
}

func hotel(t testing.TB) *Definition    { return load(t, "testdata/hotel.json") }
func catalog(t testing.TB) *Definition  { return load(t, "testdata/catalog.json") }
func feedback(t testing.TB) *Definition { return load(t, "../../examples/csat-feedback/flow.json") }

// request builds a request as the client sends it; data is JSON or empty.
func request(t testing.TB, action Action, screen, token, data string) *Request {
	t.Helper()
	if data == "" {
		data = "{}"
	}
	plain, err := encode(map[string]any{
		"version": "3.0", "action": action, "screen": screen, "flow_token": token, "data": json.RawMessage(data),
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := ParseRequest(plain)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// user plays one user of a flow: the session is stored as Redis would.
type user struct {
	t      *testing.T
	def    *Definition
	token  string
	env    Env // its Now is noon
	stored []byte
}

func (u *user) session() *Session {
	u.t.Helper()
	if u.stored == nil {
		return nil
	}
	s, err := ParseSession(u.stored)
	if err != nil {
		u.t.Fatal(err)
	}
	return s
}

// send is one whole step; it returns the plaintext and the outcome.
func (u *user) send(action Action, screen, data string) (reply, outcome string) {
	u.t.Helper()
	req := request(u.t, action, screen, u.token, data)
	s, err := Begin(u.session(), u.def, req, noon)
	if err != nil {
		return "error: " + err.Error(), ""
	}
	u.env.Now = noon
	r, err := Answer(context.Background(), u.def, s, req, u.env)
	if err != nil {
		return "error: " + err.Error(), ""
	}
	r, err = Guard(u.def, req, r.JSON())
	if err != nil {
		u.t.Fatalf("the guard refuses the engine's own reply: %v", err)
	}
	outcome = string(s.Finish(req, r))
	if !req.Stateless() {
		u.stored = s.Encode()
	}
	return string(r.JSON()), outcome
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func list(names []string) string { return fmt.Sprint(names) }
