package callback

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// TestARandomWalkOfLeases lets two workers claim, finish, lose, renew and give
// back deliveries in any order, beside an operator who pauses and replays, and
// holds the tables against a model after each step: at most one live lease of a
// delivery, attempts that only grow, nothing that vanishes or is in two places,
// nothing both delivered and dead.
func TestARandomWalkOfLeases(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		w := &walk{
			T: t, pool: testkit.Database(t), random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // a repeatable walk
			held: make(map[uuid.UUID]Delivery), known: make(map[uuid.UUID]*modelled),
		}
		w.queues = [2]*queue{{pool: w.pool, lease: leaseFor}, {pool: w.pool, lease: leaseFor}}
		w.endpoints = []uuid.UUID{
			endpoint(t, w.pool, "http://127.0.0.1:1/", `max_in_flight = 3, disable_after_hours = 0`),
			endpoint(t, w.pool, "http://127.0.0.1:1/", `ordered = true, disable_after_hours = 0`),
		}
		steps := []func(){w.insert, w.claim, w.claim, w.claim, w.finish, w.finish, w.finish, w.expire, w.renew, w.giveBack, w.finishLate, w.operate}
		for n := range 150 {
			steps[w.random.IntN(len(steps))]()
			w.compare()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, n)
			}
		}
	}
}

// modelled is what the walk knows of a delivery.
type modelled struct {
	state    string
	attempt  int
	lease    uuid.UUID // of the one that may finish it
	recorded int       // attempts stored
}

type walk struct {
	*testing.T
	pool      *pgxpool.Pool
	random    *rand.Rand
	queues    [2]*queue
	endpoints []uuid.UUID
	held      map[uuid.UUID]Delivery // live leases, by lease and delivery
	stale     []Delivery             // claims whose lease was lost
	known     map[uuid.UUID]*modelled
}

func (w *walk) insert() {
	for _, e := range w.endpoints {
		for _, id := range dueDeliveries(w, w.pool, e, 1+w.random.IntN(4)) {
			w.known[id] = &modelled{state: stateDue}
		}
	}
	exec(w, w.pool, `UPDATE deliveries SET ordering_key = 'k' || (abs(hashtext(id::text)) % 3)`)
}

func (w *walk) claim() {
	for _, d := range w.queues[w.random.IntN(2)].claimUpTo(w, 1+w.random.IntN(6)) {
		m := w.known[d.ID]
		if m.state != stateDue || d.Attempt != m.attempt+1 {
			w.Errorf("claimed attempt %d of one that is %s after %d", d.Attempt, m.state, m.attempt)
		}
		m.state, m.attempt, m.lease = "leased", d.Attempt, d.Lease
		w.held[d.ID] = d
	}
}

