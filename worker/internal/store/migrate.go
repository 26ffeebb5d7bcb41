package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/migrations"
)

// ErrSeedDatabase is returned for a database that holds the tables of the seed
// project: nothing in it is touched.
var ErrSeedDatabase = errors.New("this database holds the tables of whatsapp-flows-server and was left untouched: " +
	"`worker import seed` moves them aside and brings their data over; or give the worker a database of its own")

// Migration is one migration and when it was applied (zero: pending).
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time
}

// Migrate applies every pending migration under a session lock, so that of
// several workers starting at once exactly one does the work. The lock polls:
// a waiting session would block CREATE INDEX CONCURRENTLY.
func Migrate(ctx context.Context, pool *pgxpool.Pool, log *zap.Logger) error {
	applied, err := Up(ctx, pool)
	for _, m := range applied {
		log.Info("migration applied", zap.Int64("version", m.Version), zap.String("name", m.Name))
	}
	return err
}

// Up applies every pending migration and returns those it applied.
func Up(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	var applied []Migration
	err := withProvider(ctx, pool, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, Migration{Version: r.Source.Version, Name: name(r.Source), AppliedAt: time.Now()})
		}
		if err != nil {
			return fmt.Errorf("migrating the database: %w%s", err, mayCreate(pool, err))
		}
		return nil
	})
	return applied, err
}

// mayCreate says what to do when the user may not make tables: since Postgres 15
// only the owner of a database may, in its schema public.
func mayCreate(pool *pgxpool.Pool, err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		return ""
	}
	c := pool.Config().ConnConfig
	return fmt.Sprintf(": make this user its owner: ALTER DATABASE %s OWNER TO %s", pgx.Identifier{c.Database}.Sanitize(), pgx.Identifier{c.User}.Sanitize())
}

// Down takes back the newest applied migration; nil when there is none.
func Down(ctx context.Context, pool *pgxpool.Pool) (*Migration, error) {
	var undone *Migration
	err := withProvider(ctx, pool, func(p *goose.Provider) error {
		r, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("taking back the newest migration: %w", err)
		}
		undone = &Migration{Version: r.Source.Version, Name: name(r.Source)}
		return nil
	})
	return undone, err
}

// Status lists every migration in order.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	var all []Migration
	err := withProvider(ctx, pool, func(p *goose.Provider) error {
		statuses, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("reading the state of the migrations: %w", err)
		}
		for _, s := range statuses {
			m := Migration{Version: s.Source.Version, Name: name(s.Source)}
			if s.State == goose.StateApplied {
				m.AppliedAt = s.AppliedAt
			}
			all = append(all, m)
		}
		return nil
	})
	return all, err
}

func withProvider(ctx context.Context, pool *pgxpool.Pool, do func(*goose.Provider) error) error {
	if err := refuseSeed(ctx, pool); err != nil {
		return err
	}
	// One second instead of goose's five: of two workers that start together
	// the second should not be late.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120), lock.WithUnlockTimeout(1, 30))
	if err != nil {
		return fmt.Errorf("preparing the migration lock: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer closeDB(db)
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the embedded migrations: %w", err)
	}
	return do(p)
}

// closeDB gives the connections back to the pool, which stays open; there is
// nothing to do about an error of it.
func closeDB(db *sql.DB) { _ = db.Close() }

// refuseSeed recognises the seed project's schema: its tables know no account.
func refuseSeed(ctx context.Context, pool *pgxpool.Pool) error {
	var seed bool
	err := pool.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM pg_class c
			WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
			  AND c.relname IN ('flows', 'flow_sessions', 'flow_responses', 'webhook_events')
			  AND NOT EXISTS (SELECT FROM pg_attribute a
				WHERE a.attrelid = c.oid AND a.attname = 'account' AND NOT a.attisdropped))`).Scan(&seed)
	if err != nil {
		return fmt.Errorf("looking for the tables of whatsapp-flows-server: %w", err)
	}
	if seed {
		return ErrSeedDatabase
	}
	return nil
}

func name(s *goose.Source) string {
	for i := len(s.Path) - 1; i >= 0; i-- {
		if s.Path[i] == '/' {
			return s.Path[i+1:]
		}
	}
	return s.Path
}
