package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Class is what the rows of a partitioned table are, and so how long they are
// kept.
type Class int

// The classes of rows.
const (
	Events   Class = iota // raw webhooks, messages and statuses, steps
	Attempts              // attempts, finished deliveries
)

// Retention is how many days rows are kept after their day has ended; 0 is for
// ever. Answers and sessions are in no partition and always kept.
type Retention struct{ Events, Attempts int }

func (r Retention) days(c Class) int {
	if c == Attempts {
		return r.Attempts
	}
	return r.Events
}

const (
	retentionLock = 0x77616604

	// portion is how many rows one statement deletes of a default partition.
	portion = 5000
)

// lockTries are how long dropping a partition may wait for its locks, one try
// after the other. Meanwhile every statement on the whole table waits behind it,
// so it begins with less than what a transaction of the writers takes anyway.
var lockTries = []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// Dropped is what DropPartitions has removed: a partition, or rows of the
// default partition.
type Dropped struct {
	Table     string
	Partition string
	Rows      int64 // of the default partition; 0 for a dropped one
}

// DropPartitions drops the daily partitions that are older than keep says and
// deletes the rows of such days from the default partitions, in portions. A day
// from which an open delivery is still to be told stays until that has ended.
// What is removed is told to report, also when something then fails. When another
// worker is at it, it does nothing.
//
// A partition goes in one statement: Postgres refuses to detach concurrently
// beside a default partition, and so nothing can be left half done by a crash.
func DropPartitions(ctx context.Context, pool *pgxpool.Pool, now time.Time, keep Retention, report func(Dropped)) error {
	return exclusively(ctx, pool, retentionLock, func(conn *pgxpool.Conn) error {
		var failed []error
		for _, d := range partitioned {
			days := keep.days(d.class)
			if days <= 0 {
				continue
			}
			// One table that cannot be locked must not keep the others.
			failed = append(failed, d.dropBefore(ctx, conn, now.UTC().AddDate(0, 0, -days), report))
		}
		return errors.Join(failed...)
	})
}

func (d daily) dropBefore(ctx context.Context, conn *pgxpool.Conn, limit time.Time, report func(Dropped)) error {
	partitions, err := d.endedBefore(ctx, conn, limit)
	if err != nil {
		return err
	}
	for _, day := range partitions {
		if needed, err := d.needed(ctx, conn, day); err != nil {
			return err
		} else if needed {
			continue
		}
		if err := drop(ctx, conn, d.partition(day)); err != nil {
			return err
		}
		report(Dropped{Table: d.table, Partition: d.partition(day)})
	}
	days, err := d.daysInDefault(ctx, conn, time.Time{}, limit)
	if err != nil {
		return err
	}
	for _, day := range days {
		if day.AddDate(0, 0, 1).After(limit) {
			continue
		}
		if err := d.deleteDay(ctx, conn, day, report); err != nil {
			return err
		}
	}
	return nil
}

// needed says whether an open delivery is about something of that day. Deliveries
// are few: what is finished is not among them.
func (d daily) needed(ctx context.Context, conn *pgxpool.Conn, day time.Time) (needed bool, err error) {
	if len(d.tells) == 0 {
		return false, nil
	}
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM deliveries WHERE event_type = ANY ($1::text[]) AND subject_at >= $2 AND subject_at < $3)",
		d.tells, day, day.AddDate(0, 0, 1)).Scan(&needed)
	if err != nil {
		return false, fmt.Errorf("looking for open deliveries about %s of %s: %w", d.table, day.Format(time.DateOnly), err)
	}
	return needed, nil
}

// deleteDay deletes one day from the default partition.
func (d daily) deleteDay(ctx context.Context, conn *pgxpool.Conn, day time.Time, report func(Dropped)) error {
	if needed, err := d.needed(ctx, conn, day); err != nil || needed {
		return err
	}
	for {
		// #nosec: every name is one of ours.
		tag, err := conn.Exec(ctx, "DELETE FROM "+d.table+"_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM "+d.table+"_default WHERE "+
			d.column+" >= $1 AND "+d.column+" < $2 LIMIT $3))", day, day.AddDate(0, 0, 1), portion)
		if err != nil {
			return fmt.Errorf("deleting old rows of %s_default: %w", d.table, err)
		}
		if n := tag.RowsAffected(); n > 0 {
			report(Dropped{Table: d.table, Partition: d.table + "_default", Rows: n})
		}
		if tag.RowsAffected() < portion {
			return nil
		}
	}
}

// daysInDefault are the days, in UTC, of which the default partition holds rows
// from one moment on and before another, the oldest first.
func (d daily) daysInDefault(ctx context.Context, conn *pgxpool.Conn, from, before time.Time) ([]time.Time, error) {
	// #nosec: every name is one of ours.
	rows, err := conn.Query(ctx, "SELECT DISTINCT date_trunc('day', "+d.column+", 'UTC') FROM "+d.table+"_default WHERE "+
		d.column+" >= $1 AND "+d.column+" < $2 ORDER BY 1", from, before)
	if err != nil {
		return nil, fmt.Errorf("looking into the default partition of %s: %w", d.table, err)
	}
	days, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return nil, fmt.Errorf("looking into the default partition of %s: %w", d.table, err)
	}
	for i := range days {
		days[i] = days[i].UTC()
	}
	return days, nil
}

// endedBefore lists the days of the partitions whose last moment is before limit,
// the oldest first: those whose name and bounds both say so, as this worker makes
// them.
func (d daily) endedBefore(ctx context.Context, conn *pgxpool.Conn, limit time.Time) (days []time.Time, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = $1::text::regclass ORDER BY c.relname`, d.table)
		if err != nil {
			return err
		}
		var name, bound string
		_, err = pgx.ForEachRow(rows, []any{&name, &bound}, func() error {
			day, ok := d.day(name)
			end := day.AddDate(0, 0, 1)
			const at = "2006-01-02 15:04:05+00"
			if ok && !end.After(limit) && bound == fmt.Sprintf("FOR VALUES FROM ('%s') TO ('%s')", day.Format(at), end.Format(at)) {
				days = append(days, day)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the partitions of %s: %w", d.table, err)
	}
	return days, nil
}

// drop drops one partition, tried again with more patience while others hold its
// table.
func drop(ctx context.Context, conn *pgxpool.Conn, name string) (err error) {
	for _, patience := range lockTries {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d; DROP TABLE IF EXISTS %s",
				patience.Milliseconds(), pgx.Identifier{name}.Sanitize()))
			return err
		})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "55P03" && pg.Code != "40P01" {
			break
		}
		timer := time.NewTimer(patience) // what waited behind this goes first
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("dropping partition %s: %w", name, err)
	}
	return nil
}
