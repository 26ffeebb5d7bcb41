package callback

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// hookOf stores a webhook and returns its id and time.
func hookOf(t testing.TB, pool *pgxpool.Pool, body []byte) (uuid.UUID, time.Time) {
	t.Helper()
	id, at := uuid.Must(uuid.NewV7()), time.Now().UTC().Truncate(time.Microsecond)
	exec(t, pool, `INSERT INTO webhook_events (id, received_at, body) VALUES ($1, $2, $3)`, id, at, body)
	return id, at
}

// statuses are a webhook with n of them.
func statuses(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"statuses":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"wamid.%d","status":"delivered","timestamp":"1764000000","recipient_id":"5511999999999","pricing":{"billable":true,"pricing_model":"PMP","category":"marketing","type":"regular"},"conversation":{"id":"%064d","origin":{"type":"marketing"}}}`, i, i)
	}
	b.WriteString(`]}}]}]}`)
	return b.Bytes()
}

func TestOneBigWebhookHoldsUpNobody(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := &queue{pool: pool, lease: leaseFor}
	const n, wanted = 10_000, 100
	id, at := hookOf(t, pool, statuses(n))
	exec(t, pool, `INSERT INTO webhook_messages (event_id, event_at, position, kind, type, wamid)
		SELECT $1, $2, i, 'status', 'delivered', 'wamid.' || i FROM generate_series(0, $3::int - 1) AS i`, id, at, n)
	big := endpoint(t, pool, "http://127.0.0.1:1/", `payload = 'event', events = '{message.status}', max_in_flight = 200`)
	exec(t, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position)
		SELECT gen_random_uuid(), $1, 'message.status', gen_random_uuid(), $3, $2, $3, $4::int - i FROM generate_series(1, $5::int) AS i`, big, id, at, n, wanted)
	small := dueDeliveries(t, pool, endpoint(t, pool, "http://127.0.0.1:1/"), 1)[0]

	// One claim takes them all, unless the machine is busy and it has no more time.
	var claimed []Delivery
	for tries := 0; len(claimed) < wanted+1 && tries < 10; tries++ {
		started := time.Now()
		claimed = append(claimed, q.claimUpTo(t, 256)...)
		if took := time.Since(started); took > 9*time.Second {
			t.Errorf("a claim took %s", took)
		}
	}
	var neighbour bool
	for _, d := range claimed {
		neighbour = neighbour || d.ID == small
		if d.EventType == eventtype.MessageStatus && !strings.Contains(string(d.Body), fmt.Sprintf(`"id":"wamid.%d"`, d.subject.Position)) {
			t.Fatalf("%d: body %s", d.subject.Position, d.Body)
		}
	}
	if len(claimed) != wanted+1 || !neighbour {
		t.Errorf("%d claimed, want %d; the neighbour's among them: %t", len(claimed), wanted+1, neighbour)
	}
}

// Bodies of 3 MiB: a claim takes what fits, the rest stays due, whether it is new
// or was tried before.
func TestAClaimHoldsNoMoreThanItsBudget(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"raw", "event"} {
		pool := testkit.Database(t)
		q := &queue{pool: pool, lease: leaseFor}
		e := endpoint(t, pool, "http://127.0.0.1:1/", `payload = '`+payload+`', events = '{webhook.received}'`)
		body := []byte(`{"object":"` + strings.Repeat("x", 3<<20) + `","entry":[]}`)
		const n = 8
		for range n {
			id, at := hookOf(t, pool, body)
			exec(t, pool, `INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
				VALUES (gen_random_uuid(), $1, 'webhook.received', gen_random_uuid(), $3, $2, $3)`, e, id, at)
		}
		for round := range 2 { // rendered, then frozen
			var sizes []int
			for left := n; left > 0; left -= sizes[len(sizes)-1] {
				claimed := q.claimUpTo(t, 256)
				if len(claimed) == 0 || len(claimed) > 6 {
					t.Fatalf("%s, round %d: %d claimed of %d", payload, round, len(claimed), left)
				}
				for _, d := range claimed {
					if len(d.Body) < 3<<20 {
						t.Fatalf("a body of %d bytes", len(d.Body))
					}
				}
				sizes = append(sizes, len(claimed))
				exec(t, pool, `UPDATE deliveries SET state = 'due', run_at = now() + interval '1 hour', lease_id = NULL, lease_until = NULL WHERE state = 'leased'`)
			}
			if sum := count(t, pool, `SELECT count(*) FROM deliveries WHERE state = 'due'`); sum != n {
				t.Errorf("%d are due, want %d", sum, n)
			}
			exec(t, pool, `UPDATE deliveries SET run_at = now()`)
		}
	}
}
