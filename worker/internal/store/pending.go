package store

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/migrations"
)

// Behind says which migrations of this worker a database lacks, and the newest
// one it has that this worker does not know; 0 if there is none. Other than
// Status it takes no lock and makes no table.
func Behind(ctx context.Context, pool *pgxpool.Pool) (missing []string, unknown int64, err error) {
	if err := refuseSeed(ctx, pool); err != nil {
		return nil, 0, err
	}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return nil, 0, err
	}
	applied, err := appliedVersions(ctx, pool)
	if err != nil {
		return nil, 0, fmt.Errorf("reading which migrations are applied: %w", err)
	}
	for _, file := range files {
		number, _, _ := strings.Cut(file, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("migration %s: its name does not begin with a number", file)
		}
		if !applied[version] {
			missing = append(missing, file)
		}
		delete(applied, version)
	}
	for version, is := range applied {
		if is && version > unknown {
			unknown = version
		}
	}
	slices.Sort(missing)
	return missing, unknown, nil
}

func appliedVersions(ctx context.Context, pool *pgxpool.Pool) (map[int64]bool, error) {
	applied := map[int64]bool{}
	var exists bool
	if err := pool.QueryRow(ctx, "SELECT to_regclass('goose_db_version') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return applied, err
	}
	// goose's own rule: the last row of a version counts.
	rows, err := pool.Query(ctx, "SELECT version_id, is_applied FROM goose_db_version WHERE version_id > 0 ORDER BY id")
	if err != nil {
		return nil, err
	}
	var version int64
	var is bool
	_, err = pgx.ForEachRow(rows, []any{&version, &is}, func() error { applied[version] = is; return nil })
	return applied, err
}

// OldestTransaction is who has the oldest open transaction of the database that
// keeps old row versions, and for how long; who is empty when there is none.
func OldestTransaction(ctx context.Context, pool *pgxpool.Pool) (who string, age time.Duration, err error) {
	var pid int
	var name string
	var seconds float64
	rows, err := pool.Query(ctx, oldestHolder)
	if err != nil {
		return "", 0, err
	}
	_, err = pgx.ForEachRow(rows, []any{&pid, &name, &seconds}, func() error {
		who, age = name, time.Duration(max(seconds, 0)*float64(time.Second))
		if pid != 0 {
			who = fmt.Sprintf("%s (pid %d)", name, pid)
		}
		return nil
	})
	return who, age, err
}
