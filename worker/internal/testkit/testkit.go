// Package testkit gives each test a Postgres database and Redis keys of its
// own, on the servers that DATABASE_URL and REDIS_URL name.
package testkit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// patience is how long Eventually waits: far more than anything takes.
const patience = 15 * time.Second

func required(t testing.TB, name, server string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run the tests with `make test`, or point it at a %s you can spare", name, server)
	}
	return value
}

// EmptyDatabaseURL creates a database without tables, dropped when t ends.
func EmptyDatabaseURL(t testing.TB) string {
	t.Helper()
	return newDatabaseURL(t, "template1")
}

func newDatabaseURL(t testing.TB, template string) string {
	t.Helper()
	admin := required(t, "DATABASE_URL", "Postgres")
	name := "waf_test_" + Random()
	execute(t, admin, "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { execute(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	return named(t, admin, name)
}

// named is the URL of another database of the same server.
func named(t testing.TB, databaseURL, name string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal("DATABASE_URL is not a URL")
	}
	u.Path = "/" + name
	return u.String()
}

func execute(t testing.TB, databaseURL, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the statement is what counts
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// Database is a migrated database of t's own.
func Database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, newDatabaseURL(t, migrated(t)))
}

// Pool is a pool on a database, closed when t ends.
func Pool(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := store.Open(context.Background(), databaseURL, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// RedisURL is the shared Redis.
func RedisURL(t testing.TB) string {
	t.Helper()
	return required(t, "REDIS_URL", "Redis")
}

// Redis is a client and keys under a prefix of t's own, deleted when t ends.
func Redis(t testing.TB, shards int) (redis.UniversalClient, keyspace.Keys, string) {
	t.Helper()
	o, err := redis.ParseURL(RedisURL(t))
	if err != nil {
		t.Fatal("REDIS_URL is not a Redis URL")
	}
	client, prefix := redis.NewClient(o), "waftest"+Random()+":"
	t.Cleanup(func() {
		Empty(t, client, prefix)
		client.Close() //nolint:errcheck // the test is over
	})
	return client, keyspace.New(prefix, shards), prefix
}

// Empty deletes every key under prefix, as a Redis without persistence does
// when it restarts.
func Empty(t testing.TB, client redis.UniversalClient, prefix string) {
	t.Helper()
	ctx := context.Background()
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Del(ctx, keys.Val()).Err(); err != nil {
			t.Error(err)
		}
	}
	if err := keys.Err(); err != nil {
		t.Error(err)
	}
}

// Random is a name nobody else uses.
func Random() string {
	b := make([]byte, 8)
	rand.Read(b) //nolint:errcheck // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// Eventually waits until condition holds.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func writeFile(t testing.TB, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func list(addresses []string) string { return strings.Join(addresses, ",") }
