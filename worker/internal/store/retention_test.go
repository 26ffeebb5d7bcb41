package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// retained is a database with partitions of long ago and of today, and a row of
// each age in them.
type retained struct {
	*testing.T
	pool *pgxpool.Pool
	now  time.Time

	mu      sync.Mutex
	dropped []store.Dropped
}

// columns that a row of each table must have besides its day.
var minimal = map[string]string{
	"webhook_events":   "INSERT INTO webhook_events (id, received_at, body) VALUES (gen_random_uuid(), $1, 'x')",
	"webhook_messages": "INSERT INTO webhook_messages (event_id, event_at, position, kind) VALUES (gen_random_uuid(), $1, 0, 'message')",
	"flow_steps":       "INSERT INTO flow_steps (id, at, kind, flow, action, outcome) VALUES (gen_random_uuid(), $1, 'step', 'f', 'INIT', 'next')",
	"attempts":         "INSERT INTO attempts (id, at, delivery_id, endpoint_id, number, milliseconds) VALUES (gen_random_uuid(), $1, gen_random_uuid(), gen_random_uuid(), 1, 1)",
	"delivery_history": `INSERT INTO delivery_history (id, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, state, attempt, created_at, finished_at)
		VALUES (gen_random_uuid(), gen_random_uuid(), 'e', 'flow.completed', gen_random_uuid(), $1, gen_random_uuid(), $1, 'delivered', 1, $1, $1)`,
}

func retain(t *testing.T) *retained {
	t.Helper()
	t.Parallel()
	r := &retained{T: t, pool: testkit.Database(t), now: time.Now().UTC()}
	for _, daysAgo := range []int{100, 0} { // and the seven days after each
		if err := store.CreatePartitions(t.Context(), r.pool, r.now.AddDate(0, 0, -daysAgo)); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range store.Partitioned() {
		for _, daysAgo := range []int{99, 94, 0} {
			r.insert(table, daysAgo)
		}
	}
	return r
}

func (r *retained) insert(table string, daysAgo int) {
	r.Helper()
	if _, err := r.pool.Exec(r.Context(), minimal[table], r.now.AddDate(0, 0, -daysAgo)); err != nil {
		r.Fatalf("%s: %v", table, err)
	}
}

func (r *retained) drop(keep store.Retention) error {
	return store.DropPartitions(r.Context(), r.pool, r.now, keep, func(d store.Dropped) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.dropped = append(r.dropped, d)
	})
}

func (r *retained) count(sql string, args ...any) (n int) {
	r.Helper()
	if err := r.pool.QueryRow(r.Context(), sql, args...).Scan(&n); err != nil {
		r.Fatal(err)
	}
	return n
}

func (r *retained) expectRows(table string, want int) {
	r.Helper()
	if n := r.count("SELECT count(*) FROM " + table); n != want {
		r.Errorf("%s has %d rows, want %d", table, n, want)
	}
}

func TestOldPartitionsAreDropped(t *testing.T) {
	r := retain(t)
	// Of 100 to 93 days ago, those of 100 to 96 have ended 95 days ago.
	if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil {
		t.Fatal(err)
	}
	perTable := make(map[string]int)
	for _, d := range r.dropped {
		if d.Rows != 0 || !strings.HasPrefix(d.Partition, d.Table+"_20") {
			t.Errorf("dropped %+v", d)
		}
		perTable[d.Table]++
	}
	for _, table := range store.Partitioned() {
		if perTable[table] != 5 {
			t.Errorf("%d partitions of %s dropped, want 5", perTable[table], table)
		}
		r.expectRows(table, 2)
	}
	r.dropped = nil
	if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil || len(r.dropped) != 0 {
		t.Errorf("a second time: %v, %+v", err, r.dropped)
	}
}

func TestEachClassIsKeptForItsOwnTime(t *testing.T) {
	r := retain(t)
	if err := r.drop(store.Retention{Events: 0, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"webhook_events": 3, "webhook_messages": 3, "flow_steps": 3, "attempts": 1, "delivery_history": 1} {
		r.expectRows(table, want)
	}
	if err := r.drop(store.Retention{Events: 98}); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"webhook_events": 2, "webhook_messages": 2, "flow_steps": 2, "attempts": 1, "delivery_history": 1} {
		r.expectRows(table, want)
	}
}

