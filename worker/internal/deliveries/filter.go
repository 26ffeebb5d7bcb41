package deliveries

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Filter narrows a list of deliveries; what is zero does not.
type Filter struct {
	State     string
	Endpoint  string // name or id, also of one that was removed
	EventType string
	Flow      string
	EventID   uuid.UUID
	Since     time.Time // created then or later
	Until     time.Time // created before
}

// live and past say whether the filter lets open and finished ones through.
func (f *Filter) live() bool { return f.State == "" || f.State == Due || f.State == Leased }
func (f *Filter) past() bool { return f.State == "" || !f.live() }

// where is the condition of a statement and its arguments.
type where struct {
	conditions []string
	args       []any
}

func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// and adds a condition; a %s in it stands for v.
func (w *where) and(condition string, v any) {
	w.conditions = append(w.conditions, fmt.Sprintf(condition, w.arg(v)))
}

// andText adds a condition unless v is empty.
func (w *where) andText(condition, v string) {
	if v != "" {
		w.and(condition, v)
	}
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return "true"
	}
	return strings.Join(w.conditions, " AND ")
}

// target is what Filter.Endpoint means.
type target struct {
	ids  []uuid.UUID // of endpoints that are there
	name string      // of one that was removed
}

// resolve finds the endpoints of a name or id; nil for every one.
func (f *Filter) resolve(ctx context.Context, pool *pgxpool.Pool) (*target, error) {
	if f.Endpoint == "" {
		return nil, nil
	}
	if id, err := uuid.Parse(f.Endpoint); err == nil {
		return &target{ids: []uuid.UUID{id}}, nil
	}
	rows, err := pool.Query(ctx, "SELECT id FROM callback_endpoints WHERE name = $1", f.Endpoint)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	return &target{ids: ids, name: f.Endpoint}, err
}

// narrow limits deliveries d, of which history says in which of the two tables
// they are.
func (f *Filter) narrow(w *where, s Scope, t *target, history bool) {
	if s.Accounts != nil {
		w.and("d.account = ANY (%s)", s.Accounts)
		if s.Own {
			w.and("EXISTS (SELECT FROM callback_endpoints o WHERE o.id = d.endpoint_id AND o.account = ANY (%s))", s.Accounts)
		}
	}
	switch {
	case t == nil:
	case history && len(t.ids) == 0:
		w.and("d.endpoint_name = %s", t.name)
	default:
		w.and("d.endpoint_id = ANY (%s)", t.ids)
	}
	w.andText("d.event_type = %s", f.EventType)
	w.andText("d.flow = %s", f.Flow)
	if f.State != "" {
		w.conditions = append(w.conditions, ofState(f.State))
	}
	if f.EventID != uuid.Nil {
		w.and("d.event_id = %s", f.EventID)
	}
	if !f.Since.IsZero() {
		w.and("d.id >= %s", idAt(f.Since))
		if history {
			// It was finished later still, but for clocks that differ: partitions
			// of the days before are not opened.
			w.and("d.finished_at >= %s", f.Since.Add(-time.Hour))
		}
	}
	if !f.Until.IsZero() {
		w.and("d.id < %s", idAt(f.Until))
	}
}

// ofState names the state in the statement itself: for a parameter Postgres uses
// no index of dead ones, and reads all that was ever delivered to find them.
func ofState(state string) string {
	switch state {
	case Due, Leased, Delivered, Dead, Cancelled:
		return "d.state = '" + state + "'"
	}
	return "false"
}

// List is at most limit deliveries, the latest created first, behind the one
// called before. The order is that of ids, which a delivery keeps when it is
// finished or sent again: whatever happens meanwhile, a row is neither repeated
// nor left out.
func List(ctx context.Context, pool *pgxpool.Pool, s Scope, f Filter, before uuid.UUID, limit int) ([]Delivery, error) {
	t, err := f.resolve(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	w := &where{}
	var parts []string
	part := func(columns, from string, history bool) {
		w.conditions = nil
		f.narrow(w, s, t, history)
		if before != uuid.Nil {
			w.and("d.id < %s", before)
		}
		parts = append(parts, fmt.Sprintf("(SELECT %s FROM %s WHERE %s ORDER BY d.id DESC LIMIT %d)", columns, from, w, limit))
	}
	if f.live() {
		part(liveColumns, "deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id", false)
	}
	if f.past() {
		part(pastColumns, "delivery_history d", true)
	}
	// Both tables by one snapshot: a delivery that is moved is in one of them.
	rows, err := pool.Query(ctx, fmt.Sprintf("SELECT * FROM (%s) d ORDER BY d.id DESC LIMIT %d", strings.Join(parts, " UNION ALL "), limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanDelivery)
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	return all, nil
}

// Get finds the delivery of an id, or of a webhook-id; endpoint, a name or an id,
// tells apart the deliveries of one webhook-id.
func Get(ctx context.Context, pool *pgxpool.Pool, s Scope, id uuid.UUID, endpoint string) (*Delivery, error) {
	w := &where{}
	const both = `SELECT * FROM (
			SELECT ` + liveColumns + ` FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id WHERE %[1]s
			UNION ALL SELECT ` + pastColumns + ` FROM delivery_history d WHERE %[1]s) d ORDER BY d.id`
	w.and("(d.id = %[1]s OR d.event_id = %[1]s)", id)
	(&Filter{}).narrow(w, s, nil, false)
	rows, err := pool.Query(ctx, fmt.Sprintf(both, w), w.args...)
	if err != nil {
		return nil, fmt.Errorf("reading a delivery: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanDelivery)
	if err != nil {
		return nil, fmt.Errorf("reading a delivery: %w", err)
	}
	if i := slices.IndexFunc(found, func(d Delivery) bool { return d.ID == id }); i >= 0 {
		return &found[i], nil
	}
	if endpoint != "" {
		found = slices.DeleteFunc(found, func(d Delivery) bool { return d.Endpoint != endpoint && d.EndpointID.String() != endpoint })
	}
	switch len(found) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return &found[0], nil
	}
	ambiguous := &AmbiguousError{}
	for _, d := range found {
		ambiguous.Endpoints = append(ambiguous.Endpoints, d.Endpoint)
	}
	return nil, ambiguous
}
