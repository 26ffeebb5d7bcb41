package ingest

import (
	"cmp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// rows is what a batch adds, once its keys are known to be new.
type rows struct {
	hooks      []*hook
	steps      []*step
	people     []*identity
	sessions   []*session
	answers    []*answer
	deliveries []delivery // of every event but answers
}

// pick keeps what has not been stored before.
func (g *gathered) pick(fresh map[key]struct{}, endpoints []endpoint) rows {
	isNew := func(k key) bool { _, ok := fresh[k]; return ok }
	var r rows
	to := router{endpoints: endpoints}
	for _, h := range g.hooks {
		if !isNew(h.key) {
			continue
		}
		r.hooks = append(r.hooks, h)
		to.hook(h)
		for i, m := range h.messages {
			if m.person != nil {
				r.people = append(r.people, m.person)
			}
			if m.repeated || (m.key != key{} && !isNew(m.key)) {
				continue
			}
			to.message(h, m, i)
			if m.answer != nil {
				r.answers = append(r.answers, m.answer)
			}
		}
		for _, e := range h.flowEvents {
			to.flowEvent(h, e)
		}
	}
	for _, s := range g.steps {
		if !isNew(s.key) {
			continue
		}
		r.steps = append(r.steps, s)
		to.step(s)
		if a := s.closing(); a != nil {
			r.answers = append(r.answers, a)
		}
	}
	r.sessions, r.deliveries = sessions(r.steps), to.deliveries
	slices.SortFunc(r.answers, func(a, b *answer) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.wamid, b.wamid), cmp.Compare(a.tokenHash, b.tokenHash))
	})
	return r
}

// queue appends the statements that need no answer of an earlier one. Their
// order is the order in which every transaction visits the tables.
func (r rows) queue(b *pgx.Batch, endpoints []endpoint) {
	r.queueHooks(b)
	r.queueFlowEvents(b)
	r.queueSteps(b)
	r.queueAnswers(b, endpoints)
	queueDeliveries(b, r.deliveries)
}

func (r rows) queueHooks(b *pgx.Batch) {
	if len(r.hooks) == 0 {
		return
	}
	b.Queue(insertEvents,
		column(r.hooks, func(h *hook) pgtype.UUID { return id(h.id) }),
		column(r.hooks, func(h *hook) time.Time { return h.at }),
		column(r.hooks, func(h *hook) string { return h.key.account }),
		column(r.hooks, func(h *hook) []byte { return h.body }),
		column(r.hooks, func(h *hook) pgtype.Text { return text(h.problem) }))
	type placed struct {
		*message
		hook     *hook
		position int32
	}
	var all []placed
	for _, h := range r.hooks {
		for i, m := range h.messages {
			all = append(all, placed{m, h, int32(i)})
		}
	}
	if len(all) == 0 {
		return
	}
	b.Queue(insertMessages,
		column(all, func(m placed) string { return m.account }),
		column(all, func(m placed) pgtype.UUID { return id(m.hook.id) }),
		column(all, func(m placed) time.Time { return m.hook.at }),
		column(all, func(m placed) int32 { return m.position }),
		column(all, func(m placed) string { return m.kind }),
		column(all, func(m placed) pgtype.Text { return text(m.typ) }),
		column(all, func(m placed) pgtype.Text { return text(m.wamid) }),
		column(all, func(m placed) pgtype.UUID { return m.person.id() }),
		column(all, func(m placed) pgtype.Text { return text(m.phoneNumberID) }),
		column(all, func(m placed) time.Time { return m.at }),
		column(all, func(m placed) pgtype.Text { return text(m.context) }),
		column(all, func(m placed) pgtype.Int4 { return m.status.errorCode }),
		column(all, func(m placed) pgtype.Text { return text(m.status.errorTitle) }),
		column(all, func(m placed) pgtype.Text { return text(m.status.pricingModel) }),
		column(all, func(m placed) pgtype.Text { return text(m.status.pricingType) }),
		column(all, func(m placed) pgtype.Text { return text(m.status.pricingOf) }),
		column(all, func(m placed) pgtype.Bool { return m.status.billable }),
		column(all, func(m placed) pgtype.Text { return text(m.status.callbackData) }))
}

// id is the contact's; null for nobody.
func (who *identity) id() pgtype.UUID {
	if who == nil {
		return pgtype.UUID{}
	}
	return id(who.contact)
}

