package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// From XADD to rows, with everything that may be in a stream.
func TestStreamToRows(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	client, keys, _ := testkit.Redis(t, 2)
	seq := uint64(0)
	add := func(kind event.Kind, id, body string) {
		t.Helper()
		seq++
		e := event.Entry{Kind: kind, Account: "default", ID: id, Time: time.Now(), Source: "edge-1", Seq: seq, Body: []byte(body)}
		if kind == event.KindWebhook {
			sum := sha256.Sum256(e.Body)
			e.ID = hex.EncodeToString(sum[:])
		}
		if kind == event.KindMark {
			seq--
			e.Seq = seq
		}
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.EventsFor(1, len(body)), Values: e.Values()}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	step := event.Step{Flow: "csat", Token: "T", Version: 1, Attempt: 1, Action: "INIT", Outcome: event.OutcomeNext}
	add(event.KindStep, "s:1", string(step.Encode()))
	answer := completionBody("wamid.1", "1", `{"flow_token":"T"}`)
	add(event.KindWebhook, "", answer)
	add(event.KindWebhook, "", answer)
	add(event.KindWebhook, "", strings.Repeat("x", 5<<20)) // more than Meta ever sends
	add(event.KindWebhook, "", in("1", `"messages":[{"id":"big","from":"2","text":{"body":"`+strings.Repeat("y", 100<<10)+`"}}]`))
	add(event.KindStep, "s:2", "oops")
	add(event.KindMark, "", "")

	readers, err := stream.New(stream.Config{Redis: redisOptions(t), Keys: keys, Consumer: "w", Write: s.writer.Write})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- readers.Run(ctx) }()
	waitEmpty(t, client, keys)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.expect("3", "SELECT count(*) FROM webhook_events")
	s.expect("5242880", "SELECT max(length(body)) FROM webhook_events")
	s.expect("1", "SELECT count(*) FROM flow_responses WHERE session_id IS NOT NULL")
	s.expect("1", "SELECT count(*) FROM deliveries")
	s.expect("1", "SELECT count(*) FROM dead_entries WHERE kind = 'step'")
	s.expect("{[1,7)} 6 1", "SELECT concat_ws(' ', seen, mark, shard) FROM stream_sources")
	if n, err := client.XLen(t.Context(), keys.DeadEvents(1)).Result(); err != nil || n != 1 {
		t.Errorf("%d in the dead stream (%v), expected 1", n, err)
	}
}
