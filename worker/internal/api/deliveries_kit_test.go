package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// routed is an API with rows of deliveries, as ingest and the deliverer leave
// them.
type routed struct {
	*collected
	made int
}

func route(t *testing.T) *routed {
	t.Helper()
	t.Parallel()
	return &routed{collected: &collected{served: serve(t), began: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}}
}

// endpoint stores an endpoint and returns its id.
func (r *routed) endpoint(account, name string) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	r.exec(`INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts, payload)
		VALUES ($1, $2, $3, 'https://example.com', '{whsec_x}', 1000, 10, 'event')`, id, account, name)
	return id
}

// idOf is an id that was made so many minutes after the beginning; n tells apart
// those of one minute.
func (r *routed) idOf(minute, n int) uuid.UUID {
	ms := r.began.Add(time.Duration(minute) * time.Minute).UnixMilli()
	return uuid.MustParse(fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n))
}

// sent is one delivery of the test.
type sent struct {
	account  string // default
	endpoint uuid.UUID
	minute   int
	state    string
	kind     string // flow.completed
	flow     string
	event    uuid.UUID // its own
	attempt  int
	body     string
}

// delivery stores a delivery and returns its id and event.
func (r *routed) delivery(d sent) (id, event uuid.UUID) {
	r.t.Helper()
	r.made++
	id = r.idOf(d.minute, r.made)
	if event = d.event; event == uuid.Nil {
		event = uuid.New()
	}
	if d.account == "" {
		d.account = "default"
	}
	if d.kind == "" {
		d.kind = "flow.completed"
	}
	at := r.began.Add(time.Duration(d.minute) * time.Minute)
	if d.state == "due" || d.state == "leased" {
		r.exec(`INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, flow, state, attempt, body, created_at, run_at)
			VALUES ($1, $2, $3, $4, $5, $6, gen_random_uuid(), $6, nullif($7, ''), $8, $9, nullif($10, '')::bytea, $6, now() + interval '1 hour')`,
			id, d.account, d.endpoint, d.kind, event, at, d.flow, d.state, d.attempt, d.body)
		return id, event
	}
	r.exec(`INSERT INTO delivery_history (id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, flow, state, attempt, body,
			created_at, finished_at, last_status, last_error)
		VALUES ($1, $2, $3, (SELECT name FROM callback_endpoints WHERE id = $3), $4, $5, $6, gen_random_uuid(), $6, nullif($7, ''), $8, $9, nullif($10, '')::bytea,
			$6, $6::timestamptz + interval '1 minute', 503, 'the receiver answered 503')`,
		id, d.account, d.endpoint, d.kind, event, at, d.flow, d.state, d.attempt, d.body)
	return id, event
}

// minutes are the rows of a list by the minutes of their ids.
func (r *routed) minutes(got *response) string {
	r.t.Helper()
	var all []string
	for _, id := range strings.Fields(got.ids("id")) {
		seconds, _ := uuid.MustParse(id).Time().UnixTime()
		all = append(all, fmt.Sprint(int(time.Unix(seconds, 0).Sub(r.began).Minutes())))
	}
	return strings.Join(all, " ")
}

// open is the state of a delivery in the database; finished ones are "".
func (r *routed) open(id uuid.UUID) (state string, replay bool, base int, wait float64) {
	r.t.Helper()
	rows, err := r.pool.Query(r.t.Context(), `SELECT state, replay, attempt_base, extract(epoch FROM run_at - now())::float8 FROM deliveries WHERE id = $1`, id)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&state, &replay, &base, &wait); err != nil {
			r.t.Fatal(err)
		}
	}
	return state, replay, base, wait
}
