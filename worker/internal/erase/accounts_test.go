package erase

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// shops is a world in which Ada wrote to a second account too, with a phone
// number of its own.
type shops struct {
	*world
	mixed, broken, mention uuid.UUID
}

const (
	toDefault = `"metadata":{"phone_number_id":"1065"},`
	toShop    = `"metadata":{"phone_number_id":"2065"},`
)

func twoShops(t *testing.T) *shops {
	t.Helper()
	s := &shops{world: newWorld(t), mixed: uuid.New(), broken: uuid.New(), mention: uuid.New()}
	s.eraser.Accounts = func(phoneNumberID, _, fallback string) string {
		if account, ok := map[string]string{"1065": "default", "2065": "shop"}[phoneNumberID]; ok {
			return account
		}
		return fallback
	}
	contact := uuid.New()
	s.exec("INSERT INTO contacts (id, account, user_id, phone_number, name) VALUES ($1, 'shop', $2, $3, 'shopper')", contact, s.ada.user, s.ada.phone)
	s.exec("INSERT INTO flow_responses (id, account, source, wamid, contact_id, phone_number, response_data, answered_at) VALUES ($1, 'shop', 'nfm_reply', 'wamid.shop', $2, $3, '{}', now())",
		uuid.New(), contact, s.ada.phone)

	body := s.mixedBody(answerOf(s.ada, "-mixed"))
	s.exec("INSERT INTO webhook_events (id, account, received_at, body) VALUES ($1, 'shop', $2, $3)", s.mixed, s.at, []byte(body))
	for position, of := range map[int]struct {
		account string
		contact uuid.UUID
	}{0: {"shop", contact}, 1: {"default", s.ada.contact}} {
		s.exec("INSERT INTO webhook_messages (account, event_id, event_at, position, kind, wamid, contact_id) VALUES ($1, $2, $3, $4, 'message', 'wamid.mixed', $5)",
			of.account, s.mixed, s.at, position, of.contact)
	}
	broken := value(toShop + `"messages":[` + answerOf(s.ada, "-shop"))
	s.exec("INSERT INTO webhook_events (id, account, received_at, body, problem) VALUES ($1, 'shop', $2, $3, 'the body is no JSON')", s.broken, s.at, []byte(broken[:len(broken)-9]))
	s.exec("INSERT INTO webhook_events (id, account, received_at, body) VALUES ($1, 'shop', $2, $3)", s.mention, s.at,
		[]byte(value(toShop+`"user_preferences":[{"wa_id":"`+s.ada.phone+`","value":"stop"}]`)))

	for kind, body := range map[string]string{"webhook": broken, "step": `{"token":"` + s.ada.token + `"}`} {
		s.exec("INSERT INTO dead_entries (id, account, stream, stream_id, kind, reason, fields) VALUES ($1, 'shop', 's', $2, $3, 'why', $4)",
			uuid.New(), kind, kind, []byte(body))
		if err := s.client.XAdd(t.Context(), &redis.XAddArgs{Stream: s.keys.DeadEvents(0), Values: []any{"v", "1", "kind", kind, "account", "shop", "body", body}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// mixedBody brings a message to each account.
func (s *shops) mixedBody(toOther string) string {
	return `{"object":"whatsapp_business_account","entry":[` +
		`{"id":"8","changes":[{"field":"messages","value":{` + toShop + `"messages":[` + answerOf(s.ada, "-mixed") + `]}}]},` +
		`{"id":"9","changes":[{"field":"messages","value":{` + toDefault + `"messages":[` + toOther + `]}}]}]}`
}

// ofShop are the lines of a dump that are the second account's.
func ofShop(lines []string, but ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !strings.Contains(line, "account=shop") && !strings.Contains(line, "account:shop") || about(line, but)
	})
}

func TestNothingIsErasedInAnotherAccount(t *testing.T) {
	for name, everyBody := range map[string]bool{"as usual": false, "every body searched": true} {
		t.Run(name, func(t *testing.T) {
			s := twoShops(t)
			before := ofShop(s.dump(), s.mixed.String())
			report := s.erase(Request{By: PhoneNumber, Value: s.ada.phone, EveryBody: everyBody, OtherAccounts: true})
			after := s.dump()
			for _, line := range before {
				if !slices.Contains(after, line) {
					t.Errorf("gone although it is another account's: %.600s", line)
				}
			}
			var body string
			if err := s.pool.QueryRow(t.Context(), "SELECT convert_from(body, 'UTF8') FROM webhook_events WHERE id = $1", s.mixed).Scan(&body); err != nil {
				t.Fatal(err)
			}
			if want := s.mixedBody(""); body != want {
				t.Errorf("of the webhook to both\n%s is left, want\n%s", body, want)
			}
			found := int64(2) // the one to both, and the broken one
			if everyBody {
				found++
			}
			if n := s.elsewhere(report); n != found {
				t.Errorf("%d webhooks of other accounts reported, want %d", n, found)
			}
			if n := s.elsewhere(s.erase(Request{By: UserID, Value: s.ada.user})); n != 0 {
				t.Errorf("%d webhooks of other accounts reported to who did not ask", n)
			}
			s.erase(Request{Account: "shop", By: PhoneNumber, Value: s.ada.phone, EveryBody: true})
			for _, line := range ofShop(s.dump()) {
				if about(line, []string{s.ada.phone, s.ada.user}) {
					t.Errorf("still there after an erasure in the other account: %.600s", line)
				}
			}
		})
	}
}

// elsewhere is how many webhooks of other accounts a report has.
func (s *shops) elsewhere(r *Report) int64 {
	for _, left := range r.Remains {
		if left.What == "webhooks of other accounts" {
			return *left.Count
		}
	}
	return 0
}
