package records

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WebhookEvent is one webhook as WhatsApp sent it.
type WebhookEvent struct {
	ID         uuid.UUID `json:"id" format:"uuid"`
	Account    string    `json:"account" doc:"The account whose secret verified it; single messages in it may belong to others"`
	ReceivedAt Timestamp `json:"receivedAt" format:"date-time"`
	Problem    *string   `json:"problem" doc:"Why the body, or part of it, could not be read; null when all of it was"`
	Size       int       `json:"size" doc:"Bytes of the body"`
}

// WebhookBody is a webhook with its body and what was found in it.
type WebhookBody struct {
	WebhookEvent
	Body     *string          `json:"body" doc:"The body as it came; null when it is not UTF-8"`
	BodyData []byte           `json:"bodyBase64,omitempty" doc:"The body in base64, when it is not UTF-8"`
	Messages []WebhookMessage `json:"messages"`
}

// WebhookMessage is one message or status inside a webhook.
type WebhookMessage struct {
	Account       string     `json:"account"`
	Kind          string     `json:"kind" enum:"message,status"`
	Type          *string    `json:"type" doc:"Type of the message (text, interactive …), or the status (sent, read …)"`
	Wamid         *string    `json:"wamid"`
	PhoneNumberID *string    `json:"phoneNumberId"`
	PhoneNumber   *string    `json:"phoneNumber" doc:"The number that the person has now"`
	UserID        *string    `json:"userId"`
	At            *Timestamp `json:"at" format:"date-time" doc:"WhatsApp's time of it"`
}

// WebhookFilter narrows a list of webhooks; what is zero does not.
type WebhookFilter struct {
	Wamid    string
	Phone    string
	UserID   string
	Problem  bool // only those that could not be read completely
	Received Span
}

// Order names the order of the list.
func (f *WebhookFilter) Order() string { return "receivedAt" }

// Place is where a page ends that ends with e.
func (f *WebhookFilter) Place(e *WebhookEvent) Place {
	return Place{Order: f.Order(), At: e.ReceivedAt.Time, ID: e.ID}
}

const webhookColumns = "e.id, e.account, e.received_at, e.problem, octet_length(e.body)"

func scanWebhook(row pgx.CollectableRow) (e WebhookEvent, err error) {
	err = row.Scan(&e.ID, &e.Account, &e.ReceivedAt, &e.Problem, &e.Size)
	return e, err
}

// WebhookEvents lists at most limit webhooks, the latest first, behind a place.
func (r *Records) WebhookEvents(ctx context.Context, accounts Accounts, f WebhookFilter, from *Place, limit int) ([]WebhookEvent, error) {
	if f.Wamid != "" || f.Phone != "" || f.UserID != "" {
		sql, args := f.found(accounts, from, limit)
		return r.webhooks(ctx, sql, args)
	}
	return byStretches(f.Received, from, limit, func(s Span, limit int) ([]WebhookEvent, error) {
		sql, args := f.during(accounts, s, from, limit)
		return r.webhooks(ctx, sql, args)
	})
}

func (r *Records) webhooks(ctx context.Context, sql string, args []any) ([]WebhookEvent, error) {
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading webhooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanWebhook)
	if err != nil {
		return nil, fmt.Errorf("reading webhooks: %w", err)
	}
	return list, nil
}

// during is the webhooks of a stretch of time. Of all accounts, or if they are
// few, they are read in the order of time; else in that of each account.
func (f *WebhookFilter) during(accounts Accounts, s Span, from *Place, limit int) (string, []any) {
	q := &query{}
	if accounts == nil || f.Problem {
		q.allowed("e.account", accounts)
		if f.Problem {
			q.and("e.problem IS NOT NULL")
		}
		q.within("e.received_at", s)
		q.after("e.received_at", "e.id", from)
		return fmt.Sprintf("SELECT %s FROM webhook_events e WHERE %s ORDER BY e.received_at DESC, e.id DESC LIMIT %d",
			webhookColumns, q.conditions(), limit), q.args
	}
	known := q.accountsOf(accounts, "")
	q.and("e.account = a.account")
	q.within("e.received_at", s)
	q.after("e.received_at", "e.id", from)
	return fmt.Sprintf(`
		SELECT %s FROM (%s) a CROSS JOIN LATERAL (
			SELECT * FROM webhook_events e WHERE %s ORDER BY e.received_at DESC, e.id DESC LIMIT %d) e
		ORDER BY e.received_at DESC, e.id DESC LIMIT %[4]d`,
		webhookColumns, known, q.conditions(), limit), q.args
}

