package callback

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// What waits because somebody paused its endpoint is apart from what is late.
func TestOldestDueByStatusOfTheEndpoint(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for status, seconds := range map[string]int{"active": 100, "paused": 1000, "disabled": 2000, "off": 3000} {
		e := endpoint(t, pool, "https://example.com", "status = '"+status+"'")
		ids := dueDeliveries(t, pool, e, 2)
		if _, err := pool.Exec(t.Context(), "UPDATE deliveries SET run_at = now() - make_interval(secs => $2) WHERE id = $1", ids[0], seconds); err != nil {
			t.Fatal(err)
		}
	}
	m := newMetrics(prometheus.NewRegistry())
	if err := m.refresh(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]float64{"active": 100, "paused": 1000, "disabled": 2000} {
		if got := testutil.ToFloat64(m.oldestDue.WithLabelValues(status)); got < want || got > want+50 {
			t.Errorf("%s: %v s, want about %v", status, got, want)
		}
	}
}
