package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// Every pooled connection went dead at once, and nothing says so: one of them is
// waited for, not each.
func TestHalfOpenPool(t *testing.T) {
	t.Parallel()
	url, proxy := testkit.DatabaseProxy(t, testkit.EmptyDatabaseURL(t))
	pool, err := store.Open(t.Context(), url, 6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Cut(); pool.Close() })
	var conns []*pgxpool.Conn
	for range 6 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Release()
	}
	released := time.Now()
	testkit.Eventually(t, "the connections count as idle", func() bool { return time.Since(released) > time.Second+100*time.Millisecond })
	proxy.BlackHole(true)
	proxy.BlackHole(false)
	vanished := time.Now()
	if _, err := pool.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(vanished)
	t.Logf("a statement succeeds %s after the connections went dead", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("it took %s, expected that one connection was waited for", took)
	}
}

// The holder of a name that lost its connection without a word takes the name
// again.
func TestNameOverAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	direct := testkit.EmptyDatabaseURL(t)
	url, proxy := testkit.DatabaseProxy(t, direct)
	pool, err := store.Open(t.Context(), url, 2)
	if err != nil {
		t.Fatal(err)
	}
	other := testkit.Pool(t, direct)
	t.Cleanup(func() { proxy.Cut(); pool.Close() })
	name, err := store.ClaimName(t.Context(), pool, "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(name.Release)
	holders := func() (pids []int32) {
		t.Helper()
		rows, err := other.Query(t.Context(), "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var pid int32
			if err := rows.Scan(&pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return pids
	}
	before := holders()
	if len(before) != 1 {
		t.Fatalf("%d sessions hold the name", len(before))
	}
	proxy.BlackHole(true)
	proxy.BlackHole(false)
	// As the server's own limit on silence does in the end.
	if _, err := other.Exec(t.Context(), "SELECT pg_terminate_backend($1)", before[0]); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "another session holds the name", func() bool {
		now := holders()
		return len(now) == 1 && now[0] != before[0]
	})
}

// After Close and Release Postgres knows none of the connections.
func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	url := testkit.EmptyDatabaseURL(t)
	application := "waf-test-" + testkit.Random()
	other := testkit.Pool(t, url)
	pool, err := store.Open(t.Context(), url+"&application_name="+application, 4)
	if err != nil {
		t.Fatal(err)
	}
	name, err := store.ClaimName(t.Context(), pool, "w")
	if err != nil {
		t.Fatal(err)
	}
	sessions := func() (n int) {
		t.Helper()
		if err := other.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", application).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := sessions(); n < 2 {
		t.Errorf("%d sessions, expected one of the pool and one of the name", n)
	}
	name.Release()
	pool.Close()
	testkit.Eventually(t, "no session is left", func() bool { return sessions() == 0 })
}
