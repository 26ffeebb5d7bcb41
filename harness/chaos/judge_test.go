package chaos

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// crime is what one case of TestJudge has done to a scene that was in order.
type crime struct {
	*Scene
	t *testing.T
}

// The judge is the only witness of every promise: each thing it is to notice is
// done to a scene that is in order, and must be noticed.
func TestJudge(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := inOrder(ctx, t)
	for name, c := range map[string]struct {
		do     func(c crime)
		fault  Fault
		missed string // empty: nothing
	}{
		"nothing is wrong": {func(crime) {}, Fault{Bound: time.Second}, ""},
		"a step is not stored": {
			func(c crime) {
				c.exec(`DELETE FROM flow_steps WHERE id = (SELECT id FROM flow_steps WHERE kind = 'step' LIMIT 1)`)
			},
			Fault{}, "I1: 1 acknowledged entries are not stored"},
		"an answer is not stored": {
			func(c crime) {
				c.exec(`DELETE FROM flow_responses WHERE id = (SELECT id FROM flow_responses WHERE source = 'nfm_reply' LIMIT 1)`)
			},
			Fault{}, "I1: 1 acknowledged entries are not stored"},
		"a webhook is stored twice": {
			func(c crime) {
				c.exec(`INSERT INTO webhook_events (id, account, received_at, body) SELECT gen_random_uuid(), account, received_at, body FROM webhook_events LIMIT 1`)
			},
			Fault{}, "I1: 1 rows are there twice"},
		"something is stored that nobody appended": {
			func(c crime) {
				c.exec(`INSERT INTO webhook_events (id, account, received_at, body) VALUES (gen_random_uuid(), 'default', now(), 'strange')`)
			},
			Fault{}, "I1: 1 rows are of nothing that was appended"},
		"a number below the mark never arrived": {
			func(c crime) {
				c.exec(`UPDATE stream_sources SET seen = seen - int8multirange(int8range(1, 2)) WHERE shard = (SELECT min(shard) FROM stream_sources)`)
			},
			Fault{}, "I1: 1 numbers below the producer's marks never arrived"},
		"an answer has no delivery": {
			func(c crime) { c.exec(`DELETE FROM delivery_history WHERE id = $1`, c.some()) },
			Fault{}, "I2: 1 answers have no delivery"},
		"an answer has two deliveries under two webhook-ids, and both arrived": {
			func(c crime) {
				c.exec(`INSERT INTO delivery_history SELECT (jsonb_populate_record(h, jsonb_build_object('id', $2::uuid, 'event_id', $2::uuid))).* FROM delivery_history h WHERE id = $1`,
					c.some(), c.postNew())
			},
			Fault{}, "I2: 1 answers have a delivery too many"},
		"an answer has two deliveries under one webhook-id": {
			func(c crime) {
				c.exec(`INSERT INTO delivery_history SELECT (jsonb_populate_record(h, jsonb_build_object('id', gen_random_uuid()))).* FROM delivery_history h WHERE id = $1`, c.some())
			},
			Fault{}, "I2: 1 answers have a delivery too many"},
		"a delivery that never arrived counts as delivered": {
			func(c crime) { delete(c.Receiver.posts, c.webhook(c.some())) },
			Fault{}, "I2: 1 deliveries count as delivered and never arrived"},
		"a delivery that arrived is dead": {
			func(c crime) { c.exec(`UPDATE delivery_history SET state = 'dead' WHERE id = $1`, c.some()) },
			Fault{}, "I3: 1 deliveries are dead and arrived"},
		"a delivery is dead and did not arrive": {
			func(c crime) {
				delete(c.Receiver.posts, c.webhook(c.some()))
				c.exec(`UPDATE delivery_history SET state = 'dead' WHERE id = $1`, c.some())
			},
			Fault{}, "I2: 1 deliveries do not count as delivered"},
		"a delivery is cancelled and did not arrive": {
			func(c crime) {
				delete(c.Receiver.posts, c.webhook(c.some()))
				c.exec(`UPDATE delivery_history SET state = 'cancelled' WHERE id = $1`, c.some())
			},
			Fault{}, "I2: 1 deliveries do not count as delivered"},
		"a delivery that arrived is due": {
			func(c crime) { c.reopen("due") },
			Fault{}, "I2: 1 deliveries do not count as delivered"},
		"a callback came of which there is no delivery": {
			func(c crime) { c.postNew() },
			Fault{}, "I2: 1 callbacks were accepted of which there is no delivery"},
		"a callback came again after a 2xx": {
			func(c crime) { c.post(c.webhook(c.some()), c.body(c.some()), true) },
			Fault{}, "I4: 1 callbacks came again after a 2xx"},
		"a callback came again with another body": {
			func(c crime) { c.post(c.webhook(c.some()), []byte("another"), true) },
			Fault{}, "I4: 1 callbacks came again with another body"},
		"a callback came without a signature": {
			func(c crime) { c.post(c.webhook(c.some()), c.body(c.some()), false) },
			Fault{}, "I5: 1 signatures do not verify"},
		"a lease is left": {
			func(c crime) { c.reopen("leased") },
			Fault{}, "I6: 1 leases are left"},
		"a lease ran out": {
			func(c crime) { c.exec(`UPDATE delivery_history SET attempt = attempt + 1 WHERE id = $1`, c.some()) },
			Fault{}, "I6: 1 leases ran out"},
		"an entry is left on a stream": {
			func(c crime) {
				id, err := c.Redis.XAdd(ctx, &redis.XAddArgs{Stream: c.Keys.Events(0), Values: []any{"v", "1"}}).Result()
				if err != nil {
					c.t.Fatal(err)
				}
				c.t.Cleanup(func() { c.Redis.XDel(context.WithoutCancel(ctx), c.Keys.Events(0), id) })
			},
			Fault{}, "I6: 1 entries are left on the streams"},
		"recovery took too long": {
			func(c crime) { c.Recovered(1001 * time.Millisecond) },
			Fault{Bound: time.Second}, "I7: recovery took 1s, the bound is 1s"},
		"the load was half of what it was to be": {
			func(c crime) {
				c.Short = false
				c.Producer.held, c.Producer.due, c.Producer.loaded = time.Second, 2000, 1000
			},
			Fault{}, "the load was 1000 events/s"},
		"no event was appended": {
			func(c crime) { c.Producer.entries = 0 },
			Fault{}, "no event was appended"},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := s.pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := tx.Rollback(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}()
			again := restored(s)
			defer again()
			s.db, s.Verdict = tx, &Verdict{}
			c.do(crime{s, t})
			if err := s.judge(ctx, c.fault); err != nil {
				t.Fatal(err)
			}
			if c.missed == "" {
				if len(s.Verdict.Missed) > 0 {
					t.Errorf("missed: %q", s.Verdict.Missed)
				}
				return
			}
			if !slices.ContainsFunc(s.Verdict.Missed, func(m string) bool { return strings.HasPrefix(m, c.missed) }) {
				t.Errorf("missed: %q, expected %q", s.Verdict.Missed, c.missed)
			}
		})
	}
}

