package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bench struct {
	*Store
	client *redis.Client
}

func setup(tb testing.TB, o Options) bench {
	tb.Helper()
	url := os.Getenv("REDIS_URL")
	if url == "" {
		tb.Fatal("REDIS_URL is not set: run the tests with `make test`, or point it at a Redis you can spare")
	}
	parsed, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	parsed.MaxRetries, parsed.PipelinePoolSize = -1, -1
	client := redis.NewClient(parsed)
	keys := keyspace.New("test:"+randomID()+":", 4)
	tb.Cleanup(func() {
		ctx := context.Background()
		for it := client.Scan(ctx, 0, strings.TrimSuffix(keys.Index(), "flows")+"*", 1000).Iterator(); it.Next(ctx); {
			client.Del(ctx, it.Val())
		}
		client.Close()
	})
	return bench{NewStore(client, keys, o), client}
}

func (b bench) lookup(envelope, step string) Lookup {
	shard := b.keys.SessionShard("default", "csat", "token")
	return Lookup{
		Shard: shard, EnvelopeHash: envelope,
		Session:  b.keys.Session(shard, "default", "csat", "token"),
		Claim:    b.keys.Claim(shard, "token:"+step),
		StepHash: step, RetryWindow: 15 * time.Second, ClaimTTL: 5 * time.Second,
	}
}

func (b bench) stateless(envelope string) Lookup {
	return Lookup{Shard: 1, EnvelopeHash: envelope, Claim: b.keys.Claim(1, envelope), ClaimTTL: 5 * time.Second}
}

func (b bench) open(t *testing.T, l Lookup) Opened {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	o, err := b.Open(ctx, l)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return o
}

func (b bench) step(l Lookup, o Opened, session, reply string) Step {
	return Step{
		Lookup: l, ClaimID: o.ClaimID, ExpectVersion: o.Version, Version: o.Version + 1,
		Session: []byte(session), Reply: []byte(reply), SessionTTL: time.Hour,
		Stored: Stored{Status: 200, Body: []byte("sealed " + reply)},
		Event:  event.Entry{Kind: event.KindStep, Account: "default", ID: "s:" + l.StepHash, Time: time.Now(), Body: []byte("{}")},
	}
}

func (b bench) commit(t *testing.T, s Step) Committed {
	t.Helper()
	c, err := b.Commit(t.Context(), s)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return c
}

func (b bench) entries(t *testing.T, shard int) []event.Entry {
	t.Helper()
	var entries []event.Entry
	for _, stream := range []string{b.keys.Events(shard), b.keys.LargeEvents(shard)} {
		messages, err := b.client.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			e, err := event.Decode(m.Values)
			if err != nil {
				t.Fatalf("entry %s: %v", m.ID, err)
			}
			entries = append(entries, e)
		}
	}
	return entries
}

func TestStepIsWrittenWholeAndReadBack(t *testing.T) {
	b := setup(t, Options{})
	l := b.lookup("e1", "step-1")
	o := b.open(t, l)
	if o.Verdict != Run || o.Version != 0 || o.Session != nil {
		t.Fatalf("first request: %+v, expected a run without a session", o)
	}
	if c := b.commit(t, b.step(l, o, `{"a":1}`, "screen B")); c.Conflict || c.Existing != nil {
		t.Fatalf("commit: %+v", c)
	}

	next := b.open(t, b.lookup("e2", "step-2"))
	if next.Verdict != Run || next.Version != 1 || string(next.Session) != `{"a":1}` {
		t.Fatalf("next request: %+v, expected version 1 of the session", next)
	}
	got := b.entries(t, l.Shard)
	if len(got) != 1 || got[0].Seq != 1 || got[0].Source != b.source || string(got[0].Body) != "{}" {
		t.Fatalf("entries are %+v, expected the one step with number 1", got)
	}
	ttl := b.client.PTTL(t.Context(), l.Session).Val()
	if ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("session lives for %s, expected one hour", ttl)
	}
}

func TestSameEnvelopeGetsTheSameAnswer(t *testing.T) {
	b := setup(t, Options{})
	for name, l := range map[string]Lookup{"with a session": b.lookup("e1", "step-1"), "stateless": b.stateless("e9")} {
		t.Run(name, func(t *testing.T) {
			b.commit(t, b.step(l, b.open(t, l), `{}`, "B"))
			again := b.open(t, l)
			if again.Verdict != Replied || again.Stored.Status != 200 || string(again.Stored.Body) != "sealed B" {
				t.Fatalf("the envelope again: %+v, expected the stored answer", again)
			}
		})
	}
}

