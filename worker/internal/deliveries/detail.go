package deliveries

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

const (
	// bodyPreview is how much is shown of a body that was sent.
	bodyPreview = 64 << 10
	// responsePreview is how much is shown of what a receiver answered.
	responsePreview = 4 << 10
	// maxAttempts are shown, the latest.
	maxAttempts = 500
)

// AttemptDetail is one HTTP request of a delivery, and what came back.
type AttemptDetail struct {
	Number       int               `json:"number"`
	At           records.Timestamp `json:"at" format:"date-time"`
	Tries        int               `json:"tries" doc:"Connections tried inside it"`
	Status       *int              `json:"status" doc:"HTTP status; null when none came"`
	Error        *string           `json:"error"`
	Milliseconds int64             `json:"milliseconds"`
	Response     *string           `json:"response" doc:"The beginning of what the receiver answered, as text"`
}

// Detail is a delivery with its attempts, and its body if it was asked for.
type Detail struct {
	Delivery
	Attempts  []AttemptDetail `json:"attempts" doc:"The earliest first; of more than 500 the latest"`
	Body      *string         `json:"body,omitempty" doc:"The beginning of what is sent, as text; null when nothing was rendered yet"`
	BodyBytes *int            `json:"bodyBytes,omitempty" doc:"Its whole size"`
}

// Show adds to a delivery what happened to it.
func Show(ctx context.Context, pool *pgxpool.Pool, d *Delivery, body bool) (*Detail, error) {
	detail := &Detail{Delivery: *d}
	// Attempts are stamped by the worker's clock, and lie in partitions by day.
	rows, err := pool.Query(ctx, `SELECT number, at, tries, status, error, milliseconds, substring(response_body FOR $4) FROM attempts
		WHERE account = $1 AND delivery_id = $2 AND at >= $3 ORDER BY at DESC, number DESC LIMIT $5`,
		d.Account, d.ID, d.CreatedAt.Add(-24*time.Hour), responsePreview, maxAttempts)
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	latest, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a AttemptDetail, err error) {
		var response []byte
		err = row.Scan(&a.Number, &a.At, &a.Tries, &a.Status, &a.Error, &a.Milliseconds, &response)
		if response != nil {
			text := legible(response)
			a.Response = &text
		}
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	detail.Attempts = make([]AttemptDetail, len(latest))
	for i, a := range latest {
		detail.Attempts[len(latest)-1-i] = a
	}
	if body {
		err = detail.readBody(ctx, pool)
	}
	return detail, err
}

func (d *Detail) readBody(ctx context.Context, pool *pgxpool.Pool) error {
	const frozen = `SELECT substring(body FOR $2), octet_length(body) FROM deliveries WHERE id = $1
		UNION ALL SELECT substring(body FOR $2), octet_length(body) FROM delivery_history WHERE id = $1 LIMIT 1`
	// A webhook that is sent as it came is not copied into its deliveries.
	const raw = `SELECT substring(w.body FOR $2), octet_length(w.body) FROM webhook_events w,
		(SELECT subject_id, subject_at FROM deliveries WHERE id = $1 UNION ALL SELECT subject_id, subject_at FROM delivery_history WHERE id = $1 LIMIT 1) s
		WHERE w.received_at = s.subject_at AND w.id = s.subject_id`
	var text []byte
	err := pool.QueryRow(ctx, frozen, d.ID, bodyPreview).Scan(&text, &d.BodyBytes)
	if err == nil && d.BodyBytes == nil && d.EventType == string(eventtype.WebhookReceived) {
		err = pool.QueryRow(ctx, raw, d.ID, bodyPreview).Scan(&text, &d.BodyBytes)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the body of a delivery: %w", err)
	}
	if d.BodyBytes != nil {
		shown := legible(text)
		d.Body = &shown
	}
	return nil
}

// legible is bytes that may be anything, and may be cut, as text.
func legible(b []byte) string {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				b = b[:len(b)-i]
			}
			break
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(b), "\uFFFD"), "\x00", "\uFFFD")
}
