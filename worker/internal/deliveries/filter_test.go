package deliveries

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// A few dead deliveries among many that arrived are found by their index, by a
// plan that is made once for all parameters too.
func TestDeadOnesAreFoundByTheirIndex(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	endpoint := uuid.Must(uuid.NewV7())
	for _, sql := range []string{
		`INSERT INTO delivery_history (id, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, state, attempt, created_at, finished_at)
			SELECT gen_random_uuid(), '` + endpoint.String() + `', 'crm', 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now(),
				CASE WHEN i % 10000 = 0 THEN 'dead' ELSE 'delivered' END, 1, now(), now() FROM generate_series(1, 30000) AS i`,
		`ANALYZE delivery_history`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]Filter{"of every endpoint": {State: Dead}, "of one": {State: Dead, Endpoint: endpoint.String()}} {
		t.Run(name, func(t *testing.T) {
			target, err := f.resolve(t.Context(), pool)
			if err != nil {
				t.Fatal(err)
			}
			w := &where{}
			f.narrow(w, Scope{}, target, true)
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			if _, err := conn.Exec(t.Context(), "SET plan_cache_mode = force_generic_plan"); err != nil {
				t.Fatal(err)
			}
			defer conn.Exec(context.Background(), "RESET plan_cache_mode; DEALLOCATE listed") //nolint:errcheck // the database is dropped
			if _, err := conn.Exec(t.Context(), "PREPARE listed AS SELECT d.id FROM delivery_history d WHERE "+w.String()+" ORDER BY d.id DESC LIMIT 50"); err != nil {
				t.Fatal(err)
			}
			execute := "EXPLAIN EXECUTE listed"
			if len(w.args) > 0 {
				execute += "('{" + endpoint.String() + "}')"
			}
			rows, err := conn.Query(t.Context(), execute)
			if err != nil {
				t.Fatal(err)
			}
			var plan []string
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					t.Fatal(err)
				}
				plan = append(plan, line)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(plan, "\n"); !strings.Contains(all, "endpoint_id_finished_at_idx") || strings.Contains(all, "Seq Scan") {
				t.Errorf("the plan is\n%s", all)
			}
			found, err := List(t.Context(), pool, Scope{}, f, uuid.Nil, 50)
			if err != nil || len(found) != 3 {
				t.Errorf("%d found, %v", len(found), err)
			}
		})
	}
}
