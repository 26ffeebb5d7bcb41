package ingest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

func TestRanges(t *testing.T) {
	tests := map[string]struct {
		seqs []uint64
		want string
	}{
		"none":               {nil, "{}"},
		"one":                {[]uint64{1}, "{[1,2)}"},
		"out of order":       {[]uint64{3, 1, 2}, "{[1,4)}"},
		"twice":              {[]uint64{1, 1, 2}, "{[1,3)}"},
		"a gap":              {[]uint64{1, 2, 5}, "{[1,3),[5,6)}"},
		"several, unordered": {[]uint64{9, 1, 5, 8}, "{[1,2),[5,6),[8,10)}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := (&source{seqs: test.seqs}).ranges(); got != test.want {
				t.Errorf("ranges = %s, expected %s", got, test.want)
			}
		})
	}
}

func TestReadableRanges(t *testing.T) {
	for in, want := range map[string]string{"{[2,3)}": "2", "{[5,8)}": "5-7", "{[2,3),[5,8),[9,10)}": "2, 5-7, 9"} {
		if got := readableRanges(in); got != want {
			t.Errorf("%s = %q, expected %q", in, got, want)
		}
	}
}

func TestGaps(t *testing.T) {
	s := newSuite(t)
	var oldest time.Time // of what is left in the streams; zero: nothing
	var down error
	s.writer.config.Oldest = func(_ context.Context, shard int) (time.Time, bool, error) {
		if shard != 3 {
			t.Errorf("shard %d was asked", shard)
		}
		return oldest, !oldest.IsZero(), down
	}
	arrive := func(seq uint64, void ...uint64) {
		t.Helper()
		e := s.hook(textBody("wamid."+time.Now().String(), "1"))
		e.Event.Seq, e.Event.Void = seq, void
		s.write(e)
	}
	marked := func(seq uint64) {
		t.Helper()
		s.write(stream.Entry{Stream: "waf:{s3}:events", ID: "m", Shard: 3, Event: event.Entry{Kind: event.KindMark, Account: "default", Source: "edge-1", Seq: seq, Time: time.Now()}})
	}
	seen := make(ripening)
	now := time.Now()
	find := func() {
		t.Helper()
		if err := s.writer.findGaps(t.Context(), seen, now); err != nil {
			t.Fatal(err)
		}
	}
	lost := func(want string) { t.Helper(); s.expect(want, "SELECT lost FROM stream_sources") }

	arrive(1)
	arrive(4, 3) // 3 was never acknowledged: void
	arrive(8)
	find()
	lost("{}") // nothing is marked yet
	marked(4)
	find()
	lost("{}") // 2 may still come
	marked4 := now
	now = now.Add(3 * time.Minute)
	oldest = marked4.Add(-time.Second)
	find()
	lost("{}") // 2 may be among what is left in the streams
	oldest, down = time.Time{}, errors.New("connection refused")
	if err := s.writer.findGaps(t.Context(), seen, now); err == nil {
		t.Error("no error while Redis cannot be asked")
	}
	lost("{}")
	oldest, down = marked4.Add(time.Second), nil // only what came after the mark
	marked(9)                                    // a young mark must not hide the old one
	find()
	lost("{[2,3)}")
	oldest = time.Time{}
	now = now.Add(3 * time.Minute)
	find()
	lost("{[2,3),[5,8),[9,10)}")
	now = now.Add(4 * time.Minute)
	find()
	lost("{[2,3),[5,8),[9,10)}") // reported once
	arrive(6)
	lost("{[2,3),[5,6),[7,8),[9,10)}") // late, but there
}

func TestPrepareAndMaintain(t *testing.T) {
	s := newSuite(t)
	if err := s.writer.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.write(s.hook(textBody("w", "1")), s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeNext}))
	s.expect("0", "SELECT count(*) FROM webhook_events_default")
	s.expect("0", "SELECT count(*) FROM flow_steps_default")
	s.exec("INSERT INTO event_keys (kind, dedup, at) VALUES ('webhook', 'old', now() - interval '40 days'), ('webhook', 'kept', now() - interval '20 days')")
	s.exec(`INSERT INTO stream_sources (src, shard, last_seen_at) VALUES ('gone', 1, now() - interval '100 days'),
		('live', 1, now() - interval '100 days'), ('live', 2, now())`)
	s.writer.housekeep(t.Context())
	s.expect("live 1, live 2", "SELECT string_agg(src || ' ' || shard, ', ' ORDER BY shard) FROM stream_sources WHERE src IN ('gone', 'live')")
	s.expect("kept", "SELECT dedup FROM event_keys WHERE dedup IN ('old', 'kept')")
}
