// Package seed moves an installation of whatsapp-flows-server in: its flows,
// sessions, answers and webhooks become rows of ours, and its own tables stay as
// they are, in a schema of their own or in the database they were read from.
//
//	find ─▶ move aside ─▶ migrate ─▶ flows ─▶ sessions ─▶ answers ─▶ webhooks ─▶ report
//
// Every row keeps its id, and a ledger says of each what became of it, written in
// the transaction that stored it: an import that was killed goes on where it was,
// and one that is run again finds everything there.
package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// Schema is where the tables of whatsapp-flows-server are moved to, and where
// the ledger is.
const Schema = "seed"

const (
	// batchRows are stored in one transaction.
	batchRows = 200

	// importLock keeps two imports from each other.
	importLock = 0x77616620

	// lockWithin is how long the lock of an import that was killed may still be
	// held: until the server notices.
	lockWithin = 30 * time.Second
)

// Config says what is imported into what.
type Config struct {
	// Pool is the database of the worker, or the one to become it.
	Pool *pgxpool.Pool
	// From is the database to read from; nil: the tables are in Pool's own and
	// are moved aside there.
	From *pgxpool.Pool
	// Account is who everything will belong to.
	Account string
	// TimeZone is the one that whatsapp-flows-server ran in: its times say none.
	TimeZone string
	// DryRun changes nothing anywhere.
	DryRun bool
	// DeliverPending makes deliveries of the answers that it had not delivered.
	DeliverPending bool
	// Prepare is called once the tables of the worker are there, before anything
	// is stored. Optional.
	Prepare func(context.Context) error
	// Progress is told what is done. Optional.
	Progress func(string)
}

// ErrNothing is returned when no tables of whatsapp-flows-server are there.
var ErrNothing = errors.New("there are no tables of whatsapp-flows-server")

// importer is one run.
type importer struct {
	Config
	past   ingest.Past
	source *source
	ledger *ledger
	report *Report
	flows  map[[16]byte]target // by the seed's id

	// ours says whether the tables of the worker are there: a dry run may come
	// before them.
	ours bool
}

// Run imports, and says what became of everything.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	i := &importer{Config: c, past: ingest.Past{Account: c.Account, Source: "seed:"}, flows: make(map[[16]byte]target),
		report: &Report{DryRun: c.DryRun, Account: c.Account, Flows: []Flow{}}}
	if !c.DryRun {
		unlock, err := lock(ctx, c.Pool)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	schema, err := i.place(ctx)
	if err != nil {
		return nil, err
	}
	if i.source, err = open(ctx, i.from(), schema, c.TimeZone); err != nil {
		return nil, err
	}
	defer i.source.close()
	i.report.kept(i.source, c.From != nil)
	for _, step := range []func(context.Context) error{i.importFlows, i.importSessions, i.importAnswers, i.importWebhooks, i.finish} {
		if err := step(ctx); err != nil {
			return i.report, err
		}
	}
	return i.report, nil
}

func (i *importer) from() *pgxpool.Pool {
	if i.From != nil {
		return i.From
	}
	return i.Pool
}

// place finds the seed's tables, moves them aside if they stand where ours
// belong, and makes ours and the ledger. It returns the schema they are in.
func (i *importer) place(ctx context.Context) (schema string, err error) {
	var found *location
	if found, err = find(ctx, i.from()); err != nil {
		return "", err
	}
	if i.From == nil && found.current && !i.DryRun {
		if err := moveAside(ctx, i.Pool, found); err != nil {
			return "", err
		}
		found = &location{schema: Schema}
		i.Progress("the tables of whatsapp-flows-server are in the schema " + Schema + " now")
	}
	if i.DryRun {
		return found.schema, i.look(ctx)
	}
	if _, err := store.Up(ctx, i.Pool); err != nil {
		if errors.Is(err, store.ErrSeedDatabase) {
			return "", errOwnTables
		}
		return "", err
	}
	i.ours = true
	if i.Prepare != nil {
		if err := i.Prepare(ctx); err != nil {
			return "", err
		}
	}
	if i.DeliverPending {
		if err := i.wanted(ctx); err != nil {
			return "", err
		}
	}
	i.ledger, err = openLedger(ctx, i.Pool, i.From != nil, i.Account)
	return found.schema, err
}

// errOwnTables says that --from is too much.
var errOwnTables = errors.New("the database to import into holds tables of whatsapp-flows-server itself: leave out --from to take these over first")

// look is what a dry run knows of the destination.
func (i *importer) look(ctx context.Context) (err error) {
	if i.From != nil {
		if own, err := find(ctx, i.Pool); err == nil && own.current {
			return errOwnTables
		} else if err != nil && !errors.Is(err, ErrNothing) {
			return err
		}
	}
	if err := i.Pool.QueryRow(ctx, "SELECT to_regclass('flow_responses') IS NOT NULL AND to_regclass('event_keys') IS NOT NULL").Scan(&i.ours); err != nil {
		return fmt.Errorf("looking at the tables of the worker: %w", err)
	}
	i.ledger, err = readLedger(ctx, i.Pool, i.Account)
	return err
}

// lock keeps other imports away until it is called off.
func lock(ctx context.Context, pool *pgxpool.Pool) (unlock func(), err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to Postgres: %w", err)
	}
	giveUp := time.NewTimer(lockWithin)
	defer giveUp.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		var free bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", importLock).Scan(&free); err != nil {
			conn.Release()
			return nil, fmt.Errorf("taking the lock of imports: %w", err)
		}
		if free {
			break
		}
		select {
		case <-ctx.Done():
			conn.Release()
			return nil, ctx.Err()
		case <-giveUp.C:
			conn.Release()
			return nil, errors.New("another import into this database is running: wait for it to end")
		case <-again.C:
		}
	}
	return func() {
		// Closing the connection unlocks, whatever state it is in.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Conn().Close(closing)
		conn.Release()
	}, nil
}

// transact runs do in a transaction, once more at once while it only lost
// against others.
func transact(ctx context.Context, pool *pgxpool.Pool, do func(pgx.Tx) error) (err error) {
	for range 6 {
		err = pgx.BeginFunc(ctx, pool, do)
		if fault := store.FaultOf(err); err == nil || fault != store.FaultRace && fault != store.FaultCollision {
			return err
		}
	}
	return err
}
