package stream

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// What was appended long ago is only late; what was read long ago is left.
func TestEntriesThatNoWorkerHolds(t *testing.T) {
	s := newSuite(t)
	key := s.keys.Events(0)
	old := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "old", Time: time.Now(), Source: "edge", Seq: 1, Body: []byte("{}")}
	if err := s.client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: "1000-0", Values: old.Values()}).Err(); err != nil {
		t.Fatal(err)
	}
	s.leavePending(key, "gone", 1, 1)
	r, err := New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	r.measure(t.Context(), s.client)
	if left := s.metric("stream_oldest_pending_seconds"); left != 0 {
		t.Errorf("an entry that was just read counts as left for %v s", left)
	}
	r.config.MinIdle = 10 * time.Millisecond
	testkit.Eventually(t, "the entry counts as left", func() bool {
		r.measure(t.Context(), s.client)
		left := s.metric("stream_oldest_pending_seconds")
		return left >= 0.01 && left < 60
	})
}
