package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// outcomePatience is how long row and callback may take. The worker needs
// milliseconds; a loaded machine more.
const outcomePatience = 20 * time.Second

// response is the row that a finished form becomes.
type response struct {
	Account      string
	Flow         *string
	Source       string
	FlowToken    *string
	PhoneNumber  *string
	UserID       *string
	WAMID        *string
	ResponseData []byte
	Incomplete   bool
	Session      *string // status of the session it belongs to
}

// checkOutcome reads the row and the callback back, shows them, and fails unless
// there is exactly one of each and both hold what the user entered.
func (c *conversation) checkOutcome(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, outcomePatience)
	defer cancel()
	if err := c.site.Receiver.Wait(ctx, func(got []site.Callback) bool { return len(got) > 0 }); err != nil {
		return fmt.Errorf("waiting for the callback: %w", err)
	}
	// Only when the streams are empty has the duplicate had its chance.
	if err := c.site.WaitUntilRead(ctx); err != nil {
		return err
	}
	row, err := c.theRow(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nIn Postgres, table flow_responses, one row for two webhooks:\n\n")
	for _, field := range []struct{ name, value string }{
		{"account", row.Account}, {"flow", text(row.Flow)}, {"source", row.Source}, {"flow_token", text(row.FlowToken)},
		{"phone_number", text(row.PhoneNumber)}, {"user_id", text(row.UserID)}, {"wamid", text(row.WAMID)},
		{"response_data", string(row.ResponseData)}, {"session", text(row.Session)},
	} {
		fmt.Fprintf(c.out, "  %-14s %s\n", field.name, field.value)
	}
	if err := c.checkRow(row); err != nil {
		return err
	}

	callbacks := c.site.Receiver.Callbacks()
	if len(callbacks) != 1 {
		return fmt.Errorf("the receiver got %d callbacks, expected exactly one", len(callbacks))
	}
	callback := callbacks[0]
	fmt.Fprintf(c.out, "\nAt the receiver, one callback, %s after the webhook's 200:\n\n", milliseconds(callback.At.Sub(c.webhooked)))
	fmt.Fprintf(c.out, "  webhook-id     %s\n  signature      %s\n  body           %s\n", callback.ID, signature(callback.Err), callback.Body)
	if err := c.checkCallback(callback); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nAll as it should be: 1 conversation, %d webhooks, 1 row, 1 callback.\n", 1+c.duplicates)
	return nil
}

func (c *conversation) theRow(ctx context.Context) (response, error) {
	var rows []response
	err := c.site.Query(ctx, func(conn *pgx.Conn) error {
		result, err := conn.Query(ctx, `
			SELECT r.account, r.flow, r.source, r.flow_token, r.phone_number, r.user_id, r.wamid,
			       r.response_data, r.incomplete, s.status
			FROM flow_responses r LEFT JOIN flow_sessions s ON s.id = r.session_id`)
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(result, pgx.RowToStructByPos[response])
		return err
	})
	if err != nil {
		return response{}, fmt.Errorf("reading the row back: %w", err)
	}
	if len(rows) != 1 {
		return response{}, fmt.Errorf("flow_responses has %d rows, expected exactly one", len(rows))
	}
	return rows[0], nil
}

func (c *conversation) checkRow(row response) error {
	for _, field := range []struct{ name, got, want string }{
		{"flow", text(row.Flow), flowName}, {"flow_token", text(row.FlowToken), c.token},
		{"phone_number", text(row.PhoneNumber), userPhone}, {"user_id", text(row.UserID), userID},
		{"wamid", text(row.WAMID), c.wamid}, {"session", text(row.Session), "completed"},
	} {
		if field.got != field.want {
			return fmt.Errorf("the row's %s is %q, expected %q", field.name, field.got, field.want)
		}
	}
	if row.Incomplete {
		return fmt.Errorf("the row says that the answer is incomplete")
	}
	return sameJSON("the row's response_data", row.ResponseData, c.params)
}

func (c *conversation) checkCallback(callback site.Callback) error {
	if callback.Err != nil {
		return fmt.Errorf("the receiver would refuse the callback: %w", callback.Err)
	}
	var body struct {
		EventType    string          `json:"event_type"`
		FlowToken    string          `json:"flow_token"`
		PhoneNumber  string          `json:"phone_number"`
		ResponseData json.RawMessage `json:"response_data"`
	}
	if err := json.Unmarshal(callback.Body, &body); err != nil {
		return fmt.Errorf("the callback's body: %w", err)
	}
	if body.EventType != "flow_completed" || body.FlowToken != c.token || body.PhoneNumber != userPhone {
		return fmt.Errorf("the callback is about %q of %q by %q, expected flow_completed of %q by %q",
			body.EventType, body.FlowToken, body.PhoneNumber, c.token, userPhone)
	}
	return sameJSON("the callback's response_data", body.ResponseData, c.params)
}

func sameJSON(what string, got, want []byte) error {
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		return err
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%s is %s, expected %s", what, bytes.TrimSpace(got), want)
	}
	return nil
}

func signature(err error) string {
	if err != nil {
		return err.Error()
	}
	return "verified (Standard Webhooks, HMAC-SHA256)"
}

func text(s *string) string {
	if s == nil {
		return "(null)"
	}
	return *s
}
