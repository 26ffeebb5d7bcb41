package ingest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
	collided   bool       // some of the answers may be there already
}

// pick keeps what has not been stored before.
func (g *gathered) pick(fresh map[key]struct{}, endpoints []endpoint) rows {
	isNew := func(k key) bool { _, ok := fresh[k]; return ok }
	r := rows{collided: g.collided}
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

// write stores them, and what there is besides of the entries they are from.
// The order of the statements is the order in which every transaction visits the
// tables.
func (r rows) write(ctx context.Context, tx pgx.Tx, endpoints []endpoint, dead []stream.Dead, sources []*source) error {
	b := &pgx.Batch{}
	r.queueHooks(b)
	r.queueFlowEvents(b)
	r.queueSteps(b)
	if len(r.answers) > 0 {
		// Which flow an answer belongs to the database knows, which has the session.
		to := router{endpoints: endpoints}
		r.queueAnswers(b, to.answer)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		r.deliveries, b = append(r.deliveries, to.deliveries...), &pgx.Batch{}
	}
	queueDeliveries(b, r.deliveries)
	queueDead(b, dead)
	queueSources(b, sources)
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
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

// queueAnswers has stored called for each answer that was not there, with the
// flow it belongs to, if that is known, and whether its session is.
func (r rows) queueAnswers(b *pgx.Batch, stored func(a *answer, flow string, joined bool)) {
	if len(r.answers) == 0 {
		return
	}
	statement := insertResponses
	if r.collided {
		statement = insertSomeResponses
	}
	b.Queue(statement,
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
		column(r.answers, func(a *answer) pgtype.Timestamptz { return timestamp(a.attemptStarted) }),
	).Query(func(rows pgx.Rows) error {
		byID := make(map[uuid.UUID]*answer, len(r.answers))
		for _, a := range r.answers {
			byID[a.id] = a
		}
		var (
			key    uuid.UUID
			flow   string
			joined bool
		)
		_, err := pgx.ForEachRow(rows, []any{(*[16]byte)(&key), &flow, &joined}, func() error {
			stored(byID[key], flow, joined)
			return nil
		})
		return err
	})
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
