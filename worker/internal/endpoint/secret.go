package endpoint

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// maxSecrets sign at most, so that a header of signatures stays short.
	maxSecrets = 3

	// DefaultOverlap is how long a former secret goes on signing.
	DefaultOverlap = 24 * time.Hour

	// LongestOverlap bounds that.
	LongestOverlap = 30 * 24 * time.Hour
)

// Secret signs what is sent, with all the others that are valid.
type Secret struct {
	Value     string
	ExpiresAt *time.Time // nil: it does not
}

func validSecrets(values []string, expiries []*time.Time, now time.Time) []Secret {
	var all []Secret
	for i, value := range values {
		s := Secret{Value: value}
		if i < len(expiries) {
			s.ExpiresAt = expiries[i]
		}
		if s.ExpiresAt == nil || s.ExpiresAt.After(now) {
			all = append(all, s)
		}
	}
	return all
}

// ErrSecretKnown is returned for a secret that signs already.
var ErrSecretKnown = errors.New("this secret signs already: give another one, or none to have one made")

// Rotate makes secret the current one of a locked endpoint; e follows. The
// former ones sign beside it for overlap, at most two of them.
func (e *Endpoint) Rotate(ctx context.Context, tx pgx.Tx, secret string, overlap time.Duration) error {
	values, expiries := []string{secret}, []*time.Time{nil}
	var now time.Time
	if err := tx.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
		return err
	}
	end := now.Add(overlap)
	for _, s := range e.Secrets {
		if s.Value == secret {
			return ErrSecretKnown
		}
		if s.ExpiresAt == nil || s.ExpiresAt.After(end) {
			s.ExpiresAt = &end
		}
		if overlap > 0 && len(values) < maxSecrets {
			values, expiries = append(values, s.Value), append(expiries, s.ExpiresAt)
		}
	}
	const sql = `UPDATE callback_endpoints e SET secrets = $2, secret_expiries = $3, revision = revision + 1, updated_at = clock_timestamp()
		WHERE id = $1 RETURNING ` + columns
	changed, err := scan(tx.QueryRow(ctx, sql, e.ID, values, expiries))
	if err == nil {
		*e = *changed
	}
	return err
}

// values are the secrets without their ends.
func secretValues(all []Secret) []string {
	values := make([]string, len(all))
	for i, s := range all {
		values[i] = s.Value
	}
	return slices.Clip(values)
}
