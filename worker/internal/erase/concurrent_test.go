package erase

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestErasingWhileMessagesArrive(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	client, keys, _ := testkit.Redis(t, 1)
	eraser := New(Config{Pool: pool, Redis: client, Keys: keys})
	writer := ingest.NewWriter(pool, ingest.Config{})
	const batches = 60
	const ada, bob = "16505551234", "447700900123"
	message := func(number, user, id string) string {
		return fmt.Sprintf(`{"from":%q,%s"id":%q,"timestamp":"1764400000","type":"text","text":{"body":"hello of %s"}}`, number, user, id, number)
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range batches {
				user := "" // the user id is learnt, and merged, on the way
				if i%3 > 0 {
					user = `"from_user_id":"US.ADA",`
				}
				body := value(`"messages":[` + message(ada, user, fmt.Sprint("wamid.a", w, "-", i)) + `,` + message(bob, "", fmt.Sprint("wamid.b", w, "-", i)) + `]`)
				sum := sha256.Sum256([]byte(body))
				e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: hex.EncodeToString(sum[:]), Time: time.Now().UTC(), Source: fmt.Sprint("edge", w),
					Seq: uint64(i + 1), Body: []byte(body)}
				entry := stream.Entry{Stream: "s", ID: fmt.Sprint(w, "-", i), Event: e}
				for { // as the readers do: until it is stored
					dead, err := writer.Write(t.Context(), []stream.Entry{entry})
					if len(dead) > 0 {
						t.Errorf("given up: %s", dead[0].Reason)
					}
					if err == nil {
						break
					}
					if t.Context().Err() != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	stored := make(chan struct{})
	go func() { writers.Wait(); close(stored) }()
	request := Request{Account: "default", By: UserID, Value: "US.ADA", EveryBody: true}
	runs := 0
	for done := false; !done; runs++ {
		select {
		case <-stored:
			done = true
		default:
		}
		if _, err := eraser.Erase(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	// What came under the number before the user id was known again.
	request.By, request.Value = PhoneNumber, ada
	if _, err := eraser.Erase(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d erasures while messages arrived", runs)

	rows, err := pool.Query(t.Context(), "SELECT convert_from(body, 'UTF8') FROM webhook_events")
	if err != nil {
		t.Fatal(err)
	}
	his, hers := 0, 0
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			t.Fatal(err)
		}
		his += strings.Count(body, "hello of "+bob)
		hers += strings.Count(body, ada)
	}
	var contacts, messages int
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM contacts), (SELECT count(*) FROM webhook_messages)`).Scan(&contacts, &messages); err != nil {
		t.Fatal(err)
	}
	if his != 2*batches || hers != 0 || contacts != 1 {
		t.Errorf("%d of his %d messages are there, her number %d times, %d contacts", his, 2*batches, hers, contacts)
	}
	if messages < 2*batches {
		t.Errorf("%d rows of messages, expected his %d", messages, 2*batches)
	}
}

// A claim has read a webhook before something was cut out of it, and stores the
// body that it made of that afterwards.
func TestWhatAClaimHasReadIsErasedToo(t *testing.T) {
	w := newWorld(t)
	const body = "made of what was there"
	claim, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Rollback(context.Background()) //nolint:errcheck // it is committed
	execute := func(sql string, args ...any) {
		t.Helper()
		if _, err := claim.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	execute(`SELECT FROM callback_endpoints WHERE id = $1 FOR NO KEY UPDATE`, endpointID("crm"))
	done := make(chan error, 1)
	go func() {
		_, err := w.eraser.Erase(context.Background(), Request{Account: "default", By: UserID, Value: w.ada.user})
		done <- err
	}()
	testkit.Eventually(t, "the erasure waits for the claim", func() bool {
		var n int
		err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		return err == nil && n == 1
	})
	execute(`UPDATE deliveries SET state = 'leased', attempt = 1, lease_id = gen_random_uuid(), lease_until = now() + interval '1 minute', body = $2
		WHERE endpoint_id = $1 AND state = 'due' AND subject_id = $3`, endpointID("crm"), []byte(body), w.bothID)
	if err := claim.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, line := range w.dump() {
		if strings.Contains(line, body) {
			t.Errorf("still there: %.300s", line)
		}
	}
}
