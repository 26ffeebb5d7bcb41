package state

import (
	"fmt"
	"testing"
	"time"
)

// hash stores a session as edges did that kept it as a hash, ago before now.
func (b bench) hash(t *testing.T, l Lookup, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago).UnixMilli()
	if err := b.client.HSet(t.Context(), l.Session, "version", 7, "session", `{"old":1}`, "step", l.StepHash, "reply", "B", "at", at).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.client.PExpire(t.Context(), l.Session, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestSessionStoredAsAHashGoesOn(t *testing.T) {
	b := setup(t, Options{})
	l := b.lookup("e2", "step-2")
	last := b.lookup("e1", "step-1")
	b.hash(t, last, time.Second)

	if o := b.open(t, last); o.Verdict != Repeat || string(o.Reply) != "B" {
		t.Errorf("its last step again: verdict %d, reply %q, expected the reply B", o.Verdict, o.Reply)
	}
	o := b.open(t, l)
	if o.Verdict != Run || o.Version != 7 || string(o.Session) != `{"old":1}` {
		t.Fatalf("the next step finds %+v, expected version 7 of the session", o)
	}
	behind := b.step(l, o, `{"new":1}`, "C")
	behind.ExpectVersion, behind.Version = 6, 7
	if c := b.commit(t, behind); !c.Conflict || c.Version != 7 || string(c.Session) != `{"old":1}` {
		t.Errorf("a step on version 6 ends with %+v, expected a conflict with version 7", c)
	}
	if c := b.commit(t, b.step(l, o, `{"new":1}`, "C")); c.Conflict || c.Existing != nil {
		t.Fatalf("the next step ends with %+v, expected it to be written", c)
	}
	if o := b.open(t, b.lookup("e3", "step-3")); o.Version != 8 || string(o.Session) != `{"new":1}` {
		t.Errorf("then there is %+v, expected version 8", o)
	}
}

func TestOldStepOfASessionStoredAsAHashRunsAgain(t *testing.T) {
	b := setup(t, Options{})
	l := b.lookup("e1", "step-1")
	b.hash(t, l, l.RetryWindow+time.Minute)
	if o := b.open(t, l); o.Verdict != Run || o.Version != 7 {
		t.Errorf("the same step after the retry window: %s, expected it to run", fmt.Sprintf("%+v", o))
	}
}
