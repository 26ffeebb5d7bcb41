package seed

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
)

// seedAnswer is a row of flow_responses.
type seedAnswer struct {
	id, session, flow uuid.UUID
	token, data       string
	phone             *string
	message           []byte // Meta's; nil: not kept
	wamid             *string
	received          *time.Time
	earliest          uuid.UUID // of the rows with the same message; zero when nobody asked
}

func (a *seedAnswer) key() uuid.UUID { return a.id }

const repeatedMessage = "the same message brought an earlier answer"

func (i *importer) importAnswers(ctx context.Context) error {
	s := i.source
	const t = "flow_responses"
	at := s.at(t, "received_at")
	wamid, earliest := "NULL::text", "NULL::uuid"
	if s.columns[t]["raw_webhook_payload"] != "" {
		wamid = "t.raw_webhook_payload::jsonb ->> 'id'"
		if i.DryRun { // storing them finds that out by itself
			earliest = "CASE WHEN " + wamid + " <> '' THEN first_value(t.id::uuid) OVER (PARTITION BY " + wamid + " ORDER BY " + at + " NULLS FIRST, t.id) END"
		}
	}
	return move(ctx, i, table[*seedAnswer]{
		name: t,
		query: "SELECT t.id::uuid, t.flow_token::text, t.response_data::text, " + strings.Join([]string{
			s.uuid(t, "session_id"), s.uuid(t, "flow_id"), s.text(t, "phone_number"), s.text(t, "raw_webhook_payload"), wamid, at, earliest}, ", ") +
			" FROM " + s.name(t) + " t ORDER BY 9 NULLS FIRST, t.id",
		scan: func(row pgx.CollectableRow) (*seedAnswer, error) {
			a := new(seedAnswer)
			var session, flow, earliest pgtype.UUID
			err := row.Scan((*[16]byte)(&a.id), &a.token, &a.data, &session, &flow, &a.phone, &a.message, &a.wamid, &a.received, &earliest)
			a.session, a.flow, a.earliest = session.Bytes, flow.Bytes, earliest.Bytes
			return a, err
		},
		refuse: func(*seedAnswer) string { return "" },
		store:  i.storeAnswers,
		exist: func(ctx context.Context, rows []*seedAnswer) (map[uuid.UUID]bool, error) {
			wamids := make([]pgtype.Text, len(rows))
			for n, a := range rows {
				wamids[n] = optional(a.wamid)
			}
			there, err := i.exists(ctx, `SELECT k.id FROM unnest($2::uuid[], $3::text[]) AS k(id, wamid)
				WHERE EXISTS (SELECT FROM flow_responses r WHERE r.id = k.id)
				OR EXISTS (SELECT FROM event_keys e WHERE e.account = $1 AND e.kind = 'message' AND e.dedup = k.wamid)
				OR EXISTS (SELECT FROM flow_responses r WHERE r.account = $1 AND r.wamid = k.wamid)`, i.Account, uuids(keys(rows)), wamids)
			if err != nil {
				return nil, err
			}
			for _, a := range rows {
				if a.earliest != uuid.Nil && a.earliest != a.id {
					there[a.id] = true
				}
			}
			return there, nil
		},
		note: (*seedAnswer).note,
	})
}

func (a *seedAnswer) note() string {
	if a.received == nil {
		return "it has no time: it got that of its message, or of the import"
	}
	return ""
}

func (i *importer) storeAnswers(ctx context.Context, tx pgx.Tx, rows []*seedAnswer) ([]outcome, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	var ids []uuid.UUID
	for _, a := range rows {
		if a.session != uuid.Nil {
			ids = append(ids, a.session)
		}
	}
	sessions, err := i.ledger.known(ctx, i.Pool, "flow_sessions", ids)
	if err != nil {
		return nil, err
	}
	all := make([]ingest.PastAnswer, len(rows))
	for n, a := range rows {
		all[n] = ingest.PastAnswer{
			ID: a.id, Message: a.message, Data: []byte(a.data), Token: a.token,
			Session: sessions[a.session], Flow: i.flows[a.flow].id, ReceivedAt: or(a.received, time.Time{}),
		}
		if a.phone != nil {
			all[n].Phone = *a.phone
		}
	}
	holds, err := i.past.Answers(ctx, tx, all)
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(rows))
	for n, a := range rows {
		o := outcome{id: a.id, result: takenOver, target: holds[a.id], note: a.note()}
		switch o.target {
		case a.id:
		case uuid.Nil:
			o.result, o.note = wasThere, "its message was stored here and is not any more, as after an erasure"
		default:
			o.result, o.note = wasThere, repeatedMessage
		}
		outcomes[n] = o
	}
	return outcomes, nil
}
