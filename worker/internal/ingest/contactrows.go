package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// errContactRace says that other transactions kept creating the same contacts.
var errContactRace = errors.New("contacts changed while they were written")

const selectContacts = `
	SELECT c.* FROM unnest($1::text[], $2::text[]) AS k(account, user_id)
	CROSS JOIN LATERAL (
		SELECT c.id, c.account, coalesce(c.user_id, ''), coalesce(c.phone_number, ''), coalesce(c.username, ''), coalesce(c.name, ''), c.last_seen_at
		FROM contacts c
		WHERE c.account = k.account AND c.user_id = k.user_id AND c.merged_into IS NULL LIMIT 1) c
	UNION ALL
	SELECT c.* FROM unnest($3::text[], $4::text[]) AS k(account, phone_number)
	CROSS JOIN LATERAL (
		SELECT c.id, c.account, coalesce(c.user_id, ''), coalesce(c.phone_number, ''), coalesce(c.username, ''), coalesce(c.name, ''), c.last_seen_at
		FROM contacts c
		WHERE c.account = k.account AND c.phone_number = k.phone_number AND c.merged_into IS NULL LIMIT 1) c`

const insertContacts = `
	INSERT INTO contacts (id, account, user_id, phone_number, username, name, merged_into, first_seen_at, last_seen_at)
	SELECT id, account, user_id, phone_number, username, name, merged_into, seen, seen
	FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::timestamptz[])
		AS c(id, account, user_id, phone_number, username, name, merged_into, seen)
	ON CONFLICT DO NOTHING`

// The rows are locked in the order of their ids before any is updated.
const touchContacts = `
	WITH locked AS MATERIALIZED (
		SELECT t.* FROM (
			SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS t(id, username, name, seen) ORDER BY id) t
		CROSS JOIN LATERAL (SELECT FROM contacts c WHERE c.id = t.id OFFSET 0 FOR NO KEY UPDATE) l)
	UPDATE contacts c SET username = coalesce(t.username, c.username), name = coalesce(t.name, c.name),
		last_seen_at = greatest(c.last_seen_at, t.seen)
	FROM locked t WHERE c.id = t.id`

// First whoever loses a number or a life of its own, then whoever gains: the
// unique indexes are checked row by row.
const releaseContacts = `
	UPDATE contacts c SET merged_into = t.merged_into, phone_number = CASE WHEN t.merged_into IS NULL THEN NULL ELSE c.phone_number END
	FROM unnest($1::uuid[], $2::uuid[]) AS t(id, merged_into) WHERE c.id = t.id`

const settleContacts = `
	UPDATE contacts c SET user_id = t.user_id, phone_number = t.phone_number
	FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t(id, user_id, phone_number) WHERE c.id = t.id`

// contactLock serialises the rare transactions that move identities between
// contacts: "cont" in ASCII.
const contactLock = 0x636f6e74

// resolveContacts gives every identity its contact, creating, merging and
// updating contacts as needed.
func resolveContacts(ctx context.Context, tx pgx.Tx, people []*identity) error {
	if len(people) == 0 {
		return nil
	}
	locked := false
	for range 4 {
		existing, err := readContacts(ctx, tx, people)
		if err != nil {
			return err
		}
		plan := planContacts(existing, people)
		moving := plan.part(func(c *contact) bool { return !c.inserted && (c.moved || c.into != uuid.Nil) })
		if len(moving) > 0 && !locked {
			// Held to the end of the transaction; then look again at what is there now.
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", contactLock); err != nil {
				return fmt.Errorf("locking contacts: %w", err)
			}
			locked = true
			continue
		}
		if err := moveContacts(ctx, tx, moving); err != nil {
			return err
		}
		complete, err := addContacts(ctx, tx, plan.part(func(c *contact) bool { return c.inserted }))
		if err != nil {
			return err
		}
		if !complete {
			continue // another transaction created some of them: they exist now
		}
		return touch(ctx, tx, plan.part(func(c *contact) bool { return !c.inserted && c.touched && c.into == uuid.Nil }))
	}
	return errContactRace
}

