package ingest

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

// touchEvery is how exact last_seen_at is: a row version for every message of a
// conversation would cost more than it tells.
const touchEvery = 10 * time.Minute

// identity is what one message says of a person.
type identity struct {
	account, userID, phone, username, name string
	at                                     time.Time
	contact                                uuid.UUID // once resolved
}

func newIdentity(account, phone, userID string, known *webhook.Contact, at time.Time, p *webhook.Payload) *identity {
	who := &identity{account: account, phone: phone, userID: userID, at: at}
	if known != nil {
		who.phone = cmp.Or(phone, known.WAID)
		who.userID = cmp.Or(userID, known.UserID)
		who.username, who.name = cut(clean(known.Profile.Username), 500), cut(clean(known.Profile.Name), 500)
	}
	who.phone, who.userID = bounded(who.phone, "phone number", p), bounded(who.userID, "user id", p)
	if who.phone == "" && who.userID == "" {
		return nil
	}
	return who
}

// contact is a row of contacts that is not merged into another, and what has to
// be done about it.
type contact struct {
	id                                     uuid.UUID
	account, userID, phone, username, name string
	seen                                   time.Time

	inserted, touched bool
	moved             bool      // user_id or phone_number changed
	into              uuid.UUID // merged
}

// contactPlan decides which contact each identity is. Pure: what exists goes in,
// what has to change comes out.
//
// The business-scoped user id is the first identity. A phone number belongs to
// whoever was last seen with it: numbers are given to other people, so two
// contacts with user ids of their own are never merged. A contact that so far
// was only a number becomes, or is merged into, the one with the user id.
type contactPlan struct {
	byUser, byPhone map[[2]string]*contact
	all             []*contact
}

func planContacts(existing []*contact, people []*identity) *contactPlan {
	p := &contactPlan{byUser: make(map[[2]string]*contact), byPhone: make(map[[2]string]*contact)}
	for _, c := range existing {
		p.add(c)
	}
	ordered := slices.Clone(people)
	slices.SortStableFunc(ordered, func(a, b *identity) int { return a.at.Compare(b.at) })
	found := make([]*contact, len(ordered))
	for i, who := range ordered {
		found[i] = p.resolve(who)
	}
	for i, who := range ordered {
		who.contact = found[i].id
		if found[i].into != uuid.Nil {
			who.contact = found[i].into
		}
	}
	return p
}

func (p *contactPlan) add(c *contact) {
	p.all = append(p.all, c)
	if c.userID != "" {
		p.byUser[[2]string{c.account, c.userID}] = c
	}
	if c.phone != "" {
		p.byPhone[[2]string{c.account, c.phone}] = c
	}
}

func (p *contactPlan) resolve(who *identity) *contact {
	c := p.find(who)
	if c == nil {
		c = &contact{id: newID(), account: who.account, userID: who.userID, phone: who.phone,
			username: who.username, name: who.name, seen: who.at, inserted: true}
		p.add(c)
		return c
	}
	if who.userID != "" && c.userID == "" {
		c.userID, c.moved = who.userID, true
		p.byUser[[2]string{c.account, c.userID}] = c
	}
	if newer := who.at.After(c.seen); newer || c.username == "" && c.name == "" {
		if who.username != "" && who.username != c.username {
			c.username, c.touched = who.username, true
		}
		if who.name != "" && who.name != c.name {
			c.name, c.touched = who.name, true
		}
	}
	if who.at.Sub(c.seen) >= touchEvery || who.at.After(c.seen) && (c.touched || c.moved || c.inserted) {
		c.seen, c.touched = who.at, true
	}
	return c
}

// find is the contact of who, having taken over the number if need be.
func (p *contactPlan) find(who *identity) *contact {
	var holder *contact
	if who.phone != "" {
		holder = p.byPhone[[2]string{who.account, who.phone}]
	}
	if who.userID == "" {
		return holder
	}
	c := p.byUser[[2]string{who.account, who.userID}]
	switch {
	case c == holder:
		return c // the same, or nobody
	case holder == nil:
		if who.phone != "" && (c.phone == "" || !who.at.Before(c.seen)) {
			p.setPhone(c, who.phone)
		}
		return c
	case holder.userID == "" && c == nil:
		return holder // a bare number gets its user id
	case holder.userID == "":
		holder.into, holder.touched = c.id, false
		delete(p.byPhone, [2]string{holder.account, holder.phone})
		if c.phone == "" || !who.at.Before(c.seen) {
			p.setPhone(c, who.phone)
		}
		return c
	case who.at.Before(holder.seen):
		// An older message about a number that somebody else has now.
		who.phone = ""
		return c
	default:
		p.setPhone(holder, "")
		if c != nil {
			p.setPhone(c, who.phone)
		}
		return c
	}
}

func (p *contactPlan) setPhone(c *contact, phone string) {
	if c.phone != "" && p.byPhone[[2]string{c.account, c.phone}] == c {
		delete(p.byPhone, [2]string{c.account, c.phone})
	}
	c.phone, c.moved = phone, true
	if phone != "" {
		p.byPhone[[2]string{c.account, phone}] = c
	}
}

// part is the contacts that need one kind of statement, in lock order.
func (p *contactPlan) part(which func(*contact) bool) []*contact {
	var part []*contact
	for _, c := range p.all {
		if which(c) {
			part = append(part, c)
		}
	}
	slices.SortFunc(part, func(a, b *contact) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.userID, b.userID), cmp.Compare(a.phone, b.phone))
	})
	return part
}
