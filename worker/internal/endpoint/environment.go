package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// EnvironmentName is the name of the endpoint that the environment describes,
// which is of every account.
const EnvironmentName = "env"

// Environment describes the endpoint of CALLBACK_WEBHOOK_URL. What it does not
// hold the API may change, and a restart keeps.
type Environment struct {
	URL         string   // empty: answers are stored and nothing is delivered
	Secrets     []string // current first; nil: keep the stored ones, or make one
	Timeout     time.Duration
	MaxAttempts int
}

// Ensure stores the endpoint of the environment; every start of `worker serve`
// calls it. A secret is made once, when there is none, and kept ever after.
//
// An endpoint that is disabled, by 410 Gone or by days of failures, is tried
// again, by all workers, when any one of them is started: from the first
// delivery that waited. One that the breaker has paused keeps its pause, so that
// restarting the worker does not storm a receiver in trouble, and one that the
// operator has paused stays so. Another URL ends the former kinds of pause.
// Without a URL the endpoint is off, and what waited waits on.
func Ensure(ctx context.Context, pool *pgxpool.Pool, env Environment) error {
	secrets := env.Secrets
	if secrets == nil {
		secrets = []string{callback.NewSecret()}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	const insert = `
		INSERT INTO callback_endpoints (id, account, name, url, secrets, status, status_reason, timeout_ms, max_attempts)
		VALUES ($1, $2, $3, $4, $5, 'off', 'CALLBACK_WEBHOOK_URL is not set', $6, $7) ON CONFLICT (account, name) DO NOTHING`
	const update = `
		UPDATE callback_endpoints e SET
			url = CASE WHEN $2 = '' THEN e.url ELSE $2 END,
			secrets = coalesce($3, e.secrets),
			secret_expiries = CASE WHEN $3::text[] IS NULL THEN e.secret_expiries END,
			timeout_ms = $4, max_attempts = $5, status = $6, status_reason = $7,
			status_since = CASE WHEN e.status = $6 THEN e.status_since ELSE now() END,
			paused_until = CASE WHEN $8 THEN NULL ELSE e.paused_until END,
			failures = CASE WHEN $8 THEN 0 ELSE e.failures END,
			failing_since = CASE WHEN $8 THEN NULL ELSE e.failing_since END,
			revision = e.revision + CASE WHEN (e.url, e.status, e.timeout_ms, e.max_attempts) = (CASE WHEN $2 = '' THEN e.url ELSE $2 END, $6, $4, $5)
				AND (e.secrets = coalesce($3, e.secrets)) THEN 0 ELSE 1 END,
			updated_at = now()
		WHERE e.id = $1`
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insert, id, eventtype.AnyAccount, EnvironmentName, env.URL, secrets,
			env.Timeout.Milliseconds(), env.MaxAttempts); err != nil {
			return err
		}
		e, err := Lock(ctx, tx, Key{Account: eventtype.AnyAccount, Name: EnvironmentName})
		if err != nil {
			return err
		}
		status, reason := e.next(env)
		again, err := e.wasDisabled(ctx, tx)
		if err != nil {
			return err
		}
		afresh := env.URL != "" && env.URL != e.URL || e.Status == Disabled && status == Active
		if _, err := tx.Exec(ctx, update, e.ID, env.URL, env.Secrets, env.Timeout.Milliseconds(), env.MaxAttempts, string(status), reason, afresh); err != nil {
			return err
		}
		if again && status == Active {
			return callback.Announce(ctx, tx, e.ID, callback.KindEnabled, "a worker was started")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing the callback endpoint: %w", err)
	}
	return nil
}

// next is the status that a start gives the endpoint.
func (e *Endpoint) next(env Environment) (Status, *string) {
	switch {
	case env.URL == "":
		reason := "CALLBACK_WEBHOOK_URL is not set"
		return Off, &reason
	case e.Status == Paused:
		return Paused, e.StatusReason
	}
	return Active, nil
}

// EnvironmentSecrets returns the valid secrets of the environment's endpoint,
// current first, after storing it as Ensure does when it is not there yet.
func EnvironmentSecrets(ctx context.Context, pool *pgxpool.Pool, env Environment) ([]string, error) {
	key := Key{Account: eventtype.AnyAccount, Name: EnvironmentName}
	e, err := Get(ctx, pool, key)
	if errors.Is(err, ErrNotFound) {
		if err := Ensure(ctx, pool, env); err != nil {
			return nil, err
		}
		e, err = Get(ctx, pool, key)
	}
	if err != nil {
		return nil, Missing(fmt.Errorf("reading the callback secret: %w", err))
	}
	if env.Secrets != nil {
		// What the next `worker serve` will store.
		return env.Secrets, nil
	}
	return secretValues(e.Secrets), nil
}

// Missing says what to do when the database has no tables.
func Missing(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703") { // no such table, no such column
		return errors.New("the database has not the tables of this version yet: run `worker migrate up`")
	}
	return err
}
