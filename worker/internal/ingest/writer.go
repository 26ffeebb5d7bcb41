// Package ingest turns stream entries into rows: a batch of entries of any kind
// and any shard becomes one transaction.
//
//	gather (decode, first of each key) ─▶ keys ─▶ pick what is new ─▶ contacts ─▶ rows ─▶ COMMIT ─▶ join
package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream/failpoint"
)

// writeTimeout bounds one transaction. A server that is not heard from for so
// long is taken as gone; entries are claimed by others only after a multiple.
const writeTimeout = 15 * time.Second

// maxTries is how often a transaction that lost against others is tried again at
// once; a race that never ends is then taken as a fault of the data.
const maxTries = 6

// Config says how entries become rows.
type Config struct {
	// Accounts names the account a webhook change belongs to: the one that
	// names its phone number id, else its WABA id, else fallback, the account
	// whose secret verified the webhook. nil: always fallback.
	Accounts func(phoneNumberID, wabaID, fallback string) string

	// Nudge is called after a commit that made deliveries due. It must not
	// block. Optional.
	Nudge func()

	// GapAfter is how long a number below a source's mark may be missing before
	// it is reported as lost. Default 2 min: entries that a killed worker had
	// read are taken over after 75 s at most. GapEvery is how often that is
	// looked for. Default 15 s.
	GapAfter, GapEvery time.Duration

	// Oldest says when the oldest entry still in the streams of a shard was
	// appended, by this process's clock; ok is false when there is none. A gap is
	// reported only once every entry from before its mark is gone. See
	// stream.Oldest. nil: gaps are never reported.
	Oldest func(ctx context.Context, shard int) (at time.Time, ok bool, err error)

	// Retention is how long Maintain keeps what is partitioned by day; the zero
	// value keeps everything.
	Retention store.Retention

	Log     *zap.Logger           // default: none
	Metrics prometheus.Registerer // default: none
}

// Writer stores stream entries. Its Write is the Write of stream.Config.
type Writer struct {
	pool    *pgxpool.Pool
	config  Config
	metrics *metrics
}

// NewWriter returns a Writer on pool, which stays the caller's.
func NewWriter(pool *pgxpool.Pool, c Config) *Writer {
	if c.Accounts == nil {
		c.Accounts = func(_, _, fallback string) string { return fallback }
	}
	if c.Nudge == nil {
		c.Nudge = func() {}
	}
	if c.GapAfter <= 0 {
		c.GapAfter = 2 * time.Minute
	}
	if c.GapEvery <= 0 {
		c.GapEvery = 15 * time.Second
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &Writer{pool: pool, config: c, metrics: newMetrics(c.Metrics)}
}

// Write stores entries in one transaction and returns those that can never be
// stored, which it has recorded in dead_entries. On an error nothing is certain
// and the same call must be made again; doing so stores nothing twice.
//
// When the data of one entry are refused, or make the worker panic, the batch is
// split until that entry is alone.
func (w *Writer) Write(ctx context.Context, entries []stream.Entry) ([]stream.Dead, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	dead, err := w.try(ctx, entries)
	fault := store.FaultOf(err)
	panicked := errors.Is(err, errPanicked)
	switch {
	case err == nil:
		return dead, nil
	case !panicked && (fault == store.FaultServer || fault == store.FaultCollision):
		if store.Stale(err) {
			w.pool.Reset()
		}
		return nil, err
	case len(entries) > 1:
		half := len(entries) / 2
		dead, err := w.Write(ctx, entries[:half])
		if err != nil {
			return nil, err
		}
		more, err := w.Write(ctx, entries[half:])
		return append(dead, more...), err
	case entries[0].Problem != nil:
		// Not even its record can be stored: leave it where it is.
		return nil, fmt.Errorf("recording a dead entry: %w", err)
	}
	condemned := entries[0]
	condemned.Problem = errPanicked
	if !panicked {
		condemned.Problem = errors.New(store.Describe(err))
	}
	return w.Write(ctx, []stream.Entry{condemned})
}

// errPanicked is the fate of a batch that ended in a fault of the worker.
var errPanicked = errors.New("storing it ended in a fault of the worker, whose log says where")

// try stores a batch, again at once while it only lost against others. A panic
// is an error of the batch: the entry that makes it must not end the process,
// nor the next one that reads it. The log has its kind and place, not its value,
// which may hold anything.
func (w *Writer) try(ctx context.Context, entries []stream.Entry) (dead []stream.Dead, err error) {
	defer func() {
		if r := recover(); r != nil {
			w.config.Log.Error("storing a batch panicked: please report this",
				zap.Int("entries", len(entries)), zap.String("kind", fmt.Sprintf("%T", r)), zap.Stack("stack"))
			dead, err = nil, errPanicked
		}
	}()
	g := w.gather(entries)
	for range maxTries {
		err = w.transact(ctx, g)
		fault := store.FaultOf(err)
		if err == nil || fault != store.FaultRace && fault != store.FaultCollision {
			break
		}
		g.collided = g.collided || fault == store.FaultRace
	}
	return g.dead, err
}

// transact stores a batch, and after the commit joins what another transaction
// stored at the same moment.
func (w *Writer) transact(ctx context.Context, g *gathered) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	started := time.Now()
	var due bool
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		var err error
		due, err = w.store(ctx, tx, g)
		if err == nil {
			failpoint.Hit(failpoint.BeforeCommit)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.metrics.commitSeconds.Observe(time.Since(started).Seconds())
	joined, err := w.join(ctx, g)
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.AfterCommit)
	if due || joined {
		w.config.Nudge()
	}
	return nil
}

