package callback

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// endpointsPerClaim bounds the endpoints one claim looks at; which ones is
// random, so that each gets its turn.
const endpointsPerClaim = 64

// queue is the table of deliveries. Every state change of a delivery that a
// worker makes is here.
type queue struct {
	pool   *pgxpool.Pool
	lease  time.Duration
	worker string // name that no other live process has; empty: leases bear none
}

// room is what a worker has left.
type room struct {
	free int               // attempts that it may begin
	held map[uuid.UUID]int // those it has begun, by endpoint
}

// claimed is what a claim brought.
type claimed struct {
	deliveries []Delivery
	gone       []Delivery // whose subject was deleted: in the history already
}

// claim leases due deliveries, spread over the endpoints that have any. Bodies
// not rendered yet are rendered and frozen in the same transaction, so that
// every attempt sends the same bytes.
func (q *queue) claim(ctx context.Context, r room) (claimed, error) {
	var c claimed
	err := inTransaction(ctx, q.pool, func(tx *transaction) error {
		endpoints, err := lockEndpoints(ctx, tx)
		if err != nil || len(endpoints) == 0 {
			return err
		}
		due, late, err := findDue(ctx, tx, endpoints, r)
		if err != nil {
			return err
		}
		if due, err = render(ctx, tx, due); err != nil {
			return err
		}
		c, err = q.take(ctx, tx, due, late)
		return err
	})
	if err != nil {
		return claimed{}, fmt.Errorf("claiming deliveries: %w", err)
	}
	return c, nil
}

// tokens is what an endpoint's bucket holds now: its rate, at most what one
// second brings, and at least one.
const tokens = `least(greatest(1, e.rate_limit),
	e.rate_tokens + e.rate_limit * greatest(0, extract(epoch FROM now() - e.rate_at)::float8))`

// lockEndpoints locks some endpoints with due deliveries. The lock makes the
// limits on deliveries in flight and on their rate, and the order of ordered
// ones, strict across workers: they are read by the next statement, which sees
// every claim committed before. NO KEY UPDATE, so that inserting deliveries,
// which refer to the endpoint, never waits for it.
//
// Live deliveries and replays are looked for one by one, each by a look at the
// first entry of an index: LIMIT keeps the planner from hashing them all, as it
// may for EXISTS.
func lockEndpoints(ctx context.Context, tx *transaction) (map[uuid.UUID]*Endpoint, error) {
	const sql = `
		SELECT ` + endpointColumns + `
		FROM callback_endpoints e
		WHERE e.status = 'active' AND (e.paused_until IS NULL OR e.paused_until <= now())
		  AND (e.rate_limit IS NULL OR ` + tokens + ` >= 1)
		  AND ((SELECT true FROM deliveries d WHERE d.endpoint_id = e.id AND NOT d.replay AND d.state = 'due' AND d.run_at <= now()
		      ORDER BY d.run_at LIMIT 1)
		    OR (SELECT true FROM deliveries d WHERE d.endpoint_id = e.id AND d.replay AND d.state = 'due' AND d.run_at <= now()
		      ORDER BY d.run_at LIMIT 1))
		ORDER BY random() LIMIT $1
		FOR NO KEY UPDATE OF e SKIP LOCKED`
	endpoints := make(map[uuid.UUID]*Endpoint)
	var b pgx.Batch
	b.Queue(sql, endpointsPerClaim).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, readEndpoint)
		for _, e := range all {
			endpoints[e.ID] = e
		}
		return err
	})
	return endpoints, tx.send(ctx, &b)
}

// slots says how many deliveries each endpoint $1 may get: no more than its
// share $2, than its limit leaves, and than its rate allows. One that failed
// breakerAfter times in a row gets a single probe.
//
// Nor may it hold more places of this worker than are free ($4; $5 and $6 are
// what is held): see fit.
//
// A lease that ran out is not counted: its worker is dead, and the sweep is
// about to say so. That also bounds how many dead row versions are looked at.
const slots = `
	SELECT e.id, e.ordered, greatest(0, least($2::int, $4::int - coalesce(h.held, 0),
			CASE WHEN e.failures >= $3 THEN 1 ELSE e.max_in_flight END - l.leased,
			CASE WHEN e.rate_limit IS NULL THEN 2147483647 ELSE floor(` + tokens + `)::int END)) AS free,
		greatest(0, greatest(1, e.max_in_flight / 4) - l.replays) AS replays
	FROM callback_endpoints e
	LEFT JOIN unnest($5::uuid[], $6::int[]) AS h (id, held) ON h.id = e.id
	CROSS JOIN LATERAL (
		SELECT count(*)::int AS leased, (count(*) FILTER (WHERE d.replay))::int AS replays FROM deliveries d
		WHERE d.endpoint_id = e.id AND d.state = 'leased' AND d.lease_until > now()) l
	WHERE e.id = ANY($1)`

