package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// suite is a writer on a database of its own.
type suite struct {
	*testing.T
	pool   *pgxpool.Pool
	writer *Writer
	nudges atomic.Int32
	began  time.Time // of every attempt that says nothing else
	lastID int
	seq    uint64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	t.Parallel()
	s := &suite{T: t, pool: testkit.Database(t), began: time.Now().UTC().Truncate(time.Millisecond)}
	s.writer = NewWriter(s.pool, Config{Nudge: func() { s.nudges.Add(1) }})
	return s
}

// endpoint adds a callback endpoint.
func (s *suite) endpoint(account string, on bool) {
	s.Helper()
	status := "active"
	if !on {
		status = "off"
	}
	s.exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, status, timeout_ms, max_attempts)
		VALUES ($1, $2, $3, 'http://example.com', '{whsec_x}', $4, 1000, 1)`, uuid.New(), account, testkit.Random(), status)
}

// subscriber adds a callback endpoint of that name for events of flows; no flows
// are every flow.
func (s *suite) subscriber(name, account string, events, flows []string) {
	s.Helper()
	s.exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, events, flows, payload, timeout_ms, max_attempts)
		VALUES ($1, $2, $3, 'http://example.com', '{whsec_x}', $4, $5, 'event', 1000, 1)`, uuid.New(), account, name, events, flows)
}

// delivered lists what is due, as "endpoint: type type", in order.
func (s *suite) delivered() string {
	s.Helper()
	return s.one(`SELECT string_agg(line, '; ' ORDER BY line) FROM (
		SELECT e.name || ': ' || string_agg(d.event_type, ' ' ORDER BY d.event_type) AS line
		FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id GROUP BY e.name) l`)
}

// flow adds a flow and returns its id.
func (s *suite) flow(name string) string {
	s.Helper()
	id := uuid.NewString()
	s.exec("INSERT INTO flows (id, name) VALUES ($1, $2)", id, name)
	return id
}

func (s *suite) exec(sql string, args ...any) {
	s.Helper()
	if _, err := s.pool.Exec(s.Context(), sql, args...); err != nil {
		s.Fatal(err)
	}
}

// one reads a single value as text; "<null>" for null.
func (s *suite) one(sql string, args ...any) string {
	s.Helper()
	var v *string
	if err := s.pool.QueryRow(s.Context(), "SELECT ("+sql+")::text", args...).Scan(&v); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	if v == nil {
		return "<null>"
	}
	return *v
}

func (s *suite) expect(want, sql string, args ...any) {
	s.Helper()
	if got := s.one(sql, args...); got != want {
		s.Errorf("%s\n got %q\nwant %q", sql, got, want)
	}
}

// entry is an entry as a reader hands it over.
func (s *suite) entry(kind event.Kind, id string, body []byte) stream.Entry {
	s.lastID++
	s.seq++
	e := event.Entry{Kind: kind, Account: "default", ID: id, Time: time.Now().UTC(), Source: "edge-1", Seq: s.seq, Body: body}
	return stream.Entry{Stream: "waf:{s3}:events", ID: fmt.Sprintf("%d-1", s.lastID), Shard: 3, Event: e,
		Fields: map[string]any{"kind": string(kind), "account": "default", "id": id, "body": string(body)}}
}

func (s *suite) hook(body string) stream.Entry {
	sum := sha256.Sum256([]byte(body))
	return s.entry(event.KindWebhook, hex.EncodeToString(sum[:]), []byte(body))
}

func (s *suite) hooks(bodies []string) []stream.Entry {
	all := make([]stream.Entry, len(bodies))
	for i, body := range bodies {
		all[i] = s.hook(body)
	}
	return all
}

func (s *suite) step(b event.Step) stream.Entry {
	if b.Flow == "" {
		b.Flow = "csat"
	}
	if b.Action == "" {
		b.Action = "data_exchange"
	}
	if b.StartedAt.IsZero() {
		b.StartedAt = s.began
	}
	sum := keyspace.SessionID("default", b.Flow, b.Token)
	return s.entry(event.KindStep, fmt.Sprintf("%s:%d", hex.EncodeToString(sum[:]), b.Version), b.Encode())
}

func (s *suite) stateless(b event.Step) stream.Entry {
	b.Flow, b.Action = "csat", "data_exchange"
	return s.entry(event.KindStatelessStep, testkit.Random(), b.Encode())
}

// write stores one batch and returns the dead.
func (s *suite) write(entries ...stream.Entry) []stream.Dead {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	dead, err := s.writer.Write(ctx, entries)
	if err != nil {
		s.Fatal(err)
	}
	return dead
}

type jsonValue = json.RawMessage

func raw(s string) jsonValue { return jsonValue(s) }
