package erase

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// verdict is what becomes of an entry that was never stored as rows.
type verdict int

const (
	others verdict = iota // nothing of the person is in it
	partly                // some of it is: cut
	theirs                // all of it is, or it cannot be told apart
)

// judge looks into the fields of an entry. A webhook that holds others' messages
// too is cut, anything else of the account that names the person is theirs.
func (s *subject) judge(fields map[string][]byte, needles []needle) (v verdict, body []byte) {
	account := string(fields["account"])
	if account == "" {
		account = s.Account // of nobody, so nobody else would erase in it
	}
	if event.Kind(fields["kind"]) == event.KindWebhook {
		if left := cut(fields["body"], s.who, nil, s.ours(account)); left.ok {
			switch {
			case left.whole:
				return theirs, nil
			case left.elements > 0:
				return partly, left.body
			}
			return others, nil
		}
	}
	if account != s.Account {
		return others, nil
	}
	for _, value := range fields {
		if in(value, needles) {
			return theirs, nil
		}
	}
	return others, nil
}

// eraseDead erases in dead_entries, of which there are few. A webhook's account
// is that of the secret which verified it; the messages in it may be of others.
func (s *subject) eraseDead(ctx context.Context, tx pgx.Tx, c *counts) error {
	needles := s.who.needles()
	after := uuid.Nil
	for {
		rows, err := tx.Query(ctx, `SELECT id, account, fields FROM dead_entries WHERE id > $1 AND (account = $2 OR kind = 'webhook') ORDER BY id LIMIT 64`, after, s.Account)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		n := 0
		var account string
		var text []byte
		if _, err := pgx.ForEachRow(rows, []any{&after, &account, &text}, func() error {
			n++
			fields := map[string][]byte{}
			if json.Unmarshal(text, &fields) != nil {
				fields = map[string][]byte{"account": []byte(account), "": text}
			}
			switch v, body := s.judge(fields, needles); v {
			case theirs:
				b.Queue("DELETE FROM dead_entries WHERE id = $1", after)
				c.add(deadRows, 1)
			case partly:
				fields["body"] = body
				text, err := json.Marshal(fields)
				if err != nil {
					return err
				}
				b.Queue("UPDATE dead_entries SET fields = $2 WHERE id = $1", after, text)
				c.add(deadCut, 1)
			}
			return nil
		}); err != nil {
			return err
		}
		if b.Len() > 0 {
			if err := tx.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
	}
}
