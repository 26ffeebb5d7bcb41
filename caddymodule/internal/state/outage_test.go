package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

func webhook(id string) event.Entry {
	return event.Entry{Kind: event.KindWebhook, Account: "default", ID: id, Time: time.Now(), Body: []byte("{}")}
}

// history is what callers were told of their entries, by id.
type history struct {
	mu   sync.Mutex
	told map[string]error
}

func (h *history) add(id string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told[id] = err
}

// check holds the stream of shard against what the callers were told, and
// applies the worker's proof: of all numbers up to the watermark each is in the
// stream, once, or declared void.
func (h *history) check(t *testing.T, b bench, shard int) {
	t.Helper()
	// Two: the first may declare numbers that the second then passes.
	b.Mark(t.Context())
	b.Mark(t.Context())
	times, numbers, void := make(map[string]int), make(map[uint64]int), make(map[uint64]bool)
	var watermark, last uint64
	for _, e := range b.entries(t, shard) {
		for _, n := range e.Void {
			void[n] = true
		}
		if e.Kind == event.KindMark {
			watermark = max(watermark, e.Seq)
			continue
		}
		times[e.ID]++
		numbers[e.Seq]++
		last = max(last, e.Seq)
	}
	for id, err := range h.told {
		switch n := times[id]; {
		case err == nil && n != 1:
			t.Errorf("entry %s was acknowledged and is %d times in the stream", id, n)
		case err != nil && certainlyNotWritten(err) && n != 0:
			t.Errorf("entry %s was certainly not written (%v) and is in the stream", id, err)
		case n > 1:
			t.Errorf("entry %s is %d times in the stream", id, n)
		}
	}
	for n := uint64(1); n <= watermark; n++ {
		if numbers[n] == 0 && !void[n] {
			t.Errorf("number %d is neither in the stream nor void: an entry would seem lost", n)
		}
	}
	for n, count := range numbers {
		if count > 1 {
			t.Errorf("number %d stands for %d entries", n, count)
		}
	}
	if watermark < last {
		t.Errorf("the watermark is %d after the last entry %d was settled", watermark, last)
	}
}

func TestConnectionThatBreaksInABatchLeavesNoDoubt(t *testing.T) {
	b, cable := throughCable(t, Options{})
	const shard, entries = 0, 8
	h := history{told: make(map[string]error)}
	var acked, unknown int
	// The answer to XADD, such as $15 1732406400000-0, is 22 bytes, or a few
	// more late in a busy millisecond. Break in each place of a batch.
	const shortest, longest = 22, 24
	for n := 0; n < 200; n += 7 {
		if err := b.Append(t.Context(), shard, webhook(fmt.Sprint("whole-", n))); err != nil {
			t.Fatalf("the next append after an outage: %v", err)
		}
		batch := make([]*command, entries)
		taken := make([]event.Entry, entries)
		seq := b.sequences[shard]
		for i := range batch {
			e := webhook(fmt.Sprintf("cut-%d-%d", n, i))
			e.Source = b.source
			e.Seq, e.Void = seq.take()
			taken[i] = e
			args := append([]any{"xadd", b.keys.Events(shard), "*"}, e.Values()...)
			batch[i] = &command{ctx: t.Context(), args: args, node: b.Store.client, cmd: redis.NewStringCmd(t.Context(), args...)}
		}
		cable.breakAfter(n)
		b.send(t.Context(), batch)
		cable.breakAfter(-1)
		for i, c := range batch {
			settle(seq, taken[i], c.err)
			h.add(taken[i].ID, c.err)
			switch came, lacks := (i+1)*longest <= n, (i+1)*shortest > n; {
			case c.err == nil && !lacks:
				acked++
			case c.err != nil && !came && !certainlyNotWritten(c.err):
				unknown++
			default:
				t.Errorf("command %d ends with %v when %d bytes of answers came, expected unknown unless its own answer is whole", i, c.err, n)
			}
		}
	}
	h.check(t, b, shard)
	if acked == 0 || unknown == 0 {
		t.Errorf("%d acknowledged and %d unknown, expected some of both", acked, unknown)
	}
}

func TestSequencesHoldThroughRandomFailures(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			b, cable := throughCable(t, Options{})
			const shard, callers, each = 1, 64, 12
			h := history{told: make(map[string]error)}
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(caller)))
					for i := range each {
						id := fmt.Sprintf("%d-%d", caller, i)
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						switch random.IntN(8) {
						case 0:
							cable.breakAfter(random.IntN(2000))
						case 1:
							cable.cut()
						case 2:
							b.Mark(ctx)
						case 3:
							cancel() // the phone hung up
						}
						h.add(id, h.write(ctx, b, random.IntN(2) == 0, shard, id))
						cancel()
					}
				})
			}
			wg.Wait()
			cable.breakAfter(-1)
			if err := b.Append(t.Context(), shard, webhook("after")); err != nil {
				t.Fatalf("the next append after the outages: %v", err)
			}
			h.add("after", nil)
			h.check(t, b, shard)
		})
	}
}

