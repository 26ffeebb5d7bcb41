package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// Somebody keeps a snapshot open. Its age is measured, and who it is stands in
// the log, without what it ran, not more than once in five minutes.
func TestOldSnapshotIsNamed(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	ctx := t.Context()
	registry := prometheus.NewRegistry()
	core, logs := observer.New(zap.WarnLevel)
	w := store.NewWatch(pool, zap.New(core), registry)
	now := time.Now()
	look := func() {
		t.Helper()
		if err := w.Look(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if age := gauge(t, registry, "postgres_oldest_xmin_seconds", ""); age > 5 {
		t.Errorf("%v s old without anybody", age)
	}

	config := pool.Config().ConnConfig.Copy()
	config.RuntimeParams["application_name"] = "somebody's report"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the test is over
	var pid int64
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRow(ctx, "SELECT pg_backend_pid() -- secret").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a snapshot of a second ago is seen", func() bool {
		look()
		return gauge(t, registry, "postgres_oldest_xmin_seconds", "") > 1
	})
	if logs.Len() != 0 {
		t.Errorf("logged: %+v", logs.All())
	}
	w.WarnAfter(time.Second)
	look()
	look()
	if logs.Len() != 1 {
		t.Fatalf("%d lines in the log, expected one", logs.Len())
	}
	fields := logs.All()[0].ContextMap()
	if fields["pid"] != pid || fields["application_name"] != "somebody's report" || len(fields) != 3 {
		t.Errorf("logged %+v, want pid %d and its application", fields, pid)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	look()
	if age := gauge(t, registry, "postgres_oldest_xmin_seconds", ""); age > 1 {
		t.Errorf("%v s old after it ended", age)
	}
}

// A slot says what it holds back, not since when.
func TestReplicationSlotThatHoldsBack(t *testing.T) {
	slots := store.SlotAges{}
	now := time.Now()
	if age := slots.See("standby", "1000", now); age != 0 {
		t.Errorf("age at first sight = %s", age)
	}
	if age := slots.See("standby", "1000", now.Add(time.Minute)); age != time.Minute {
		t.Errorf("age after a minute = %s", age)
	}
	if age := slots.See("standby", "2000", now.Add(2*time.Minute)); age != 0 {
		t.Errorf("age after it moved on = %s", age)
	}
}

func TestDeadRowsAreCounted(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	registry := prometheus.NewRegistry()
	w := store.NewWatch(pool, zap.NewNop(), registry)
	for _, sql := range []string{
		"ALTER TABLE stream_sources SET (autovacuum_enabled = off)",
		"INSERT INTO stream_sources (src, shard) SELECT 's' || n, 1 FROM generate_series(1, 50) AS n",
		"DELETE FROM stream_sources",
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "50 dead rows are seen", func() bool {
		if err := w.Look(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		return gauge(t, registry, "postgres_dead_tuples", "stream_sources") == 50
	})
	if n := gauge(t, registry, "postgres_dead_tuples", "deliveries"); n != 0 {
		t.Errorf("%v dead deliveries", n)
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "whatsapp_flows_worker_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}
