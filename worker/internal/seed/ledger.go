package seed

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What may become of a row.
const (
	takenOver = "taken over"
	wasThere  = "already there"
	notMapped = "not mapped"
)

// outcome is what became of a row.
type outcome struct {
	id     uuid.UUID
	result string
	target uuid.UUID // its row here; zero: none
	note   string    // why not, or what of it has no place here
}

// ledger remembers the outcome of every row, in the schema Schema of the
// worker's database. It holds ids and reasons; of another database it holds the
// rows that have no place here too, whole.
type ledger struct {
	keep bool // rows are kept whole
	none bool // there is no ledger: a dry run before the first import
}

const makeLedger = `
	CREATE SCHEMA IF NOT EXISTS ` + Schema + `;
	CREATE TABLE IF NOT EXISTS ` + Schema + `.imported (
		source_table text        NOT NULL,
		id           uuid        NOT NULL,
		account      text        NOT NULL,
		outcome      text        NOT NULL CHECK (outcome IN ('taken over', 'already there', 'not mapped')),
		target       uuid,       -- the row it became, or was
		note         text,       -- why it was not mapped, or what of it has no place
		original     jsonb,      -- the row, if it was read from another database and has a note
		at           timestamptz NOT NULL DEFAULT now(),
		PRIMARY KEY (source_table, id)
	);
	CREATE INDEX IF NOT EXISTS imported_notes ON ` + Schema + `.imported (source_table, outcome) WHERE note IS NOT NULL;
	-- What was known of the callbacks of each answer when its webhooks were imported.
	CREATE TABLE IF NOT EXISTS ` + Schema + `.callbacks (
		response_id   uuid    NOT NULL,
		webhook_id    uuid    NOT NULL,
		account       text    NOT NULL,
		callback_sent boolean NOT NULL, -- of the webhook
		delivered     boolean NOT NULL, -- the answer, as far as that tells
		found         boolean NOT NULL, -- nothing but the webhook held the answer
		queued_at     timestamptz,      -- when its deliveries were made here
		PRIMARY KEY (response_id, webhook_id)
	);
	CREATE INDEX IF NOT EXISTS callbacks_webhook ON ` + Schema + `.callbacks (webhook_id);`

func openLedger(ctx context.Context, pool *pgxpool.Pool, keep bool, account string) (*ledger, error) {
	l := &ledger{keep: keep}
	var there bool
	err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL", Schema+".imported", Schema+".callbacks").Scan(&there)
	if err == nil && !there {
		_, err = pool.Exec(ctx, makeLedger)
	}
	if err != nil {
		return nil, fmt.Errorf("making the ledger of the import in the schema %s: %w", Schema, err)
	}
	return l, l.check(ctx, pool, account)
}

// readLedger changes nothing.
func readLedger(ctx context.Context, pool *pgxpool.Pool, account string) (*ledger, error) {
	l := &ledger{}
	if err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NULL", Schema+".imported").Scan(&l.none); err != nil {
		return nil, fmt.Errorf("looking for the ledger of earlier imports: %w", err)
	}
	if l.none {
		return l, nil
	}
	return l, l.check(ctx, pool, account)
}

// check refuses a second account: ids are the seed's own, and belong to one.
func (l *ledger) check(ctx context.Context, pool *pgxpool.Pool, account string) error {
	var other *string
	if err := pool.QueryRow(ctx, "SELECT min(account) FROM "+Schema+".imported WHERE account <> $1", account).Scan(&other); err != nil {
		return fmt.Errorf("reading the ledger of earlier imports: %w", err)
	}
	if other != nil {
		return fmt.Errorf("this database holds an import into the account %s, and now --account is %s: give the second installation a database of its own, or import it into the same account",
			*other, account)
	}
	return nil
}

// known are the rows that earlier imports have done with; what could not be
// mapped is tried again.
func (l *ledger) known(ctx context.Context, pool *pgxpool.Pool, table string, ids []uuid.UUID) (map[uuid.UUID]uuid.UUID, error) {
	if l.none || len(ids) == 0 {
		return nil, nil
	}
	rows, err := pool.Query(ctx, "SELECT id, coalesce(target, '00000000-0000-0000-0000-000000000000') FROM "+Schema+
		".imported WHERE source_table = $1 AND outcome <> '"+notMapped+"' AND id = ANY ($2::uuid[])", table, uuids(ids))
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of the import: %w", err)
	}
	known := make(map[uuid.UUID]uuid.UUID)
	var id, target [16]byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &target}, func() error { known[id] = target; return nil }); err != nil {
		return nil, fmt.Errorf("reading the ledger of the import: %w", err)
	}
	return known, nil
}

// write is part of the transaction that stores the rows.
func (l *ledger) write(ctx context.Context, tx pgx.Tx, table, account string, all []outcome, originals map[[16]byte]string) error {
	if len(all) == 0 {
		return nil
	}
	const sql = `
		INSERT INTO ` + Schema + `.imported (source_table, id, account, outcome, target, note, original)
		SELECT $1, id, $2, outcome, target, note, original::jsonb
		FROM unnest($3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::text[]) AS n(id, outcome, target, note, original)
		ON CONFLICT (source_table, id) DO UPDATE SET outcome = excluded.outcome, target = excluded.target, note = excluded.note,
			original = excluded.original, at = now()`
	var ids, targets []pgtype.UUID
	var outcomes []string
	var notes, whole []pgtype.Text
	for _, o := range all {
		ids = append(ids, pgtype.UUID{Bytes: o.id, Valid: true})
		targets = append(targets, pgtype.UUID{Bytes: o.target, Valid: o.target != uuid.Nil})
		outcomes = append(outcomes, o.result)
		notes = append(notes, pgtype.Text{String: o.note, Valid: o.note != ""})
		whole = append(whole, pgtype.Text{String: originals[o.id], Valid: originals[o.id] != ""})
	}
	if _, err := tx.Exec(ctx, sql, table, account, ids, outcomes, targets, notes, whole); err != nil {
		return fmt.Errorf("writing the ledger of the import: %w", err)
	}
	return nil
}

func uuids(all []uuid.UUID) []pgtype.UUID {
	ids := make([]pgtype.UUID, len(all))
	for i, id := range all {
		ids[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	return ids
}
