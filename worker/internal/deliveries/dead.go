package deliveries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// DeadEntry is an entry of a stream that could never be stored.
type DeadEntry struct {
	ID         uuid.UUID          `json:"id" format:"uuid"`
	At         records.Timestamp  `json:"at" format:"date-time" doc:"When it was given up"`
	Account    string             `json:"account"`
	Stream     string             `json:"stream" doc:"Key of the Redis stream it was in"`
	StreamID   string             `json:"streamId" doc:"Its id there"`
	Kind       *string            `json:"kind" doc:"step, stateless_step, client_error, webhook or mark, if that could be read"`
	Reason     string             `json:"reason" doc:"Why it could not be stored"`
	Size       int                `json:"size" doc:"Bytes of its fields"`
	RequeuedAt *records.Timestamp `json:"requeuedAt" format:"date-time" doc:"When it was put back into its stream; null if it was not"`
}

// DeadDetail is a dead entry with its fields.
type DeadDetail struct {
	DeadEntry
	Fields     map[string]string `json:"fields" doc:"Its fields as they came, those that are text"`
	FieldsData map[string][]byte `json:"fieldsBase64,omitempty" doc:"Its other fields, in base64"`
}

// DeadFilter narrows a list of dead entries; what is zero does not.
type DeadFilter struct {
	Accounts []string // nil: all
	Kind     string
	Stream   string
	Requeued *bool
	Since    time.Time // given up then or later
	Until    time.Time // given up before
}

// DeadPlace is where a page of dead entries ends.
type DeadPlace struct {
	At time.Time
	ID uuid.UUID
}

const deadColumns = `d.id, d.at, d.account, d.stream, d.stream_id, d.kind, d.reason, octet_length(d.fields), d.requeued_at`

func scanDead(row pgx.CollectableRow) (d DeadEntry, err error) {
	err = row.Scan(&d.ID, &d.At, &d.Account, &d.Stream, &d.StreamID, &d.Kind, &d.Reason, &d.Size, &d.RequeuedAt)
	return d, err
}

func (f *DeadFilter) where() *where {
	w := &where{}
	if f.Accounts != nil {
		w.and("d.account = ANY (%s)", f.Accounts)
	}
	w.andText("d.kind = %s", f.Kind)
	w.andText("d.stream = %s", f.Stream)
	if f.Requeued != nil {
		w.and("(d.requeued_at IS NOT NULL) = %s", *f.Requeued)
	}
	if !f.Since.IsZero() {
		w.and("d.at >= %s", f.Since)
	}
	if !f.Until.IsZero() {
		w.and("d.at < %s", f.Until)
	}
	return w
}

// ListDead is at most limit dead entries, the latest first, behind a place.
func ListDead(ctx context.Context, pool *pgxpool.Pool, f DeadFilter, before *DeadPlace, limit int) ([]DeadEntry, error) {
	w := f.where()
	if before != nil {
		w.conditions = append(w.conditions, fmt.Sprintf("(d.at, d.id) < (%s, %s)", w.arg(before.At), w.arg(before.ID)))
	}
	rows, err := pool.Query(ctx, fmt.Sprintf("SELECT %s FROM dead_entries d WHERE %s ORDER BY d.at DESC, d.id DESC LIMIT %d", deadColumns, w, limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading dead entries: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanDead)
	if err != nil {
		return nil, fmt.Errorf("reading dead entries: %w", err)
	}
	return all, nil
}

// GetDead is one dead entry with its fields.
func GetDead(ctx context.Context, pool *pgxpool.Pool, accounts []string, id uuid.UUID) (*DeadDetail, error) {
	var d DeadDetail
	var encoded []byte
	err := pool.QueryRow(ctx, "SELECT "+deadColumns+", d.fields FROM dead_entries d WHERE d.id = $1 AND ($2::text[] IS NULL OR d.account = ANY ($2))", id, accounts).
		Scan(&d.ID, &d.At, &d.Account, &d.Stream, &d.StreamID, &d.Kind, &d.Reason, &d.Size, &d.RequeuedAt, &encoded)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a dead entry: %w", err)
	}
	fields, err := decodeFields(encoded)
	if err != nil {
		return nil, err
	}
	d.Fields = make(map[string]string)
	for name, value := range fields {
		if utf8.Valid(value) && !slices.Contains(value, 0) {
			d.Fields[name] = string(value)
			continue
		}
		if d.FieldsData == nil {
			d.FieldsData = make(map[string][]byte)
		}
		d.FieldsData[name] = value
	}
	return &d, nil
}

