package caddymodule

import (
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
)

func TestRecentAnswersAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	hash := func(n byte) [32]byte { return [32]byte{n} }
	text := func(s string) state.Stored { return state.Stored{Status: 200, Body: []byte(s)} }

	r := newRecent(3, 10, time.Minute)
	r.put(hash(1), text("one"), now)
	if got := r.put(hash(1), text("two"), now); string(got.Body) != "one" {
		t.Errorf("a second answer %q took the place of the first", got.Body)
	}
	if _, ok := r.get(hash(1), now.Add(time.Minute+1)); ok {
		t.Error("an answer outlived its time")
	}
	r.put(hash(2), text("two"), now)
	r.put(hash(3), text("333"), now)
	r.put(hash(4), text("4"), now) // the fourth entry
	if _, ok := r.get(hash(1), now); ok || len(r.byHash) != 3 {
		t.Errorf("%d entries are held, expected 3", len(r.byHash))
	}
	r.put(hash(5), text("55555"), now) // over 10 bytes
	if r.held > 10 {
		t.Errorf("%d bytes are held, expected at most 10", r.held)
	}
	held := len(r.byHash)
	if got := r.put(hash(6), text("eleven bytes"), now); string(got.Body) != "eleven bytes" || len(r.byHash) != held {
		t.Errorf("%q: an answer larger than the cache drove out the others", got.Body)
	}
	later := now.Add(time.Hour)
	if got := r.put(hash(5), text("new"), later); string(got.Body) != "new" || len(r.byHash) != 1 || r.held != 3 {
		t.Errorf("%q, %d entries, %d bytes", got.Body, len(r.byHash), r.held)
	}
}
