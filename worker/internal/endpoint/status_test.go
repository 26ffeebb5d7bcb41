package endpoint

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// Others were told that an endpoint was disabled: they are told when it goes on,
// whatever it was in between, and once.
func TestWhoWasToldOfTheStopIsToldOfTheEnd(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	in := func(do func(pgx.Tx, *Endpoint) error) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			e, err := Lock(t.Context(), tx, Key{Account: "default", Name: "crm"})
			if err != nil {
				return err
			}
			return do(tx, e)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	told := func(want int) {
		t.Helper()
		var n int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id
			WHERE e.name = 'watcher' AND d.event_type = 'endpoint.enabled' AND d.run_at >= d.created_at + interval '59 s'`).Scan(&n)
		if err != nil || n != want {
			t.Errorf("told %d times, %v, want %d", n, err, want)
		}
	}
	pause := func(tx pgx.Tx, e *Endpoint) error { return e.Pause(t.Context(), tx, "") }
	resume := func(tx pgx.Tx, e *Endpoint) error { return e.Resume(t.Context(), tx) }
	disable := func(tx pgx.Tx, e *Endpoint) error {
		if _, err := tx.Exec(t.Context(), `UPDATE callback_endpoints SET status = 'disabled' WHERE id = $1`, e.ID); err != nil {
			return err
		}
		return callback.Announce(t.Context(), tx, e.ID, callback.KindDisabled, "gone")
	}
	for _, name := range []string{"crm", "watcher", "seed", "of flows"} {
		s := Defaults()
		s.Name, s.URL, s.Timeout, s.Events = name, "https://example.com", time.Second, []string{"*"}
		switch name {
		case "watcher":
			s.Schedule, s.MaxAttempts = []int32{60}, 1 // the first attempt waits
		case "of flows":
			s.Flows = []string{"csat"}
		}
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := Create(t.Context(), tx, "default", s, callback.NewSecret())
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	in(pause)
	in(resume)
	told(0)
	in(disable)
	in(pause)
	told(0)
	in(resume)
	told(1)
	in(pause)
	in(resume)
	told(1)
	in(disable)
	in(resume)
	told(2)
}