// write appends an entry by itself or with a step of a session.
func (h *history) write(ctx context.Context, b bench, stateless bool, shard int, id string) error {
	if stateless {
		return b.Append(ctx, shard, webhook(id))
	}
	l := Lookup{Shard: shard, EnvelopeHash: id, Session: b.keys.Session(shard, "default", "csat", id),
		Claim: b.keys.Claim(shard, id), StepHash: id, RetryWindow: time.Second, ClaimTTL: time.Second}
	o, err := b.Open(ctx, l)
	if err != nil {
		return &notSentError{err} // of its entry
	}
	s := b.step(l, o, `{}`, "B")
	s.Event.ID = id
	_, err = b.Commit(ctx, s)
	return err
}

func TestRefusedCommandFailsAlone(t *testing.T) {
	for name, wait := range map[string]bool{"": false, "waiting for replicas": true} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, Options{})
			if err := b.client.Set(t.Context(), b.keys.Events(2), "not a stream", 0).Err(); err != nil {
				t.Fatal(err)
			}
			var batch []*command
			for _, shard := range []int{2, 1, 2, 3} {
				args := append([]any{"xadd", b.keys.Events(shard), "*"}, webhook("x").Values()...)
				batch = append(batch, &command{ctx: t.Context(), args: args, node: b.client, cmd: redis.NewStringCmd(t.Context(), args...)})
			}
			if wait {
				b.sendAndWait(t.Context(), batch) // for none
			} else {
				b.send(t.Context(), batch)
			}
			for _, i := range []int{0, 2} {
				if !redis.HasErrorPrefix(batch[i].err, "WRONGTYPE") || !certainlyNotWritten(batch[i].err) {
					t.Errorf("command %d ends with %v, expected Redis's own refusal", i, batch[i].err)
				}
			}
			for _, i := range []int{1, 3} {
				if batch[i].err != nil || len(batch[i].reply) == 0 {
					t.Errorf("command %d beside a refused one: %q, %v", i, batch[i].reply, batch[i].err)
				}
			}
		})
	}
}

func TestEmptyAnswerIsNone(t *testing.T) {
	b := setup(t, Options{})
	if err := b.client.Set(t.Context(), b.keys.Index(), "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	c := &command{ctx: t.Context(), node: b.client, cmd: redis.NewStringCmd(t.Context(), "get", b.keys.Index())}
	b.send(t.Context(), []*command{c})
	if c.reply != nil || c.err == nil || certainlyNotWritten(c.err) {
		t.Errorf("the command ends with %q, %v, expected no reply and that nobody knows", c.reply, c.err)
	}
}

func TestEachWriterOfABatchIsToldOfMissingReplicas(t *testing.T) {
	b := setup(t, Options{Wait: 1, WaitTimeout: 5 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := b.Append(t.Context(), 0, webhook(fmt.Sprint(i))); !errors.Is(err, ErrReplicas) {
				t.Errorf("append %d returned %v, expected ErrReplicas", i, err)
			}
		})
	}
	wg.Wait()
	if n := len(b.entries(t, 0)); n != 16 {
		t.Errorf("%d entries, expected all 16 to be there all the same", n)
	}
	if low, _, _ := b.sequences[0].mark(); low != 16 {
		t.Errorf("the watermark is %d, expected 16: what is in Redis is acknowledged", low)
	}
}

func TestScriptsComeBackWithTheNextCall(t *testing.T) {
	b := setup(t, Options{})
	for i := range 3 {
		if err := b.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		l := b.lookup(fmt.Sprint("e", i), fmt.Sprint("step-", i))
		o := b.open(t, l)
		if err := b.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if c := b.commit(t, b.step(l, o, `{}`, "B")); c.Conflict || c.Existing != nil {
			t.Fatalf("commit %d: %+v", i, c)
		}
	}
	if n := len(b.entries(t, b.lookup("", "").Shard)); n != 3 {
		t.Errorf("%d entries, expected 3", n)
	}
}

func TestLoneCallersShareNoPipeline(t *testing.T) {
	b := setup(t, Options{})
	var counts counter
	b.client.AddHook(&counts)
	for i := range 20 {
		l := b.lookup(fmt.Sprint("e", i), fmt.Sprint("step-", i))
		b.commit(t, b.step(l, b.open(t, l), `{}`, "B"))
		if err := b.Append(t.Context(), 0, webhook("x")); err != nil {
			t.Fatal(err)
		}
	}
	// One script may be unknown to this Redis at first.
	if counts.pipelines != 0 || counts.commands < 60 || counts.commands > 60+len(scripts) {
		t.Errorf("%d commands and %d pipelines, expected 60 commands by themselves: two for each step and one for each append",
			counts.commands, counts.pipelines)
	}
}

// counter counts what leaves the client. One caller at a time.
type counter struct{ commands, pipelines int }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); strings.HasPrefix(name, "eval") || name == "xadd" {
			c.commands++
		}
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if name := cmd.Name(); strings.HasPrefix(name, "eval") || name == "xadd" {
				c.pipelines++
				break
			}
		}
		return next(ctx, cmds)
	}
}
