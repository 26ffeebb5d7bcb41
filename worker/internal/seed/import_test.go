package seed

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

const variedCounts = `[{"Name":"flows","Found":4,"Taken":4,"There":0,"NotMapped":0},` +
	`{"Name":"flow_sessions","Found":7,"Taken":6,"There":0,"NotMapped":1},` +
	`{"Name":"flow_responses","Found":8,"Taken":7,"There":1,"NotMapped":0},` +
	`{"Name":"webhook_events","Found":10,"Taken":8,"There":0,"NotMapped":2}]`

func TestAnInstallationIsTakenOver(t *testing.T) {
	s := variedSite(t)
	before := testkit.Contents(t, s.pool)
	r := s.imports(nil)
	if got := counts(r); got != variedCounts {
		t.Errorf("got  %s\nwant %s", got, variedCounts)
	}
	if r.Found != 1 || r.Undelivered != 2 || r.Queued != 0 || r.Complete() {
		t.Errorf("%d found, %d undelivered, %d queued, complete %t", r.Found, r.Undelivered, r.Queued, r.Complete())
	}
	after := testkit.Contents(t, s.pool)
	for _, table := range []string{"flows", "flow_sessions", "flow_responses", "webhook_events"} {
		if before["public."+table] != after["seed."+table] {
			t.Errorf("%s: %s became %s", table, before["public."+table], after["seed."+table])
		}
	}

	// Flows: ids, names, statuses, times; what cannot run is kept and not served.
	s.expect("csat-feedback active 1 7.2 2026-01-01 08:00:00, old-survey deprecated 0 3.1 2025-06-01 08:00:00, Pesquisa-de-satisfa-o inactive 0 7.2, null active 0 7.2 2026-01-01 08:00:00",
		`SELECT string_agg(concat_ws(' ', name, status, version, label, CASE WHEN created_at < '2026-06-01' THEN created_at AT TIME ZONE 'UTC' END), ', ' ORDER BY id) FROM flows`)
	s.expect("555 survey_tpl Before", `SELECT concat_ws(' ', meta_flow_id, template_name, description) FROM flows WHERE id = 'f10f0000-0000-4000-8000-000000000002'`)
	s.expect("4", `SELECT count(*) FROM flow_versions v JOIN seed.flows o ON o.id = v.flow_id WHERE convert_from(v.flow_json, 'UTF8')::jsonb = o.flow_json`)
	s.expect("3", `SELECT count(*) FROM flow_versions WHERE broken IS NOT NULL`)

	// Sessions.
	s.expect("open active RATING, late active, failed active A, timeless completed, token-1 completed, token-2 completed",
		`SELECT string_agg(concat_ws(' ', flow_token, status, current_screen), ', ' ORDER BY id <= '5e550000-0000-4000-8000-000000000002', id) FROM flow_sessions`)
	s.expect("{\"a\": 1}", `SELECT answers FROM flow_sessions WHERE flow_token = 'open'`)
	s.expect("Answer 2", `SELECT answers ->> 'comment' FROM flow_sessions WHERE flow_token = 'token-2'`)
	s.expect("2026-02-01 10:01:00|2026-02-01 10:01:30", `SELECT (started_at AT TIME ZONE 'UTC') || '|' || (completed_at AT TIME ZONE 'UTC') FROM flow_sessions WHERE flow_token = 'token-1'`)
	s.expect("0", `SELECT count(*) FROM flow_sessions WHERE flow_token = 'unused'`)

	// Answers, in Meta's own bytes where they are known.
	s.expect(`{"score": "9", "flow_token": "token-1", "comment": "Answer 1"}`, `SELECT response_data FROM flow_responses WHERE wamid = 'wamid.1'`)
	s.expect("csat-feedback 16505550001 wamid.sent.1 1 100 2026-02-01 10:01:30 2026-02-01 10:01:31 e7e00000-0000-4000-8000-000000000001",
		`SELECT concat_ws(' ', r.flow, r.phone_number, r.context_id, r.attempt, r.phone_number_id, r.answered_at AT TIME ZONE 'UTC', r.received_at AT TIME ZONE 'UTC', r.webhook_event_id)
		FROM flow_responses r JOIN flow_sessions s ON s.id = r.session_id AND s.flow_token = 'token-1'`)
	s.expect("true", `SELECT session_id IS NULL AND token_hash IS NULL AND flow = 'csat-feedback' AND flow_token = 'unused' FROM flow_responses WHERE wamid = 'wamid.unused'`)
	s.expect("1", `SELECT count(*) FROM flow_responses WHERE wamid = 'wamid.timeless' AND id = 'a2500000-0000-4000-8000-000000000103' AND response_data ->> 'n' = '1.50'`)
	s.expect(`["x", {"y": null}]|null`, `SELECT string_agg(convert_from(response_raw, 'UTF8'), '|' ORDER BY id) FROM flow_responses WHERE response_raw IS NOT NULL`)
	s.expect("😀 é US.BOB", `SELECT (response_data ->> 'emoji') || ' ' || user_id FROM flow_responses WHERE id = 'a2500000-0000-4000-8000-000000000106'`)
	s.expect("3 16505550006 2026-02-02 10:03:00", `SELECT concat_ws(' ', response_data ->> 'score', phone_number, received_at AT TIME ZONE 'UTC') FROM flow_responses WHERE wamid = 'wamid.lost'`)
	s.expect("0", `SELECT count(*) FROM flow_responses WHERE wamid = 'wamid.forged'`)
	s.expect("8", `SELECT count(*) FROM flow_responses`)

	// Webhooks and what is in them.
	s.expect("8", `SELECT count(*) FROM webhook_events e JOIN seed.webhook_events o USING (id) WHERE convert_from(e.body, 'UTF8')::jsonb = o.raw_payload`)
	s.expect("message 5, status 1", `SELECT string_agg(l, ', ') FROM (SELECT kind || ' ' || count(*) AS l FROM webhook_messages GROUP BY kind ORDER BY 1) k`)
	s.expect("FLOW_STATUS_CHANGE PUBLISHED 555", `SELECT concat_ws(' ', event, new_status, meta_flow_id) FROM flow_events`)
	s.expect("User 0001", `SELECT name FROM contacts WHERE phone_number = '16505550001'`)
	s.expect("0", `SELECT count(*) FROM deliveries`)

	// What has no place is where it was, and the ledger names it.
	s.expect("its status expired is active here, where no session expires or fails", `SELECT note FROM seed.imported WHERE id = '5e550000-0000-4000-8000-000000000102'`)
	s.expect("16505559999", `SELECT phone_number FROM seed.flow_sessions WHERE id = '5e550000-0000-4000-8000-000000000102'`)
	s.expect("29", `SELECT count(*) FROM seed.imported`)
	s.expect("3", `SELECT count(*) FROM seed.imported WHERE outcome = 'not mapped' AND note <> '' AND original IS NULL`)
	s.expect("seed", `SELECT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = 'update_updated_at_column'`)
	if _, err := s.pool.Exec(t.Context(), "BEGIN; UPDATE seed.flows SET description = 'x'; ROLLBACK"); err != nil {
		t.Errorf("the triggers of the moved tables: %v", err)
	}
}

