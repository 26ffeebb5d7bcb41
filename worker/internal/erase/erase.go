// Package erase deletes one person's data everywhere the worker knows of: in
// Postgres, in Redis and inside raw webhooks that hold other people's data too.
//
//	find ─▶ one transaction over the tables ─▶ sessions and dead streams in Redis
//	     ─▶ wait until the streams have passed this moment ─▶ the same again
//
// No lock is held beyond the rows of that person. What a writer stored at the
// same moment is found the second time, by the contacts that the first time
// remembered. Erasing again is harmless and finds nothing.
package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// By is what identifies the person.
type By string

// The ways to identify a person, as the table erasures has them.
const (
	PhoneNumber By = "phone_number"
	UserID      By = "user_id"
	FlowToken   By = "flow_token"
)

// DefaultWait is how long an erasure waits for the streams.
const DefaultWait = 30 * time.Second

// maxTries is how often a transaction that lost against others is tried again.
const maxTries = 6

// Request says whose data to erase.
type Request struct {
	Account string
	By      By
	Value   string // never logged, never part of an error or a report

	// WholeContact extends a flow token to everything of the people who answered
	// under it.
	WholeContact bool
	// EveryBody searches the bytes of every raw webhook, not only of those that
	// are known to hold the person or could not be read. Slow.
	EveryBody bool
	// OtherAccounts adds to the report what other accounts' webhooks hold of the
	// person. It is for the operator: one account must not learn who writes to
	// another.
	OtherAccounts bool
	// DryRun counts and changes nothing.
	DryRun bool
	// Wait is how long to wait for the entries that are in the streams now;
	// not positive: not at all.
	Wait time.Duration
}

// MistakeError says what is wrong with a Request, without its value.
type MistakeError struct{ message string }

func (e *MistakeError) Error() string { return e.message }

// longestValue bounds what is searched for, in bytes. Flow tokens are the longest.
const longestValue = 8 << 10

// check returns the value in the form in which it is stored.
func (r *Request) check() (string, error) {
	mistake := func(text string) (string, error) { return "", &MistakeError{text} }
	if r.Account == "" {
		return mistake("no account is named")
	}
	if !utf8.ValidString(r.Value) || strings.ContainsRune(r.Value, 0) || len(r.Value) > longestValue {
		return mistake("what identifies the person is no text, or is longer than 8 KiB")
	}
	switch r.By {
	case PhoneNumber:
		var digits strings.Builder
		for _, c := range r.Value {
			switch {
			case '0' <= c && c <= '9':
				digits.WriteRune(c)
			case !strings.ContainsRune("+-()./ \u00a0", c):
				return mistake("the phone number holds something else than digits, expected one with its country code such as 16505551234")
			}
		}
		if n := digits.Len(); n < 5 || n > 20 {
			return mistake("the phone number has too few or too many digits, expected one with its country code such as 16505551234")
		}
		return digits.String(), nil
	case UserID:
		if r.Value == "" || len(r.Value) > 1000 {
			return mistake("the user id is empty or too long")
		}
	case FlowToken:
		if hashOf(r.Value) == "" {
			return mistake(`the flow token is empty, or is "unused", which belongs to everybody`)
		}
	default:
		return mistake("expected a phone number, a user id or a flow token")
	}
	return r.Value, nil
}

// Config is what an Eraser works on.
type Config struct {
	Pool  *pgxpool.Pool
	Redis redis.UniversalClient
	Keys  keyspace.Keys

	// Accounts names the account that a change in a webhook belongs to, as the
	// writer does; fallback is that of the secret which verified the webhook.
	// Default: fallback.
	Accounts func(phoneNumberID, waba, fallback string) string

	Log     *zap.Logger           // default: none
	Metrics prometheus.Registerer // default: none
}

// Eraser erases.
type Eraser struct {
	Config
	erasures prometheus.Counter
	pause    time.Duration // between two looks at the streams
}

// New returns an Eraser. It opens no connection.
func New(c Config) *Eraser {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Accounts == nil {
		c.Accounts = func(_, _, fallback string) string { return fallback }
	}
	return &Eraser{Config: c, pause: 100 * time.Millisecond, erasures: promauto.With(c.Metrics).NewCounter(prometheus.CounterOpts{
		Name: "whatsapp_flows_worker_erasures_total", Help: "Erasures of one person's data that were carried out."})}
}

