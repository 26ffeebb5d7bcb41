package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// intake is a suite with the streams before it.
type intake struct {
	*suite
	client   redis.UniversalClient
	keys     keyspace.Keys
	registry *prometheus.Registry
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	s := newSuite(t)
	in := &intake{suite: s, registry: prometheus.NewRegistry()}
	in.client, in.keys, _ = testkit.Redis(t, 1)
	s.writer = NewWriter(s.pool, Config{Oldest: stream.Oldest(in.client, in.keys), Metrics: in.registry})
	return in
}

// append appends a message of an edge under its number; 0 is a mark of what was
// appended last.
func (in *intake) append(seq uint64) (id string) {
	in.Helper()
	body := []byte(textBody(fmt.Sprint("wamid.", seq), "1"))
	sum := sha256.Sum256(body)
	return in.appendEntry(event.Entry{Kind: event.KindWebhook, ID: hex.EncodeToString(sum[:]), Seq: seq, Body: body})
}

func (in *intake) appendEntry(e event.Entry) (id string) {
	in.Helper()
	e.Account, e.Source = "default", "edge-1"
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	return in.appendFields(e.Values())
}

func (in *intake) appendFields(values []any) (id string) {
	in.Helper()
	id, err := in.client.XAdd(in.Context(), &redis.XAddArgs{Stream: in.keys.Events(0), Values: values}).Result()
	if err != nil {
		in.Fatal(err)
	}
	return id
}

// drain reads until condition holds and every stream is empty.
func (in *intake) drain(what string, condition func() bool) {
	in.Helper()
	readers, err := stream.New(stream.Config{Redis: redisOptions(in), Keys: in.keys, Consumer: "w", Write: in.writer.Write,
		MinIdle: 50 * time.Millisecond, ClaimEvery: 20 * time.Millisecond, Metrics: in.registry})
	if err != nil {
		in.Fatal(err)
	}
	ctx, stop := context.WithCancel(in.Context())
	done := make(chan error, 1)
	go func() { done <- readers.Run(ctx) }()
	waitEmpty(in, in.client, in.keys)
	testkit.Eventually(in, what, condition)
	stop()
	if err := <-done; err != nil {
		in.Fatal(err)
	}
}

func (in *intake) counter(name string) (sum float64) {
	in.Helper()
	families, err := in.registry.Gather()
	if err != nil {
		in.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "whatsapp_flows_worker_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// An operator trims what was read and not stored, and what nobody has read yet.
// The first is counted by its ids, all of it by the numbers of the edge.
func TestEntriesThatAnOperatorTrims(t *testing.T) {
	in := newIntake(t)
	key := in.keys.Events(0)
	for seq := range uint64(10) {
		in.append(seq + 1)
	}
	if err := in.client.XGroupCreate(t.Context(), key, keyspace.Group, "0").Err(); err != nil {
		t.Fatal(err)
	}
	// Another worker has read these, and is gone.
	if err := in.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: keyspace.Group, Consumer: "gone", Streams: []string{key, ">"}, Count: 10}).Err(); err != nil {
		t.Fatal(err)
	}
	var first string // that stays
	for seq := uint64(11); seq <= 30; seq++ {
		id := in.append(seq)
		if seq == 21 {
			first = id
		}
	}
	if n, err := in.client.XTrimMinID(t.Context(), key, first).Result(); err != nil || n != 20 {
		t.Fatalf("trimmed %d, %v", n, err)
	}
	in.append(32) // 31 was never acknowledged by Redis, as the next entry would say
	in.appendEntry(event.Entry{Kind: event.KindMark, Seq: 30})
	in.drain("pending entries are counted as lost", func() bool { return in.counter("stream_entries_lost_total") == 10 })
	in.expect("{[21,31),[32,33)}", "SELECT seen FROM stream_sources")

	seen, now := make(ripening), time.Now()
	for range 2 { // found once, reported once
		for _, after := range []time.Duration{0, 3 * time.Minute} {
			if err := in.writer.findGaps(t.Context(), seen, now.Add(after)); err != nil {
				t.Fatal(err)
			}
		}
	}
	in.expect("{[1,21)}", "SELECT lost FROM stream_sources")
	if n := in.counter("edge_seq_lost_total"); n != 20 {
		t.Errorf("%v numbers reported as lost, want exactly 20", n)
	}
	if n := in.counter("stream_entries_lost_total"); n != 10 {
		t.Errorf("%v pending entries counted as lost, want exactly 10", n)
	}
}

