package erase

import (
	"context"
	"fmt"
)

// Keys of statuses end in the recipient's number or user id, in clear those that
// were stored before they were hashed. They become what the writer makes of the
// same text today, SHA-256 in lower-case hex, so that what WhatsApp sends again
// is still known.
//
// Hashes begin with 0 to f, and WhatsApp's ids with a w: what is in clear is a
// range of the index, which is empty once the last of them is 31 days old. Other
// ids are found by the statuses that are stored.
const (
	inClear = ` FROM event_keys WHERE account = $1 AND kind = 'status' AND dedup >= 'g' AND split_part(dedup, '|', 3) = ANY ($2)`
	byRows  = ` FROM event_keys WHERE account = $1 AND kind = 'status' AND dedup < 'g' AND dedup = ANY ($2)`

	hashed = `
		INSERT INTO event_keys (account, kind, dedup, at)
		SELECT $1, 'status', encode(sha256(convert_to(dedup, 'UTF8')), 'hex'), at FROM clear
		ON CONFLICT DO NOTHING`
)

// hashKeys works outside the transaction of the rows: no row lock should wait
// for what it reads.
func (e *Eraser) hashKeys(ctx context.Context, s *subject, report *Report) error {
	recipients := append(keys(s.who.phones), keys(s.who.users)...)
	if len(recipients) == 0 || !s.people() {
		return nil
	}
	var texts []string
	for status := range s.statuses {
		for _, recipient := range recipients {
			texts = append(texts, status+"|"+recipient)
		}
	}
	c := newCounts()
	for _, part := range []struct {
		from   string
		values []string
	}{{inClear, recipients}, {byRows, texts}} {
		if len(part.values) == 0 {
			continue
		}
		if s.DryRun {
			var n int64
			if err := e.Pool.QueryRow(ctx, "SELECT count(*)"+part.from, s.Account, part.values).Scan(&n); err != nil {
				return fmt.Errorf("counting dedup keys: %w", err)
			}
			c.add(keysHashed, n)
			continue
		}
		tag, err := e.Pool.Exec(ctx, "WITH clear AS (DELETE"+part.from+" RETURNING dedup, at)"+hashed, s.Account, part.values)
		if err != nil {
			return fmt.Errorf("hashing dedup keys: %w", err)
		}
		c.add(keysHashed, tag.RowsAffected())
	}
	*report = report.with(c)
	return nil
}
