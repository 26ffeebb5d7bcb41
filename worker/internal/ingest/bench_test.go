package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// BenchmarkIngest measures entries from the stream to the acknowledgement after
// the commit, everything on one machine: 10 000 entries for each iteration.
// make bench prints it; the bar is 8 000 webhooks a second.
func BenchmarkIngest(b *testing.B) {
	webhook := func(body func(int) string) func(int) event.Entry {
		return func(i int) event.Entry {
			raw := []byte(body(i))
			sum := sha256.Sum256(raw)
			return event.Entry{Kind: event.KindWebhook, ID: hex.EncodeToString(sum[:]), Body: raw}
		}
	}
	wamid := func(i int) string { return fmt.Sprintf("wamid.HBgL%040d", i) }
	phone := func(i int) string { return fmt.Sprintf("1650%07d", i%5000) }
	answer := webhook(func(i int) string {
		return completionBody(wamid(i), phone(i), fmt.Sprintf(`{"flow_token":"t-%d","score":"9","comment":"all of it was quite fine","name":"Ada Lovelace"}`, i))
	})
	kinds := map[string]func(i int) event.Entry{
		"answer": answer,
		"status": webhook(func(i int) string {
			return statusBody(wamid(i/3), []string{"sent", "delivered", "read"}[i%3], phone(i))
		}),
		"message": webhook(func(i int) string { return textBody(wamid(i), phone(i)) }),
		// Three steps and the answer of each conversation.
		"conversation": func(i int) event.Entry {
			if i%4 == 3 {
				return answer(i)
			}
			step := event.Step{Flow: "csat", Token: fmt.Sprintf("t-%d", i/4*4+3), Version: int64(i%4 + 1), Attempt: 1, Action: "data_exchange",
				From: "RATE", To: "COMMENT", Answers: map[string]jsonValue{"score": raw(`"9"`)}, Outcome: event.OutcomeNext}
			return event.Entry{Kind: event.KindStep, ID: fmt.Sprint(step.Token, ":", step.Version), Body: step.Encode()}
		},
	}
	for name, entry := range kinds {
		b.Run(name, func(b *testing.B) {
			const entries = 10_000
			pool := testkit.Database(b)
			client, keys, _ := testkit.Redis(b, 16)
			w := NewWriter(pool, Config{})
			// A receiver that is never called: its deliveries are part of the work.
			if _, err := pool.Exec(b.Context(), `INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
				VALUES (gen_random_uuid(), '*', 'env', 'http://example.com', '{}', 1000, 1)`); err != nil {
				b.Fatal(err)
			}
			if err := w.Prepare(b.Context()); err != nil {
				b.Fatal(err)
			}
			var spent time.Duration
			for n := range b.N {
				appendAll(b, client, keys, entries, func(i int) event.Entry { return entry(n*entries + i) })
				readers, err := stream.New(stream.Config{Redis: redisOptions(b), Keys: keys, Consumer: "bench", Write: w.Write})
				if err != nil {
					b.Fatal(err)
				}
				ctx, stop := context.WithCancel(b.Context())
				done := make(chan error)
				started := time.Now()
				go func() { done <- readers.Run(ctx) }()
				waitEmpty(b, client, keys)
				spent += time.Since(started)
				stop()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(entries*b.N)/spent.Seconds(), "events/s")
			var stored int
			if err := pool.QueryRow(b.Context(), "SELECT (SELECT count(*) FROM webhook_events) + (SELECT count(*) FROM flow_steps)").Scan(&stored); err != nil || stored != entries*b.N {
				b.Fatalf("%d events stored, expected %d (%v)", stored, entries*b.N, err)
			}
		})
	}
}

func appendAll(tb testing.TB, client redis.UniversalClient, keys keyspace.Keys, entries int, entry func(int) event.Entry) {
	tb.Helper()
	seqs := make([]uint64, keys.Shards())
	for first := 0; first < entries; first += 500 {
		_, err := client.Pipelined(tb.Context(), func(p redis.Pipeliner) error {
			for i := first; i < min(first+500, entries); i++ {
				e := entry(i)
				sum := sha256.Sum256(e.Body)
				shard := keys.DigestShard(sum[:])
				seqs[shard]++
				e.Account, e.Time, e.Source, e.Seq = "default", time.Now(), "bench", seqs[shard]
				p.XAdd(tb.Context(), &redis.XAddArgs{Stream: keys.EventsFor(shard, len(e.Body)), Values: e.Values()})
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func redisOptions(tb testing.TB) redis.UniversalOptions {
	tb.Helper()
	o, err := redis.ParseURL(testkit.RedisURL(tb))
	if err != nil {
		tb.Fatal("REDIS_URL is not a Redis URL")
	}
	return redis.UniversalOptions{Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, DB: o.DB}
}

func waitEmpty(tb testing.TB, client redis.UniversalClient, keys keyspace.Keys) {
	tb.Helper()
	testkit.Eventually(tb, "every stream is empty", func() bool {
		for shard := range keys.Shards() {
			for _, key := range []string{keys.Events(shard), keys.LargeEvents(shard)} {
				if n, err := client.XLen(tb.Context(), key).Result(); err != nil || n > 0 {
					return false
				}
			}
		}
		return true
	})
}

const contactJSON = `"contacts":[{"profile":{"name":"Ada"},"wa_id":"%s","user_id":"US.%s"}]`

func in(phoneNumberID, value string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"waba-1","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"` + phoneNumberID + `"},` + value + `}}]}]}`
}

func completionBody(wamid, from, response string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(response)
	return in("1065", fmt.Sprintf(contactJSON, from, from)+`,"messages":[{"from":"`+from+`","id":"`+wamid+`","timestamp":"1749416383","type":"interactive","context":{"from":"15550783881","id":"wamid.flow"},"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"`+escaped+`"}}}]`)
}

func statusBody(wamid, status, to string) string {
	return in("1065", `"statuses":[{"id":"`+wamid+`","status":"`+status+`","timestamp":"1749416383","recipient_id":"`+to+`","pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}}]`)
}

func textBody(wamid, from string) string {
	return in("1065", fmt.Sprintf(contactJSON, from, from)+`,"messages":[{"from":"`+from+`","id":"`+wamid+`","timestamp":"1749416383","type":"text","text":{"body":"hello"}}]`)
}