func (r rows) queueSteps(b *pgx.Batch) {
	if len(r.steps) == 0 {
		return
	}
	b.Queue(insertSteps,
		column(r.steps, func(s *step) pgtype.UUID { return id(s.id) }),
		column(r.steps, func(s *step) time.Time { return s.at }),
		column(r.steps, func(s *step) string { return s.account }),
		column(r.steps, func(s *step) string { return string(s.kind) }),
		column(r.steps, func(s *step) string { return clean(s.Flow) }),
		column(r.steps, func(s *step) pgtype.Text { return text(clean(s.Definition)) }),
		column(r.steps, func(s *step) pgtype.Text { return text(s.tokenHash) }),
		column(r.steps, func(s *step) int64 { return s.Version }),
		column(r.steps, func(s *step) int32 { return int32(s.Attempt) }),
		column(r.steps, func(s *step) string { return clean(s.Action) }),
		column(r.steps, func(s *step) pgtype.Text { return text(clean(s.From)) }),
		column(r.steps, func(s *step) pgtype.Text { return text(clean(s.To)) }),
		column(r.steps, func(s *step) pgtype.Text { return text(s.answers) }),
		column(r.steps, func(s *step) pgtype.Text { return text(s.params) }),
		column(r.steps, func(s *step) pgtype.Text { return text(s.paramsHash) }),
		column(r.steps, func(s *step) string { return clean(string(s.Outcome)) }),
		column(r.steps, func(s *step) bool { return s.incomplete }),
		column(r.steps, func(s *step) int64 { return s.Milliseconds }),
		column(r.steps, func(s *step) pgtype.Text { return text(clean(s.ErrorKey)) }),
		column(r.steps, func(s *step) pgtype.Text { return text(clean(s.ErrorMessage)) }))
	if len(r.sessions) == 0 {
		return
	}
	b.Queue(upsertSessions,
		column(r.sessions, func(s *session) pgtype.UUID { return id(s.id) }),
		column(r.sessions, func(s *session) string { return s.account }),
		column(r.sessions, func(s *session) string { return s.flow }),
		column(r.sessions, func(s *session) string { return s.tokenHash }),
		column(r.sessions, func(s *session) string { return s.token }),
		column(r.sessions, func(s *session) pgtype.Text { return text(s.user) }),
		column(r.sessions, func(s *session) pgtype.Text { return text(s.definition) }),
		column(r.sessions, func(s *session) int64 { return s.version }),
		column(r.sessions, func(s *session) int32 { return int32(s.attempt) }),
		column(r.sessions, func(s *session) string {
			if s.completed {
				return "completed"
			}
			return "active"
		}),
		column(r.sessions, func(s *session) pgtype.Text { return text(s.screen) }),
		column(r.sessions, func(s *session) pgtype.Text { return text(s.answers) }),
		column(r.sessions, func(s *session) bool { return s.incomplete }),
		column(r.sessions, func(s *session) time.Time { return s.startedAt }),
		column(r.sessions, func(s *session) time.Time { return s.lastActivityAt }),
		column(r.sessions, func(s *session) pgtype.Timestamptz { return timestamp(s.completedAt) }))
}

func (r rows) queueAnswers(b *pgx.Batch, endpoints []endpoint) {
	if len(r.answers) == 0 {
		return
	}
	// Which flow an answer belongs to is known to the statement only, which looks
	// for the session: it leaves out the endpoints of other flows.
	var deliveries, targets, responses []pgtype.UUID
	for _, a := range r.answers {
		for _, e := range endpoints {
			if e.WantsType(eventtype.FlowCompleted) && e.wantsAccount(a.account) {
				deliveries = append(deliveries, id(newID()))
				targets, responses = append(targets, id(e.id)), append(responses, id(a.id))
			}
		}
	}
	b.Queue(insertResponses,
		column(r.answers, func(a *answer) pgtype.UUID { return id(a.id) }),
		column(r.answers, func(a *answer) string { return a.account }),
		column(r.answers, func(a *answer) string { return a.source }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.wamid) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.context) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.flow) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.tokenHash) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.token) }),
		column(r.answers, func(a *answer) pgtype.UUID { return a.person.id() }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.phoneNumber) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.userID) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.numberID) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.data) }),
		column(r.answers, func(a *answer) []byte { return a.raw }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.paramsHash) }),
		column(r.answers, func(a *answer) bool { return a.incomplete }),
		column(r.answers, func(a *answer) pgtype.UUID { return id(a.event) }),
		column(r.answers, func(a *answer) time.Time { return a.at }),
		column(r.answers, func(a *answer) int32 { return int32(a.attempt) }),
		deliveries, targets, responses,
		column(r.answers, func(a *answer) pgtype.Timestamptz { return timestamp(a.attemptStarted) }),
		column(r.answers, func(a *answer) pgtype.UUID { return id(eventtype.ID(eventtype.FlowCompleted, a.id, 0)) }),
		column(r.answers, func(a *answer) pgtype.Text { return text(a.traceparent) }))
}

// queueSources and queueDead are of every entry, stored before or not.
func queueSources(b *pgx.Batch, all []*source) {
	if len(all) == 0 {
		return
	}
	b.Queue(upsertSources,
		column(all, func(s *source) string { return s.src }),
		column(all, func(s *source) int32 { return int32(s.shard) }),
		column(all, func(s *source) string { return s.ranges() }),
		column(all, func(s *source) int64 { return int64(s.mark) }))
}

func queueDead(b *pgx.Batch, dead []stream.Dead) {
	if len(dead) == 0 {
		return
	}
	b.Queue(insertDead,
		column(dead, func(stream.Dead) pgtype.UUID { return id(newID()) }),
		column(dead, func(d stream.Dead) string { return cut(clean(cmp.Or(d.Entry.Event.Account, "default")), 200) }),
		column(dead, func(d stream.Dead) string { return d.Entry.Stream }),
		column(dead, func(d stream.Dead) string { return d.Entry.ID }),
		column(dead, func(d stream.Dead) pgtype.Text { return text(cut(clean(string(d.Entry.Event.Kind)), 100)) }),
		column(dead, func(d stream.Dead) string { return d.Reason }),
		column(dead, func(d stream.Dead) []byte { return fields(d.Entry) }))
}
