package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// PastWebhook is a webhook.
type PastWebhook struct {
	ID         uuid.UUID
	ReceivedAt time.Time
	Body       []byte
}

// PastReply is an answer inside a webhook.
type PastReply struct {
	Webhook  uuid.UUID
	Response uuid.UUID // its row in flow_responses
	// Found says that nothing but the webhook held it.
	Found bool
}

// Webhooks stores webhooks with what is in them: messages, statuses, people and
// the answers that nothing else has brought. It returns which of the webhooks
// were there before, and the answers in all others.
func (p Past) Webhooks(ctx context.Context, tx pgx.Tx, all []PastWebhook) (there map[uuid.UUID]bool, replies []PastReply, err error) {
	g := &gathered{keys: make(map[key]struct{}), repeats: make(map[string]int), tokens: make(map[token]struct{}), params: make(map[params]struct{})}
	hooks := make([]*hook, len(all))
	now := time.Now()
	for i := range all {
		hooks[i] = p.hook(&all[i], now)
		g.addHook(hooks[i])
	}
	fresh, err := insertNewKeys(ctx, tx, g.sortedKeys())
	if err != nil {
		return nil, nil, err
	}
	if there, err = p.existingWebhooks(ctx, tx, hooks, fresh); err != nil {
		return nil, nil, err
	}
	for _, h := range hooks {
		if there[h.id] {
			delete(fresh, h.key)
		}
	}
	r := g.pick(fresh, nil)
	if err := resolveContacts(ctx, tx, r.people); err != nil {
		return nil, nil, err
	}
	if r.answers, err = p.adopt(ctx, tx, r.answers); err != nil {
		return nil, nil, err
	}
	b := &pgx.Batch{}
	r.queueHooks(b)
	r.queueFlowEvents(b)
	r.collided = true // it is not the first time that these answers are stored somewhere
	r.queueAnswers(b, func(*answer, string, bool) {})
	p.queueArrival(b, r.answers, r.hooks)
	p.queueOrigins(b, r.hooks)
	if b.Len() > 0 {
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return nil, nil, fmt.Errorf("storing webhooks: %w", err)
		}
	}
	replies, err = p.replies(ctx, tx, r.hooks)
	return there, replies, err
}

// hook gives everything in a webhook an id that follows from the webhook's.
func (p Past) hook(past *PastWebhook, now time.Time) *hook {
	always := func(string, string, string) string { return p.Account }
	h := newHook(past.ID, event.Entry{
		Kind: event.KindWebhook, Account: p.Account, ID: p.Source + past.ID.String(), Time: past.ReceivedAt, Body: past.Body,
	}, always, now)
	for i, m := range h.messages {
		if m.answer != nil {
			m.answer.id = uuid.NewSHA1(past.ID, []byte("answer "+strconv.Itoa(i)))
		}
	}
	for i, e := range h.flowEvents {
		e.id = uuid.NewSHA1(past.ID, []byte("flow "+strconv.Itoa(i)))
	}
	return h
}

