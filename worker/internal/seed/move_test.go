package seed

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// arrives is a webhook that comes from Meta after the move.
func (s *site) arrives(id, body string) {
	s.Helper()
	w := ingest.NewWriter(s.pool, ingest.Config{})
	dead, err := w.Write(s.Context(), []stream.Entry{{Stream: "waf:{s0}:events", ID: "1-1", Event: event.Entry{
		Kind: event.KindWebhook, Account: "default", ID: id, Time: time.Now().UTC(), Body: []byte(body)}}})
	if err != nil || len(dead) > 0 {
		s.Fatalf("%v, %d dead", err, len(dead))
	}
}

func answered(wamid, phone, response string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"300","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"100"},
		"contacts":[{"wa_id":"` + phone + `"}],"messages":[{"from":"` + phone + `","id":"` + wamid + `","timestamp":"1770026460","type":"interactive",
		"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"` + strings.ReplaceAll(response, `"`, `\"`) + `"}}}]}}]}]}`
}

func (s *site) endpoint() {
	s.Helper()
	if _, err := s.pool.Exec(s.Context(), `INSERT INTO callback_endpoints (id, account, name, url, secrets, timeout_ms, max_attempts)
		VALUES ($1, '*', 'crm', 'http://example.com', '{whsec_x}', 1000, 1)`, uuid.New()); err != nil {
		s.Fatal(err)
	}
}

func TestWhatMetaSendsAgainAfterTheMoveIsKnown(t *testing.T) {
	s := variedSite(t)
	s.imports(nil)
	s.endpoint()
	s.arrives("1", answered("wamid.1", "16505550001", `{"score":"9","flow_token":"token-1"}`))
	s.arrives("2", answered("wamid.lost", "16505550006", `{"flow_token":"elsewhere","score":"3"}`))
	s.arrives("3", answered("wamid.timeless", "16505550005", `{"flow_token":"timeless"}`))
	s.arrives("4", answered("wamid.unused", "16505550001", `{"flow_token":"unused"}`))
	s.expect("8 answers, 0 deliveries", "SELECT (SELECT count(*) FROM flow_responses) || ' answers, ' || (SELECT count(*) FROM deliveries) || ' deliveries'")
	s.arrives("5", answered("wamid.new", "16505550001", `{"flow_token":"token-1","score":"2"}`))
	s.expect("9 answers, 1 deliveries", "SELECT (SELECT count(*) FROM flow_responses) || ' answers, ' || (SELECT count(*) FROM deliveries) || ' deliveries'")
	s.expect("true", "SELECT session_id = '5e550000-0000-4000-8000-000000000001' FROM flow_responses WHERE wamid = 'wamid.new'")
}

func TestWhatCameBeforeTheImportStays(t *testing.T) {
	old := oldSite(t, 3)
	s := &site{t, testkit.Database(t)}
	s.endpoint()
	// The same flow was made here under its name, a session goes on, an answer came.
	if _, err := s.pool.Exec(t.Context(), `
		INSERT INTO flows (id, name, version) VALUES ('f10f0000-0000-4000-8000-0000000000ff', 'csat-feedback', 1);
		INSERT INTO flow_versions (flow_id, version, definition, flow_json) VALUES ('f10f0000-0000-4000-8000-0000000000ff', 1, 'hash', '{}')`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO flow_sessions (id, flow, flow_id, token_hash, flow_token, version, attempt, status, started_at, last_activity_at)
		VALUES ('5e550000-0000-4000-8000-0000000000ff', 'csat-feedback', 'f10f0000-0000-4000-8000-0000000000ff', $1, 'token-2', 3, 1, 'active', now(), now())`,
		ingest.TokenHash("token-2")); err != nil {
		t.Fatal(err)
	}
	s.arrives("1", answered("wamid.3", "16505550003", `{"flow_token":"token-3","score":"7"}`))
	r := s.imports(func(c *Config) { c.From = old.pool })
	if got := []int{r.Tables[0].TakenOver, r.Tables[1].TakenOver, r.Tables[1].AlreadyThere, r.Tables[2].TakenOver, r.Tables[2].AlreadyThere}; got[0] != 1 || got[1] != 2 || got[2] != 1 || got[3] != 2 || got[4] != 1 {
		t.Errorf("%s", counts(r))
	}
	s.expect("1 flow, active 1, 2 versions", `SELECT count(*) || ' flow, active ' || max(f.version) || ', ' || (SELECT count(*) FROM flow_versions) || ' versions' FROM flows f`)
	s.expect("active 3", "SELECT status || ' ' || version FROM flow_sessions WHERE flow_token = 'token-2'")
	s.expect("7", "SELECT response_data ->> 'score' FROM flow_responses WHERE wamid = 'wamid.3'")
	s.expect("3", "SELECT count(*) FROM flow_responses WHERE flow_id = 'f10f0000-0000-4000-8000-0000000000ff'")
	// The answer that had come without its session has it now, and is delivered once.
	s.expect("5e550000-0000-4000-8000-000000000003", "SELECT session_id FROM flow_responses WHERE wamid = 'wamid.3'")
	s.expect("5e550000-0000-4000-8000-0000000000ff", "SELECT session_id FROM flow_responses WHERE wamid = 'wamid.2'")
	s.expect("1", "SELECT count(*) FROM deliveries")
}

