package chaos

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

func deliveryFaults() []Fault {
	return []Fault{
		{
			Number: 20, Name: "hostile receivers", Bound: 0,
			Promise: "timeouts hold, memory stays flat, redirects are not followed, forbidden addresses are not called, the second attempt comes 5 s ± 20 % after the first or when Retry-After says",
			Run:     hostileReceivers,
		},
		{
			Number: 21, Name: "a dead endpoint with a backlog beside a healthy one", Bound: 0,
			Promise: "the healthy one's 99th percentile from commit to callback stays below twice what it was, or below 100 ms",
			Run:     deadBesideHealthy,
		},
		{
			Number: 24, Name: "a snapshot held open under load", Bound: 0,
			Promise: "the 99th percentile from commit to callback stays below twice what it was, or below a second, and postgres_oldest_xmin_seconds tells",
			Run:     snapshotHeld,
		},
		{
			Number: 25, Name: "endpoint changed and secret rotated under load", Bound: 0,
			Promise: "every POST verifies with the old secret until it is withdrawn and with the new one once it is there",
			Run:     secretRotated,
		},
	}
}

// addEndpoint adds a receiver of every answer.
func (s *Scene) addEndpoint(ctx context.Context, name, url string, timeout time.Duration, attempts int) error {
	return s.Exec(ctx, `INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
		VALUES (gen_random_uuid(), '*', $1, $2, $3, $4, $5)`, name, url, []string{newSecret()}, timeout.Milliseconds(), attempts)
}

func newSecret() string {
	random := make([]byte, 32)
	rand.Read(random)
	return "whsec_" + base64.StdEncoding.EncodeToString(random)
}

// allDeliveries are those that are open and those that are finished.
const allDeliveries = `(SELECT event_id::text AS webhook, subject_id::text AS subject, state, endpoint_id, created_at FROM deliveries
	UNION ALL SELECT event_id::text, subject_id::text, state, endpoint_id, created_at FROM delivery_history)`

// waits are the times from the commit of answers to their first callback, sorted.
type waits []time.Duration

// never is the time of a callback that had not come when it was looked for.
const never = time.Duration(math.MaxInt64)

// p99 is the 99th percentile; never when more than one in a hundred had not come.
func (w waits) p99() time.Duration {
	if len(w) == 0 {
		return 0
	}
	return w[len(w)*99/100]
}

func (w waits) String() string {
	p99, late := "not reached", 0
	if w.p99() != never {
		p99 = duration(w.p99())
	}
	for _, d := range w {
		if d == never {
			late++
		}
	}
	return fmt.Sprintf("%s (%d callbacks, %d of them not there %s later)", p99, len(w), late, grace)
}

// slower misses when the 99th percentile is beyond twice what it was and beyond
// atLeast.
func (s *Scene) slower(who string, was, is waits, atLeast time.Duration) {
	switch {
	case len(was) == 0 || len(is) == 0:
		s.Miss("no callback was measured: this row shows nothing")
	case was.p99() == never:
		s.Miss("%s had callbacks that did not come in time before there was a fault: this row shows nothing", who)
	case is.p99() > max(2*was.p99(), atLeast):
		s.Miss("the 99th percentile of %s was %s and is %s", who, was, is)
	}
}

// waits are those of the answers of a time.
func (s *Scene) waits(ctx context.Context, since, until time.Time) (waits, error) {
	rows, err := s.db.Query(ctx, `SELECT d.webhook, d.created_at FROM `+allDeliveries+` d JOIN callback_endpoints e ON e.id = d.endpoint_id
		WHERE e.url = $1 AND d.created_at >= $2 AND d.created_at < $3`, s.Receiver.URL(), since, until)
	if err != nil {
		return nil, err
	}
	var all waits
	var webhook string
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&webhook, &created}, func() error {
		s.Receiver.mu.Lock()
		defer s.Receiver.mu.Unlock()
		wait := never
		if p := s.Receiver.posts[webhook]; p != nil {
			wait = p.first.Sub(created)
		}
		all = append(all, wait)
		return nil
	})
	slices.Sort(all)
	return all, err
}

// grace is how long the last callbacks of a time that is measured are waited for.
const grace = 2 * time.Second

// measured lets the load run for a while and returns how long the callbacks of
// its answers took. One that is not there after a while more counts as one that
// never comes.
func (s *Scene) measured(ctx context.Context, d time.Duration) (waits, error) {
	since := time.Now()
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	end := time.Now()
	if err := pause(ctx, grace); err != nil {
		return nil, err
	}
	return s.waits(ctx, since, end)
}

