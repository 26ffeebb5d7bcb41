package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

// Past stores what another system received in its time, under the ids it gave.
// Everything becomes the rows that the same webhooks would have become here, and
// the same keys, so that what WhatsApp sends once more is known; but nothing is
// delivered to anybody.
type Past struct {
	Account string
	// Source begins the keys of webhooks, whose bytes another system may have
	// changed.
	Source string
}

// PastAnswer is the answer of a finished flow.
type PastAnswer struct {
	ID         uuid.UUID
	Message    []byte // Meta's message that brought it, JSON; nil: not kept
	Data       []byte // what it said, JSON
	Token      string
	Phone      string    // of whoever answered, if the message does not say
	Session    uuid.UUID // a row of flow_sessions, or zero
	Flow       uuid.UUID // a row of flows, or zero
	ReceivedAt time.Time // zero: that of the message, else now
}

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

// Usable says whether a flow token can be the key of a session: "unused" and
// none are everybody's.
func Usable(token string) bool { return tokenHash(token) != "" }

// TokenHash is the hash by which sessions and answers meet.
func TokenHash(token string) string { return tokenHash(token) }

// Answers stores answers, and returns by their ids which row holds them: their
// own, or one that was there before; zero for one that was stored once and has
// been erased since.
func (p Past) Answers(ctx context.Context, tx pgx.Tx, all []PastAnswer) (map[uuid.UUID]uuid.UUID, error) {
	answers := make([]*answer, len(all))
	for i := range all {
		answers[i] = p.answer(&all[i])
	}
	g := &gathered{keys: make(map[key]struct{}), repeats: make(map[string]int)}
	for _, a := range answers {
		if a.wamid != "" {
			g.take(key{p.Account, keyMessage, a.wamid})
		}
	}
	fresh, err := insertNewKeys(ctx, tx, g.sortedKeys())
	if err != nil {
		return nil, err
	}
	there, err := p.existing(ctx, tx, answers)
	if err != nil {
		return nil, err
	}
	holds := make(map[uuid.UUID]uuid.UUID, len(all))
	var added []int
	var people []*identity
	for i, a := range answers {
		k := key{p.Account, keyMessage, a.wamid}
		_, isNew := fresh[k]
		holder, known := there.byID[a.id]
		switch {
		case known:
			holds[a.id] = holder
		case a.wamid != "" && !isNew:
			holds[a.id] = there.byWamid[a.wamid]
		default:
			delete(fresh, k) // one row for one message
			there.byWamid[a.wamid] = a.id
			holds[a.id] = a.id
			if added = append(added, i); a.person != nil {
				people = append(people, a.person)
			}
		}
	}
	if err := resolveContacts(ctx, tx, people); err != nil {
		return nil, err
	}
	return holds, insertPast(ctx, tx, all, answers, added)
}

// answer reads an answer as if its message had come here.
func (p Past) answer(past *PastAnswer) *answer {
	var in webhook.Message
	_ = json.Unmarshal(past.Message, &in) // what is of a wrong kind is as if it were not there
	problems := &webhook.Payload{}
	if past.ReceivedAt.IsZero() {
		past.ReceivedAt = time.Now()
		if at, ok := in.Timestamp.Time(); ok {
			past.ReceivedAt = at
		}
	}
	m := &message{
		account: p.Account, kind: keyMessage, at: past.ReceivedAt,
		wamid:   bounded(in.ID, "id of a message", problems),
		context: bounded(in.Context.ID, "context id of a message", problems),
	}
	if at, ok := in.Timestamp.Time(); ok {
		m.at = at
	}
	phone := in.From
	if phone == "" {
		phone = past.Phone
	}
	m.person = newIdentity(p.Account, phone, in.FromUserID, nil, m.at, problems)
	data := past.Data
	if said, ok := in.FlowAnswer(); ok {
		// The same in its own bytes, with its keys in their order.
		if hash := paramsHash(said); hash != "" && hash == paramsHash(data) {
			data = said
		}
	}
	a := newAnswer(m, data)
	a.id, a.context = past.ID, m.context
	if past.Token != "" && past.Token != a.token {
		if a.setToken(past.Token); a.tokenHash != "" {
			a.paramsHash = ""
		}
	}
	return a
}

// existing is what is stored already of answers.
type existing struct {
	byID    map[uuid.UUID]uuid.UUID
	byWamid map[string]uuid.UUID
}