func TestASessionGoesOnAfterTheMove(t *testing.T) {
	s := oldSite(t, 1)
	s.exec(`INSERT INTO flow_sessions (flow_id, flow_token, current_screen, last_activity_at) VALUES ('f10f0000-0000-4000-8000-000000000001', 'going-on', 'RATING', '2026-02-01 10:00')`)
	s.imports(nil)
	w := ingest.NewWriter(s.pool, ingest.Config{})
	at := time.Now().UTC()
	body := event.Step{Flow: "csat-feedback", Token: "going-on", Action: "data_exchange", Version: 1, Attempt: 1, StartedAt: at, To: "THANKS", Outcome: event.OutcomeNext}
	if _, err := w.Write(t.Context(), []stream.Entry{{Stream: "s", ID: "1-1", Event: event.Entry{Kind: event.KindStep, Account: "default", ID: "x:1", Time: at, Body: body.Encode()}}}); err != nil {
		t.Fatal(err)
	}
	s.expect("THANKS 1", "SELECT current_screen || ' ' || version FROM flow_sessions WHERE flow_token = 'going-on'")
	// And an import that is run again does not take it back.
	s.exec(`UPDATE seed.flow_sessions SET current_screen = 'RATING', last_activity_at = '2100-01-01' WHERE flow_token = 'going-on'`)
	s.imports(nil)
	s.expect("THANKS 1", "SELECT current_screen || ' ' || version FROM flow_sessions WHERE flow_token = 'going-on'")
}

// The first import is done while the old server still works, the second after it
// was stopped.
func TestTheSecondImportBringsWhatHappenedSince(t *testing.T) {
	old := variedSite(t)
	s := &site{t, testkit.Database(t)}
	s.endpoint()
	from := func(c *Config) { c.From = old.pool }
	s.imports(from)
	s.expect("2", "SELECT count(*) FROM seed.callbacks WHERE NOT delivered AND webhook_id <> 'e7e00000-0000-4000-8000-000000000103'")
	old.exec(`
		UPDATE flow_sessions SET status = 'completed', completed_at = '2026-03-01 10:00', last_activity_at = '2026-03-01 10:00', session_data = '{"a":2}' WHERE flow_token = 'open';
		UPDATE webhook_events SET callback_sent = true WHERE id = 'e7e00000-0000-4000-8000-000000000101';
		INSERT INTO flow_sessions (flow_id, flow_token, started_at) VALUES ('f10f0000-0000-4000-8000-000000000001', 'later', '2026-03-01 09:00');
		INSERT INTO webhook_events (event_type, raw_payload, signature_valid, callback_sent, received_at)
		VALUES ('messages', pg_temp.answer('wamid.later', '16505550001', '{"flow_token":"later"}'), true, false, '2026-03-01 11:00')`)
	r := s.imports(from)
	s.expect("completed 😀 é", "SELECT status || ' ' || (answers ->> 'emoji') FROM flow_sessions WHERE flow_token = 'open'")
	s.expect("true", "SELECT session_id IS NOT NULL FROM flow_responses WHERE wamid = 'wamid.later'")
	if r.Undelivered != 2 || r.Found != 2 {
		t.Errorf("%d undelivered, expected wamid.lost and wamid.later; %d found", r.Undelivered, r.Found)
	}
	if r := s.imports(func(c *Config) { c.From, c.DeliverPending = old.pool, true }); r.Queued != 2 || r.Undelivered != 0 {
		t.Errorf("%d queued, %d undelivered", r.Queued, r.Undelivered)
	}
}