func TestADryRunChangesNothingAndForetellsTheImport(t *testing.T) {
	s := variedSite(t)
	before := testkit.Contents(t, s.pool)
	dry := s.imports(func(c *Config) { c.DryRun = true })
	if after := testkit.Contents(t, s.pool); !maps.Equal(before, after) {
		t.Fatalf("a dry run changed %v into %v", before, after)
	}
	real := s.imports(nil)
	if counts(dry) != counts(real) || dry.Found != real.Found || dry.Undelivered != real.Undelivered || len(dry.Flows) != len(real.Flows) {
		t.Errorf("the dry run said %s, %d, %d\n the import %s, %d, %d", counts(dry), dry.Found, dry.Undelivered, counts(real), real.Found, real.Undelivered)
	}
	before = testkit.Contents(t, s.pool)
	dry = s.imports(func(c *Config) { c.DryRun = true })
	if after := testkit.Contents(t, s.pool); !maps.Equal(before, after) {
		t.Error("a dry run after the import changed something")
	}
	if got, want := counts(dry), counts(s.imports(nil)); got != want {
		t.Errorf("the second dry run said %s, the second import %s", got, want)
	}
}

// What reads whole tables must not be planned as what looks for a few rows: the
// dry run would compare each webhook with each answer.
func TestTheOldTablesAreReadAsPostgresThinksBest(t *testing.T) {
	s := oldSite(t, 1)
	source, err := open(t.Context(), s.pool, "public", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	defer source.close()
	for _, name := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		var there string
		if err := source.tx.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&there); err != nil || there != "on" {
			t.Errorf("%s is %s, %v", name, there, err)
		}
	}
	s.expect("off", "SELECT current_setting('enable_hashjoin')") // what it is in the pool, or this test proves nothing
}