func TestStatelessRequestsLeaveNoSession(t *testing.T) {
	b := setup(t, Options{})
	l := b.stateless("e1")
	b.commit(t, b.step(l, b.open(t, l), `{"secret":1}`, "B"))
	for _, key := range b.client.Keys(t.Context(), strings.TrimSuffix(b.keys.Index(), "flows")+"*").Val() {
		if strings.Contains(key, "session") {
			t.Errorf("a stateless request left %s", key)
		}
	}
}

func TestLastStepAgainGetsItsReplyUntilTheWindowCloses(t *testing.T) {
	b := setup(t, Options{})
	l := b.lookup("e1", "step-1")
	b.commit(t, b.step(l, b.open(t, l), `{}`, "B"))

	again := b.lookup("e2", "step-1")
	if o := b.open(t, again); o.Verdict != Repeat || string(o.Reply) != "B" {
		t.Fatalf("equal request: %+v, expected the last reply", o)
	}
	again.RetryWindow = 0 // as if the window had passed
	if o := b.open(t, again); o.Verdict != Run || o.Version != 1 {
		t.Fatalf("equal request after the window: %+v, expected a run", o)
	}
}

func TestRequestMeetingAClaimWaitsForItsReply(t *testing.T) {
	b := setup(t, Options{})
	first := b.lookup("e1", "step-1")
	holder := b.open(t, first)

	var wg sync.WaitGroup
	answers := make(chan Opened, 8)
	for i := range 8 {
		wg.Go(func() {
			o, err := b.Open(t.Context(), b.lookup(fmt.Sprintf("other-%d", i), "step-1"))
			if err != nil {
				t.Errorf("waiting request: %v", err)
			}
			answers <- o
		})
	}
	b.commit(t, b.step(first, holder, `{}`, "B"))
	wg.Wait()
	close(answers)
	for o := range answers {
		if o.Verdict != Repeat || string(o.Reply) != "B" {
			t.Errorf("waiting request got %+v, expected the reply of the one that ran", o)
		}
	}
}

func TestWaiterTakesOverWhenTheHolderGivesUp(t *testing.T) {
	b := setup(t, Options{})
	first := b.lookup("e1", "step-1")
	holder := b.open(t, first)
	done := make(chan Opened)
	go func() {
		o, _ := b.Open(t.Context(), b.lookup("e2", "step-1"))
		done <- o
	}()
	if _, err := b.Keep(t.Context(), first, holder.ClaimID, Stored{Status: 200, Body: []byte("fallback")}); err != nil {
		t.Fatal(err)
	}
	if o := <-done; o.Verdict != Run {
		t.Fatalf("waiter got %+v, expected to run itself: a fallback is never a last step", o)
	}
}

