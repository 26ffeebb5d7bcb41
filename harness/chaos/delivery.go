package chaos

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
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

// latencies are the times from the commit of each answer since a moment to its
// first callback, sorted.
func (s *Scene) latencies(ctx context.Context, since, until time.Time) ([]time.Duration, error) {
	rows, err := s.db.Query(ctx, `SELECT d.webhook, d.created_at FROM `+allDeliveries+` d JOIN callback_endpoints e ON e.id = d.endpoint_id
		WHERE e.url = $1 AND d.created_at >= $2 AND d.created_at < $3`, s.Receiver.URL(), since, until)
	if err != nil {
		return nil, err
	}
	s.Receiver.mu.Lock()
	defer s.Receiver.mu.Unlock()
	var all []time.Duration
	var webhook string
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&webhook, &created}, func() error {
		if p := s.Receiver.posts[webhook]; p != nil {
			all = append(all, p.first.Sub(created))
		}
		return nil
	})
	slices.Sort(all)
	return all, err
}

// percentile99 of sorted values.
func percentile99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)*99/100]
}

// measured lets the load run for a while and returns the latencies in it, once
// the callbacks of its last answers are there.
func (s *Scene) measured(ctx context.Context, d time.Duration) ([]time.Duration, error) {
	since := time.Now()
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	end := time.Now()
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	return s.latencies(ctx, since, end)
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
	was, is := percentile99(alone), percentile99(beside)
	s.Note("healthy receiver, commit to callback, 99th percentile: %s alone (%d callbacks), %s beside a dead one with %d deliveries waiting (%d callbacks)",
		duration(was), len(alone), duration(is), backlog, len(beside))
	if len(alone) == 0 || len(beside) == 0 {
		s.Miss("no callback was measured: this row shows nothing")
	}
	if is > max(2*was, 100*time.Millisecond) {
		s.Miss("the healthy receiver's 99th percentile was %s and is %s", duration(was), duration(is))
	}
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
	was, is := percentile99(free), percentile99(late)
	s.Note("at %d events/s, commit to callback, 99th percentile: %s without a snapshot (%d callbacks), %s with one held for %s (%d callbacks)",
		s.Rate(), duration(was), len(free), duration(is), held, len(late))
	if len(free) == 0 || len(late) == 0 {
		s.Miss("no callback was measured: this row shows nothing")
	}
	if is > max(2*was, time.Second) {
		s.Miss("the 99th percentile was %s without the snapshot and is %s with it", duration(was), duration(is))
	}
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
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		// What was claimed before is sent by now: the receiver moves to the new one.
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

// secrets changes the endpoint of the environment as an operator would.
func (s *Scene) secrets(ctx context.Context, secrets ...string) error {
	return s.Exec(ctx, `UPDATE callback_endpoints SET secrets = $1, max_in_flight = 16 + (random() * 16)::int, updated_at = now() WHERE url = $2`, secrets, s.Receiver.URL())
}
