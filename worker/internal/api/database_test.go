package api

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// While flows are locked by whatever it is, requests end, and others go on.
func TestADatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.answerWithin = 300 * time.Millisecond })
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE flows IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	r := s.get("/api/flows").failed(503, "UNAVAILABLE", "database")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.send("POST", "/api/flows", input{"name": "csat", "flowJson": flowJSON(t, "One")}).failed(503, "UNAVAILABLE")
	s.get("/api/responses").is(200)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.get("/api/flows").is(200)
}

// A server that is killed sends nothing: the connection ends in the middle of an
// answer, or refuses.
func TestAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	database := testkit.Database(t)
	c := database.Config().ConnConfig
	proxy := testkit.NewProxy(t, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
	proxy.Open()
	through := url.URL{Scheme: "postgres", User: url.User(c.User), Host: proxy.Address, Path: "/" + c.Database, RawQuery: "sslmode=disable"}
	pool := testkit.Pool(t, through.String())
	s := serve(t, func(c *Config) { c.Pool = pool })

	tx, err := database.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // rolled back below
	if _, err := tx.Exec(t.Context(), "LOCK TABLE flows IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan *response)
	go func() { done <- s.get("/api/flows") }()
	testkit.Eventually(t, "the API waits for an answer", func() bool {
		var waiting int
		const sql = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
		return database.QueryRow(t.Context(), sql).Scan(&waiting) == nil && waiting > 0
	})
	proxy.Cut()
	(<-done).failed(503, "UNAVAILABLE", "database")
	s.get("/api/flows").failed(503, "UNAVAILABLE", "database")
	s.send("POST", "/api/flows", input{"name": "csat", "flowJson": flowJSON(t, "One")}).failed(503, "UNAVAILABLE", "database")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Open()
	s.get("/api/flows").is(200)
}

// After a failover connections lead to a server that only reads.
func TestConnectionsThatAFailoverLeft(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("csat", flowJSON(t, "One"))
	readOnly := func(value string) {
		t.Helper()
		const sql = `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = ', current_database()) || 'VALUE'; END $$`
		conn, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // the test's own
		for _, statement := range []string{"SET default_transaction_read_only = off", strings.Replace(sql, "VALUE", value, 1)} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	readOnly("on")
	s.pool.Reset()
	s.get("/api/flows/csat").is(200)
	readOnly("off")
	s.send("PATCH", "/api/flows/csat", input{"description": "one"}).failed(503, "UNAVAILABLE")
	s.send("PATCH", "/api/flows/csat", input{"description": "two"}).is(200)
}

// Two who exchange names wait for each other, and Postgres ends one of them.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, name := range []string{"first", "second"} {
		s.create(name, flowJSON(t, name))
	}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // committed below
	exec := func(sql string) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("UPDATE flows SET name = 'third' WHERE name = 'second'")
	done := make(chan *response)
	go func() { done <- s.send("PATCH", "/api/flows/first", input{"name": "third"}) }()
	testkit.Eventually(t, "the API waits for the transaction", func() bool {
		var waiting int
		const sql = `SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`
		err := s.pool.QueryRow(t.Context(), sql).Scan(&waiting)
		return err == nil && waiting > 0
	})
	exec("SET LOCAL deadlock_timeout = '1min'") // the API's is the one that is ended
	exec("UPDATE flows SET description = 'mine' WHERE name = 'first'")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-done).failed(409, "ConflictError")
}
