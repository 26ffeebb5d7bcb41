package erase

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// erase deletes what find found. Deliveries go first: a worker that is sending
// one finds its lease gone, stores nothing and cannot bring it back.
func (s *subject) erase(ctx context.Context, tx pgx.Tx, c *counts) error {
	events, err := s.eraseEvents(ctx, tx, c)
	if err != nil {
		return fmt.Errorf("erasing in webhooks: %w", err)
	}
	if err := s.eraseDeliveries(ctx, tx, events, c); err != nil {
		return fmt.Errorf("erasing deliveries: %w", err)
	}
	if err := s.eraseDead(ctx, tx, c); err != nil {
		return fmt.Errorf("erasing dead entries: %w", err)
	}
	ids := make([]uuid.UUID, len(s.sessions))
	for i, one := range s.sessions {
		ids[i] = one.id
	}
	steps, stepTimes := columns(s.steps, func(one step) (uuid.UUID, time.Time) { return one.id, one.at })
	eventIDs, eventTimes, positions := s.messageColumns()
	for _, part := range []struct {
		what, sql string
		args      []any
	}{
		{responseRows, "DELETE FROM flow_responses WHERE id = ANY ($1)", []any{s.responses}},
		{sessionRows, `DELETE FROM flow_sessions s WHERE id = ANY ($1) AND NOT EXISTS (SELECT FROM flow_responses r WHERE r.session_id = s.id)`, []any{ids}},
		{stepRows, "DELETE FROM flow_steps s USING unnest($1::uuid[], $2::timestamptz[]) AS u(id, at) WHERE s.at = u.at AND s.id = u.id", []any{steps, stepTimes}},
		{messageRows, `DELETE FROM webhook_messages m USING unnest($1::uuid[], $2::timestamptz[], $3::int[]) AS u(id, at, position)
			WHERE m.event_at = u.at AND m.event_id = u.id AND m.position = u.position`, []any{eventIDs, eventTimes, positions}},
		{contactRows, "DELETE FROM contacts WHERE id = ANY ($1)", []any{keys(s.contacts)}},
	} {
		tag, err := tx.Exec(ctx, part.sql, part.args...)
		if err != nil {
			return fmt.Errorf("erasing %s: %w", part.what, err)
		}
		c.add(part.what, tag.RowsAffected())
	}
	return nil
}

func columns[R any](rows []R, value func(R) (uuid.UUID, time.Time)) (ids []uuid.UUID, times []time.Time) {
	ids, times = make([]uuid.UUID, len(rows)), make([]time.Time, len(rows))
	for i, r := range rows {
		ids[i], times[i] = value(r)
	}
	return ids, times
}

func (s *subject) messageColumns() (ids []uuid.UUID, times []time.Time, positions []int32) {
	ids, times = columns(s.messages, func(m message) (uuid.UUID, time.Time) { return m.event, m.at })
	positions = make([]int32, len(s.messages))
	for i, m := range s.messages {
		positions[i] = m.position
	}
	return ids, times, positions
}

// touched are the raw webhooks of which something was cut out, or everything.
type touched struct {
	cut, whole []uuid.UUID
}

// eventsAtOnce bounds the bodies that are in memory together: each has up to
// 3 MiB.
const eventsAtOnce = 16

const selectEvents = `
	SELECT e.id, e.received_at, e.account, e.body, coalesce(e.problem, '') FROM webhook_events e
	JOIN unnest($1::uuid[], $2::timestamptz[]) AS u(id, at) ON e.received_at = u.at AND e.id = u.id FOR UPDATE OF e`

const updateEvent = `UPDATE webhook_events SET body = $3, problem = $4 WHERE received_at = $2 AND id = $1`

// Raw webhooks that say nothing of who is in them: they could not be read, or
// not completely. One that another account's secret verified is another account's,
// unless it brought messages to this one too.
const selectProblems = `
	SELECT id, received_at, account = $3 OR EXISTS (
		SELECT FROM webhook_messages m WHERE m.event_at = e.received_at AND m.event_id = e.id AND m.account = $3)
	FROM webhook_events e
	WHERE (problem IS NOT NULL OR $2) AND EXISTS (SELECT FROM unnest($1::bytea[]) AS n(text) WHERE position(n.text IN body) > 0)`

