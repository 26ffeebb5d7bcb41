package callback

import (
	"context"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// Who wants to be told is removed at this moment: that is no fault of the attempts
// that are stored with the news.
func TestASubscriberThatIsRemovedMeanwhileIsNotTold(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	leaver := endpoint(t, pool, "http://127.0.0.1:1/")
	watcher := endpoint(t, pool, "http://127.0.0.1:1/", `payload = 'event', events = '{endpoint.*}'`)
	dueDeliveries(t, pool, leaver, 1)
	claimed := q.claimUpTo(t, 1)

	removal, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer removal.Rollback(context.Background()) //nolint:errcheck // it is committed
	if _, err := removal.Exec(t.Context(), `DELETE FROM callback_endpoints WHERE id = $1`, watcher); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := q.complete(context.Background(), []outcome{decide(quickSchedule, claimed[0], Result{Status: 410}, 0)})
		done <- err
	}()
	testkit.Eventually(t, "the news waits for the removal", func() bool {
		return count(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	if err := removal.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, `SELECT count(*) FROM callback_endpoints WHERE id = $1 AND status = 'disabled'`, leaver); n != 1 {
		t.Error("the endpoint is not disabled")
	}
	if n := count(t, pool, `SELECT count(*) FROM deliveries WHERE event_type = 'endpoint.disabled'`); n != 0 {
		t.Errorf("%d deliveries to nobody", n)
	}
}