func readContacts(ctx context.Context, tx pgx.Tx, people []*identity) ([]*contact, error) {
	var userAccounts, users, phoneAccounts, phones []string
	asked := make(map[[3]string]bool, 2*len(people))
	for _, who := range people {
		if k := [3]string{"user", who.account, who.userID}; who.userID != "" && !asked[k] {
			asked[k] = true
			userAccounts, users = append(userAccounts, who.account), append(users, who.userID)
		}
		if k := [3]string{"phone", who.account, who.phone}; who.phone != "" && !asked[k] {
			asked[k] = true
			phoneAccounts, phones = append(phoneAccounts, who.account), append(phones, who.phone)
		}
	}
	rows, err := tx.Query(ctx, selectContacts, userAccounts, users, phoneAccounts, phones)
	if err != nil {
		return nil, fmt.Errorf("reading contacts: %w", err)
	}
	known := make(map[uuid.UUID]bool)
	var all []*contact
	for rows.Next() {
		c := &contact{}
		if err := rows.Scan((*[16]byte)(&c.id), &c.account, &c.userID, &c.phone, &c.username, &c.name, &c.seen); err != nil {
			return nil, fmt.Errorf("reading contacts: %w", err)
		}
		if !known[c.id] {
			known[c.id] = true
			all = append(all, c)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading contacts: %w", err)
	}
	return all, nil
}

// addContacts reports whether all were created.
func addContacts(ctx context.Context, tx pgx.Tx, added []*contact) (bool, error) {
	if len(added) == 0 {
		return true, nil
	}
	tag, err := tx.Exec(ctx, insertContacts,
		column(added, contactID),
		column(added, func(c *contact) string { return c.account }),
		column(added, func(c *contact) pgtype.Text { return text(c.userID) }),
		column(added, func(c *contact) pgtype.Text { return text(c.phone) }),
		column(added, func(c *contact) pgtype.Text { return text(c.username) }),
		column(added, func(c *contact) pgtype.Text { return text(c.name) }),
		column(added, func(c *contact) pgtype.UUID { return id(c.into) }),
		column(added, seenAt))
	if err != nil {
		return false, fmt.Errorf("creating contacts: %w", err)
	}
	return tag.RowsAffected() == int64(len(added)), nil
}

func moveContacts(ctx context.Context, tx pgx.Tx, moving []*contact) error {
	if len(moving) == 0 {
		return nil
	}
	slices.SortFunc(moving, func(a, b *contact) int { return slices.Compare(a.id[:], b.id[:]) })
	if _, err := tx.Exec(ctx, "SELECT FROM contacts WHERE id = ANY ($1) ORDER BY id FOR UPDATE", column(moving, contactID)); err != nil {
		return fmt.Errorf("locking contacts: %w", err)
	}
	if _, err := tx.Exec(ctx, releaseContacts, column(moving, contactID),
		column(moving, func(c *contact) pgtype.UUID { return id(c.into) })); err != nil {
		return fmt.Errorf("merging contacts: %w", err)
	}
	alive := slices.DeleteFunc(slices.Clone(moving), func(c *contact) bool { return c.into != uuid.Nil })
	if _, err := tx.Exec(ctx, settleContacts, column(alive, contactID),
		column(alive, func(c *contact) pgtype.Text { return text(c.userID) }),
		column(alive, func(c *contact) pgtype.Text { return text(c.phone) })); err != nil {
		return fmt.Errorf("moving a number or user id to its contact: %w", err)
	}
	return nil
}

func touch(ctx context.Context, tx pgx.Tx, touched []*contact) error {
	if len(touched) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, touchContacts, column(touched, contactID),
		column(touched, func(c *contact) pgtype.Text { return text(c.username) }),
		column(touched, func(c *contact) pgtype.Text { return text(c.name) }),
		column(touched, seenAt))
	if err != nil {
		return fmt.Errorf("updating contacts: %w", err)
	}
	return nil
}

func contactID(c *contact) pgtype.UUID { return id(c.id) }
func seenAt(c *contact) time.Time      { return c.seen }
