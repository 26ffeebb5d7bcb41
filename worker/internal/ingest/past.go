package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
