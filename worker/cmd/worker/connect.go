package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

const (
	// postgresWithin is how long a start waits for Postgres, which often comes
	// up at the same time.
	postgresWithin = 60 * time.Second
	postgresRetry  = 2 * time.Second
)

// openPostgres waits for Postgres. What waiting cannot heal, such as a wrong
// password, ends it at once.
func openPostgres(ctx context.Context, d settings.Database, log *zap.Logger) (*pgxpool.Pool, error) {
	giveUp := time.Now().Add(postgresWithin)
	for attempt := 1; ; attempt++ {
		pool, err := store.Open(ctx, d.URL, d.MaxConnections)
		switch {
		case err == nil:
			return pool, nil
		case ctx.Err() != nil:
			return nil, errStopped
		case hopeless(err):
			return nil, createFirst(err, d)
		case time.Now().Add(postgresRetry).After(giveUp):
			return nil, fmt.Errorf("no answer from Postgres for %s: check DATABASE_URL and that the server runs: %w", postgresWithin, err)
		}
		log.Warn("Postgres does not answer, trying again", zap.Int("attempt", attempt),
			zap.Duration("in", postgresRetry), zap.String("error", oneLine(err)))
		timer := time.NewTimer(postgresRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errStopped
		}
	}
}

// hopeless says that Postgres answered and refused: wrong user or password
// (class 28), no such database (3D000).
func hopeless(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && len(pg.Code) == 5 && (pg.Code[:2] == "28" || pg.Code == "3D000")
}

// createFirst says what to do when Postgres has no such database.
func createFirst(err error, d settings.Database) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "3D000" {
		return err
	}
	config, errConfig := pgconn.ParseConfig(d.URL)
	if errConfig != nil {
		return err
	}
	return fmt.Errorf("%w: create it: createdb %s", err, config.Database)
}

// commandOptions are those of short commands: health checks and publishing
// must know soon that Redis is away.
func commandOptions(r settings.Redis) *redis.UniversalOptions {
	o := r.Options()
	o.ClientName = "whatsapp-flows-worker" // in CLIENT LIST
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.MaxRetries = 1
	if o.DialTimeout == 0 {
		o.DialTimeout = 2 * time.Second
	}
	if o.PoolSize == 0 {
		o.PoolSize = 4
	}
	return o
}
