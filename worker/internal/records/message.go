package records

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Message is a message of a person, or a status of a message to one, as a
// webhook told of it.
type Message struct {
	WebhookMessage
	WebhookEventID  uuid.UUID `json:"webhookEventId" format:"uuid" doc:"The webhook it came in"`
	Position        int       `json:"position" doc:"Running number inside that webhook"`
	ReceivedAt      Timestamp `json:"receivedAt" format:"date-time" doc:"When the edge received that webhook"`
	ContextID       *string   `json:"contextId" doc:"wamid of the message that was answered"`
	Username        *string   `json:"username"`
	Name            *string   `json:"name" doc:"Name that the person shows on WhatsApp"`
	ErrorCode       *int      `json:"errorCode" doc:"Of a failed status: Meta's error code"`
	ErrorTitle      *string   `json:"errorTitle"`
	PricingModel    *string   `json:"pricingModel"`
	PricingType     *string   `json:"pricingType"`
	PricingCategory *string   `json:"pricingCategory"`
	Billable        *bool     `json:"billable"`
	CallbackData    *string   `json:"callbackData" doc:"biz_opaque_callback_data of the message that was sent"`
}

// MessageFilter narrows a list of messages; what is zero does not.
type MessageFilter struct {
	Kind     string // message | status
	Type     string // of a message, or the status
	Wamid    string
	Phone    string
	UserID   string
	Received Span
}

// Order names the order of the list.
func (f *MessageFilter) Order() string { return "messages" }

// Place is where a page ends that ends with m.
func (f *MessageFilter) Place(m *Message) Place {
	return Place{f.Order(), m.ReceivedAt.Time, m.WebhookEventID, m.Position}
}

const (
	messageColumns = `m.account, m.kind, m.type, m.wamid, m.phone_number_id, c.phone_number, c.user_id, m.at, m.event_id, m.position, m.event_at,
		m.context_id, c.username, c.name, m.error_code, m.error_title, m.pricing_model, m.pricing_type, m.pricing_category, m.billable, m.callback_data`
	messageOrder = "m.event_at DESC, m.event_id DESC, m.position DESC"
)

func scanMessage(row pgx.CollectableRow) (m Message, err error) {
	err = row.Scan(&m.Account, &m.Kind, &m.Type, &m.Wamid, &m.PhoneNumberID, &m.PhoneNumber, &m.UserID, &m.At, &m.WebhookEventID, &m.Position, &m.ReceivedAt,
		&m.ContextID, &m.Username, &m.Name, &m.ErrorCode, &m.ErrorTitle, &m.PricingModel, &m.PricingType, &m.PricingCategory, &m.Billable, &m.CallbackData)
	return m, err
}

// Messages lists at most limit messages and statuses, the latest received first,
// behind a place.
func (r *Records) Messages(ctx context.Context, accounts Accounts, f MessageFilter, from *Place, limit int) ([]Message, error) {
	if f.Wamid != "" || f.Phone != "" || f.UserID != "" {
		return r.messages(ctx, &f, accounts, f.Received, from, limit)
	}
	return byStretches(f.Received, from, limit, func(s Span, limit int) ([]Message, error) {
		return r.messages(ctx, &f, accounts, s, from, limit)
	})
}

func (r *Records) messages(ctx context.Context, f *MessageFilter, accounts Accounts, s Span, from *Place, limit int) ([]Message, error) {
	sql, args := f.sql(accounts, s, from, limit)
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	return list, nil
}

// sql reads the rows of one message or person by their index, account by account,
// and all others in the order of time.
func (f *MessageFilter) sql(accounts Accounts, s Span, from *Place, limit int) (string, []any) {
	q := &query{account: "a.account"}
	source := "webhook_messages m"
	if f.Wamid != "" || f.Phone != "" || f.UserID != "" {
		source = "(" + q.accountsOf(accounts, "webhook_messages") + ") a JOIN webhook_messages m ON m.account = a.account"
		q.andText("m.wamid = %s", f.Wamid)
		q.person(f.Phone, f.UserID)
	} else {
		q.allowed("m.account", accounts)
	}
	q.andText("m.kind = %s", f.Kind)
	q.andText("m.type = %s", f.Type)
	q.within("m.event_at", s)
	if from != nil {
		q.and("m.event_at <= %s", from.At) // Postgres skips no partition by a comparison of rows
		q.and("(m.event_at, m.event_id, m.position) < (%s, %s, %s)", from.At, from.ID, from.Position)
	}
	return fmt.Sprintf(`
		SELECT %s FROM (SELECT m.* FROM %s WHERE %s ORDER BY %s LIMIT %d) m
		LEFT JOIN contacts o ON o.id = m.contact_id LEFT JOIN contacts c ON c.id = coalesce(o.merged_into, o.id)
		ORDER BY %[4]s`, messageColumns, source, q.conditions(), messageOrder, limit), q.args
}
