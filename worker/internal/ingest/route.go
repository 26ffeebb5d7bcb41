package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
)

// endpoint is a callback endpoint, as far as it matters which events it gets.
type endpoint struct {
	eventtype.Subscription
	id      uuid.UUID
	ordered bool
	pause   int32 // seconds before the first attempt
}

// readEndpoints is part of each transaction: an event goes to the endpoints that
// there are when it is stored. Those that wait, paused or disabled, get theirs.
func readEndpoints(ctx context.Context, tx pgx.Tx) ([]endpoint, error) {
	rows, err := tx.Query(ctx, "SELECT id, account, events, flows, ordered, coalesce(schedule[1], 0) FROM callback_endpoints WHERE status <> 'off' ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reading callback endpoints: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (endpoint, error) {
		var e endpoint
		err := row.Scan((*[16]byte)(&e.id), &e.Account, &e.Events, &e.Flows, &e.ordered, &e.pause)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading callback endpoints: %w", err)
	}
	return all, nil
}

// delivery is an event on its way to one endpoint.
type delivery struct {
	id, endpoint, event                    uuid.UUID
	account, typ, flow, orderingKey, trace string
	at                                     time.Time // of the event
	subject                                uuid.UUID
	subjectAt                              time.Time
	position                               pgtype.Int4
	pause                                  int32 // seconds before the first attempt
}

// router makes the deliveries of events.
type router struct {
	endpoints  []endpoint
	deliveries []delivery
}

// occurrence is one event: its subject is the row that the payload is made from.
type occurrence struct {
	account, flow, tokenHash, traceparent string
	at                                    time.Time
	subject                               uuid.UUID
	subjectAt                             time.Time
	position                              pgtype.Int4 // of a message inside its webhook
	pause                                 int32       // seconds before the first attempt, at least
}

func (r *router) add(t eventtype.Type, o occurrence) {
	for _, e := range r.endpoints {
		if !e.Wants(t, o.account, o.flow) {
			continue
		}
		d := delivery{
			id: newID(), endpoint: e.id, event: eventtype.ID(t, o.subject, int(o.position.Int32)),
			account: o.account, typ: string(t), flow: o.flow, trace: o.traceparent,
			at: o.at, subject: o.subject, subjectAt: o.subjectAt, position: o.position, pause: max(e.pause, o.pause),
		}
		if e.ordered {
			d.orderingKey = o.tokenHash
		}
		r.deliveries = append(r.deliveries, d)
	}
}

// hook is the raw webhook, which belongs to the account that verified it,
// whatever accounts are named inside.
func (r *router) hook(h *hook) {
	r.add(eventtype.WebhookReceived, occurrence{
		account: h.key.account, traceparent: h.traceparent, at: h.at, subject: h.id, subjectAt: h.at,
	})
}

func (r *router) message(h *hook, m *message, position int) {
	t := eventtype.MessageReceived
	if m.kind == keyStatus {
		t = eventtype.MessageStatus
	}
	r.add(t, occurrence{
		account: m.account, traceparent: h.traceparent, at: m.at, subject: h.id, subjectAt: h.at,
		position: pgtype.Int4{Int32: int32(position), Valid: true}, //nolint:gosec // a body of 4 MiB has no more
	})
}

func (r *router) flowEvent(h *hook, e *flowEvent) {
	t := eventtype.FlowAlert
	if e.Event == webhook.EventFlowStatusChange {
		t = eventtype.FlowStatusChanged
	}
	r.add(t, occurrence{
		account: e.account, flow: clean(e.FlowID), traceparent: h.traceparent, at: e.at, subject: e.id, subjectAt: h.at,
	})
}

func (r *router) step(s *step) {
	o := occurrence{
		account: s.account, flow: clean(s.Flow), tokenHash: s.tokenHash, traceparent: s.trace,
		at: s.edge, subject: s.id, subjectAt: s.at,
	}
	if s.kind == event.KindClientError {
		r.add(eventtype.FlowError, o)
		return
	}
	if s.Opened {
		r.add(eventtype.FlowStarted, o)
	}
	r.add(eventtype.FlowScreen, o)
}

// byMessage is when an answer that a message brought takes its place among the
// events of its flow token: Meta's time has whole seconds, the screens before it
// have the edge's milliseconds. What is sent says Meta's time.
const byMessage = 999 * time.Millisecond

// untilJoined is how long an answer waits for its session, in seconds: its flow,
// which the session knows, is to be in what is sent.
const untilJoined = 10

// answer is one that was stored. An endpoint that wants some flows only gets one
// whose flow is not known yet when the session comes: see joinSessions.
func (r *router) answer(a *answer, flow string, joined bool) {
	o := occurrence{
		account: a.account, flow: flow, tokenHash: a.tokenHash, traceparent: a.traceparent,
		at: a.at, subject: a.id, subjectAt: a.at,
	}
	if a.source == nfmReply {
		o.at = a.at.Add(byMessage)
	}
	if !joined && a.tokenHash != "" {
		o.pause = untilJoined
	}
	r.add(eventtype.FlowCompleted, o)
}

func queueDeliveries(b *pgx.Batch, all []delivery) {
	if len(all) == 0 {
		return
	}
	b.Queue(insertDeliveries,
		column(all, func(d delivery) pgtype.UUID { return id(d.id) }),
		column(all, func(d delivery) string { return d.account }),
		column(all, func(d delivery) pgtype.UUID { return id(d.endpoint) }),
		column(all, func(d delivery) string { return d.typ }),
		column(all, func(d delivery) pgtype.UUID { return id(d.event) }),
		column(all, func(d delivery) time.Time { return d.at }),
		column(all, func(d delivery) pgtype.UUID { return id(d.subject) }),
		column(all, func(d delivery) time.Time { return d.subjectAt }),
		column(all, func(d delivery) pgtype.Int4 { return d.position }),
		column(all, func(d delivery) pgtype.Text { return text(d.flow) }),
		column(all, func(d delivery) pgtype.Text { return text(d.orderingKey) }),
		column(all, func(d delivery) pgtype.Text { return text(d.trace) }),
		column(all, func(d delivery) int32 { return d.pause }))
}
