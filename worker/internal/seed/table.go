package seed

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// row is a row of one of the seed's tables.
type row interface{ key() uuid.UUID }

// table is how the rows of one of the seed's tables become ours.
type table[R row] struct {
	name  string
	query string
	scan  func(pgx.CollectableRow) (R, error)

	// refuse says why a row cannot be mapped; empty: it can.
	refuse func(R) string
	// store stores rows, and says of each what became of it.
	store func(context.Context, pgx.Tx, []R) ([]outcome, error)
	// exist are those of the rows that are there already, for a dry run.
	exist func(context.Context, []R) (map[uuid.UUID]bool, error)
	// stored is called after the commit. Optional.
	stored func(context.Context, []R) error
	// again is called with rows that an earlier import has done with, and what
	// they became. Optional.
	again func(context.Context, []R, map[uuid.UUID]uuid.UUID) error
	// reads says that again changes nothing: a dry run calls it too.
	reads bool
	// note is what of a row has no place here, for a dry run. Optional.
	note func(R) string
}

// move imports one table.
func move[R row](ctx context.Context, i *importer, t table[R]) error {
	tally := i.report.table(t.name)
	if !i.source.has(t.name) {
		tally.note("the table is not there: nothing of it was imported")
		return nil
	}
	err := read(ctx, i.source, "of_"+t.name, t.query, t.scan, func(rows []R) error {
		tally.Found += len(rows)
		ids := make([]uuid.UUID, len(rows))
		for n, r := range rows {
			ids[n] = r.key()
		}
		known, err := i.ledger.known(ctx, i.Pool, t.name, ids)
		if err != nil {
			return err
		}
		var done, todo []R
		var refused []outcome
		for _, r := range rows {
			if _, is := known[r.key()]; is {
				done = append(done, r)
			} else if why := t.refuse(r); why != "" {
				refused = append(refused, outcome{id: r.key(), result: notMapped, note: why})
			} else {
				todo = append(todo, r)
			}
		}
		tally.AlreadyThere += len(done)
		if len(done) > 0 && t.again != nil && (t.reads || !i.DryRun) {
			if err := t.again(ctx, done, known); err != nil {
				return err
			}
		}
		if i.DryRun {
			tally.count(refused)
			return t.pretend(ctx, tally, todo)
		}
		return t.storeAll(ctx, i, tally, todo, refused)
	})
	if err == nil {
		i.Progress(tally.line())
	}
	return err
}

// pretend counts what storing would do.
func (t table[R]) pretend(ctx context.Context, tally *Table, rows []R) error {
	there, err := t.exist(ctx, rows)
	if err != nil {
		return err
	}
	for _, r := range rows {
		o := outcome{id: r.key(), result: takenOver}
		if there[o.id] {
			o.result = wasThere
		} else if t.note != nil {
			o.note = t.note(r)
		}
		tally.count([]outcome{o})
	}
	return nil
}

// storeAll stores rows and their outcomes in one transaction. When the data of
// one row are refused, the rows are split until it is alone: it is the one that
// cannot be mapped.
func (t table[R]) storeAll(ctx context.Context, i *importer, tally *Table, rows []R, refused []outcome) error {
	if len(rows)+len(refused) == 0 {
		return nil
	}
	var all []outcome
	err := transact(ctx, i.Pool, func(tx pgx.Tx) error {
		outcomes, err := t.store(ctx, tx, rows)
		if err != nil {
			return err
		}
		all = append(outcomes, refused...)
		originals, err := i.originals(ctx, t.name, all)
		if err != nil {
			return err
		}
		return i.ledger.write(ctx, tx, t.name, i.Account, all, originals)
	})
	switch {
	case err == nil:
		tally.count(all)
		if t.stored != nil && len(rows) > 0 {
			return t.stored(ctx, rows)
		}
		return nil
	case store.FaultOf(err) != store.FaultData || len(rows) == 0:
		return fmt.Errorf("importing %s: %w", t.name, err)
	case len(rows) == 1:
		return t.storeAll(ctx, i, tally, nil, append(refused, outcome{id: rows[0].key(), result: notMapped, note: store.Describe(err)}))
	}
	half := len(rows) / 2
	if err := t.storeAll(ctx, i, tally, rows[:half], refused); err != nil {
		return err
	}
	return t.storeAll(ctx, i, tally, rows[half:], nil)
}

// originals are the rows with a note, which are to be kept whole.
func (i *importer) originals(ctx context.Context, name string, all []outcome) (map[[16]byte]string, error) {
	if !i.ledger.keep {
		return nil, nil
	}
	var ids [][16]byte
	for _, o := range all {
		if o.note != "" {
			ids = append(ids, o.id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return i.source.originals(ctx, name, ids)
}

// exists asks our own tables which ids are there; a dry run may come before them.
func (i *importer) exists(ctx context.Context, sql string, args ...any) (map[uuid.UUID]bool, error) {
	there := make(map[uuid.UUID]bool)
	if !i.ours {
		return there, nil
	}
	rows, err := i.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("looking for what is there already: %w", err)
	}
	var id [16]byte
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { there[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("looking for what is there already: %w", err)
	}
	return there, nil
}