func TestImportingTwiceChangesNothing(t *testing.T) {
	s := variedSite(t)
	s.exec("DELETE FROM webhook_events WHERE received_at IS NULL") // without a time and a ledger it would be another one
	s.imports(nil)
	before := testkit.Contents(t, s.pool)
	r := s.imports(nil)
	after := testkit.Contents(t, s.pool)
	delete(before, "seed.imported") // its rows of what cannot be mapped say when that was last tried
	delete(after, "seed.imported")
	for table := range after {
		if before[table] != after[table] {
			t.Errorf("%s: %s became %s", table, before[table], after[table])
		}
	}
	for _, table := range r.Tables {
		if table.TakenOver != 0 || table.Found != table.AlreadyThere+table.NotMapped {
			t.Errorf("the second import: %s", table.line())
		}
	}

	// Without its ledger and with its keys purged, rows are found by their ids.
	s.exec(`DROP TABLE seed.imported, seed.callbacks; DELETE FROM event_keys`)
	s.imports(nil)
	after = testkit.Contents(t, s.pool)
	for table := range before {
		if before[table] != after[table] && !strings.HasPrefix(table, "seed.") && table != "public.event_keys" {
			t.Errorf("without a ledger: %s: %s became %s", table, before[table], after[table])
		}
	}
}

