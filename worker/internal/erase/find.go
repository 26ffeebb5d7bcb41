package erase

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// subject is what is known of one person. A second pass begins with what the
// first one found: the contacts' rows are gone by then, but a writer that was
// under way may still have stored messages under their ids.
type subject struct {
	Request
	value string
	who   *person

	accounts  func(phoneNumberID, waba, fallback string) string
	elsewhere map[step]bool // webhooks that name the person where another account's data are

	contacts map[uuid.UUID]bool
	// hashes are of the tokens that are this person's alone. One that several
	// people answered under says nothing of whose a session or step is.
	hashes map[string]bool
	shared map[string]bool // false for one that was given

	tokenless int // answers without a token

	sessions []session
	all      map[sessionKey]bool // sessions of every pass, for Redis

	responses []uuid.UUID
	steps     []step
	messages  []message
	statuses  set // of messages: id and status, as their keys begin
}

type session struct {
	id          uuid.UUID
	flow, token string
}

type sessionKey struct{ flow, token string }

type step struct {
	id uuid.UUID
	at time.Time
}

// message is a row of webhook_messages.
type message struct {
	event    uuid.UUID
	at       time.Time
	position int32
}

func newSubject(r Request, value string, accounts func(phoneNumberID, waba, fallback string) string) *subject {
	s := &subject{Request: r, value: value, who: newPerson(), accounts: accounts, elsewhere: map[step]bool{}, contacts: map[uuid.UUID]bool{}, hashes: map[string]bool{}, shared: map[string]bool{},
		all: map[sessionKey]bool{}, statuses: set{}}
	switch r.By {
	case UserID:
		s.who.users.add(value)
		s.who.claims.add(value)
	case FlowToken:
		s.who.tokens.add(value)
		s.hashes[hashOf(value)] = true
	}
	return s
}

// clone is what a transaction may change and then not commit.
func (s *subject) clone() *subject {
	c := *s
	c.who = &person{maps.Clone(s.who.phones), maps.Clone(s.who.users), maps.Clone(s.who.tokens), maps.Clone(s.who.claims), maps.Clone(s.who.wamids)}
	c.contacts, c.hashes, c.shared, c.all = maps.Clone(s.contacts), maps.Clone(s.hashes), maps.Clone(s.shared), maps.Clone(s.all)
	c.statuses, c.elsewhere = maps.Clone(s.statuses), maps.Clone(s.elsewhere)
	c.sessions, c.responses, c.steps, c.messages = nil, nil, nil, nil
	return &c
}

// ours says which changes belong to the account in which is erased, in a webhook
// that the secret of account verified.
func (s *subject) ours(account string) ownership {
	return func(phoneNumberID, waba string) bool { return s.accounts(phoneNumberID, waba, account) == s.Account }
}

// people says whether whole contacts are erased, not only what is under a token.
func (s *subject) people() bool { return s.By != FlowToken || s.WholeContact }

// find looks for every row, and locks the contacts: a writer that refers to one
// waits, finds it gone, and begins again.
func (s *subject) find(ctx context.Context, tx pgx.Tx) error {
	for _, part := range []struct {
		what string
		do   func(context.Context, pgx.Tx) error
	}{
		{"contacts", s.findContacts}, {"answers", s.findAnswers}, {"sessions", s.findSessions}, {"steps", s.findSteps}, {"messages", s.findMessages},
	} {
		if err := part.do(ctx, tx); err != nil {
			return fmt.Errorf("looking for %s: %w", part.what, err)
		}
	}
	return nil
}

// Whoever has a number now is meant by it. Who had it before is somebody else,
// and must not be erased when the same erasure runs again.
const contactsByPhone = `SELECT id FROM contacts WHERE account = $1 AND phone_number = $2 AND merged_into IS NULL`

const contactsByUser = `SELECT id FROM contacts WHERE account = $1 AND user_id = $2`

const contactsByToken = `
	SELECT contact_id FROM flow_responses WHERE account = $1 AND token_hash = $2 AND contact_id IS NOT NULL`

// What was merged into a contact, and what that was merged into, is one person.
// A number that another contact has now is not this person's any more.
const selectFamily = `
	WITH RECURSIVE up AS (
		SELECT id, merged_into FROM contacts WHERE id = ANY ($1)
		UNION
		SELECT c.id, c.merged_into FROM contacts c JOIN up ON c.id = up.merged_into),
	family AS (
		SELECT id FROM up
		UNION
		SELECT c.id FROM contacts c JOIN family f ON c.merged_into = f.id)
	SELECT c.id, coalesce(c.user_id, ''), CASE WHEN EXISTS (
			SELECT FROM contacts o WHERE o.account = c.account AND o.phone_number = c.phone_number AND o.merged_into IS NULL
				AND o.id NOT IN (SELECT id FROM family))
		THEN '' ELSE coalesce(c.phone_number, '') END
	FROM contacts c WHERE c.id IN (SELECT id FROM family) ORDER BY c.id FOR UPDATE OF c`