func TestWaiterEndsWithItsOwnBudget(t *testing.T) {
	b := setup(t, Options{})
	b.open(t, b.lookup("e1", "step-1"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Open(ctx, b.lookup("e2", "step-1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Open returned %v, expected the deadline", err)
	}
}

func TestSessionThatMovedOnIsAConflict(t *testing.T) {
	b := setup(t, Options{})
	one, two := b.lookup("e1", "step-1"), b.lookup("e2", "step-2")
	o1, o2 := b.open(t, one), b.open(t, two)
	b.commit(t, b.step(one, o1, `{"by":1}`, "B"))

	c := b.commit(t, b.step(two, o2, `{"by":2}`, "C"))
	if !c.Conflict || c.Version != 1 || string(c.Session) != `{"by":1}` {
		t.Fatalf("second writer: %+v, expected a conflict with version 1", c)
	}
	o2.Version = c.Version
	if c := b.commit(t, b.step(two, o2, `{"by":"1, then 2"}`, "C")); c.Conflict {
		t.Fatal("second writer conflicts again with the version it was told")
	}
	entries := b.entries(t, one.Shard)
	if len(entries) != 2 || entries[0].Seq != 1 || entries[1].Seq != 2 {
		t.Fatalf("entries are %+v, expected numbers 1 and 2: a conflict uses none", entries)
	}
}

func TestEarlierAnswerOfAnEnvelopeWins(t *testing.T) {
	b := setup(t, Options{})
	l := b.lookup("e1", "step-1")
	o := b.open(t, l)
	if _, err := b.Keep(t.Context(), l, "", Stored{Status: 427, Body: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	if kept, _ := b.Keep(t.Context(), l, "", Stored{Status: 200, Body: []byte("second")}); kept.Status != 427 || string(kept.Body) != "first" {
		t.Errorf("Keep returned %d %s, expected the first answer", kept.Status, kept.Body)
	}
	c := b.commit(t, b.step(l, o, `{}`, "B"))
	if c.Existing == nil || string(c.Existing.Body) != "first" {
		t.Fatalf("commit: %+v, expected the first answer and no write", c)
	}
	if n := len(b.entries(t, l.Shard)); n != 0 {
		t.Errorf("%d entries, expected none", n)
	}
}

func TestLargeBodiesGoToTheirOwnStream(t *testing.T) {
	b := setup(t, Options{})
	e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Time: time.Now()}
	for _, size := range []int{10, keyspace.LargeBody, keyspace.LargeBody + 1} {
		e.Body = bytes.Repeat([]byte("a"), size)
		if err := b.Append(t.Context(), 2, e); err != nil {
			t.Fatal(err)
		}
	}
	small := b.client.XLen(t.Context(), b.keys.Events(2)).Val()
	large := b.client.XLen(t.Context(), b.keys.LargeEvents(2)).Val()
	if small != 2 || large != 1 {
		t.Fatalf("%d entries in events and %d in events:large, expected 2 and 1", small, large)
	}
}

func TestMarksTellWhatWasAcknowledged(t *testing.T) {
	b := setup(t, Options{})
	e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Time: time.Now(), Body: []byte("b")}
	for range 3 {
		if err := b.Append(t.Context(), 0, e); err != nil {
			t.Fatal(err)
		}
	}
	b.Mark(t.Context())
	b.Mark(t.Context()) // nothing new: no second mark
	entries := b.entries(t, 0)
	last := entries[len(entries)-1]
	if len(entries) != 4 || last.Kind != event.KindMark || last.Seq != 3 {
		t.Fatalf("last of %d entries is %+v, expected a mark of 3 after three webhooks", len(entries), last)
	}
}

func TestUnreachableRedisUsesNoNumbers(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer client.Close()
	s := NewStore(client, keyspace.New("", 1), Options{})
	for range 3 {
		if err := s.Append(t.Context(), 0, event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Time: time.Now()}); err == nil {
			t.Fatal("append to a closed port succeeded")
		}
	}
	if seq, void := s.sequences[0].take(); seq != 1 || void != nil {
		t.Fatalf("next number is %d declaring %v, expected 1 and nothing", seq, void)
	}
}

func TestWriteWithoutEnoughReplicasIsReported(t *testing.T) {
	b := setup(t, Options{Wait: 1, WaitTimeout: 5 * time.Millisecond})
	err := b.Append(t.Context(), 0, event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Time: time.Now(), Body: []byte("b")})
	if !errors.Is(err, ErrReplicas) {
		t.Fatalf("Append returned %v, expected ErrReplicas: this Redis has no replica", err)
	}
	l := b.lookup("e1", "step-1")
	if _, err := b.Commit(t.Context(), b.step(l, b.open(t, l), `{}`, "B")); !errors.Is(err, ErrReplicas) {
		t.Fatalf("Commit returned %v, expected ErrReplicas", err)
	}
	if n := len(b.entries(t, 0)) + len(b.entries(t, l.Shard)); n < 2 {
		t.Errorf("%d entries, expected both writes to be there all the same", n)
	}
}

func TestAnotherNumberOfShardsIsRefused(t *testing.T) {
	b := setup(t, Options{})
	if err := b.CheckShards(t.Context()); err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(b.keys.Index(), "flows")
	err := NewStore(b.client, keyspace.New(prefix, 8), Options{}).CheckShards(t.Context())
	var mismatch *ShardMismatchError
	if !errors.As(err, &mismatch) || mismatch.Installed != "4" || mismatch.Configured != "8" {
		t.Fatalf("8 shards on an installation of 4: %v, expected a mismatch", err)
	}
}

func TestRunMarksOnceMoreWhenItEnds(t *testing.T) {
	b := setup(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	if err := b.Append(t.Context(), 3, event.Entry{Kind: event.KindWebhook, Account: "default", ID: "x", Time: time.Now(), Body: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	entries := b.entries(t, 3)
	if last := entries[len(entries)-1]; last.Kind != event.KindMark || last.Seq != 1 {
		t.Fatalf("last entry is %+v, expected a mark of 1", last)
	}
}

func TestClaimsStayOutOfTheAppendOnlyFile(t *testing.T) {
	b := setup(t, Options{})
	size := func() int64 {
		info := b.client.Info(t.Context(), "persistence").Val()
		return infoNumber(info, "aof_current_size") + infoNumber(info, "aof_buffer_length")
	}
	// Others may write to this Redis at the same time, but not between all tries.
	for i := range 200 {
		l := b.lookup(fmt.Sprint("e", i), fmt.Sprint("step-", i))
		before := size()
		o := b.open(t, l)
		if err := b.Release(t.Context(), l, o.ClaimID); err != nil {
			t.Fatal(err)
		}
		if size() == before {
			return
		}
	}
	t.Error("the append-only file grows with each claim")
}