func (w *Writer) store(ctx context.Context, tx pgx.Tx, g *gathered) (due bool, err error) {
	endpoints, err := readEndpoints(ctx, tx)
	if err != nil {
		return false, err
	}
	fresh, err := insertNewKeys(ctx, tx, g.sortedKeys())
	if err != nil {
		return false, err
	}
	r := g.pick(fresh, endpoints)
	if err := resolveContacts(ctx, tx, r.people); err != nil {
		return false, err
	}
	if err := r.write(ctx, tx, endpoints, g.dead, g.sources.sorted()); err != nil {
		return false, fmt.Errorf("storing a batch: %w", err)
	}
	w.metrics.count(g, fresh, r)
	return len(r.answers) > 0 || len(r.deliveries) > 0, nil
}

// insertNewKeys returns the keys that were not there yet.
func insertNewKeys(ctx context.Context, tx pgx.Tx, keys []key) (map[key]struct{}, error) {
	fresh := make(map[key]struct{}, len(keys))
	if len(keys) == 0 {
		return fresh, nil
	}
	rows, err := tx.Query(ctx, insertKeys,
		column(keys, func(k key) string { return k.account }),
		column(keys, func(k key) string { return k.kind }),
		column(keys, func(k key) string { return k.dedup }))
	if err != nil {
		return nil, fmt.Errorf("storing keys: %w", err)
	}
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.account, &k.kind, &k.dedup); err != nil {
			return nil, fmt.Errorf("storing keys: %w", err)
		}
		fresh[k] = struct{}{}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("storing keys: %w", err)
	}
	return fresh, nil
}

// join connects answers with sessions, and flags answers of stateless flows. It
// runs after the commit and before the acknowledgement: of two transactions that
// could not see each other the later one finds the other's rows, and after a
// crash in between the entries come again.
func (w *Writer) join(ctx context.Context, g *gathered) (due bool, err error) {
	if len(g.tokens) > 0 {
		accounts, hashes := make([]string, 0, len(g.tokens)), make([]string, 0, len(g.tokens))
		for t := range g.tokens {
			accounts, hashes = append(accounts, t.account), append(hashes, t.hash)
		}
		var joined int64
		if err := w.pool.QueryRow(ctx, joinSessions, accounts, hashes).Scan(&joined); err != nil {
			return false, fmt.Errorf("joining answers and sessions: %w", err)
		}
		due = joined > 0
	}
	if len(g.params) > 0 {
		accounts, hashes := make([]string, 0, len(g.params)), make([]string, 0, len(g.params))
		for p := range g.params {
			accounts, hashes = append(accounts, p.account), append(hashes, p.hash)
		}
		if _, err := w.pool.Exec(ctx, flagIncomplete, accounts, hashes); err != nil {
			return false, fmt.Errorf("flagging incomplete answers: %w", err)
		}
	}
	return due, nil
}
