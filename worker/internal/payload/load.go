package payload

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// source is a table that holds subjects: a query for many of them, whose first
// column is their number in the arrays that it is given, and how to read a row.
type source struct {
	query string
	read  func(row pgx.CollectableRow, number *int) (subject, error)
}

// sources by type of event. A webhook itself is read by queueHooks.
var sources = map[eventtype.Type]*source{
	eventtype.FlowCompleted:     &answers,
	eventtype.FlowStarted:       &steps,
	eventtype.FlowScreen:        &steps,
	eventtype.FlowError:         &steps,
	eventtype.MessageReceived:   &messages,
	eventtype.MessageStatus:     &messages,
	eventtype.FlowStatusChanged: &flowEvents,
	eventtype.FlowAlert:         &flowEvents,
	eventtype.EndpointDisabled:  &notices,
	eventtype.EndpointEnabled:   &notices,
}

// wanted are the events whose subjects one query reads.
type wanted struct {
	events    []int // their places among all
	ids       []pgtype.UUID
	times     []time.Time
	positions []int
}

// load reads the subjects of events in one round trip, and of webhooks what
// budget allows. A subject of a type that is not known is nil, as one that is
// gone.
func load(ctx context.Context, db Database, events []Event, budget int) ([]subject, error) {
	groups := make(map[*source]*wanted)
	for i, e := range events {
		s := sources[e.Type]
		if s == nil {
			continue
		}
		w := groups[s]
		if w == nil {
			w = &wanted{}
			groups[s] = w
		}
		w.events = append(w.events, i)
		w.ids, w.times = append(w.ids, pgtype.UUID{Bytes: e.Subject.ID, Valid: true}), append(w.times, e.Subject.At)
		w.positions = append(w.positions, e.Subject.Position)
	}
	found := make([]subject, len(events))
	batch := &pgx.Batch{}
	all := queueHooks(batch, events, budget)
	for s, w := range groups {
		batch.Queue(s.query, w.ids, w.times, w.positions).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var number int
				subject, err := s.read(rows, &number)
				if err != nil {
					return err
				}
				found[w.events[number-1]] = subject
			}
			return rows.Err()
		})
	}
	if batch.Len() == 0 {
		return found, nil
	}
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	for i := range events {
		h := all[events[i].hook()]
		switch m, isMessage := found[i].(*message); {
		case isMessage:
			m.hook = h
		case h != nil && events[i].Type == eventtype.WebhookReceived:
			found[i] = whole{h}
		}
	}
	return found, nil
}

// among joins a table t to the subjects that are asked for.
const among = ` FROM unnest($1::uuid[], $2::timestamptz[], $3::int[]) WITH ORDINALITY AS w (id, at, position, number) `
