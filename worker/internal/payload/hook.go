package payload

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// hook is a webhook that events are about, or about a part of. However many they
// are, it is read once, and taken apart once: there may be ten thousand statuses
// in it.
type hook struct {
	body     []byte
	late     bool // it did not fit into the budget
	apart    bool
	elements []json.RawMessage
	byID     map[string][]int // places of elements, by what they have as their id
}

type hookKey struct {
	id uuid.UUID
	at int64 // microseconds
}

// hooks are the webhooks of events, by their row of webhook_events. One that is
// gone is not among them.
type hooks map[hookKey]*hook

func (e *Event) hook() hookKey { return hookKey{e.Subject.ID, e.Subject.At.UnixMicro()} }

// ofHook says that the body holds the webhook, or a part of it.
func (e *Event) ofHook() bool {
	return e.Type == eventtype.WebhookReceived || sources[e.Type] == &messages
}

// queueHooks reads each webhook of events once, in their order until budget
// bytes are reached: at least the first. What a webhook weighs is known without
// reading it.
func queueHooks(b *pgx.Batch, events []Event, budget int) hooks {
	const sql = `
		SELECT h.number, CASE WHEN h.before < $3 THEN h.body END
		FROM (
			SELECT w.number, e.body, sum(octet_length(e.body)) OVER (ORDER BY w.number) - octet_length(e.body) AS before
			FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY AS w (id, at, number)
			CROSS JOIN LATERAL (SELECT body FROM webhook_events e WHERE e.received_at = w.at AND e.id = w.id LIMIT 1) e
		) h`
	var keys []hookKey
	var ids []pgtype.UUID
	var times []time.Time
	all := make(hooks)
	for i := range events {
		e := &events[i]
		if _, known := all[e.hook()]; known || !e.ofHook() {
			continue
		}
		all[e.hook()] = nil
		keys, ids, times = append(keys, e.hook()), append(ids, pgtype.UUID{Bytes: e.Subject.ID, Valid: true}), append(times, e.Subject.At)
	}
	if len(keys) > 0 {
		b.Queue(sql, ids, times, max(1, budget)).Query(func(rows pgx.Rows) error {
			var number int
			var body []byte
			_, err := pgx.ForEachRow(rows, []any{&number, &body}, func() error {
				all[keys[number-1]] = &hook{body: body, late: body == nil}
				body = nil
				return nil
			})
			return err
		})
	}
	return all
}

// element is a message as Meta wrote it, or nil. It is the one at its position,
// and must have its id: when an erasure has cut something out of the webhook the
// others have moved, and another person's message must not be taken for it.
func (h *hook) element(m *message) []byte {
	if h == nil {
		return nil
	}
	if !h.apart {
		h.apart, h.elements = true, webhook.ReadMessages(h.body)
	}
	if m.position < len(h.elements) && m.is(h.elements[m.position]) {
		return h.elements[m.position]
	}
	if h.byID == nil {
		h.byID = make(map[string][]int, len(h.elements))
		for i, raw := range h.elements {
			id := identify(raw).id
			h.byID[id] = append(h.byID[id], i)
		}
	}
	var id string
	if m.wamid != nil {
		id = *m.wamid
	}
	for _, i := range h.byID[id] {
		if m.is(h.elements[i]) {
			return h.elements[i]
		}
	}
	return nil
}
