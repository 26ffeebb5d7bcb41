package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// The whole worker on each kind of Redis, by the URL that an operator writes;
// after its stop neither Redis nor Postgres knows a connection of it.
func TestServeOnEveryKindOfRedis(t *testing.T) {
	single := func(t *testing.T) (redis.UniversalOptions, string, []*testkit.RedisServer) {
		s := testkit.StartRedis(t)
		return redis.UniversalOptions{Addrs: []string{s.Address}}, "redis://" + s.Address, []*testkit.RedisServer{s}
	}
	sentinel := func(t *testing.T) (redis.UniversalOptions, string, []*testkit.RedisServer) {
		s := testkit.StartSentinel(t)
		return s.Options, s.URL(), []*testkit.RedisServer{s.Primary, s.Replica}
	}
	cluster := func(t *testing.T) (redis.UniversalOptions, string, []*testkit.RedisServer) {
		c := testkit.StartCluster(t, 3)
		return c.Options, c.URL(), c.Nodes
	}
	for name, start := range map[string]func(t *testing.T) (redis.UniversalOptions, string, []*testkit.RedisServer){
		"single": single, "sentinel": sentinel, "cluster": cluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, url, servers := start(t)
			client := redis.NewUniversalClient(&o)
			defer client.Close() //nolint:errcheck // the test is over
			keys, database := keyspace.New("", 4), testkit.EmptyDatabaseURL(t)
			s := serve(t, map[string]string{"DATABASE_URL": database, "REDIS_URL": url, "REDIS_SHARDS": "4", "WORKER_NAME": "w"})
			s.waitReady(t)
			pool := testkit.Pool(t, database)
			for shard := range 4 {
				id := string(rune('a' + shard))
				body := strings.ReplaceAll(strings.ReplaceAll(nfmReply, "wamid.ONE", "wamid."+id), `\"score\"`, `\"`+id+`\"`)
				e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: id, Time: time.Now(), Source: "edge", Seq: 1, Body: []byte(body)}
				if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Events(shard), Values: e.Values()}).Err(); err != nil {
					t.Fatal(err)
				}
			}
			testkit.Eventually(t, "the answers of every shard are stored", func() bool {
				var n int
				err := pool.QueryRow(t.Context(), "SELECT count(*) FROM flow_responses").Scan(&n)
				return err == nil && n == 4
			})
			if code, body := s.get("/health"); code != 200 || body["status"] != "healthy" {
				t.Errorf("health %d %v", code, body)
			}
			if n, err := client.Get(t.Context(), keys.ShardCount()).Result(); err != nil || n != "4" {
				t.Errorf("%s = %s, %v", keys.ShardCount(), n, err)
			}
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			testkit.Eventually(t, "Redis knows no connection of the worker", func() bool {
				for _, server := range servers {
					list, err := server.Client().ClientList(context.Background()).Result()
					if err != nil || strings.Contains(list, "name=whatsapp-flows-worker") {
						return false
					}
				}
				return true
			})
			testkit.Eventually(t, "Postgres knows no connection but the test's", func() bool {
				var n int
				err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'").Scan(&n)
				return err == nil && n <= int(pool.Stat().TotalConns())
			})
		})
	}
}