func deadBesideHealthy(ctx context.Context, s *Scene) error {
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(Pick(s, 300, 500))
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	// Answers that come before their session's steps wait for these on purpose:
	// the first second has some.
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	window := Pick(s, 3*time.Second, 30*time.Second)
	alone, err := s.measured(ctx, window)
	if err != nil {
		return err
	}
	// It takes connections and never answers: the worst that a receiver can do.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Defer(silent.Close)
	if err := s.addEndpoint(ctx, "dead", "http://"+silent.Addr().String(), 3*time.Second, 10); err != nil {
		return err
	}
	backlog := Pick(s, 5_000, 100_000)
	if err := s.backlogOf(ctx, "dead", backlog); err != nil {
		return err
	}
	beside, err := s.measured(ctx, window)
	if err != nil {
		return err
	}
	s.Note("healthy receiver, commit to callback, 99th percentile: %s alone; %s beside a dead one with %d deliveries waiting", alone, beside, backlog)
	s.slower("the healthy receiver", alone, beside, 100*time.Millisecond)
	// The scene is not kept waiting for the dead one.
	return s.Exec(ctx, "UPDATE callback_endpoints SET paused_until = now() + interval '1 day' WHERE name = 'dead'")
}

// backlogOf makes so many deliveries of answers of another account due.
func (s *Scene) backlogOf(ctx context.Context, endpoint string, n int) error {
	if err := s.Exec(ctx, `INSERT INTO flow_responses (id, account, source, response_data, answered_at)
		SELECT gen_random_uuid(), 'backlog', 'nfm_reply', '{}', now() FROM generate_series(1, $1)`, n); err != nil {
		return fmt.Errorf("making a backlog: %w", err)
	}
	if err := s.Exec(ctx, `INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		SELECT gen_random_uuid(), 'backlog', e.id, 'flow.completed', gen_random_uuid(), r.answered_at, r.id, r.received_at
		FROM flow_responses r, callback_endpoints e WHERE r.account = 'backlog' AND e.name = $1`, endpoint); err != nil {
		return fmt.Errorf("making a backlog: %w", err)
	}
	return nil
}

func snapshotHeld(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	free, err := s.measured(ctx, Pick(s, 4*time.Second, 20*time.Second))
	if err != nil {
		return err
	}
	conn, err := s.Session(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT count(*) FROM deliveries"); err != nil {
		return err
	}
	held := Pick(s, 18*time.Second, 2*time.Minute)
	if s.Long {
		held = 10 * time.Minute
	}
	if err := pause(ctx, held/2); err != nil {
		return err
	}
	late, err := s.measured(ctx, held/2)
	if err != nil {
		return err
	}
	shown, err := w.Metric(ctx, "postgres_oldest_xmin_seconds")
	if err != nil {
		s.Miss("the metric does not tell: %v", err)
	} else if shown < held.Seconds()/3 {
		s.Miss("the snapshot is %s old, postgres_oldest_xmin_seconds shows %g", held, shown)
	}
	_ = tx.Rollback(ctx) // it may have been ended by a guard, which is as good
	rate, _ := s.Producer.Pace()
	s.Note("at %.0f events/s (measured), commit to callback, 99th percentile: %s without a snapshot; %s with one held for %s", rate, free, late, held)
	s.slower("the receiver", free, late, time.Second)
	return nil
}

func secretRotated(ctx context.Context, s *Scene) error {
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	current := s.Site.Secrets.CallbackSecret
	for range Pick(s, 3, 20) {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		next := newSecret()
		// Both sign; the receiver knows the old one only.
		if err := s.secrets(ctx, next, current); err != nil {
			return err
		}
		if err := s.sentSince(ctx); err != nil {
			return err
		}
		// What was claimed before is sent: the receiver moves to the new one.
		if err := s.Receiver.Trust(next); err != nil {
			return err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		if err := s.secrets(ctx, next); err != nil {
			return err
		}
		current = next
	}
	s.Note("%d callbacks, every one verified", s.Receiver.Total())
	return nil
}

// sentSince returns when everything is sent that was claimed before now.
func (s *Scene) sentSince(ctx context.Context) error {
	var now time.Time
	if err := s.db.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return err
	}
	if err := s.none(ctx, "claims that were under way are over", `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < $1`, now); err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, "SELECT lease_id::text FROM deliveries WHERE state = 'leased'")
	if err != nil {
		return err
	}
	leases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return s.none(ctx, "what was claimed is sent", "SELECT count(*) FROM deliveries WHERE state = 'leased' AND lease_id = ANY($1::uuid[])", leases)
}

// none returns when a count is 0.
func (s *Scene) none(ctx context.Context, what, count string, args ...any) error {
	_, err := until(ctx, 30*time.Second, what, func(ctx context.Context) error {
		n, err := s.Number(ctx, count, args...)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d are left", n)
		}
		return err
	})
	return err
}

// secrets changes the endpoint of the environment as an operator would.
func (s *Scene) secrets(ctx context.Context, secrets ...string) error {
	return s.Exec(ctx, `UPDATE callback_endpoints SET secrets = $1, max_in_flight = 16 + (random() * 16)::int, updated_at = now() WHERE url = $2`, secrets, s.Receiver.URL())
}