// dueColumns are read by readDue.
const dueColumns = `d.id, d.endpoint_id, d.account, d.event_type, d.event_id, d.event_at, d.subject_id, d.subject_at,
	coalesce(d.subject_position, 0), coalesce(d.ordering_key, ''), coalesce(d.traceparent, ''), d.replay, d.attempt, d.attempt_base,
	coalesce(octet_length(d.body), -1), extract(epoch FROM now() - d.run_at)::float8`

// findDue finds the oldest due deliveries of each endpoint, live ones before
// replays, which get a quarter of its places at most. late are those of ordered
// endpoints that only stand in the way of others.
func findDue(ctx context.Context, tx *transaction, endpoints map[uuid.UUID]*Endpoint, r room) (due []Delivery, late []deferred, err error) {
	const sql = `
		WITH slots AS MATERIALIZED (` + slots + ` ORDER BY random())
		SELECT ` + dueColumns + `
		FROM slots s
		CROSS JOIN LATERAL (
			(SELECT * FROM deliveries d
			WHERE d.endpoint_id = s.id AND NOT d.replay AND d.state = 'due' AND d.run_at <= now()
			ORDER BY d.run_at LIMIT s.free)
			UNION ALL
			(SELECT * FROM deliveries d
			WHERE d.endpoint_id = s.id AND d.replay AND d.state = 'due' AND d.run_at <= now()
			ORDER BY d.run_at LIMIT least(s.free, s.replays))
			LIMIT s.free
		) d
		LIMIT $4`
	var plain, ordered []uuid.UUID
	for id, e := range endpoints {
		if e.ordered {
			ordered = append(ordered, id)
		} else {
			plain = append(plain, id)
		}
	}
	var held []uuid.UUID
	var holding []int
	for id, n := range r.held {
		held, holding = append(held, id), append(holding, n)
	}
	// Each endpoint's share, rounded up, so that the first one cannot take all.
	share := max(1, (r.free+len(endpoints)-1)/len(endpoints))

	var b pgx.Batch
	if len(plain) > 0 {
		b.Queue(sql, uuids(plain), share, breakerAfter, r.free, uuids(held), holding).Query(func(rows pgx.Rows) error {
			due, err = pgx.AppendRows(due, rows, func(row pgx.CollectableRow) (Delivery, error) { return readDue(row, endpoints) })
			return err
		})
	}
	if len(ordered) > 0 {
		b.Queue(orderedDue, uuids(ordered), share, breakerAfter, r.free, uuids(held), holding, orderedWindow).Query(func(rows pgx.Rows) error {
			heads, waiting, err := readOrdered(rows, endpoints)
			due, late = append(due, heads...), waiting
			return err
		})
	}
	err = tx.send(ctx, &b)
	return fit(due, r), late, err
}

// fit gives places in turn, one to each endpoint as long as it holds fewer than
// are free: however many receivers hang, there are places left for one that does
// not. (Choudhury and Hahne, dynamic queue length thresholds, 1998.)
func fit(due []Delivery, r room) []Delivery {
	var endpoints []uuid.UUID
	waiting := make(map[uuid.UUID][]Delivery)
	held := make(map[uuid.UUID]int)
	for _, d := range due {
		id := d.Endpoint.ID
		if waiting[id] == nil {
			endpoints, held[id] = append(endpoints, id), r.held[id]
		}
		waiting[id] = append(waiting[id], d)
	}
	free, fitting := r.free, make([]Delivery, 0, len(due))
	for again := true; again; {
		again = false
		for _, id := range endpoints {
			if len(waiting[id]) == 0 || held[id] >= free {
				continue
			}
			fitting, waiting[id] = append(fitting, waiting[id][0]), waiting[id][1:]
			held[id]++
			free--
			again = true
		}
	}
	return fitting
}

func readDue(row pgx.CollectableRow, endpoints map[uuid.UUID]*Endpoint, more ...any) (Delivery, error) {
	var (
		d        Delivery
		endpoint uuid.UUID
		late     float64
	)
	into := []any{bytes16(&d.ID), bytes16(&endpoint), &d.Account, (*string)(&d.EventType), bytes16(&d.EventID), &d.EventAt, bytes16(&d.subject.ID), &d.subject.At,
		&d.subject.Position, &d.orderingKey, &d.Traceparent, &d.Replay, &d.Attempt, &d.Base, &d.frozen, &late}
	err := row.Scan(append(into, more...)...)
	d.Endpoint, d.late = endpoints[endpoint], time.Duration(late*float64(time.Second))
	return d, err
}
