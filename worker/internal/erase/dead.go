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
// too is cut, anything else that names the person is theirs.
func (p *person) judge(fields map[string][]byte, needles []needle) (v verdict, body []byte) {
	if event.Kind(fields["kind"]) == event.KindWebhook {
		if left, elements, whole, ok := cut(fields["body"], p, nil); ok {
			switch {
			case whole:
				return theirs, nil
			case elements > 0:
				return partly, left
			}
			return others, nil
		}
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
		rows, err := tx.Query(ctx, `SELECT id, fields FROM dead_entries WHERE id > $1 AND (account = $2 OR kind = 'webhook') ORDER BY id LIMIT 64`, after, s.Account)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		n := 0
		var text []byte
		if _, err := pgx.ForEachRow(rows, []any{&after, &text}, func() error {
			n++
			fields := map[string][]byte{}
			if json.Unmarshal(text, &fields) != nil {
				fields = map[string][]byte{"": text}
			}
			switch v, body := s.who.judge(fields, needles); v {
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
