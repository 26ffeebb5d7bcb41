package seed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
)

// seedWebhook is a row of webhook_events.
type seedWebhook struct {
	id           uuid.UUID
	body         []byte
	received     *time.Time
	valid        bool // its signature
	callbackSent bool
}

func (w *seedWebhook) key() uuid.UUID { return w.id }

func (w *seedWebhook) note() string {
	if w.received == nil {
		return "it has no time: it got that of the import"
	}
	return ""
}

func (i *importer) importWebhooks(ctx context.Context) error {
	s := i.source
	const t = "webhook_events"
	valid := s.is(t, "signature_valid")
	if s.columns[t]["signature_valid"] == "" {
		valid = "true"
	}
	return move(ctx, i, table[*seedWebhook]{
		name: t,
		query: "SELECT t.id::uuid, t.raw_payload::text, " + strings.Join([]string{
			s.at(t, "received_at", "processed_at", "callback_sent_at"), valid, s.is(t, "callback_sent")}, ", ") +
			" FROM " + s.name(t) + " t ORDER BY 3 NULLS FIRST, t.id",
		scan: func(row pgx.CollectableRow) (*seedWebhook, error) {
			w := new(seedWebhook)
			err := row.Scan((*[16]byte)(&w.id), &w.body, &w.received, &w.valid, &w.callbackSent)
			return w, err
		},
		refuse: func(w *seedWebhook) string {
			if !w.valid {
				return "its signature was not found valid, so that anybody may have sent it"
			}
			return ""
		},
		store: i.storeWebhooks,
		exist: func(ctx context.Context, rows []*seedWebhook) (map[uuid.UUID]bool, error) {
			var dedup []string
			for _, w := range rows {
				dedup = append(dedup, i.past.Source+w.id.String())
			}
			return i.exists(ctx, `SELECT k.id FROM unnest($2::uuid[], $3::text[]) AS k(id, dedup)
				JOIN event_keys e ON e.account = $1 AND e.kind = 'webhook' AND e.dedup = k.dedup`, i.Account, uuids(keys(rows)), dedup)
		},
		note:  (*seedWebhook).note,
		again: i.callbacksSince,
	})
}

func (i *importer) storeWebhooks(ctx context.Context, tx pgx.Tx, rows []*seedWebhook) ([]outcome, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	all := make([]ingest.PastWebhook, len(rows))
	sent := make(map[uuid.UUID]bool, len(rows))
	for n, w := range rows {
		all[n] = ingest.PastWebhook{ID: w.id, ReceivedAt: or(w.received, time.Now()), Body: w.body}
		sent[w.id] = w.callbackSent
	}
	there, replies, err := i.past.Webhooks(ctx, tx, all)
	if err != nil {
		return nil, err
	}
	if err := i.noteCallbacks(ctx, tx, replies, sent); err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(rows))
	for n, w := range rows {
		outcomes[n] = outcome{id: w.id, result: takenOver, target: w.id, note: w.note()}
		if there[w.id] {
			outcomes[n].result, outcomes[n].note = wasThere, ""
		}
	}
	return outcomes, nil
}

// noteCallbacks remembers which answers had been delivered. The seed knows it of
// a webhook, not of each answer in it; what it could not store it never delivered.
func (i *importer) noteCallbacks(ctx context.Context, tx pgx.Tx, replies []ingest.PastReply, sent map[uuid.UUID]bool) error {
	if len(replies) == 0 {
		return nil
	}
	var responses, webhooks []pgtype.UUID
	var callbacks, delivered, found []bool
	for _, r := range replies {
		responses = append(responses, pgtype.UUID{Bytes: r.Response, Valid: true})
		webhooks = append(webhooks, pgtype.UUID{Bytes: r.Webhook, Valid: true})
		callbacks = append(callbacks, sent[r.Webhook])
		delivered = append(delivered, sent[r.Webhook] && !r.Found)
		found = append(found, r.Found)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO `+Schema+`.callbacks (response_id, webhook_id, account, callback_sent, delivered, found)
		SELECT response, webhook, $1, sent, delivered, found FROM unnest($2::uuid[], $3::uuid[], $4::bool[], $5::bool[], $6::bool[])
			AS n(response, webhook, sent, delivered, found)
		ON CONFLICT DO NOTHING`, i.Account, responses, webhooks, callbacks, delivered, found)
	if err != nil {
		return fmt.Errorf("noting which answers were delivered: %w", err)
	}
	return nil
}

// callbacksSince notes what the seed has delivered since an earlier import.
func (i *importer) callbacksSince(ctx context.Context, rows []*seedWebhook, _ map[uuid.UUID]uuid.UUID) error {
	var sent []uuid.UUID
	for _, w := range rows {
		if w.callbackSent {
			sent = append(sent, w.id)
		}
	}
	if len(sent) == 0 {
		return nil
	}
	_, err := i.Pool.Exec(ctx, "UPDATE "+Schema+".callbacks SET callback_sent = true, delivered = true WHERE webhook_id = ANY ($1::uuid[]) AND NOT callback_sent", uuids(sent))
	if err != nil {
		return fmt.Errorf("noting which answers were delivered: %w", err)
	}
	return nil
}