// Erase erases, or counts. An error says that the erasure may be incomplete:
// running it again goes on where this one ended.
func (e *Eraser) Erase(ctx context.Context, r Request) (*Report, error) {
	value, err := r.check()
	if err != nil {
		return nil, err
	}
	// Before anything is erased: an erasure that cannot reach Redis is half of one.
	if err := e.Redis.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("redis does not answer, and nothing was erased yet: %w", err)
	}
	report := &Report{ID: uuid.Must(uuid.NewV7()), At: Timestamp{Time: time.Now().Truncate(time.Millisecond)}, Account: r.Account, Identified: r.By, DryRun: r.DryRun,
		Erased: map[string]int64{}, Receivers: []Receiver{}, Remains: []Remains{}}
	for _, what := range stores {
		report.Erased[what] = 0
	}
	known := newSubject(r, value, e.Accounts)
	if err := e.pass(ctx, known, report); err != nil {
		return nil, quiet(err)
	}
	drained := false
	if !r.DryRun {
		if drained, err = e.drain(ctx, r.Wait); err != nil {
			return nil, quiet(err)
		}
		if err := e.pass(ctx, known, report); err != nil {
			return nil, quiet(err)
		}
	}
	if err := e.remains(ctx, known, report, drained); err != nil {
		return nil, quiet(err)
	}
	if r.DryRun {
		return report, nil
	}
	if err := e.record(ctx, e.Pool, report); err != nil {
		return nil, quiet(err)
	}
	e.erasures.Inc()
	e.Log.Info("erased one person's data", zap.Stringer("erasure", report.ID), zap.String("account", r.Account),
		zap.String("identified_by", string(r.By)), zap.Int64("rows", report.Total()))
	return report, nil
}

// pass finds and erases once.
func (e *Eraser) pass(ctx context.Context, known *subject, report *Report) error {
	var err error
	for range maxTries {
		s, counts := known.clone(), newCounts()
		err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
			if err := s.find(ctx, tx); err != nil {
				return err
			}
			if err := s.erase(ctx, tx, counts); err != nil {
				return err
			}
			if known.DryRun {
				return errDryRun
			}
			merged := report.with(counts)
			return e.record(ctx, tx, &merged)
		})
		if errors.Is(err, errDryRun) {
			err = nil
		}
		if err == nil {
			*known = *s
			*report = report.with(counts)
			break
		}
		// A writer got in between: it has stored more of this person.
		if fault := store.FaultOf(err); fault != store.FaultRace && fault != store.FaultCollision {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := e.hashKeys(ctx, known, report); err != nil {
		return err
	}
	return e.cleanRedis(ctx, known, report)
}

// errDryRun takes back the transaction that a dry run counts with.
var errDryRun = errors.New("a dry run")

// record writes what was done; it holds no identity.
func (e *Eraser) record(ctx context.Context, db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, report *Report) error {
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `INSERT INTO erasures (id, at, account, identified, report) VALUES ($1, $2, $3, $4, $5::json)
		ON CONFLICT (id) DO UPDATE SET report = excluded.report`,
		report.ID, report.At.Time, report.Account, string(report.Identified), string(text))
	return err
}

// quietError keeps the values that Postgres repeats out of messages.
type quietError struct{ err error }

func (e *quietError) Error() string {
	return "erasing: " + store.Describe(e.err) + ": run it again, it goes on where it ended"
}
func (e *quietError) Unwrap() error { return e.err }

func quiet(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return &quietError{err}
	}
	return fmt.Errorf("erasing, which goes on where it ended when it is run again: %w", err)
}

// List returns the latest erasures of some accounts, nil for all, behind a place.
func List(ctx context.Context, pool *pgxpool.Pool, accounts []string, after *records.Place, limit int) ([]Report, error) {
	sql, args := `SELECT report::text FROM erasures WHERE ($1::text[] IS NULL OR account = ANY ($1))`, []any{accounts, limit}
	if after != nil {
		sql, args = sql+" AND (at, id) < ($3, $4)", append(args, after.At, after.ID)
	}
	rows, err := pool.Query(ctx, sql+" ORDER BY at DESC, id DESC LIMIT $2", args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Report, error) {
		var text string
		var r Report
		if err := row.Scan(&text); err != nil {
			return r, err
		}
		return r, json.Unmarshal([]byte(text), &r)
	})
}