// found is the webhooks that hold a message, or messages of a person: those are
// few, and tell where the webhooks are. OFFSET keeps Postgres from making one
// join of it, over the whole table.
func (f *WebhookFilter) found(accounts Accounts, from *Place, limit int) (string, []any) {
	q := &query{account: "a.account"}
	known := q.accountsOf(accounts, "webhook_messages")
	q.and("m.account = a.account")
	q.andText("m.wamid = %s", f.Wamid)
	q.person(f.Phone, f.UserID)
	q.within("m.event_at", f.Received)
	q.after("m.event_at", "m.event_id", from)
	messages := q.conditions()
	q.where = nil
	q.allowed("e.account", accounts)
	if f.Problem {
		q.and("e.problem IS NOT NULL")
	}
	return fmt.Sprintf(`
		SELECT %s FROM (
			SELECT DISTINCT m.event_id, m.event_at FROM (%s) a CROSS JOIN LATERAL (
				SELECT m.event_id, m.event_at FROM webhook_messages m WHERE %s OFFSET 0) m) m
		JOIN webhook_events e ON e.received_at = m.event_at AND e.id = m.event_id
		WHERE %s ORDER BY e.received_at DESC, e.id DESC LIMIT %d`,
		webhookColumns, known, messages, q.conditions(), limit), q.args
}

// person limits messages m to those of a contact and of the contacts that were
// merged into it.
func (q *query) person(phone, userID string) {
	if phone == "" && userID == "" {
		return
	}
	who := &query{account: q.account, args: q.args}
	who.and("c.account = " + q.account)
	who.and("c.merged_into IS NULL")
	who.andText("c.phone_number = %s", phone)
	who.andText("c.user_id = %s", userID)
	q.args = who.args
	q.and(`m.contact_id = ANY (ARRAY(
		WITH who AS (SELECT c.id FROM contacts c WHERE ` + who.conditions() + `)
		SELECT id FROM who UNION ALL SELECT o.id FROM contacts o WHERE o.merged_into IN (SELECT id FROM who)))`)
}

// WebhookEvent is one webhook with its body; ErrNotFound when there is none.
func (r *Records) WebhookEvent(ctx context.Context, accounts Accounts, id uuid.UUID) (*WebhookBody, error) {
	q := &query{}
	q.and("e.id = %s", id)
	q.allowed("e.account", accounts)
	// The id holds the time at which it was stored; what it is partitioned by is
	// the edge's, which was earlier, or is from the next day at most. Nearly
	// always it is found in the partitions of those days.
	near := *q
	if id.Version() == 7 {
		seconds, nanoseconds := id.Time().UnixTime()
		at := time.Unix(seconds, nanoseconds)
		near.within("e.received_at", Span{at.Add(-firstStretch), at.Add(firstStretch)})
	}
	e, err := r.webhookBody(ctx, &near)
	if errors.Is(err, pgx.ErrNoRows) {
		e, err = r.webhookBody(ctx, q)
	}
	if e, err = found(e, err, "webhook"); err != nil {
		return nil, err
	}
	e.Messages, err = r.messagesOf(ctx, accounts, id, e.ReceivedAt.Time)
	return e, err
}

func (r *Records) webhookBody(ctx context.Context, q *query) (*WebhookBody, error) {
	var e WebhookBody
	var body []byte
	err := r.pool.QueryRow(ctx, "SELECT "+webhookColumns+", e.body FROM webhook_events e WHERE "+q.conditions(), q.args...).
		Scan(&e.ID, &e.Account, &e.ReceivedAt, &e.Problem, &e.Size, &body)
	if err != nil {
		return nil, err
	}
	if utf8.Valid(body) {
		text := string(body)
		e.Body = &text
	} else {
		e.BodyData = body
	}
	return &e, nil
}

func (r *Records) messagesOf(ctx context.Context, accounts Accounts, event uuid.UUID, at time.Time) ([]WebhookMessage, error) {
	q := &query{}
	known := q.accountsOf(accounts, "webhook_messages")
	sql := fmt.Sprintf(`
		SELECT m.account, m.kind, m.type, m.wamid, m.phone_number_id, c.phone_number, c.user_id, m.at
		FROM (%s) a JOIN webhook_messages m ON m.account = a.account AND m.event_id = %s AND m.event_at = %s
		LEFT JOIN contacts o ON o.id = m.contact_id LEFT JOIN contacts c ON c.id = coalesce(o.merged_into, o.id)
		ORDER BY m.position, m.account`, known, q.arg(event), q.arg(at))
	rows, err := r.pool.Query(ctx, sql, q.args...)
	if err != nil {
		return nil, fmt.Errorf("reading the messages of a webhook: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m WebhookMessage, err error) {
		err = row.Scan(&m.Account, &m.Kind, &m.Type, &m.Wamid, &m.PhoneNumberID, &m.PhoneNumber, &m.UserID, &m.At)
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the messages of a webhook: %w", err)
	}
	if list == nil {
		list = []WebhookMessage{}
	}
	return list, nil
}

// legible is bytes that may be anything as text.
func legible(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
