package callback

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// inOrder gives each of keys n deliveries, one second after the other, and
// returns the ids and, by webhook-id, the key and the place of each.
func inOrder(t *testing.T, pool *pgxpool.Pool, e uuid.UUID, keys, n int) (ids []uuid.UUID, places map[string][2]int) {
	t.Helper()
	places = make(map[string][2]int)
	ids = dueDeliveries(t, pool, e, keys*n)
	for i, id := range ids {
		key, place := i%keys, i/keys
		exec(t, pool, `UPDATE deliveries SET ordering_key = $2, event_at = '2026-11-23T12:00:00Z'::timestamptz + make_interval(secs => $3) WHERE id = $1`,
			id, fmt.Sprint("key ", key), place)
		places[read(t, pool, id).Event.String()] = [2]int{key, place}
	}
	return ids, places
}

func TestAnOrderedEndpointGetsEachKeyInOrder(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	const keys, each = 6, 12
	var mu sync.Mutex
	open := make(map[int]bool)
	var places map[string][2]int
	var wrong []string
	next := make(map[int]int) // place that is to be delivered next, by key
	rc := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		place := places[r.Header.Get("webhook-id")]
		mu.Lock()
		if open[place[0]] || next[place[0]] != place[1] {
			wrong = append(wrong, fmt.Sprintf("key %d: %d came while %d was awaited, in flight %t", place[0], place[1], next[place[0]], open[place[0]]))
		}
		open[place[0]] = true
		fails := n%5 == 0
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			open[place[0]] = false
			if !fails {
				next[place[0]]++
			}
		}()
		if fails {
			w.WriteHeader(500)
		}
	})
	e := endpoint(t, pool, rc.URL, `ordered = true, status = 'paused'`)
	var ids []uuid.UUID
	ids, places = inOrder(t, pool, e, keys, each)
	change(t, pool, e, `status = 'active'`)
	many := func(c *Config) {
		c.Schedule = make([]time.Duration, 0, 30)
		for range 30 {
			c.Schedule = append(c.Schedule, time.Millisecond)
		}
	}
	change(t, pool, e, `max_attempts = 30`)
	start(t, pool, many)
	start(t, pool, many)
	for _, id := range ids {
		waitFor(t, pool, id, "delivered")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestWhatBlocksAKey(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	e := endpoint(t, pool, "http://127.0.0.1:1/", `ordered = true`)
	ids, _ := inOrder(t, pool, e, 1, 4)
	claim := func(want ...uuid.UUID) []Delivery {
		t.Helper()
		claimed := q.claimUpTo(t, 10)
		if len(claimed) != len(want) {
			t.Fatalf("%d claimed, want %d", len(claimed), len(want))
		}
		for i, d := range claimed {
			if d.ID != want[i] {
				t.Fatalf("claimed %s, want %s", d.ID, want[i])
			}
		}
		return claimed
	}
	first := claim(ids[0])
	claim() // it is in flight
	q.finish(t, Result{Status: 500}, first...)
	exec(t, pool, `UPDATE deliveries SET run_at = now() + interval '1 hour' WHERE id = $1`, ids[0])
	claim() // it waits for its retry
	exec(t, pool, `UPDATE deliveries SET run_at = now(), attempt = 9 WHERE id = $1`, ids[0])
	q.finish(t, Result{Status: 500}, claim(ids[0])...)
	if r := read(t, pool, ids[0]); r.State != stateDead {
		t.Fatalf("row = %+v", r)
	}
	second := claim(ids[1]) // a dead one blocks nothing
	q.finish(t, Result{Status: 200}, second...)
	// A replay of what happened before holds up nothing that is live, unless it
	// is in flight.
	exec(t, pool, `UPDATE deliveries SET replay = true, run_at = now() - interval '1 hour' WHERE id = $1`, ids[2])
	third := claim(ids[3])
	claim()
	q.finish(t, Result{Status: 200}, third...)
	claim(ids[2])
	// Without a key there is no order.
	exec(t, pool, `UPDATE deliveries SET ordering_key = NULL`)
	free := dueDeliveries(t, pool, e, 3)
	if claimed := q.claimUpTo(t, 10); len(claimed) != len(free) {
		t.Errorf("%d claimed, want %d", len(claimed), len(free))
	}
}

// One key has more waiting than a claim looks through, and its head waits for a
// retry: another key is found behind it all the same, and the key goes on as
// soon as its head is delivered.
func TestALongQueueOfOneKeyHidesNoOther(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	e := endpoint(t, pool, "http://127.0.0.1:1/", `ordered = true`)
	long := dueDeliveries(t, pool, e, orderedWindow+50)
	exec(t, pool, `UPDATE deliveries SET ordering_key = 'long', event_at = run_at, run_at = run_at - interval '1 hour'`)
	exec(t, pool, `UPDATE deliveries SET run_at = now() + interval '1 hour' WHERE id = $1`, long[0])
	other := dueDeliveries(t, pool, e, 1)[0]
	exec(t, pool, `UPDATE deliveries SET ordering_key = 'other' WHERE id = $1`, other)
	var found []Delivery
	for range 3 {
		found = append(found, q.claimUpTo(t, 10)...)
	}
	if len(found) != 1 || found[0].ID != other {
		t.Fatalf("claimed %v, want the other key's", found)
	}
	exec(t, pool, `UPDATE deliveries SET run_at = now() WHERE id = $1`, long[0])
	for _, want := range long[:3] {
		claimed := q.claimUpTo(t, 1)
		if len(claimed) != 1 || claimed[0].ID != want {
			t.Fatalf("claimed %v, want %s", claimed, want)
		}
		q.finish(t, Result{Status: 200}, claimed...)
	}
	if n := count(t, pool, `SELECT count(*) FROM deliveries WHERE run_at > now() + interval '61 s'`); n != 0 {
		t.Errorf("%d were put off for longer than a minute", n)
	}
}

// Of one request came two events, at the same moment: the one that was made first
// goes first, whatever their webhook-ids are.
func TestWhatHappenedAtOnceGoesInTheOrderItWasMade(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	e := endpoint(t, pool, "http://127.0.0.1:1/", `ordered = true`)
	ids := dueDeliveries(t, pool, e, 3)
	for i, id := range ids {
		exec(t, pool, `UPDATE deliveries SET ordering_key = 'k', event_at = '2026-11-23T12:00:00Z', event_id = $2 WHERE id = $1`, id, uuid.UUID{0: byte(9 - i)})
	}
	for _, want := range ids {
		claimed := q.claimUpTo(t, 10)
		if len(claimed) != 1 || claimed[0].ID != want {
			t.Fatalf("claimed %v, want %s", claimed, want)
		}
		q.finish(t, Result{Status: 200}, claimed...)
	}
}

// When one is finished the next of its key is called, but neither before the
// pause that the schedule has before a first attempt, nor a replay, which has its
// pace.
func TestTheNextOfAKeyIsNotCalledTooEarly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  string
		wait float64 // of the second
	}{
		"put off by a claim":                 {`run_at = now() + interval '50 s'`, 0},
		"put off, of an endpoint that waits": {`run_at = now() + interval '50 s', created_at = now() - interval '10 s'`, 20},
		"a replay":                           {`run_at = now() + interval '50 s', replay = true`, 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testkit.Database(t)
			q := &queue{pool: pool, lease: leaseFor}
			e := endpoint(t, pool, "http://127.0.0.1:1/", `ordered = true`)
			ids, _ := inOrder(t, pool, e, 1, 2)
			exec(t, pool, `UPDATE deliveries SET `+c.set+` WHERE id = $1`, ids[1])
			if c.wait == 20 {
				change(t, pool, e, `schedule = '{30, 60}'`)
			}
			q.finish(t, Result{Status: 200}, q.claimUpTo(t, 1)...)
			if r := read(t, pool, ids[1]); r.Wait > c.wait || r.Wait < c.wait-5 {
				t.Errorf("the next is due in %g s, want %g", r.Wait, c.wait)
			}
		})
	}
}