// inOrder is a scene that has come to rest, with a few events.
func inOrder(ctx context.Context, t *testing.T) *Scene {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := testBuilds.failpoints(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScene(ctx, Fault{}, Options{Root: root, Bin: bin, Short: true, Say: t.Output(), builds: testBuilds}, &Verdict{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Producer.Add(ctx, 50); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.stopAll(); err != nil {
		t.Fatal(err)
	}
	return s
}

// restored is how to bring back what a case changes outside of the database.
func restored(s *Scene) func() {
	r, p := s.Receiver, s.Producer
	seen := make(map[string]posts, len(r.posts))
	for id, p := range r.posts {
		seen[id] = *p
	}
	entries := p.entries
	return func() {
		s.db, s.Short = s.pool, true
		p.entries, p.held, p.due, p.loaded = entries, 0, 0, 0
		r.forged, r.changed = nil, nil
		clear(r.posts)
		for id := range maps.Keys(seen) {
			p := seen[id]
			r.posts[id] = &p
		}
	}
}

func (c crime) exec(sql string, args ...any) {
	c.t.Helper()
	tag, err := c.db.Exec(c.t.Context(), sql, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	if tag.RowsAffected() != 1 {
		c.t.Fatalf("%d rows were changed, expected one: %s", tag.RowsAffected(), sql)
	}
}

// some is one delivery, always the same.
func (c crime) some() (id string) {
	c.t.Helper()
	if err := c.db.QueryRow(c.t.Context(), "SELECT id::text FROM delivery_history ORDER BY id LIMIT 1").Scan(&id); err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c crime) webhook(delivery string) (id string) {
	c.t.Helper()
	if err := c.db.QueryRow(c.t.Context(), "SELECT event_id::text FROM delivery_history WHERE id = $1", delivery).Scan(&id); err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c crime) body(delivery string) (body []byte) {
	c.t.Helper()
	if err := c.db.QueryRow(c.t.Context(), "SELECT body FROM delivery_history WHERE id = $1", delivery).Scan(&body); err != nil {
		c.t.Fatal(err)
	}
	return body
}

// reopen makes a finished delivery an open one.
func (c crime) reopen(state string) {
	c.t.Helper()
	c.exec(`WITH h AS (DELETE FROM delivery_history WHERE id = $1 RETURNING *)
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, attempt, state, lease_id, lease_until)
		SELECT id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, attempt, $2,
			CASE $2 WHEN 'leased' THEN id END, CASE $2 WHEN 'leased' THEN now() END FROM h`, c.some(), state)
}

// postNew sends a callback under a webhook-id of its own, which it returns.
func (c crime) postNew() string {
	random := make([]byte, 16)
	rand.Read(random)
	id := fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
	c.post(id, []byte("{}"), true)
	return id
}

func (c crime) post(id string, body []byte, sign bool) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.Receiver.URL(), bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	now := time.Now()
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if sign {
		signer, err := standardwebhooks.NewWebhook(c.Site.Secrets.CallbackSecret)
		if err != nil {
			c.t.Fatal(err)
		}
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			c.t.Fatal(err)
		}
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		c.t.Fatalf("the receiver answered %d", response.StatusCode)
	}
}