// It stores sessions in one transaction and joins answers to them in the next.
func TestAnImportThatWasKilledBetweenSessionsAndTheirAnswersJoinsThem(t *testing.T) {
	s := oldSite(t, 2)
	s.imports(nil)
	s.exec("UPDATE flow_responses SET session_id = NULL, flow_id = NULL, flow = NULL WHERE wamid = 'wamid.2'") // as of one that came here, without its session
	s.imports(nil)
	s.expect("5e550000-0000-4000-8000-000000000002 csat-feedback", "SELECT session_id || ' ' || flow FROM flow_responses WHERE wamid = 'wamid.2'")
}

func TestOnlyWhatWasNotDeliveredIsDeliveredAndOnce(t *testing.T) {
	s := variedSite(t)
	pending := func(c *Config) { c.DeliverPending = true }
	if _, err := Run(t.Context(), Config{Pool: s.pool, Account: "default", TimeZone: "UTC", DeliverPending: true}); err == nil || !strings.Contains(err.Error(), "CALLBACK_WEBHOOK_URL") {
		t.Fatalf("to nobody: %v", err)
	}
	s.expect("0", "SELECT count(*) FROM flow_responses")
	s.endpoint()
	r := s.imports(pending)
	if r.Queued != 2 || r.Undelivered != 0 {
		t.Errorf("%d queued, %d undelivered", r.Queued, r.Undelivered)
	}
	s.expect("wamid.lost, wamid.timeless", `SELECT string_agg(r.wamid, ', ' ORDER BY r.wamid) FROM deliveries d JOIN flow_responses r ON r.id = d.subject_id
		WHERE d.event_type = 'flow.completed' AND substr(d.id::text, 15, 1) = '7' AND d.event_id <> d.subject_id`)
	s.exec(`DELETE FROM deliveries`) // as when they were delivered
	if r := s.imports(pending); r.Queued != 0 {
		t.Errorf("again %d", r.Queued)
	}
	s.expect("0", "SELECT count(*) FROM deliveries")
}