func (s *subject) eraseEvents(ctx context.Context, tx pgx.Tx, c *counts) (touched, error) {
	var done touched
	positions := map[step]map[int32]bool{}
	for _, m := range s.messages {
		at := step{m.event, m.at}
		if positions[at] == nil {
			positions[at] = map[int32]bool{}
		}
		positions[at][m.position] = true
	}
	needles := s.who.needles()
	if len(needles) > 0 {
		texts := make([][]byte, len(needles))
		for i, n := range needles {
			texts[i] = n.text
		}
		rows, err := tx.Query(ctx, selectProblems, texts, s.EveryBody, s.Account)
		if err != nil {
			return done, err
		}
		var at step
		var ours bool
		if _, err := pgx.ForEachRow(rows, []any{&at.id, &at.at, &ours}, func() error {
			switch {
			case !ours:
				s.elsewhere[at] = true
			case positions[at] == nil:
				positions[at] = nil
			}
			return nil
		}); err != nil {
			return done, err
		}
	}
	all := keys(positions)
	// In the order in which two erasures lock them.
	slices.SortFunc(all, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), slices.Compare(a.id[:], b.id[:])) })
	for part := range slices.Chunk(all, eventsAtOnce) {
		if err := s.eraseSome(ctx, tx, part, positions, needles, &done, c); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (s *subject) eraseSome(ctx context.Context, tx pgx.Tx, part []step, positions map[step]map[int32]bool, needles []needle, done *touched, c *counts) error {
	ids, times := columns(part, func(at step) (uuid.UUID, time.Time) { return at.id, at.at })
	rows, err := tx.Query(ctx, selectEvents, ids, times)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	var at step
	var account, problem string
	var body []byte
	if _, err := pgx.ForEachRow(rows, []any{&at.id, &at.at, &account, &body, &problem}, func() error {
		left := cut(body, s.who, positions[at], s.ours(account))
		if left.elsewhere || !left.ok && account != s.Account {
			s.elsewhere[at] = true
		}
		switch {
		case !left.ok && (account != s.Account || !in(body, needles)), left.ok && left.elements == 0:
			return nil
		case !left.ok:
			left.body, left.whole = redacted, true
			problem = "" // it is about bytes that are not there any more
		}
		note := fmt.Sprintf("redacted: %d elements were erased", left.elements)
		if left.whole {
			done.whole = append(done.whole, at.id)
			c.add(eventsRedacted, 1)
			note = "redacted: erased"
		} else {
			done.cut = append(done.cut, at.id)
			c.add(eventsCut, 1)
		}
		if problem != "" {
			note = problem + "; " + note
		}
		b.Queue(updateEvent, at.id, at.at, left.body, note)
		return nil
	}); err != nil {
		return err
	}
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
}

// The deliveries of subjects that are gone, and of what is cut out of webhooks.
const (
	ofSubjects = `(d.subject_id = ANY ($1) OR EXISTS (
		SELECT FROM unnest($2::uuid[], $3::int[]) AS u(event, position) WHERE d.subject_id = u.event AND d.subject_position = u.position))`
	ofWebhooks = `(d.event_type = 'webhook.received' AND d.subject_id = ANY ($1))`

	// A claim holds its endpoint while it makes bodies of what it has read and
	// stores them: it is waited for, or finds what is left.
	lockEndpoints = `SELECT FROM callback_endpoints e WHERE e.id IN (SELECT d.endpoint_id FROM deliveries d WHERE d.subject_id = ANY ($1))
		ORDER BY e.id FOR NO KEY UPDATE OF e`

	lockDeliveries = `SELECT d.id FROM deliveries d WHERE d.subject_id = ANY ($1) ORDER BY d.id FOR UPDATE`

	countReceivers = `
		SELECT name, count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state <> 'delivered' AND attempt > 0) FROM (
			SELECT e.name, d.state, d.attempt, d.subject_id, d.subject_position, d.event_type
			FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id WHERE d.subject_id = ANY ($1)
			UNION ALL
			SELECT h.endpoint_name, h.state, h.attempt, h.subject_id, h.subject_position, h.event_type
			FROM delivery_history h WHERE h.subject_id = ANY ($1)) d
		WHERE d.subject_id = ANY ($2) OR EXISTS (
				SELECT FROM unnest($3::uuid[], $4::int[]) AS u(event, position) WHERE d.subject_id = u.event AND d.subject_position = u.position)
			OR d.event_type = 'webhook.received' AND d.subject_id = ANY ($5)
		GROUP BY name`

	// A receiver's answer may repeat what it was sent.
	eraseAttempts = `
		UPDATE attempts a SET response_body = NULL FROM (
			SELECT d.account, d.id FROM deliveries d WHERE d.subject_id = ANY ($1)
			UNION SELECT h.account, h.id FROM delivery_history h WHERE h.subject_id = ANY ($1)) d
		WHERE a.account = d.account AND a.delivery_id = d.id AND a.response_body IS NOT NULL`

	cancelDeliveries = `
		WITH gone AS (DELETE FROM deliveries d WHERE ` + ofWebhooks + ` RETURNING *)
		INSERT INTO delivery_history (id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, subject_position,
			flow, ordering_key, traceparent, replay, state, attempt, body, last_status, last_error, created_at, finished_at)
		SELECT d.id, d.account, d.endpoint_id, e.name, d.event_type, d.event_id, d.event_at, d.subject_id, d.subject_at, d.subject_position,
			d.flow, NULL, d.traceparent, d.replay, 'cancelled', d.attempt, NULL, d.last_status, 'its webhook was erased', d.created_at, now()
		FROM gone d JOIN callback_endpoints e ON e.id = d.endpoint_id`
)

func (s *subject) eraseDeliveries(ctx context.Context, tx pgx.Tx, events touched, c *counts) error {
	subjects := slices.Clone(s.responses)
	for _, one := range s.steps {
		subjects = append(subjects, one.id)
	}
	hooks, _, positions := s.messageColumns()
	webhooks := slices.Concat(events.whole, events.cut)
	touchedIDs := slices.Concat(subjects, hooks, webhooks) // by the index of subject_id
	if len(touchedIDs) == 0 {
		return nil
	}
	for _, sql := range []string{lockEndpoints, lockDeliveries} {
		if _, err := tx.Exec(ctx, sql, touchedIDs); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, countReceivers, touchedIDs, subjects, hooks, positions, webhooks)
	if err != nil {
		return err
	}
	var r Receiver
	if _, err := pgx.ForEachRow(rows, []any{&r.Endpoint, &r.Delivered, &r.Attempted}, func() error {
		if r.Delivered+r.Attempted > 0 {
			c.receivers[r.Endpoint] = r
		}
		return nil
	}); err != nil {
		return err
	}
	for _, part := range []struct {
		what, sql string
		args      []any
	}{
		{attemptBodies, eraseAttempts, []any{touchedIDs}},
		{deliveryRows, "DELETE FROM deliveries d WHERE " + ofSubjects, []any{subjects, hooks, positions}},
		{historyRows, "DELETE FROM delivery_history d WHERE " + ofSubjects, []any{subjects, hooks, positions}},
		{deliveriesEnded, cancelDeliveries, []any{events.whole}},
		// A body that was frozen is rendered anew, of what is left.
		{"", "UPDATE deliveries d SET body = NULL WHERE d.body IS NOT NULL AND " + ofWebhooks, []any{webhooks}},
		{"", "UPDATE delivery_history d SET body = NULL WHERE d.body IS NOT NULL AND " + ofWebhooks, []any{webhooks}},
	} {
		tag, err := tx.Exec(ctx, part.sql, part.args...)
		if err != nil {
			return err
		}
		if part.what != "" {
			c.add(part.what, tag.RowsAffected())
		}
	}
	return nil
}
