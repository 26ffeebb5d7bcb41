package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

const (
	watchEvery = 15 * time.Second
	askWithin  = 5 * time.Second

	// pinnedFor is how long a transaction may keep old row versions before it is
	// named in the log: a queue dies by those, not by load. It is also how often
	// it is named.
	pinnedFor = 5 * time.Minute

	// slotBehind is how many transactions a replication slot must hold back to
	// count: every slot holds back some.
	slotBehind = 1000
)

// watched are the tables whose rows change all the time.
var watched = []string{"callback_endpoints", "deliveries", "flow_sessions", "stream_sources"}

// Snapshots and transactions of others that keep row versions of this database
// from being removed. The start of other users' transactions is shown to members
// of pg_monitor only.
const oldestHolder = `
	WITH holder AS (
		SELECT pid, application_name AS name, xact_start AS since FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
			AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start IS NOT NULL
		UNION ALL
		SELECT 0, 'prepared transaction ' || gid, prepared FROM pg_prepared_xacts WHERE database = current_database())
	SELECT pid, name, extract(epoch FROM clock_timestamp() - since)::float8 FROM holder ORDER BY since LIMIT 1`

const slotHolders = `
	SELECT slot_name::text, xmin::text FROM pg_replication_slots
	WHERE xmin IS NOT NULL AND (database IS NULL OR database = current_database()) AND age(xmin) > $1`

const deadTuples = `SELECT relname::text, n_dead_tup::float8 FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = ANY ($1)`

// holder is what keeps old row versions: a session, a prepared transaction (pid
// 0) or a replication slot (pid 0).
type holder struct {
	pid  int
	name string
	age  time.Duration
}

// Watch measures every 15 s what the database suffers from, never when metrics
// are asked for.
type Watch struct {
	pool *pgxpool.Pool
	log  *zap.Logger

	oldest prometheus.Gauge
	dead   *prometheus.GaugeVec

	slots     slotAges
	pinnedFor time.Duration
	warned    time.Time
}

// NewWatch returns a Watch on pool, which stays the caller's.
func NewWatch(pool *pgxpool.Pool, log *zap.Logger, r prometheus.Registerer) *Watch {
	const prefix = "whatsapp_flows_worker_"
	f := promauto.With(r)
	return &Watch{
		pool: pool, log: log, slots: make(slotAges), pinnedFor: pinnedFor,
		oldest: f.NewGauge(prometheus.GaugeOpts{Name: prefix + "postgres_oldest_xmin_seconds",
			Help: "Age of the oldest transaction, prepared transaction or replication slot that keeps old row versions. Alert above 300."}),
		dead: f.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "postgres_dead_tuples",
			Help: "Row versions that nobody sees any more and that are not removed yet."}, []string{"table"}),
	}
}

// Run measures until ctx ends. A failure leaves the metrics as they were: the
// writers report what is wrong.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			w.log.Debug("Postgres could not be asked for its state", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look asks once, in one round trip.
func (w *Watch) look(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var oldest holder
	var slots []holder
	dead := make(map[string]float64, len(watched))

	batch := &pgx.Batch{}
	batch.Queue(oldestHolder).Query(func(rows pgx.Rows) error {
		var seconds float64
		_, err := pgx.ForEachRow(rows, []any{&oldest.pid, &oldest.name, &seconds}, func() error {
			oldest.age = time.Duration(max(seconds, 0) * float64(time.Second))
			return nil
		})
		return err
	})
	batch.Queue(slotHolders, slotBehind).Query(func(rows pgx.Rows) error {
		var name, xmin string
		_, err := pgx.ForEachRow(rows, []any{&name, &xmin}, func() error {
			slots = append(slots, holder{name: "replication slot " + name, age: w.slots.see(name, xmin, now)})
			return nil
		})
		return err
	})
	batch.Queue(deadTuples, watched).Query(func(rows pgx.Rows) error {
		var table string
		var n float64
		_, err := pgx.ForEachRow(rows, []any{&table, &n}, func() error { dead[table] = n; return nil })
		return err
	})
	if err := w.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("asking Postgres for its state: %w", err)
	}
	for _, s := range slots {
		if s.age > oldest.age {
			oldest = s
		}
	}
	w.oldest.Set(oldest.age.Seconds())
	for table, n := range dead {
		w.dead.WithLabelValues(table).Set(n)
	}
	w.warn(oldest, now)
	return nil
}

// slotAges remembers since when each replication slot holds back what it does: a
// slot itself does not say. It is counted from when this process first saw it.
type slotAges map[string]slot

type slot struct {
	xmin  string
	since time.Time
}

// see is how long a slot has held back xmin.
func (a slotAges) see(name, xmin string, now time.Time) time.Duration {
	if a[name].xmin != xmin {
		a[name] = slot{xmin, now}
	}
	return now.Sub(a[name].since)
}

// warn names who holds old row versions back. It never says what they run.
func (w *Watch) warn(h holder, now time.Time) {
	if h.age < w.pinnedFor || now.Sub(w.warned) < w.pinnedFor {
		return
	}
	w.warned = now
	fields := []zap.Field{zap.Duration("age", h.age.Round(time.Second))}
	if h.pid != 0 {
		fields = append(fields, zap.Int("pid", h.pid), zap.String("application_name", h.name))
	} else {
		fields = append(fields, zap.String("held_by", h.name))
	}
	w.log.Warn("an old transaction keeps Postgres from removing old row versions, which slows the delivery queue down: "+
		"let it end, or end it with pg_terminate_backend(pid)", fields...)
}