// one is a delivery that is held, any.
func (w *walk) one() (Delivery, bool) {
	if len(w.held) == 0 {
		return Delivery{}, false
	}
	ids := make([]uuid.UUID, 0, len(w.held))
	for id := range w.held {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return w.held[ids[w.random.IntN(len(ids))]], true
}

func (w *walk) finish() {
	d, ok := w.one()
	if !ok {
		return
	}
	result := Result{Status: []int{200, 200, 500, 404}[w.random.IntN(4)], Tries: 1}
	o := decide(quickSchedule, d, result, 0)
	o.wait = 0
	s, err := w.queues[w.random.IntN(2)].complete(w.Context(), []outcome{o})
	if err != nil || s.attempts != 1 {
		w.Errorf("stored %d, %v", s.attempts, err)
	}
	m := w.known[d.ID]
	m.state, m.lease, m.recorded = o.state, uuid.UUID{}, m.recorded+1
	delete(w.held, d.ID)
	w.stale = append(w.stale, d)
	exec(w, w.pool, `UPDATE callback_endpoints SET failures = least(failures, 2), paused_until = NULL`)
}

// finishLate: a worker that had lost its lease, or had stored its result
// already, comes with a result.
func (w *walk) finishLate() {
	if len(w.stale) == 0 {
		return
	}
	d := w.stale[w.random.IntN(len(w.stale))]
	s, err := w.queues[0].complete(w.Context(), []outcome{decide(quickSchedule, d, Result{Status: []int{200, 500}[w.random.IntN(2)]}, 0)})
	if err != nil || s.attempts != 0 {
		w.Errorf("a late result was stored: %d, %v", s.attempts, err)
	}
}

func (w *walk) lose(d Delivery) {
	m := w.known[d.ID]
	m.state, m.lease = stateDue, uuid.UUID{}
	delete(w.held, d.ID)
	w.stale = append(w.stale, d)
}

// expire: a worker dies.
func (w *walk) expire() {
	d, ok := w.one()
	if !ok {
		return
	}
	exec(w, w.pool, `UPDATE deliveries SET lease_until = now() - interval '1 s' WHERE id = $1`, d.ID)
	if n, err := w.queues[0].sweep(w.Context(), nil); n != 1 || err != nil {
		w.Errorf("swept %d, %v", n, err)
	}
	w.lose(d)
}

func (w *walk) renew() {
	var all []Delivery
	for _, d := range w.held {
		all = append(all, d)
	}
	if lost, err := w.queues[0].renew(w.Context(), append(all, w.stale...)); err != nil || len(lost) != len(w.stale) {
		w.Errorf("%d leases lost, want %d, %v", len(lost), len(w.stale), err)
	}
}

func (w *walk) giveBack() {
	d, ok := w.one()
	if !ok {
		return
	}
	if err := w.queues[0].release(w.Context(), []Delivery{d}); err != nil {
		w.Error(err)
	}
	w.known[d.ID].attempt--
	w.lose(d)
}

// operate pauses and resumes, and replays what is finished.
func (w *walk) operate() {
	exec(w, w.pool, `UPDATE callback_endpoints SET status = CASE status WHEN 'active' THEN 'paused' ELSE 'active' END WHERE id = $1`,
		w.endpoints[w.random.IntN(2)])
	var id uuid.UUID
	err := w.pool.QueryRow(w.Context(), `
		WITH moved AS (DELETE FROM delivery_history WHERE id = (SELECT id FROM delivery_history ORDER BY id LIMIT 1) RETURNING *)
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, ordering_key,
			replay, attempt, attempt_base, body, created_at)
		SELECT id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, ordering_key,
			true, attempt, attempt, body, created_at FROM moved RETURNING id`).Scan(&id)
	if err == nil {
		w.known[id].state = stateDue
	}
}

// compare holds the tables against the model.
func (w *walk) compare() {
	ctx := w.Context()
	rows, err := w.pool.Query(ctx, `
		SELECT d.id, d.state, d.attempt, coalesce(d.lease_id, '00000000-0000-0000-0000-000000000000'),
			(SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id), (SELECT count(DISTINCT number) FROM attempts a WHERE a.delivery_id = d.id)
		FROM (SELECT id, state, attempt, lease_id FROM deliveries UNION ALL SELECT id, state, attempt, NULL FROM delivery_history) d`)
	if err != nil {
		w.Fatal(err)
	}
	defer rows.Close()
	seen := make(map[uuid.UUID]bool)
	for rows.Next() {
		var (
			id, lease                   uuid.UUID
			state                       string
			attempt, recorded, distinct int
		)
		if err := rows.Scan(&id, &state, &attempt, &lease, &recorded, &distinct); err != nil {
			w.Fatal(err)
		}
		if seen[id] {
			w.Errorf("%s is in two places", id)
		}
		seen[id] = true
		m := w.known[id]
		if m == nil || m.state != state || m.attempt != attempt || m.lease != lease || m.recorded != recorded || recorded != distinct {
			w.Errorf("%s is %s after %d attempts, %d stored under %d numbers, lease %s; the model says %+v", id, state, attempt, recorded, distinct, lease, m)
		}
	}
	if len(seen) != len(w.known) {
		w.Errorf("%d deliveries, want %d", len(seen), len(w.known))
	}
	if n := count(w, w.pool, `SELECT count(*) FROM (SELECT FROM deliveries WHERE state = 'leased' AND endpoint_id = $1 GROUP BY ordering_key HAVING count(*) > 1) d`,
		w.endpoints[1]); n != 0 {
		w.Errorf("%d keys of the ordered endpoint are in flight twice", n)
	}
	if n := count(w, w.pool, `SELECT count(*) FROM deliveries WHERE state = 'leased' AND endpoint_id = $1`, w.endpoints[0]); n > 3 {
		w.Errorf("%d in flight, the endpoint allows 3", n)
	}
}
