package callback

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// orderedWindow is how many due deliveries of an ordered endpoint a claim looks
// through for those that are first of their key. When all are taken up by ones
// that wait for others, these are put off, so that the next claim sees further:
// until the one they wait for is tried again, but not for long, as that one may
// be cancelled meanwhile. complete calls the next of a key as soon as one is
// finished.
const (
	orderedWindow = 512
	longestDefer  = time.Minute
	shortestDefer = time.Second
)

// deferred is a due delivery that is not its turn, and when it is looked at
// again.
type deferred struct {
	id   uuid.UUID
	wait time.Duration
}

// orderedDue finds what is first of its key, by when it happened and then by its
// id, which tells what was made first of one request's, and has nothing in flight. What is live never waits for a replay, only for an attempt
// that has begun. Deliveries without a key wait for nobody.
const orderedDue = `
	WITH slots AS MATERIALIZED (` + slots + `)
	SELECT ` + dueColumns + `, s.free, s.replays,
		b.id IS NOT NULL, coalesce(CASE WHEN b.state = 'due' THEN extract(epoch FROM b.run_at - now()) END, 0)::float8
	FROM slots s
	CROSS JOIN LATERAL (
		(SELECT * FROM deliveries d
		WHERE d.endpoint_id = s.id AND NOT d.replay AND d.state = 'due' AND d.run_at <= now()
		ORDER BY d.run_at LIMIT CASE WHEN s.free > 0 THEN $7::int ELSE 0 END)
		UNION ALL
		(SELECT * FROM deliveries d
		WHERE d.endpoint_id = s.id AND d.replay AND d.state = 'due' AND d.run_at <= now()
		ORDER BY d.run_at LIMIT CASE WHEN s.free > 0 THEN $7::int ELSE 0 END)
		LIMIT $7::int
	) d
	LEFT JOIN LATERAL (
		SELECT o.id, o.state, o.run_at FROM deliveries o
		WHERE o.endpoint_id = d.endpoint_id AND o.ordering_key = d.ordering_key AND o.id <> d.id
		  AND (o.state = 'leased' OR o.replay <= d.replay AND (o.event_at, o.id) < (d.event_at, d.id))
		ORDER BY o.event_at, o.id LIMIT 1
	) b ON d.ordering_key IS NOT NULL
	ORDER BY d.endpoint_id, d.replay, d.run_at`

func readOrdered(rows pgx.Rows, endpoints map[uuid.UUID]*Endpoint) (heads []Delivery, late []deferred, err error) {
	defer rows.Close()
	type use struct {
		seen, taken, replays int
		keys                 map[string]bool // a replay and what is live may both be first
	}
	used := make(map[uuid.UUID]*use)
	waiting := make(map[uuid.UUID][]deferred)
	for rows.Next() {
		var (
			free, replays int
			blocked       bool
			wait          float64
		)
		d, err := readDue(rows, endpoints, &free, &replays, &blocked, &wait)
		if err != nil {
			return nil, nil, err
		}
		id := d.Endpoint.ID
		u := used[id]
		if u == nil {
			u = &use{keys: make(map[string]bool)}
			used[id] = u
		}
		u.seen++
		switch {
		case blocked:
			until := time.Duration(wait * float64(time.Second))
			waiting[id] = append(waiting[id], deferred{d.ID, min(max(until, shortestDefer), longestDefer)})
		case d.orderingKey != "" && u.keys[d.orderingKey]:
		case u.taken < free && (!d.Replay || u.replays < replays):
			u.taken++
			u.keys[d.orderingKey] = true
			if d.Replay {
				u.replays++
			}
			heads = append(heads, d)
		}
	}
	for id, u := range used {
		if u.seen == orderedWindow {
			late = append(late, waiting[id]...)
		}
	}
	return heads, late, rows.Err()
}