// existingWebhooks finds those that are there by their key, or, when that has
// been purged, by their row.
func (p Past) existingWebhooks(ctx context.Context, tx pgx.Tx, hooks []*hook, fresh map[key]struct{}) (map[uuid.UUID]bool, error) {
	there := make(map[uuid.UUID]bool)
	for _, h := range hooks {
		if _, isNew := fresh[h.key]; !isNew {
			there[h.id] = true
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT e.id FROM unnest($1::timestamptz[], $2::uuid[]) AS k(received_at, id)
		JOIN webhook_events e ON e.received_at = k.received_at AND e.id = k.id`,
		column(hooks, func(h *hook) time.Time { return h.at }), column(hooks, func(h *hook) pgtype.UUID { return id(h.id) }))
	if err != nil {
		return nil, fmt.Errorf("looking for webhooks: %w", err)
	}
	var row [16]byte
	if _, err := pgx.ForEachRow(rows, []any{&row}, func() error { there[row] = true; return nil }); err != nil {
		return nil, fmt.Errorf("looking for webhooks: %w", err)
	}
	return there, nil
}

// adopt gives the message of an answer to the answer that was stored without
// one, and returns those that nothing has brought yet.
func (p Past) adopt(ctx context.Context, tx pgx.Tx, answers []*answer) ([]*answer, error) {
	const find = `SELECT id, response_data::text FROM flow_responses
		WHERE account = $1 AND token_hash = $2 AND source = 'nfm_reply' AND wamid IS NULL AND response_data IS NOT NULL ORDER BY received_at, id`
	const adopt = `UPDATE flow_responses SET wamid = $2, context_id = $3, answered_at = $4 WHERE id = $1`
	var left []*answer
	for _, a := range answers {
		hash := paramsHash([]byte(a.data))
		if a.tokenHash == "" || a.wamid == "" || hash == "" {
			left = append(left, a)
			continue
		}
		rows, err := tx.Query(ctx, find, p.Account, a.tokenHash)
		if err != nil {
			return nil, fmt.Errorf("looking for answers without a message: %w", err)
		}
		var row, adopted [16]byte
		var data string
		if _, err := pgx.ForEachRow(rows, []any{&row, &data}, func() error {
			if adopted == uuid.Nil && paramsHash([]byte(data)) == hash {
				adopted = row
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("looking for answers without a message: %w", err)
		}
		if adopted == uuid.Nil {
			left = append(left, a)
		} else if _, err := tx.Exec(ctx, adopt, id(adopted), a.wamid, text(a.context), a.at); err != nil {
			return nil, fmt.Errorf("giving an answer its message: %w", err)
		}
	}
	return left, nil
}

// queueArrival says of answers when they came: not now.
func (p Past) queueArrival(b *pgx.Batch, answers []*answer, hooks []*hook) {
	if len(answers) == 0 {
		return
	}
	at := make(map[uuid.UUID]time.Time, len(hooks))
	for _, h := range hooks {
		at[h.id] = h.at
	}
	b.Queue(`UPDATE flow_responses r SET received_at = n.at FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, at) WHERE r.id = n.id`,
		column(answers, func(a *answer) pgtype.UUID { return id(a.id) }),
		column(answers, func(a *answer) time.Time { return at[a.event] }))
}

// queueOrigins says of answers that were stored before which webhook brought
// them: the first one that did.
func (p Past) queueOrigins(b *pgx.Batch, hooks []*hook) {
	type origin struct {
		*message
		hook *hook
	}
	var all []origin
	seen := make(map[string]bool)
	for _, h := range hooks {
		for _, m := range h.messages {
			if m.answer != nil && m.wamid != "" && !seen[m.wamid] {
				seen[m.wamid] = true
				all = append(all, origin{m, h})
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b origin) int { return cmp.Compare(a.wamid, b.wamid) })
	b.Queue(`
		UPDATE flow_responses r SET webhook_event_id = n.event, phone_number_id = coalesce(r.phone_number_id, n.number),
			contact_id = coalesce(r.contact_id, n.contact), user_id = coalesce(r.user_id, n.user_id)
		FROM unnest($2::text[], $3::uuid[], $4::text[], $5::uuid[], $6::text[]) AS n(wamid, event, number, contact, user_id)
		WHERE r.account = $1 AND r.wamid = n.wamid AND r.webhook_event_id IS NULL`, p.Account,
		column(all, func(o origin) string { return o.wamid }),
		column(all, func(o origin) pgtype.UUID { return id(o.hook.id) }),
		column(all, func(o origin) pgtype.Text { return text(o.phoneNumberID) }),
		column(all, func(o origin) pgtype.UUID { return o.person.id() }),
		column(all, func(o origin) pgtype.Text { return text(o.answer.userID) }))
}

// replies finds the rows of the answers in webhooks. One whose row was erased is
// not among them.
func (p Past) replies(ctx context.Context, tx pgx.Tx, hooks []*hook) ([]PastReply, error) {
	var answers []*answer
	for _, h := range hooks {
		for _, m := range h.messages {
			if m.answer != nil {
				answers = append(answers, m.answer)
			}
		}
	}
	if len(answers) == 0 {
		return nil, nil
	}
	there, err := p.existing(ctx, tx, answers)
	if err != nil {
		return nil, err
	}
	var all []PastReply
	for _, a := range answers {
		row, known := there.byID[a.id]
		if !known {
			row, known = there.byWamid[a.wamid]
		}
		if known {
			all = append(all, PastReply{Webhook: a.event, Response: row, Found: row == a.id})
		}
	}
	return all, nil
}
