package ingest

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// step is one step entry as its row in flow_steps, and what else follows of it.
type step struct {
	key        key
	id         uuid.UUID
	at         time.Time // of the partition
	edge       time.Time // the edge's clock
	account    string
	kind       event.Kind
	tokenHash  string
	paramsHash string
	incomplete bool
	answers    string // JSON, or empty
	params     string
	trace      string // traceparent
	*event.Step
}

func newStep(e event.Entry, now time.Time) (*step, error) {
	body, err := event.DecodeStep(e.Body)
	if err != nil {
		return nil, err
	}
	s := &step{
		key: key{clean(e.Account), string(e.Kind), stepKey(e, body)},
		id:  newID(), at: partitionTime(e.Time, now), edge: e.Time, account: clean(e.Account), kind: e.Kind,
		tokenHash: tokenHash(body.Token), incomplete: body.Incomplete,
		answers: object(body.Answers), params: clean(string(body.Params)), trace: traceparent(e), Step: body,
	}
	if s.params == "null" {
		s.params = ""
	}
	if e.Kind == event.KindStatelessStep {
		// A token that could not be a session's key must not find one either.
		s.tokenHash = ""
		if body.Outcome == event.OutcomeComplete && body.Incomplete && s.params != "" {
			s.paramsHash = paramsHash([]byte(s.params))
		}
	}
	return s, nil
}

// stepKey tells a step that came twice from one of a session that began anew
// under the same token: versions and attempts start over once the edge has lost
// or forgotten a session, and only the time its attempt started is another.
func stepKey(e event.Entry, body *event.Step) string {
	id := clean(e.ID)
	if e.Kind == event.KindStep && !body.StartedAt.IsZero() {
		id += "@" + strconv.FormatInt(body.StartedAt.UnixMilli(), 10)
	}
	return id
}

// object is the JSON of answers; nothing for none.
func object(answers map[string]json.RawMessage) string {
	if answers == nil {
		return ""
	}
	raw, err := json.Marshal(answers)
	if err != nil {
		return "" // every value was parsed as JSON before
	}
	return clean(string(raw))
}

// completes says whether the attempt ended with this step.
func (s *step) completes() bool {
	return s.Outcome == event.OutcomeComplete || s.Outcome == event.OutcomeClose
}

// started is when the attempt began, in a form that Postgres stores.
func (s *step) started() time.Time {
	if y := s.StartedAt.Year(); y < 2000 || y > 9999 {
		return s.edge
	}
	return s.StartedAt
}

// closing is the answer of an attempt that ended without params: no message
// will ever bring it.
func (s *step) closing() *answer {
	if s.Outcome != event.OutcomeClose {
		return nil
	}
	a := &answer{
		id: newID(), account: s.account, source: "endpoint", flow: clean(s.Flow), attempt: s.Attempt,
		userID: clean(s.User), data: object(s.Collected), incomplete: s.incomplete, at: s.edge,
	}
	if a.data == "" {
		a.data = "{}"
	}
	a.token, a.tokenHash = clean(s.Token), s.tokenHash
	a.attemptStarted, a.traceparent = s.started(), s.trace
	return a
}

// session is what the steps of one batch say of one session.
type session struct {
	id                        uuid.UUID
	account, flow, tokenHash  string
	token, user, definition   string
	version                   int64
	attempt                   int
	completed                 bool
	screen                    string
	answers                   string // of the latest completion
	incomplete                bool
	startedAt, lastActivityAt time.Time
	completedAt               time.Time
}

// sessions merges steps into one row for each session, in the order in which
// every transaction locks them.
func sessions(steps []*step) []*session {
	type name struct{ account, flow, tokenHash string }
	merged := make(map[name]*session)
	ordered := slices.Clone(steps)
	slices.SortStableFunc(ordered, func(a, b *step) int { return cmp.Compare(a.Version, b.Version) })
	for _, s := range ordered {
		if s.kind != event.KindStep || s.tokenHash == "" {
			continue
		}
		n := name{s.account, clean(s.Flow), s.tokenHash}
		if merged[n] == nil {
			merged[n] = &session{id: newID(), account: n.account, flow: n.flow, tokenHash: n.tokenHash}
		}
		merged[n].apply(s)
	}
	all := make([]*session, 0, len(merged))
	for _, s := range merged {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.flow, b.flow), cmp.Compare(a.tokenHash, b.tokenHash))
	})
	return all
}

// apply takes a step of a higher version.
func (row *session) apply(s *step) {
	row.completed = s.completes() || row.completed && s.Attempt == row.attempt
	row.token, row.definition = clean(s.Token), clean(s.Definition)
	row.user = cmp.Or(clean(s.User), row.user)
	row.version, row.attempt = s.Version, s.Attempt
	row.screen = cmp.Or(clean(s.To), row.screen)
	row.incomplete = s.incomplete
	row.lastActivityAt = s.edge
	row.startedAt = s.started()
	if s.completes() {
		row.completedAt = s.edge
		if row.answers = s.params; s.Outcome == event.OutcomeClose {
			row.answers = object(s.Collected)
		}
	}
}