// Answers and sessions are in no partition, so nothing may ever remove them.
func TestAnswersAreInNoPartition(t *testing.T) {
	for _, table := range []string{"flow_responses", "flow_sessions", "contacts", "flow_events", "deliveries", "dead_entries"} {
		if slices.Contains(store.Partitioned(), table) {
			t.Errorf("%s is dropped by the day", table)
		}
	}
}

// Rows of days that had no partition are deleted where they are.
func TestOldRowsOfTheDefaultPartition(t *testing.T) {
	r := retain(t)
	if _, err := r.pool.Exec(t.Context(), "INSERT INTO webhook_events (id, received_at, body) SELECT gen_random_uuid(), now() - interval '200 days', 'x' FROM generate_series(1, 12000)"); err != nil {
		t.Fatal(err)
	}
	r.insert("webhook_events", 50) // has no partition either, and is young enough
	if err := r.drop(store.Retention{Events: 95}); err != nil {
		t.Fatal(err)
	}
	r.expectRows("webhook_events_default", 1)
	rows := int64(0)
	for _, d := range r.dropped {
		if d.Partition == "webhook_events_default" {
			rows += d.Rows
			if d.Rows > 5000 {
				t.Errorf("%d rows in one statement", d.Rows)
			}
		}
	}
	if rows != 12000 {
		t.Errorf("%d rows reported, want 12000", rows)
	}
}

// What only looks like one of our partitions is somebody's own.
func TestTablesOfOthersAreLeftAlone(t *testing.T) {
	r := retain(t)
	for _, sql := range []string{
		"CREATE TABLE attempts_20200101 AS SELECT * FROM attempts",
		"CREATE TABLE attempts_20190101 PARTITION OF attempts FOR VALUES FROM ('2019-01-01 00:00+00') TO ('2019-02-01 00:00+00')",
		"CREATE TABLE attempts_archive PARTITION OF attempts FOR VALUES FROM ('2018-01-01 00:00+00') TO ('2018-01-02 00:00+00')",
	} {
		if _, err := r.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.drop(store.Retention{Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if n := r.count("SELECT count(*) FROM pg_class WHERE relname IN ('attempts_20200101', 'attempts_20190101', 'attempts_archive')"); n != 3 {
		t.Errorf("%d of the 3 tables are left", n)
	}
	r.expectRows("attempts_20200101", 3)
}

func TestSeveralWorkersDropAtOnce(t *testing.T) {
	r := retain(t)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	seen := make(map[string]bool)
	for _, d := range r.dropped {
		if seen[d.Partition] {
			t.Errorf("%s was dropped twice", d.Partition)
		}
		seen[d.Partition] = true
	}
	if len(seen) != 25 {
		t.Errorf("%d partitions dropped, want 25", len(seen))
	}
}

// Somebody reads a table for long: its partitions stay until they have ended,
// writers are held up for two seconds at most, other tables are dropped from,
// and nothing is left half done.
func TestTableThatIsInUse(t *testing.T) {
	r := retain(t)
	reader, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback(context.Background()) //nolint:errcheck // only its locks matter
	if _, err := reader.Exec(t.Context(), "SELECT count(*) FROM flow_steps"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	var longest time.Duration
	writer.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := r.pool.Exec(t.Context(), minimal["flow_steps"], r.now); err != nil {
				t.Error(err)
				return
			}
			longest = max(longest, time.Since(began))
		}
	})
	err = r.drop(store.Retention{Events: 95, Attempts: 95})
	stop()
	writer.Wait()
	if err == nil || !strings.Contains(err.Error(), "dropping partition flow_steps_") {
		t.Errorf("err = %v, want one that names the partition", err)
	}
	t.Logf("a writer waited for %s at most", longest.Round(time.Millisecond))
	if longest > 3*time.Second {
		t.Errorf("a writer waited for %s", longest)
	}
	r.expectRows("webhook_messages", 2)
	if n := r.count("SELECT count(*) FROM flow_steps WHERE at < now() - interval '90 days'"); n != 2 {
		t.Errorf("%d old rows, want both", n)
	}
	if n := r.count("SELECT count(*) FROM pg_inherits WHERE inhparent = 'flow_steps'::regclass AND inhdetachpending"); n != 0 {
		t.Errorf("%d partitions are half detached", n)
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil {
		t.Fatal(err)
	}
	if n := r.count("SELECT count(*) FROM flow_steps WHERE at < now() - interval '95 days'"); n != 0 {
		t.Errorf("%d old rows are left", n)
	}
}

// The session is killed in the middle: the partition is whole or gone, and the
// next round finishes.
func TestDroppingThatIsKilled(t *testing.T) {
	r := retain(t)
	holder, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback(context.Background()) //nolint:errcheck // only its locks matter
	if _, err := holder.Exec(t.Context(), "SELECT count(*) FROM attempts"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- r.drop(store.Retention{Attempts: 95}) }()
	testkit.Eventually(t, "the session that waits for its lock is killed", func() bool {
		return r.count("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%DROP TABLE%'") > 0
	})
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the next round, once the killed session's lock is gone", func() bool {
		if err := r.drop(store.Retention{Attempts: 95}); err != nil {
			t.Fatal(err)
		}
		return r.count("SELECT count(*) FROM attempts") == 2
	})
	if n := r.count(fmt.Sprintf("SELECT count(*) FROM pg_class WHERE relname LIKE 'attempts_%s%%'", r.now.AddDate(0, 0, -99).Format("20060102"))); n != 0 {
		t.Error("the partition is still there")
	}
}

