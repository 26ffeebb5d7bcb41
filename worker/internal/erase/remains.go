package erase

import (
	"context"
	"fmt"
	"time"
)

// keysKept is how long package store keeps what has been stored already.
const keysKept = 31 * 24 * time.Hour

// remains adds to the report what is not erased.
func (e *Eraser) remains(ctx context.Context, s *subject, report *Report, drained bool) error {
	if !drained {
		n, all, err := e.unstored(ctx, s)
		if err != nil {
			return err
		}
		if n > 0 {
			report.remain("entries in the streams", n, time.Time{}, "they name the person and are not stored yet: erase again once the worker has read them")
		}
		if !all {
			report.remain("entries in the streams", 0, time.Time{}, "more are waiting than were searched: erase again once the worker has read them")
		}
	}
	shared := int64(0)
	for _, is := range s.shared {
		if is {
			shared++
		}
	}
	if n := shared; n > 0 {
		report.remain("sessions and steps under shared flow tokens", n, time.Time{},
			"others answered under the same tokens, so whose they are cannot be told: give each person a token, or erase by these tokens")
	}
	if s.people() {
		report.remain("sessions that were never completed", 0, time.Time{},
			"nothing but their flow tokens tells whose they are: erase by the tokens that were sent to the person")
	}
	if s.tokenless > 0 {
		report.remain("steps of flows without a session", 0, time.Time{},
			"they hold no identity, so whose they are cannot be told: they go with the days they belong to")
	}
	if n := int64(len(s.elsewhere)); n > 0 && s.OtherAccounts {
		report.remain("webhooks of other accounts", n, time.Time{}, "they name the person too: erase in those accounts as well, if it is to be forgotten there")
	}
	if err := e.former(ctx, s, report); err != nil {
		return err
	}
	if err := e.keyed(ctx, s, report); err != nil {
		return err
	}
	if err := e.imported(ctx, s, report); err != nil {
		return err
	}
	report.remain("sealed replies in Redis", 0, time.Now().Add(replyKept), "kept under the hash of a request, readable only with the key of the phone that sent it")
	if len(report.Receivers) > 0 {
		report.remain("what receivers got", 0, time.Time{}, "ask those listed to erase it; the reports of earlier erasures list theirs")
	}
	report.remain("backups, replicas' logs and rows not vacuumed yet", 0, time.Time{}, "they are gone when your own retention of them ends")
	return nil
}

// keyed counts the ids of messages that are kept against redelivery. Such an id
// holds the person's number in base64.
func (e *Eraser) keyed(ctx context.Context, s *subject, report *Report) error {
	var n int64
	var last *time.Time
	err := e.Pool.QueryRow(ctx, `SELECT count(*), max(at) FROM event_keys WHERE account = $1 AND kind = 'message' AND dedup = ANY ($2)`,
		s.Account, keys(s.who.wamids)).Scan(&n, &last)
	if err != nil {
		return fmt.Errorf("counting ids of messages: %w", err)
	}
	if n > 0 {
		report.remain("ids of messages", n, last.Add(keysKept), "kept so that what WhatsApp sends again is not stored again; they hold the number in base64")
	}
	return nil
}

// former counts who was known by the number before. Numbers are given to other
// people, so that may be somebody else.
func (e *Eraser) former(ctx context.Context, s *subject, report *Report) error {
	if s.By != PhoneNumber {
		return nil
	}
	var n int64
	err := e.Pool.QueryRow(ctx, `
		SELECT count(DISTINCT coalesce(c.merged_into, c.id)) FROM (
			SELECT id FROM contacts WHERE account = $1 AND phone_number = $2
			UNION SELECT contact_id FROM flow_responses WHERE account = $1 AND phone_number = $2) known
		JOIN contacts c USING (id) WHERE NOT c.id = ANY ($3)`, s.Account, s.value, keys(s.contacts)).Scan(&n)
	if err != nil {
		return fmt.Errorf("looking for earlier holders of the number: %w", err)
	}
	if n > 0 {
		report.remain("people who had the number before", n, time.Time{}, "numbers are given to other people: if it is the same person, erase by the user id too")
	}
	return nil
}