func (p Past) existing(ctx context.Context, tx pgx.Tx, answers []*answer) (existing, error) {
	e := existing{byID: make(map[uuid.UUID]uuid.UUID), byWamid: make(map[string]uuid.UUID)}
	rows, err := tx.Query(ctx, `
		SELECT r.id, coalesce(r.wamid, '') FROM unnest($1::uuid[]) AS k(id) JOIN flow_responses r ON r.id = k.id
		UNION SELECT r.id, r.wamid FROM unnest($2::text[]) AS k(wamid) JOIN flow_responses r ON r.account = $3 AND r.wamid = k.wamid`,
		column(answers, func(a *answer) pgtype.UUID { return id(a.id) }),
		column(answers, func(a *answer) pgtype.Text { return text(a.wamid) }), p.Account)
	if err != nil {
		return e, fmt.Errorf("looking for answers: %w", err)
	}
	var row [16]byte
	var wamid string
	_, err = pgx.ForEachRow(rows, []any{&row, &wamid}, func() error {
		e.byID[row] = row
		if wamid != "" {
			e.byWamid[wamid] = row
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("looking for answers: %w", err)
	}
	return e, nil
}

const insertPastAnswers = `
	INSERT INTO flow_responses (id, account, source, wamid, context_id, session_id, attempt, flow_id, flow, token_hash, flow_token,
		contact_id, phone_number, user_id, response_data, response_raw, params_hash, incomplete, answered_at, received_at)
	SELECT a.id, $1, 'nfm_reply', a.wamid, a.context_id, s.id, s.attempt, coalesce(s.flow_id, f.id), coalesce(s.flow, f.name), a.token_hash, a.flow_token,
		a.contact_id, a.phone_number, a.user_id, a.response_data::json, a.response_raw, a.params_hash, coalesce(s.incomplete, false), a.answered_at, a.received_at
	FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text[],
		$12::text[], $13::bytea[], $14::text[], $15::timestamptz[], $16::timestamptz[])
		WITH ORDINALITY AS a(id, wamid, context_id, session_id, flow_id, token_hash, flow_token, contact_id, phone_number, user_id,
		response_data, response_raw, params_hash, answered_at, received_at, ord)
	LEFT JOIN flow_sessions s ON s.id = a.session_id AND s.account = $1
	LEFT JOIN flows f ON f.id = a.flow_id AND f.account = $1
	ORDER BY a.ord
	ON CONFLICT DO NOTHING`

func insertPast(ctx context.Context, tx pgx.Tx, all []PastAnswer, answers []*answer, added []int) error {
	if len(added) == 0 {
		return nil
	}
	of := func(i int) *answer { return answers[i] }
	_, err := tx.Exec(ctx, insertPastAnswers, answers[added[0]].account,
		column(added, func(i int) pgtype.UUID { return id(of(i).id) }),
		column(added, func(i int) pgtype.Text { return text(of(i).wamid) }),
		column(added, func(i int) pgtype.Text { return text(of(i).context) }),
		column(added, func(i int) pgtype.UUID { return id(all[i].Session) }),
		column(added, func(i int) pgtype.UUID { return id(all[i].Flow) }),
		column(added, func(i int) pgtype.Text { return text(of(i).tokenHash) }),
		column(added, func(i int) pgtype.Text { return text(of(i).token) }),
		column(added, func(i int) pgtype.UUID { return of(i).person.id() }),
		column(added, func(i int) pgtype.Text { return text(of(i).phoneNumber) }),
		column(added, func(i int) pgtype.Text { return text(of(i).userID) }),
		column(added, func(i int) pgtype.Text { return text(of(i).data) }),
		column(added, func(i int) []byte { return of(i).raw }),
		column(added, func(i int) pgtype.Text { return text(of(i).paramsHash) }),
		column(added, func(i int) time.Time { return of(i).at }),
		column(added, func(i int) time.Time { return all[i].ReceivedAt }))
	if err != nil {
		return fmt.Errorf("storing answers: %w", err)
	}
	return nil
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
	r.queue(b, nil)
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
	slices.SortFunc(all, func(a, b origin) int { return slices.Compare([]byte(a.wamid), []byte(b.wamid)) })
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

// JoinPast connects answers that came here with sessions of the past, whose
// tokens have these hashes. It runs after the commit that stored the sessions,
// as the Writer's own does.
func (p Past) JoinPast(ctx context.Context, pool *pgxpool.Pool, hashes []string) error {
	accounts := make([]string, len(hashes))
	for i := range accounts {
		accounts[i] = p.Account
	}
	var joined int64
	if err := pool.QueryRow(ctx, joinSessions, accounts, hashes).Scan(&joined); err != nil {
		return fmt.Errorf("joining answers and sessions: %w", err)
	}
	return nil
}

const deliverPast = `
	WITH made AS (
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, flow, ordering_key, run_at)
		SELECT ` + laterDeliveryID + `, j.account, e.id, 'flow.completed', ` + completedID + `, j.` + byMessage + `, j.id, j.answered_at, j.flow,
			CASE WHEN e.ordered THEN j.token_hash END, now() + make_interval(secs => coalesce(e.schedule[1], 0))
		FROM flow_responses j JOIN callback_endpoints e ON e.account IN ('*', j.account) AND e.status <> 'off' AND (e.flows IS NULL OR j.flow = ANY (e.flows))
			AND EXISTS (SELECT FROM unnest(e.events) AS p WHERE p = 'flow.completed'
				OR right(p, 1) = '*' AND starts_with('flow.completed', left(p, -1)))
		WHERE j.id = ANY ($1) AND NOT EXISTS (SELECT FROM delivery_history h WHERE h.event_id = ` + completedID + ` AND h.endpoint_id = e.id)
		ORDER BY j.answered_at, j.id
		ON CONFLICT DO NOTHING RETURNING 1)
	SELECT count(*) FROM made`

// laterDeliveryID is a UUIDv7 of now: the ids of the past are of no time.
const laterDeliveryID = `(SELECT (left(t, 8) || '-' || right(t, 4) || '-7' || substr(gen_random_uuid()::text || left(j.id::text, 0), 16))::uuid
	FROM lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') AS t)`

// DeliverPast makes the deliveries of answers that nobody has been told of, for
// the endpoints there are, and returns how many.
func DeliverPast(ctx context.Context, tx pgx.Tx, responses []uuid.UUID) (made int64, err error) {
	ids := column(responses, func(u uuid.UUID) pgtype.UUID { return id(u) })
	if err := tx.QueryRow(ctx, deliverPast, ids).Scan(&made); err != nil {
		return 0, fmt.Errorf("making deliveries: %w", err)
	}
	return made, nil
}