// An endpoint was disabled for months. What is still to be told to it is kept,
// in partitions of days and in the default partition, and nothing else is.
func TestWhatOpenDeliveriesAreAboutIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		event string
		kept  []string // tables
	}{
		"a raw webhook": {"webhook.received", []string{"webhook_events"}},
		"a message":     {"message.received", []string{"webhook_events", "webhook_messages"}},
		"a status":      {"message.status", []string{"webhook_events", "webhook_messages"}},
		"a screen":      {"flow.screen", []string{"flow_steps"}},
		"an answer":     {"flow.completed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := retain(t)
			endpoint := r.endpoint()
			for _, table := range store.Partitioned() {
				for _, daysAgo := range []int{150, 160} {
					r.insert(table, daysAgo) // days without a partition
				}
			}
			for _, daysAgo := range []int{99, 150} {
				r.deliver(endpoint, c.event, r.now.AddDate(0, 0, -daysAgo))
			}
			if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil {
				t.Fatal(err)
			}
			for _, table := range store.Partitioned() {
				want := 2
				if slices.Contains(c.kept, table) {
					want = 4
				}
				r.expectRows(table, want)
			}
			if _, err := r.pool.Exec(t.Context(), "DELETE FROM deliveries"); err != nil {
				t.Fatal(err)
			}
			if err := r.drop(store.Retention{Events: 95, Attempts: 95}); err != nil {
				t.Fatal(err)
			}
			for _, table := range store.Partitioned() {
				r.expectRows(table, 2)
			}
		})
	}
}

func (r *retained) endpoint() (id string) {
	r.Helper()
	err := r.pool.QueryRow(r.Context(), `INSERT INTO callback_endpoints (id, name, url, secrets, timeout_ms, max_attempts)
		VALUES (gen_random_uuid(), 'crm', 'https://example.com', '{whsec_x}', 1000, 5) RETURNING id::text`).Scan(&id)
	if err != nil {
		r.Fatal(err)
	}
	return id
}

func (r *retained) deliver(endpoint, event string, subjectAt time.Time) {
	r.Helper()
	_, err := r.pool.Exec(r.Context(), `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, state)
		VALUES (gen_random_uuid(), $1, $2, gen_random_uuid(), $3, gen_random_uuid(), $3, 'due')`, endpoint, event, subjectAt)
	if err != nil {
		r.Fatal(err)
	}
}

// A row without a partition of its day is kept as long as one with it: until its
// whole day is old enough.
func TestDayThatHasNotEndedLongEnoughAgo(t *testing.T) {
	r := retain(t)
	noon := r.now.AddDate(0, 0, -110).Truncate(24 * time.Hour).Add(12 * time.Hour)
	for _, at := range []time.Time{noon.Add(-11 * time.Hour), noon.Add(-36 * time.Hour)} {
		if _, err := r.pool.Exec(t.Context(), minimal["webhook_events"], at); err != nil {
			t.Fatal(err)
		}
	}
	r.now = noon.AddDate(0, 0, 10)
	if err := r.drop(store.Retention{Events: 10}); err != nil {
		t.Fatal(err)
	}
	r.expectRows("webhook_events_default", 1)
}