func TestWhatIsNoInstallationOrIsInUseIsLeftAlone(t *testing.T) {
	fails := func(s *site, want string, change func(*Config)) {
		s.Helper()
		before := testkit.Contents(s, s.pool)
		c := Config{Pool: s.pool, Account: "default", TimeZone: "UTC"}
		if change != nil {
			change(&c)
		}
		if _, err := Run(s.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			s.Errorf("%v, want %q", err, want)
		}
		if after := testkit.Contents(s, s.pool); !maps.Equal(before, after) {
			s.Errorf("%v became %v", before, after)
		}
	}
	t.Run("an empty database", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.EmptyDatabaseURL(t))}
		fails(s, "there are no tables of whatsapp-flows-server", nil)
		if _, err := Run(t.Context(), Config{Pool: s.pool, Account: "default", TimeZone: "UTC"}); !errors.Is(err, ErrNothing) {
			t.Error(err)
		}
	})
	t.Run("a database of ours", func(t *testing.T) {
		fails(&site{t, testkit.Database(t)}, "there are no tables of whatsapp-flows-server", nil)
	})
	t.Run("tables of something else", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.EmptyDatabaseURL(t))}
		s.exec("CREATE TABLE flows (id uuid, name text)")
		fails(s, "has no column flow_json", nil)
	})
	t.Run("started again after the move", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))}
		s.exec("CREATE SCHEMA seed; ALTER TABLE flow_responses SET SCHEMA seed")
		fails(s, "it was started again after they were moved", nil)
	})
	t.Run("--from, and the destination is one too", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))}
		other := testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))
		fails(s, "leave out --from", func(c *Config) { c.From = other })
		fails(s, "leave out --from", func(c *Config) { c.From, c.DryRun = other, true })
	})
	t.Run("a schema seed of something else", func(t *testing.T) {
		for _, sql := range []string{"CREATE TABLE seed.imported (id int, account text)", "CREATE TABLE seed.callbacks (url text)"} {
			s := &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))}
			s.exec("CREATE SCHEMA seed; " + sql)
			fails(s, "of something else, and nothing was touched", nil)
		}
	})
	t.Run("a search path that names the schema", func(t *testing.T) {
		url := testkit.SeedDatabaseURL(t, "{}", 1)
		s := &site{t, testkit.Pool(t, url+"&search_path=public,seed")}
		fails(s, "search_path", nil)
	})
	t.Run("its tables are locked", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))}
		tx, err := s.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context()) //nolint:errcheck // it only holds a lock
		if _, err := tx.Exec(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE webhook_events IN ROW EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
		fails(s, "are in use, and were left untouched", nil)
	})
	t.Run("another account", func(t *testing.T) {
		s := &site{t, testkit.Pool(t, testkit.SeedDatabaseURL(t, "{}", 1))}
		s.imports(func(c *Config) { c.Account = "shop" })
		s.expect("shop", "SELECT min(account) FROM flow_responses")
		fails(s, "holds an import into the account shop", nil)
	})
}

func TestNamesThatCollide(t *testing.T) {
	s := oldSite(t, 1)
	s.exec(`INSERT INTO flows (name, flow_json, created_at) VALUES ('a b', '{}', '2020-01-01'), ('a-b', '{}', '2021-01-01'), ('a/b', '{}', '2022-01-01'), ('日本', '{}', '2020-01-01'),
		('0198c0de-0000-7000-8000-000000000000', '{}', '2020-01-01')`)
	s.imports(nil)
	s.expect("a b=a-b-2, a-b=a-b, a/b=a-b-3", `SELECT string_agg(o.name || '=' || f.name, ', ' ORDER BY o.name COLLATE "C") FROM flows f JOIN seed.flows o USING (id) WHERE o.name LIKE 'a%'`)
	s.expect("2", `SELECT count(*) FROM flows WHERE name LIKE 'flow-________'`)
}

// Whoever was erased here does not come back with the next import.
func TestAnErasedPersonStaysErased(t *testing.T) {
	s := oldSite(t, 2)
	s.imports(nil)
	client, keys, _ := testkit.Redis(t, 2)
	r, err := erase.New(erase.Config{Pool: s.pool, Redis: client, Keys: keys, Accounts: func(_, _, fallback string) string { return fallback }}).
		Erase(t.Context(), erase.Request{Account: "default", By: erase.PhoneNumber, Value: "16505550001"})
	if err != nil || r.Erased["flow_responses"] != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	left := false
	for _, remains := range r.Remains {
		left = left || remains.What == "tables of whatsapp-flows-server in the schema seed" && remains.Count != nil && *remains.Count == 2
	}
	if !left {
		t.Errorf("nothing is said of the rows in the schema seed: %+v", r.Remains)
	}
	s.imports(nil)
	s.expect("0", "SELECT count(*) FROM flow_responses WHERE phone_number = '16505550001'")
	s.expect("0", "SELECT count(*) FROM flow_sessions WHERE flow_token = 'token-1'")
	s.expect("0", "SELECT count(*) FROM contacts WHERE phone_number = '16505550001'")
	s.expect("0", "SELECT count(*) FROM webhook_events WHERE position('16505550001' IN convert_from(body, 'UTF8')) > 0")
}
