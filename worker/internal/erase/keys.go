package erase

import (
	"context"
	"fmt"
)

// Keys of statuses end in the recipient's number or user id, in clear those that
// were stored before they were hashed. They become what the writer makes of the
// same text today, SHA-256 in lower-case hex, so that what WhatsApp sends again
// is still known.
const (
	hashKeys = `
		WITH clear AS (
			DELETE FROM event_keys WHERE account = $1 AND kind = 'status' AND split_part(dedup, '|', 3) = ANY ($2) RETURNING dedup, at)
		INSERT INTO event_keys (account, kind, dedup, at)
		SELECT $1, 'status', encode(sha256(convert_to(dedup, 'UTF8')), 'hex'), at FROM clear
		ON CONFLICT DO NOTHING`

	countKeys = `SELECT count(*) FROM event_keys WHERE account = $1 AND kind = 'status' AND split_part(dedup, '|', 3) = ANY ($2)`
)

// hashKeys works outside the transaction of the rows: it reads every key of the
// account's statuses, and no row lock should wait for that.
func (e *Eraser) hashKeys(ctx context.Context, s *subject, report *Report) error {
	recipients := append(keys(s.who.phones), keys(s.who.users)...)
	if len(recipients) == 0 || !s.people() {
		return nil
	}
	c := newCounts()
	if s.DryRun {
		var n int64
		if err := e.Pool.QueryRow(ctx, countKeys, s.Account, recipients).Scan(&n); err != nil {
			return fmt.Errorf("counting dedup keys: %w", err)
		}
		report.Erased[keysHashed] = n
		return nil
	}
	tag, err := e.Pool.Exec(ctx, hashKeys, s.Account, recipients)
	if err != nil {
		return fmt.Errorf("hashing dedup keys: %w", err)
	}
	c.add(keysHashed, tag.RowsAffected())
	*report = report.with(c)
	return nil
}
