package callback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The endpoint that the environment describes.
const (
	everyAccount    = "*"
	environmentName = "env"
)

// Environment describes the endpoint of CALLBACK_WEBHOOK_URL.
type Environment struct {
	URL         string   // empty: answers are stored and nothing is delivered
	Secrets     []string // current first; nil: keep the stored one, or make one
	Timeout     time.Duration
	MaxAttempts int
}

// Ensure stores the endpoint of the environment; every start of `worker serve`
// calls it. A secret is made once, when there is none, and kept ever after.
//
// An endpoint that answered 410 Gone is shut, for all workers, until any one of
// them is started again: with the same URL it is tried again from the first
// delivery that waited, and one more 410 shuts it again; with another URL what
// waited goes there; without a URL it waits on. Until then
// endpoint_breaker_state is 3, delivery_oldest_due_seconds grows, and the line
// of the attempt says so. An endpoint that is paused for any other reason keeps
// its pause, so that restarting the worker does not storm a receiver in trouble;
// a changed URL ends that too.
func Ensure(ctx context.Context, pool *pgxpool.Pool, env Environment) error {
	secrets := env.Secrets
	if secrets == nil {
		secrets = []string{NewSecret()}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	const sql = `
		INSERT INTO callback_endpoints AS e (id, account, name, url, secrets, enabled, timeout_ms, max_attempts)
		VALUES ($1, $2, $3, $4, $5, $4 <> '', $6, $7)
		ON CONFLICT (account, name) DO UPDATE SET
			url = CASE WHEN excluded.enabled THEN excluded.url ELSE e.url END,
			secrets = CASE WHEN $8 THEN excluded.secrets ELSE e.secrets END,
			enabled = excluded.enabled,
			timeout_ms = excluded.timeout_ms, max_attempts = excluded.max_attempts,
			paused_until = CASE WHEN e.url = excluded.url AND e.paused_until < 'infinity' THEN e.paused_until END,
			failures = CASE WHEN e.url = excluded.url AND e.paused_until IS DISTINCT FROM 'infinity' THEN e.failures ELSE 0 END,
			updated_at = now()`
	if _, err := pool.Exec(ctx, sql, id, everyAccount, environmentName, env.URL, secrets,
		env.Timeout.Milliseconds(), env.MaxAttempts, env.Secrets != nil); err != nil {
		return fmt.Errorf("storing the callback endpoint: %w", err)
	}
	return nil
}

// Secrets returns the secrets of the environment's endpoint, current first,
// after storing it as Ensure does when it is not there yet.
func Secrets(ctx context.Context, pool *pgxpool.Pool, env Environment) ([]string, error) {
	secrets, err := storedSecrets(ctx, pool)
	if errors.Is(err, pgx.ErrNoRows) {
		if err := Ensure(ctx, pool, env); err != nil {
			return nil, err
		}
		secrets, err = storedSecrets(ctx, pool)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		return nil, errors.New("the database has no tables yet: run `worker migrate up`")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the callback secret: %w", err)
	}
	if env.Secrets != nil {
		// What the next `worker serve` will store.
		return env.Secrets, nil
	}
	return secrets, nil
}

func storedSecrets(ctx context.Context, pool *pgxpool.Pool) (secrets []string, err error) {
	err = pool.QueryRow(ctx, `SELECT secrets FROM callback_endpoints WHERE account = $1 AND name = $2`,
		everyAccount, environmentName).Scan(&secrets)
	return secrets, err
}