func (s *subject) findContacts(ctx context.Context, tx pgx.Tx) error {
	var sql, key string
	switch {
	case s.By == PhoneNumber:
		sql, key = contactsByPhone, s.value
	case s.By == UserID:
		sql, key = contactsByUser, s.value
	case s.WholeContact:
		sql, key = contactsByToken, hashOf(s.value)
	default:
		return nil
	}
	start, err := collect[uuid.UUID](ctx, tx, sql, s.Account, key)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, selectFamily, append(keys(s.contacts), start...))
	if err != nil {
		return err
	}
	var id uuid.UUID
	var user, phone string
	_, err = pgx.ForEachRow(rows, []any{&id, &user, &phone}, func() error {
		s.contacts[id] = true
		s.who.users.add(user)
		s.who.phones.add(phone)
		return nil
	})
	if err != nil || s.By != PhoneNumber {
		return err
	}
	// Somebody may have been given the number since an earlier pass.
	var others bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM contacts WHERE account = $1 AND phone_number = $2 AND merged_into IS NULL AND NOT id = ANY ($3))`,
		s.Account, s.value, keys(s.contacts)).Scan(&others)
	if !others {
		s.who.phones.add(s.value)
	}
	return err
}

// An answer without a contact is known by its number; its user id is the
// operator's own, so only the value that was given counts.
const selectAnswers = `
	SELECT id, coalesce(token_hash, ''), coalesce(flow_token, ''), coalesce(wamid, '') FROM flow_responses WHERE contact_id = ANY ($2)
	UNION
	SELECT id, coalesce(token_hash, ''), coalesce(flow_token, ''), coalesce(wamid, '') FROM flow_responses
	WHERE account = $1 AND phone_number = ANY ($3) AND contact_id IS NULL
	UNION
	SELECT id, coalesce(token_hash, ''), coalesce(flow_token, ''), coalesce(wamid, '') FROM flow_responses
	WHERE account = $1 AND user_id = ANY ($4) AND contact_id IS NULL`

// Under a token that is one person's alone every answer is theirs.
const selectAnswersUnder = `
	SELECT id, coalesce(wamid, ''), coalesce(flow_token, '') FROM flow_responses
	WHERE account = $1 AND token_hash = ANY ($2)`

const selectClaimed = `SELECT token_hash, flow_token FROM flow_sessions WHERE account = $1 AND user_id = ANY ($2)`

// selectShared are those of some tokens under which several people answered.
const selectShared = `
	SELECT r.token_hash FROM flow_responses r JOIN contacts c ON c.id = r.contact_id
	WHERE r.account = $1 AND r.token_hash = ANY ($2)
	GROUP BY r.token_hash HAVING count(DISTINCT coalesce(c.merged_into, c.id)) > 1`

func (s *subject) findAnswers(ctx context.Context, tx pgx.Tx) error {
	found := map[uuid.UUID]bool{}
	candidates := map[string]string{} // token by its hash
	if s.people() {
		rows, err := tx.Query(ctx, selectAnswers, s.Account, keys(s.contacts), keys(s.who.phones), keys(s.who.claims))
		if err != nil {
			return err
		}
		var id uuid.UUID
		var hash, token, wamid string
		if _, err := pgx.ForEachRow(rows, []any{&id, &hash, &token, &wamid}, func() error {
			found[id] = true
			s.who.wamids.add(wamid)
			if hash != "" {
				candidates[hash] = token
			} else {
				s.tokenless++
			}
			return nil
		}); err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, selectClaimed, s.Account, keys(s.who.claims)); err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, []any{&hash, &token}, func() error { candidates[hash] = token; return nil }); err != nil {
			return err
		}
		shared, err := collect[string](ctx, tx, selectShared, s.Account, keys(candidates))
		if err != nil {
			return err
		}
		for _, hash := range shared {
			s.shared[hash] = !s.hashes[hash]
		}
		for hash := range s.shared { // also when this person's answers under it are gone by now
			if s.shared[hash] {
				delete(candidates, hash)
			}
		}
	}
	for hash, token := range candidates {
		s.hashes[hash] = true
		s.who.tokens.add(token)
	}
	rows, err := tx.Query(ctx, selectAnswersUnder, s.Account, keys(s.hashes))
	if err != nil {
		return err
	}
	var id uuid.UUID
	var wamid, token string
	_, err = pgx.ForEachRow(rows, []any{&id, &wamid, &token}, func() error {
		found[id] = true
		s.who.wamids.add(wamid)
		s.who.tokens.add(token)
		return nil
	})
	s.responses = keys(found)
	return err
}

func (s *subject) findSessions(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, flow, flow_token FROM flow_sessions WHERE account = $1 AND token_hash = ANY ($2)`, s.Account, keys(s.hashes))
	if err != nil {
		return err
	}
	s.sessions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (session, error) {
		var one session
		return one, row.Scan(&one.id, &one.flow, &one.token)
	})
	for _, one := range s.sessions {
		s.all[sessionKey{one.flow, one.token}] = true
		s.who.tokens.add(one.token)
	}
	return err
}

func (s *subject) findSteps(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, at FROM flow_steps WHERE account = $1 AND token_hash = ANY ($2)`, s.Account, keys(s.hashes))
	if err != nil {
		return err
	}
	s.steps, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (step, error) {
		var one step
		return one, row.Scan(&one.id, &one.at)
	})
	return err
}

// The answers' own messages are theirs also when only a token is erased.
const selectMessages = `
	SELECT event_id, event_at, position, coalesce(wamid, ''), kind, coalesce(type, '') FROM webhook_messages WHERE contact_id = ANY ($1)
	UNION
	SELECT event_id, event_at, position, coalesce(wamid, ''), kind, coalesce(type, '') FROM webhook_messages WHERE account = $2 AND wamid = ANY ($3) AND kind = 'message'`

func (s *subject) findMessages(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, selectMessages, keys(s.contacts), s.Account, keys(s.who.wamids))
	if err != nil {
		return err
	}
	var m message
	var wamid, kind, typ string
	_, err = pgx.ForEachRow(rows, []any{&m.event, &m.at, &m.position, &wamid, &kind, &typ}, func() error {
		s.messages = append(s.messages, m)
		if kind == "status" {
			s.statuses.add(wamid + "|" + typ)
		}
		s.who.wamids.add(wamid)
		return nil
	})
	return err
}

func collect[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// keys are those of a map, never nil: null is no empty array to Postgres.
func keys[M ~map[K]V, K comparable, V any](m M) []K {
	all := make([]K, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return all
}
