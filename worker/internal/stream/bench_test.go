package stream

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// BenchmarkReaders measures entries from the streams to their acknowledgement
// without a database: what reading itself costs.
func BenchmarkReaders(b *testing.B) {
	const entries, shards = 20_000, 16
	client, keys, _ := testkit.Redis(b, shards)
	o, err := redis.ParseURL(testkit.RedisURL(b))
	if err != nil {
		b.Fatal("REDIS_URL is not a Redis URL")
	}
	body := make([]byte, 900)
	var spent time.Duration
	for range b.N {
		for first := 0; first < entries; first += 500 {
			if _, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
				for i := first; i < first+500; i++ {
					e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "e", Time: time.Now(), Source: "bench", Seq: uint64(i), Body: body}
					p.XAdd(b.Context(), &redis.XAddArgs{Stream: keys.Events(i % shards), Values: e.Values()})
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		var stored atomic.Int64
		all := make(chan struct{})
		r, err := New(Config{
			Redis: redis.UniversalOptions{Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, DB: o.DB}, Keys: keys, Consumer: "bench",
			Write: func(_ context.Context, e []Entry) ([]Dead, error) {
				if stored.Add(int64(len(e))) == entries {
					close(all)
				}
				return nil, nil
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		r.block = 10 * time.Millisecond
		ctx, stop := context.WithCancel(b.Context())
		done := make(chan error)
		began := time.Now()
		go func() { done <- r.Run(ctx) }()
		<-all
		stop()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		spent += time.Since(began)
	}
	b.ReportMetric(float64(entries*b.N)/spent.Seconds(), "entries/s")
}
