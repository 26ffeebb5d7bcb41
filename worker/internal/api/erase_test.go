package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// erasing is an API that can erase, and one contact in each of two accounts.
func erasing(t *testing.T) *served {
	t.Helper()
	t.Parallel()
	client, keys, _ := testkit.Redis(t, 2)
	s := serve(t, func(c *Config) {
		c.Eraser = erase.New(erase.Config{Pool: c.Pool, Redis: client, Keys: keys, Log: c.Log})
	})
	for _, account := range []string{"default", "shop"} {
		if _, err := s.pool.Exec(t.Context(), "INSERT INTO contacts (id, account, phone_number, user_id, name) VALUES ($1, $2, '16505551234', 'US.ADA', 'Ada')",
			uuid.New(), account); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *served) contacts(account string) (n int) {
	s.t.Helper()
	if err := s.pool.QueryRow(s.t.Context(), "SELECT count(*) FROM contacts WHERE account = $1", account).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestOnePersonsDataAreErasedThroughTheAPI(t *testing.T) {
	s := erasing(t)
	var report struct {
		ID, Account, Identified string
		DryRun                  bool
		Erased                  map[string]int
		Receivers, Remains      []map[string]any
	}
	s.send("POST", "/api/erasures", map[string]any{"phoneNumber": "+1 650 555 1234", "dryRun": true}).is(200).data(&report)
	if !report.DryRun || report.Erased["contacts"] != 1 || s.contacts("default") != 1 {
		t.Errorf("a dry run: %+v", report)
	}
	s.send("POST", "/api/erasures", map[string]any{"phoneNumber": "+1 650 555 1234"}).is(200).data(&report)
	if report.DryRun || report.Erased["contacts"] != 1 || report.Identified != "phone_number" || report.Account != "default" || len(report.Remains) == 0 {
		t.Errorf("report %+v", report)
	}
	if s.contacts("default") != 0 || s.contacts("shop") != 1 {
		t.Error("erased in the wrong account")
	}
	first := report.ID
	s.as(shopToken).send("POST", "/api/accounts/shop/erasures", map[string]any{"userId": "US.ADA"}).is(200).data(&report)
	if s.contacts("shop") != 0 || report.Account != "shop" {
		t.Errorf("report %+v", report)
	}

	if got := s.get("/api/erasures").ids("id"); got != report.ID+" "+first {
		t.Errorf("listed %s", got)
	}
	if got := s.get("/api/erasures?account=default").ids("id"); got != first {
		t.Errorf("listed of one account %s", got)
	}
	if got := s.get("/api/erasures?account=default").ids("identified"); got != "phone_number" {
		t.Errorf("identified by %s", got)
	}
	var page struct {
		Pagination struct {
			NextCursor string `json:"next_cursor"`
		}
	}
	s.get("/api/erasures?limit=1").is(200).read(&page)
	if got := s.get("/api/erasures?limit=1&cursor=" + page.Pagination.NextCursor).ids("id"); got != first {
		t.Errorf("second page %s", got)
	}
	for _, entry := range s.log.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "6505551234") || strings.Contains(string(text), "ADA") {
			t.Errorf("the log names the person: %s %s", entry.Message, text)
		}
	}
}

func TestErasuresThatAreRefused(t *testing.T) {
	s := erasing(t)
	s.send("POST", "/api/erasures", map[string]any{}).failed(400, "ValidationError", "Whose data", "0 came")
	s.send("POST", "/api/erasures", map[string]any{"phoneNumber": "1", "userId": "2"}).failed(400, "ValidationError", "2 came")
	if r := s.send("POST", "/api/erasures", map[string]any{"phoneNumber": "geheim"}).failed(400, "ValidationError", "phone number"); strings.Contains(string(r.body), "geheim") {
		t.Errorf("the error repeats the value: %s", r.body)
	}
	if r := s.send("POST", "/api/erasures", `{"flowToken":{"geheim":1}}`).is(400); strings.Contains(string(r.body), "geheim") {
		t.Errorf("the error repeats the value: %s", r.body)
	}
	s.send("POST", "/api/erasures", map[string]any{"flowToken": "unused"}).failed(400, "ValidationError", "everybody")
	s.as(readerToken).send("POST", "/api/erasures", map[string]any{"userId": "x"}).failed(403, "ForbiddenError")
	s.as(shopToken).send("POST", "/api/erasures?account=default", map[string]any{"userId": "x"}).failed(403, "ForbiddenError")
	if s.contacts("default") != 1 || s.contacts("shop") != 1 {
		t.Error("something was erased")
	}
}
