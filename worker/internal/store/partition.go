package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

const (
	// daysAhead is how many days beyond today have their partition: so long may
	// every worker be down, or fail to create any, before rows go to the default
	// partition.
	daysAhead = 7

	// daysBehind is how far back a day gets its partition when rows of it came
	// while it had none. What is older, or further ahead than daysAhead, is of a
	// clock that is wrong, and stays in the default partition.
	daysBehind = 400

	// keysKept is longer than Meta (7 days) or a stream redelivers anything.
	keysKept = "31 days"

	// sourcesKept is how long a source is remembered after the last entry it
	// wrote to any shard. A shard of a live source is never forgotten, however
	// quiet: its next mark would make everything before it look lost.
	sourcesKept = "90 days"

	partitionLock = 0x77616602
	purgeLock     = 0x77616603
)

// partitioned are the tables that have a partition for each day.
var partitioned = []daily{
	{table: "attempts", column: "at", class: Attempts},
	{table: "delivery_history", column: "finished_at", class: Attempts},
	{table: "flow_steps", column: "at", class: Events,
		tells: []eventtype.Type{eventtype.FlowStarted, eventtype.FlowScreen, eventtype.FlowError}},
	{table: "webhook_events", column: "received_at", class: Events, // what was said is in the webhook only
		tells: []eventtype.Type{eventtype.WebhookReceived, eventtype.MessageReceived, eventtype.MessageStatus}},
	{table: "webhook_messages", column: "event_at", class: Events,
		tells: []eventtype.Type{eventtype.MessageReceived, eventtype.MessageStatus}},
}

// daily is a table, the column that is its day, what its rows are, and the events
// that are told from them: whose deliveries have that column as subject_at.
type daily struct {
	table, column string
	class         Class
	tells         []eventtype.Type
}

// partition is the name of the partition of a day.
func (d daily) partition(day time.Time) string { return d.table + "_" + day.Format(nameOfDay) }

// day is the day of a partition by its name; false for any other table.
func (d daily) day(partition string) (time.Time, bool) {
	day, err := time.Parse(nameOfDay, strings.TrimPrefix(partition, d.table+"_"))
	return day, err == nil && d.partition(day) == partition
}

const nameOfDay = "20060102"

// Partitioned lists the tables that have a partition for each day.
func Partitioned() []string {
	names := make([]string, len(partitioned))
	for i, d := range partitioned {
		names[i] = d.table
	}
	return names
}

// CreatePartitions creates the missing daily partitions of today and the days
// ahead, in UTC. When another worker is at it, it does nothing.
func CreatePartitions(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	return exclusively(ctx, pool, partitionLock, func(conn *pgxpool.Conn) error {
		today := now.UTC().Truncate(24 * time.Hour)
		for _, d := range partitioned {
			for n := range daysAhead + 1 {
				if err := d.create(ctx, conn, today.AddDate(0, 0, n)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// EmptyDefaults moves the rows of the default partitions to partitions of their
// days, which it creates. It is apart from CreatePartitions because that may be
// waited for, and this may be much. When another worker is at it, it does nothing.
func EmptyDefaults(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	return exclusively(ctx, pool, partitionLock, func(conn *pgxpool.Conn) error {
		var failed []error
		for _, d := range partitioned {
			// One table that cannot be locked must not keep the others.
			failed = append(failed, d.emptyDefault(ctx, conn, now))
		}
		return errors.Join(failed...)
	})
}

func (d daily) emptyDefault(ctx context.Context, conn *pgxpool.Conn, now time.Time) error {
	from, before := movable(now)
	days, err := d.daysInDefault(ctx, conn, from, before)
	if err != nil {
		return err
	}
	for _, day := range days {
		if err := d.create(ctx, conn, day); err != nil {
			return err
		}
	}
	return nil
}

// movable are the days that may have a partition, as a moment and one after them.
func movable(now time.Time) (from, before time.Time) {
	today := now.UTC().Truncate(24 * time.Hour)
	return today.AddDate(0, 0, -daysBehind), today.AddDate(0, 0, daysAhead+1)
}

// create attaches a table that was made beside: creating it as a
// partition at once would lock the parent against every read and write. Rows of
// that day that are in the default partition move with it, or the attachment
// would be refused.
func (d daily) create(ctx context.Context, conn *pgxpool.Conn, day time.Time) error {
	table, name := d.table, d.partition(day)
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", name).Scan(&exists); err != nil {
		return fmt.Errorf("looking for partition %s: %w", name, err)
	}
	if exists {
		return nil
	}
	from, to := day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"SET LOCAL lock_timeout = '2s'",
			"CREATE TABLE " + name + " (LIKE " + table + " INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
			"WITH moved AS (DELETE FROM " + table + "_default WHERE " + d.column + " >= '" + from + "' AND " + d.column + " < '" + to +
				"' RETURNING *) INSERT INTO " + name + " SELECT * FROM moved",
			"ALTER TABLE " + table + " ATTACH PARTITION " + name + " FOR VALUES FROM ('" + from + "') TO ('" + to + "')",
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("creating partition %s: %w", name, err)
	}
	return nil
}

// DefaultUsed lists the tables whose default partition holds rows that belong
// into a partition of their day.
func DefaultUsed(ctx context.Context, pool *pgxpool.Pool, now time.Time) (used map[string]bool, err error) {
	from, before := movable(now)
	used = make(map[string]bool, len(partitioned))
	for _, d := range partitioned {
		var rows bool
		// #nosec: every name is one of ours.
		err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+d.table+"_default WHERE "+d.column+" >= $1 AND "+d.column+" < $2)", from, before).Scan(&rows)
		if err != nil {
			return nil, fmt.Errorf("looking into the default partition of %s: %w", d.table, err)
		}
		used[d.table] = rows
	}
	return used, nil
}

// PurgeKeys forgets dedup keys and sources that nothing can refer to any more. When another worker is at it, it does nothing.
func PurgeKeys(ctx context.Context, pool *pgxpool.Pool) error {
	return exclusively(ctx, pool, purgeLock, func(conn *pgxpool.Conn) error {
		for {
			// In portions, so that no transaction is long.
			tag, err := conn.Exec(ctx, `
				DELETE FROM event_keys WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM event_keys WHERE at < now() - interval '`+keysKept+`' LIMIT 20000))`)
			if err != nil {
				return fmt.Errorf("purging dedup keys: %w", err)
			}
			if tag.RowsAffected() == 0 {
				break
			}
		}
		_, err := conn.Exec(ctx, `
			DELETE FROM stream_sources WHERE src IN (
				SELECT src FROM stream_sources GROUP BY src HAVING max(last_seen_at) < now() - interval '`+sourcesKept+`')`)
		if err != nil {
			return fmt.Errorf("purging sources: %w", err)
		}
		return nil
	})
}

// exclusively runs do if no other session holds lock.
func exclusively(ctx context.Context, pool *pgxpool.Pool, lock int64, do func(*pgxpool.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer conn.Release()
	var free bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lock).Scan(&free); err != nil {
		return fmt.Errorf("taking a lock: %w", err)
	}
	if !free {
		return nil
	}
	defer func() {
		// A connection that cannot unlock is closed, which unlocks.
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", lock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	return do(conn)
}