// Every poison in one batch, and what is between it.
func TestPoisonInOneBatch(t *testing.T) {
	in := newIntake(t)
	seq := uint64(0)
	good := func() { seq++; in.append(seq) }
	hook := func(id, body string, at time.Time) event.Entry {
		seq++
		return event.Entry{Kind: event.KindWebhook, ID: id, Seq: seq, Body: []byte(body), Time: at}
	}
	values := func(e event.Entry, without string) []any {
		e.Account, e.Source = "default", "edge-1"
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		all := e.Values()
		for i := 0; i < len(all); i += 2 {
			if all[i] == without {
				return append(all[:i], all[i+2:]...)
			}
		}
		return all
	}
	dead := 0
	for _, poison := range []struct {
		fields []any
		stored bool
	}{
		{values(hook("five megabytes", strings.Repeat("x", 5<<20), time.Time{}), ""), true},
		{values(hook("nul\x00", textBody("w\\u0000", "1"), time.Time{}), ""), true},
		{values(hook("no UTF-8 \xff", "\x00\xff\xfe", time.Time{}), ""), true},
		{values(hook("in ten years", textBody("wamid.future", "1"), time.Now().AddDate(10, 0, 0)), ""), true},
		{values(hook("in the year 50 000", textBody("wamid.never", "1"), time.Now().AddDate(48000, 0, 0)), ""), false},
		{values(hook("no body", "{}", time.Time{}), "body"), false},
		{values(hook("no id", "{}", time.Time{}), "id"), false},
		{values(hook("no account", "{}", time.Time{}), "account"), false},
		{values(hook("no source", "{}", time.Time{}), "src"), false},
		{values(hook("no number", "{}", time.Time{}), "seq"), false},
		{values(hook("no time", "{}", time.Time{}), "ts"), false},
		{values(hook("no kind", "{}", time.Time{}), "kind"), false},
		{values(hook("no version", "{}", time.Time{}), "v"), false},
		{[]any{"v", "1"}, false},
		{[]any{"\x00", "\xff"}, false},
		{values(event.Entry{Kind: event.KindStep, ID: "x:1", Seq: 0, Body: []byte("[")}, ""), false},
	} {
		good()
		in.appendFields(poison.fields)
		if !poison.stored {
			dead++
		}
	}
	good()
	total := seq
	in.drain("everything has its place", func() bool {
		return in.one("SELECT count(*) FROM dead_entries") == fmt.Sprint(dead)
	})
	in.expect("17", "SELECT count(*) FROM webhook_messages WHERE wamid ~ '^wamid.[0-9]+$'")
	in.expect("1", "SELECT count(*) FROM webhook_messages WHERE wamid = 'wamid.future'")
	in.expect("5242880", "SELECT max(length(body)) FROM webhook_events")
	if n, err := in.client.XLen(t.Context(), in.keys.DeadEvents(0)).Result(); err != nil || n != int64(dead) {
		t.Errorf("%d in the dead stream (%v), want %d", n, err, dead)
	}
	if n, err := in.client.XPending(t.Context(), in.keys.Events(0), keyspace.Group).Result(); err != nil || n.Count != 0 {
		t.Errorf("pending = %+v, %v", n, err)
	}
	// What is broken but says its number has arrived all the same.
	in.expect("true", "SELECT seen @> $1::bigint FROM stream_sources", total)
}

// Postgres, or the way to it, went away without a word: a transaction notices
// within 15 seconds, and the next one takes another connection.
func TestHalfOpenConnectionToPostgres(t *testing.T) {
	s := newSuite(t)
	url, proxy := testkit.DatabaseProxy(t, s.pool.Config().ConnString())
	pool, err := store.Open(t.Context(), url, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Cut(); pool.Close() })
	w := NewWriter(pool, Config{})
	if _, err := w.Write(t.Context(), s.hooks([]string{textBody("wamid.1", "1")})); err != nil {
		t.Fatal(err)
	}
	proxy.BlackHole(true)
	began := time.Now()
	batch := s.hooks([]string{textBody("wamid.2", "1")})
	_, err = w.Write(t.Context(), batch)
	took := time.Since(began)
	t.Logf("noticed after %s: %v", took.Round(time.Millisecond), err)
	if err == nil || store.FaultOf(err) != store.FaultServer {
		t.Errorf("Write = %v, want a fault of the server", err)
	}
	if took > 16*time.Second {
		t.Errorf("noticed after %s, expected within 15 s", took)
	}
	proxy.BlackHole(false)
	if _, err := w.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	s.expect("2", "SELECT count(*) FROM webhook_messages")
}
