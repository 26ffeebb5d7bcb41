package ingest

import (
	"fmt"
	"strings"
	"testing"
)

// Who is who, told by what each message says: user id and number, in the order
// of their timestamps.
func TestContacts(t *testing.T) {
	type say struct{ userID, phone string }
	tests := map[string]struct {
		messages []say
		want     string // live contacts, and whom each message's contact is now
	}{
		"a number alone":                               {[]say{{"", "1"}, {"", "1"}}, "-/1 | -/1 -/1"},
		"a user id alone":                              {[]say{{"A", ""}, {"A", ""}}, "A/- | A/- A/-"},
		"the number first, then both":                  {[]say{{"", "1"}, {"A", "1"}}, "A/1 | A/1 A/1"},
		"both, then the number":                        {[]say{{"A", "1"}, {"", "1"}}, "A/1 | A/1 A/1"},
		"the user id first, then both":                 {[]say{{"A", ""}, {"A", "1"}}, "A/1 | A/1 A/1"},
		"both sides known apart, then both":            {[]say{{"A", ""}, {"", "1"}, {"A", "1"}}, "A/1 | A/1 A/1 A/1"},
		"a number that is given to somebody else":      {[]say{{"A", "1"}, {"B", "1"}, {"", "1"}}, "A/- B/1 | A/- B/1 B/1"},
		"somebody known takes over a number":           {[]say{{"A", "1"}, {"B", "2"}, {"B", "1"}}, "A/- B/1 | A/- B/1 B/1"},
		"a new number":                                 {[]say{{"A", "1"}, {"A", "2"}}, "A/2 | A/2 A/2"},
		"two who swap numbers":                         {[]say{{"A", "1"}, {"B", "2"}, {"A", "2"}, {"B", "1"}}, "A/2 B/1 | A/2 B/1 A/2 B/1"},
		"two people":                                   {[]say{{"A", "1"}, {"B", "2"}}, "A/1 B/2 | A/1 B/2"},
		"a number seen alone is merged into its owner": {[]say{{"A", "1"}, {"", "2"}, {"A", "2"}}, "A/2 | A/2 A/2 A/2"},
		"one person under many numbers seen before":    {[]say{{"", "1"}, {"", "2"}, {"A", "1"}, {"A", "2"}}, "A/2 | A/2 A/2 A/2 A/2"},
	}
	shared := newSuite(t)
	for name, test := range tests {
		for _, batches := range []string{"in one batch", "one by one"} {
			t.Run(name+", "+batches, func(t *testing.T) {
				s := &suite{T: t, pool: shared.pool, writer: shared.writer}
				mark := strings.NewReplacer(" ", "-", ",", "").Replace(t.Name()) // ids of this case alone
				var batch []string
				for i, m := range test.messages {
					person, from := "", ""
					if m.userID != "" {
						person = `,"user_id":"` + m.userID + mark + `"`
					}
					if m.phone != "" {
						person, from = person+`,"wa_id":"`+m.phone+mark+`"`, `,"from":"`+m.phone+mark+`"`
					}
					batch = append(batch, in("1", fmt.Sprintf(`"contacts":[{"profile":{"name":"N"}%s}],"messages":[{"id":"%s%d","timestamp":"%d"%s}]`,
						person, mark, i, 1749416383+i*3600, from)))
				}
				if batches == "one by one" {
					for _, body := range batch {
						s.write(s.hook(body))
					}
				} else {
					s.write(s.hooks(batch)...)
				}
				live := s.one(`SELECT string_agg(coalesce(replace(user_id, $1, ''), '-') || '/' || coalesce(replace(phone_number, $1, ''), '-'), ' '
					ORDER BY user_id NULLS FIRST) FROM contacts WHERE merged_into IS NULL AND concat(user_id, phone_number) LIKE '%' || $1 || '%'`, mark)
				who := s.one(`SELECT string_agg(coalesce(replace(c.user_id, $1, ''), '-') || '/' || coalesce(replace(c.phone_number, $1, ''), '-'), ' ' ORDER BY m.wamid)
					FROM webhook_messages m JOIN contacts o ON o.id = m.contact_id JOIN contacts c ON c.id = coalesce(o.merged_into, o.id)
					WHERE m.wamid LIKE $1 || '%'`, mark)
				if got := live + " | " + who; got != test.want {
					t.Errorf("contacts = %q, expected %q", got, test.want)
				}
			})
		}
	}
}

// An older message that arrives late does not take a number back.
func TestLateMessageDoesNotMoveANumber(t *testing.T) {
	s := newSuite(t)
	message := func(user, id string, at int) string {
		return in("1", fmt.Sprintf(`"contacts":[{"user_id":"%s","wa_id":"1"}],"messages":[{"id":"%s","from":"1","timestamp":"%d"}]`, user, id, at))
	}
	s.write(s.hook(message("A", "a", 1749416383)))
	s.write(s.hook(message("B", "b", 1749500000)))
	s.write(s.hook(message("A", "late", 1749416384)))
	s.expect("A/- B/1", "SELECT string_agg(user_id || '/' || coalesce(phone_number, '-'), ' ' ORDER BY user_id) FROM contacts")
}