func decodeFields(encoded []byte) (map[string][]byte, error) {
	var fields map[string][]byte
	if err := json.Unmarshal(encoded, &fields); err != nil || len(fields) == 0 {
		return nil, errors.New("the fields of the dead entry cannot be read: they are no JSON object of base64 texts")
	}
	return fields, nil
}

// Requeuer puts dead entries back into their streams.
type Requeuer struct {
	Pool  *pgxpool.Pool
	Redis redis.UniversalClient
	Keys  keyspace.Keys
}

// ForeignStreamError says that an entry came from a stream that no reader of
// this installation reads: putting it there would lose it.
type ForeignStreamError struct{ Stream string }

func (e *ForeignStreamError) Error() string {
	return fmt.Sprintf("the stream %s is none that this installation reads: look at REDIS_PREFIX and REDIS_SHARDS, which may have been others then", e.Stream)
}

// ErrRedis wraps what Redis said.
var ErrRedis = errors.New("the entry was not taken by Redis, and is as it was")

// streams are those that the readers of this installation read.
func (r Requeuer) streams() []string {
	var all []string
	for n := range r.Keys.Shards() {
		all = append(all, r.Keys.Events(n), r.Keys.LargeEvents(n))
	}
	return all
}

// Requeue puts one entry back with its fields as they came. One that was put back
// before is left alone, which false says.
//
// The row stays locked until Redis has the entry and the mark is committed. A
// crash in between leaves the entry in the stream and unmarked; putting it back
// once more does no harm, because its deduplication id is the same: the second
// is recognised as stored already, as when the edge sends one twice.
func (r Requeuer) Requeue(ctx context.Context, accounts []string, id uuid.UUID) (done bool, err error) {
	err = pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		var (
			stream  string
			encoded []byte
			before  *time.Time
		)
		err := tx.QueryRow(ctx, `SELECT stream, fields, requeued_at FROM dead_entries
			WHERE id = $1 AND ($2::text[] IS NULL OR account = ANY ($2)) FOR UPDATE`, id, accounts).Scan(&stream, &encoded, &before)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return fmt.Errorf("reading a dead entry: %w", err)
		case before != nil:
			return nil
		case !slices.Contains(r.streams(), stream):
			return &ForeignStreamError{stream}
		}
		fields, err := decodeFields(encoded)
		if err != nil {
			return err
		}
		if err := r.add(ctx, stream, fields); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE dead_entries SET requeued_at = clock_timestamp() WHERE id = $1", id); err != nil {
			return fmt.Errorf("marking a dead entry: %w", err)
		}
		done = true
		return nil
	})
	return done && err == nil, err
}

// redisTime bounds how long the row is locked.
const redisTime = 5 * time.Second

func (r Requeuer) add(ctx context.Context, stream string, fields map[string][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	values := make([]any, 0, 2*len(fields))
	for name, value := range fields {
		values = append(values, name, value)
	}
	if err := r.Redis.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: values}).Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrRedis, err)
	}
	return nil
}

// Requeued is what a requeue by filter did.
type Requeued struct {
	Count   int
	Skipped int // entries of streams that nobody reads
	More    bool
}

// RequeueAll puts back what a filter lets through and was not put back before,
// the earliest first, one after the other. Broken off, it goes on when it is run
// again. It stops in time when ctx has a deadline.
func (r Requeuer) RequeueAll(ctx context.Context, f DeadFilter, limit int) (done Requeued, err error) {
	never := false
	f.Requeued = &never
	deadline, bounded := ctx.Deadline()
	w := f.where()
	where, known := w.String(), w.arg(r.streams())
	err = r.Pool.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM dead_entries d WHERE %s AND d.stream <> ALL (%s)", where, known), w.args...).Scan(&done.Skipped)
	if err != nil {
		return done, fmt.Errorf("reading dead entries: %w", err)
	}
	rows, err := r.Pool.Query(ctx, fmt.Sprintf("SELECT d.id FROM dead_entries d WHERE %s AND d.stream = ANY (%s) ORDER BY d.at, d.id LIMIT %d", where, known, limit+1), w.args...)
	if err != nil {
		return done, fmt.Errorf("reading dead entries: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return done, fmt.Errorf("reading dead entries: %w", err)
	}
	done.More = len(ids) > limit
	for _, id := range ids[:min(len(ids), limit)] {
		if bounded && time.Until(deadline) < 2*redisTime {
			done.More = true
			break
		}
		put, err := r.Requeue(ctx, f.Accounts, id)
		if err != nil && !errors.Is(err, ErrNotFound) { // erased meanwhile
			return done, err
		}
		if put {
			done.Count++
		}
	}
	return done, nil
}