func TestAnotherDatabaseIsReadAndNotChanged(t *testing.T) {
	old := variedSite(t)
	s := &site{t, testkit.Pool(t, testkit.EmptyDatabaseURL(t))}
	before := testkit.Contents(t, old.pool)
	if got := counts(s.imports(func(c *Config) { c.From, c.DryRun = old.pool, true })); got != variedCounts {
		t.Errorf("the dry run: %s", got)
	}
	s.expect("0", `SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	r := s.imports(func(c *Config) { c.From = old.pool })
	if got := counts(r); got != variedCounts {
		t.Errorf("got %s", got)
	}
	if after := testkit.Contents(t, old.pool); !maps.Equal(before, after) {
		t.Error("the other database was changed")
	}
	s.expect("8", `SELECT count(*) FROM flow_responses`)
	// What is not mapped, or only in part, is kept whole.
	s.expect("Ada", `SELECT original -> 'session_data' ->> 'name' FROM seed.imported WHERE id = '5e550000-0000-4000-8000-000000000104'`)
	s.expect("no such screen", `SELECT original ->> 'error_message' FROM seed.imported WHERE id = '5e550000-0000-4000-8000-000000000103'`)
	s.expect("0", `SELECT count(*) FROM seed.imported WHERE (note IS NULL) <> (original IS NULL)`)

	// Its own tables were moved aside later: they are found there.
	old.imports(nil)
	if r := s.imports(func(c *Config) { c.From = old.pool }); r.Tables[1].AlreadyThere != 6 {
		t.Errorf("after the move: %s", counts(r))
	}
}

func TestTimesAreOfTheZoneThatWasNamed(t *testing.T) {
	s := oldSite(t, 1)
	s.imports(func(c *Config) { c.TimeZone = "America/Sao_Paulo" })
	s.expect("2026-02-01 13:01:00", `SELECT started_at AT TIME ZONE 'UTC' FROM flow_sessions`)
	if _, err := Run(t.Context(), Config{Pool: s.pool, Account: "default", TimeZone: "Mars"}); err == nil || !strings.Contains(err.Error(), "--time-zone") {
		t.Errorf("a zone that is none: %v", err)
	}
}

func TestOlderMigrationsAndNewColumns(t *testing.T) {
	s := oldSite(t, 3)
	s.exec(`ALTER TABLE flow_sessions DROP updated_at, ADD crm_id text; DROP TABLE webhook_events`)
	r := s.imports(nil)
	want := `[{"Name":"flows","Found":1,"Taken":1,"There":0,"NotMapped":0},{"Name":"flow_sessions","Found":3,"Taken":3,"There":0,"NotMapped":0},` +
		`{"Name":"flow_responses","Found":3,"Taken":3,"There":0,"NotMapped":0},{"Name":"webhook_events","Found":0,"Taken":0,"There":0,"NotMapped":0}]`
	if got := counts(r); got != want {
		t.Errorf("got %s", got)
	}
	if kept := strings.Join(r.Kept, "\n"); !strings.Contains(kept, "flow_sessions that no migration of whatsapp-flows-server makes, not taken over: crm_id") {
		t.Errorf("kept: %s", kept)
	}
}

func TestManyPortionsAndOneRowThatIsRefused(t *testing.T) {
	s := oldSite(t, 450)
	other := testkit.Database(t)
	to := &site{t, other}
	if _, err := other.Exec(t.Context(), "ALTER TABLE flow_responses ADD CHECK (flow_token <> 'token-313')"); err != nil {
		t.Fatal(err)
	}
	r := to.imports(func(c *Config) { c.From = s.pool })
	if got := r.Tables[2]; got.Found != 450 || got.TakenOver != 449 || got.NotMapped != 1 || len(got.Refused) != 1 ||
		!strings.HasSuffix(got.Refused[0].ID, "313") || !strings.Contains(got.Refused[0].Reason, "SQLSTATE 23514") {
		t.Errorf("%+v", got)
	}
	to.expect("449", "SELECT count(*) FROM flow_responses WHERE session_id IS NOT NULL AND webhook_event_id IS NOT NULL")
	// Its webhook would bring it again, and stays out with it.
	if got := r.Tables[3]; got.TakenOver != 449 || got.NotMapped != 1 {
		t.Errorf("%+v", got)
	}
	to.expect("449", "SELECT count(*) FROM contacts")
	to.expect("wamid.313", "SELECT original -> 'raw_webhook_payload' ->> 'id' FROM seed.imported WHERE outcome = 'not mapped' AND source_table = 'flow_responses'")
}

// Reading takes no more than SELECT; moving tables takes their owner.
func TestTheRightsThatItTakes(t *testing.T) {
	t.Parallel()
	url := testkit.SeedDatabaseURL(t, "{}", 1)
	admin := &site{t, testkit.Pool(t, url)}
	role := "reader_" + testkit.Random()
	admin.exec("CREATE ROLE " + role + "; GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + role)
	t.Cleanup(func() {
		if _, err := admin.pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	reader := testkit.Pool(t, url+"&options=-c%20role%3D"+role)
	before := testkit.Contents(t, admin.pool)
	if _, err := Run(t.Context(), Config{Pool: reader, Account: "default", TimeZone: "UTC"}); err == nil || !strings.Contains(err.Error(), "must own them") {
		t.Errorf("moving without owning: %v", err)
	}
	if after := testkit.Contents(t, admin.pool); !maps.Equal(before, after) {
		t.Error("something was changed")
	}
	to := &site{t, testkit.Database(t)}
	if r := to.imports(func(c *Config) { c.From = reader }); !r.Complete() || r.Tables[2].TakenOver != 1 {
		t.Errorf("reading: %s", counts(r))
	}
}
