package erase

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// evidence is what stays of Ada on purpose: that attempts were made, that her
// messages were stored, that somebody was erased.
func (w *world) evidence(line string) bool {
	return strings.HasPrefix(line, "attempts|") && strings.Contains(line, "response_body=<nil>") ||
		strings.HasPrefix(line, "event_keys|") && strings.Contains(line, "kind=message") ||
		// A webhook of hers alone stays as an empty one, its deliveries are cancelled.
		strings.HasPrefix(line, "webhook_events|") && strings.Contains(line, "body="+string(redacted)+"|") ||
		strings.HasPrefix(line, "delivery_history|") && strings.Contains(line, "event_type=webhook.received") && strings.Contains(line, "|body=<nil>")
}

// isErased says that nothing of Ada is anywhere and all of Bob is as it was.
func (w *world) isErased(before []string, identities ...string) {
	w.Helper()
	after := w.dump()
	for _, line := range after {
		if about(line, identities) {
			w.Errorf("still there: %.600s", line)
		}
		if about(line, w.ada.marks()) && !w.evidence(line) {
			w.Errorf("still about her: %.600s", line)
		}
	}
	for _, line := range before {
		if !about(line, append(w.ada.marks(), w.bothID.String(), "echo of cccccccc")) && !slices.Contains(after, line) {
			w.Errorf("gone although it is not hers: %.600s", line)
		}
	}
	w.bobsPart()
}

// bobsPart checks the webhook that both were in.
func (w *world) bobsPart() {
	w.Helper()
	var body []byte
	var problem string
	if err := w.pool.QueryRow(w.Context(), "SELECT body, problem FROM webhook_events WHERE id = $1", w.bothID).Scan(&body, &problem); err != nil {
		w.Fatal(err)
	}
	want := `{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"metadata":{"display_phone_number":"1555","phone_number_id":"1065"},"contacts":[` +
		contactOf(w.bob) + `],"messages":[` + answerOf(w.bob, "") + `],"statuses":[` + statusOf(w.bob) + `]}}]}]}`
	if string(body) != want || !strings.Contains(problem, "redacted: 3 elements were erased") {
		w.Errorf("problem %q, body\n%s\nwant\n%s", problem, body, want)
	}
	for table, want := range map[string]int{"deliveries": 2, "delivery_history": 3} {
		var n int
		if err := w.pool.QueryRow(w.Context(), "SELECT count(*) FROM "+table+" WHERE subject_id = $1", w.bothID).Scan(&n); err != nil || n != want {
			w.Errorf("%d rows of %s about the webhook of both, %v; want %d: they go on with what is left", n, table, err, want)
		}
	}
}

func TestOnePersonIsErasedEverywhereAndNobodyElse(t *testing.T) {
	for name, by := range map[string]struct {
		By
		value func(*someone) string
	}{
		"by phone number":            {PhoneNumber, func(p *someone) string { return p.phone }},
		"by phone number as written": {PhoneNumber, func(*someone) string { return "+1 (650) 555-1234" }},
		"by user id":                 {UserID, func(p *someone) string { return p.user }},
		"by token, the whole contact": {FlowToken, func(p *someone) string {
			return p.token
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.dump()
			request := Request{By: by.By, Value: by.value(w.ada), WholeContact: true}
			would := request
			would.DryRun = true
			counted := w.erase(would)
			if after := w.dump(); !slices.Equal(before, after) {
				t.Fatal("a dry run changed something")
			}
			report := w.erase(request)
			w.isErased(before, w.ada.phone, w.ada.user, w.ada.token, w.ada.name, w.ada.claim, w.ada.secret)

			want := map[string]int64{contactRows: 2, responseRows: 3, sessionRows: 1, stepRows: 2, messageRows: 4, eventsCut: 1, eventsRedacted: 2,
				deliveryRows: 6, deliveriesEnded: 2, historyRows: 9, attemptBodies: 15, deadRows: 2, deadCut: 1, keysHashed: 3, redisSessions: 1, redisDeadEntries: 3}
			for _, store := range stores {
				if report.Erased[store] != want[store] {
					t.Errorf("%s: %d, want %d", store, report.Erased[store], want[store])
				}
				if counted.Erased[store] != want[store] {
					t.Errorf("%s: the dry run said %d, want %d", store, counted.Erased[store], want[store])
				}
			}
			if len(report.Receivers) != 2 || report.Receivers[0] != (Receiver{"crm", 5, 5}) || report.Receivers[1] != (Receiver{"lake", 0, 5}) {
				t.Errorf("receivers are %+v", report.Receivers)
			}
			if n := testutil.ToFloat64(w.eraser.erasures); n != 1 {
				t.Errorf("erasures_total is %v", n)
			}
			// The report itself names nobody, and is the last one in the list.
			list, err := List(t.Context(), w.pool, []string{"default"}, nil, 10)
			if err != nil || len(list) != 1 || list[0].ID != report.ID || list[0].Total() != report.Total() {
				t.Fatalf("list is %+v, %v", list, err)
			}
			text, _ := json.Marshal(report)
			if about(string(text), w.ada.marks()) {
				t.Errorf("the report names her: %s", text)
			}

			settled := w.dump()
			again := w.erase(request)
			if again.Total() != 0 || len(again.Receivers) != 0 {
				t.Errorf("erased again: %+v", again)
			}
			for _, line := range settled {
				if !slices.Contains(w.dump(), line) {
					t.Errorf("a second erasure changed %s", line)
				}
			}
		})
	}
}

func TestATokenAloneErasesWhatWasAnsweredUnderIt(t *testing.T) {
	w := newWorld(t)
	before := w.dump()
	report := w.erase(Request{By: FlowToken, Value: w.ada.token})
	for _, line := range w.dump() {
		if about(line, []string{w.ada.token, keyspace.TokenHash(w.ada.token), w.ada.secret}) &&
			// Another answer of hers, which came without this token, stays.
			!strings.Contains(line, w.ada.id(5).String()) && !strings.Contains(line, w.ada.id(20).String()) {
			t.Errorf("still there: %.400s", line)
		}
	}
	want := map[string]int64{responseRows: 2, sessionRows: 1, stepRows: 2, redisSessions: 1, contactRows: 0, keysHashed: 0}
	for store, n := range want {
		if report.Erased[store] != n {
			t.Errorf("%s: %d, want %d", store, report.Erased[store], n)
		}
	}
	after := w.dump()
	for _, line := range before {
		if about(line, w.bob.marks()) && !about(line, append(w.ada.marks(), w.bothID.String())) && !slices.Contains(after, line) {
			t.Errorf("gone although it is not hers: %.400s", line)
		}
		if strings.HasPrefix(line, "contacts|") && !slices.Contains(after, line) {
			t.Errorf("a contact is gone: %s", line)
		}
	}
}

func TestANumberThatChangedHandsIsItsNewHolders(t *testing.T) {
	w := newWorld(t)
	// Bob got Ada's number: her contact lost it, her answers and messages have it still.
	w.exec("UPDATE contacts SET phone_number = NULL WHERE id = $1", w.ada.contact)
	w.exec("UPDATE contacts SET phone_number = $1 WHERE id = $2", w.ada.phone, w.bob.contact)
	w.exec("UPDATE contacts SET phone_number = $1 WHERE id = $2", w.ada.phone, w.bob.bare)
	was := w.dump()
	report := w.erase(Request{By: PhoneNumber, Value: w.ada.phone})
	if !slices.ContainsFunc(report.Remains, func(r Remains) bool { return r.What == "people who had the number before" && *r.Count == 1 }) {
		t.Errorf("remains %+v", report.Remains)
	}
	w.erase(Request{By: PhoneNumber, Value: w.ada.phone}) // nobody has it now
	after := w.dump()
	for _, line := range was {
		if about(line, []string{w.ada.prefix}) && strings.HasPrefix(line, "flow_") && !slices.Contains(after, line) {
			t.Errorf("the former holder lost %.300s", line)
		}
	}
	for _, line := range after {
		if strings.HasPrefix(line, "contacts|") && strings.Contains(line, w.bob.prefix) {
			t.Errorf("the holder is still there: %s", line)
		}
	}
	// And the former one is found by her user id, without taking anything of his.
	report = w.erase(Request{By: UserID, Value: w.ada.user})
	if report.Erased[responseRows] != 3 || report.Erased[contactRows] != 2 {
		t.Errorf("erased %v", report.Erased)
	}
}

func TestSessionsUnderASharedTokenAreLeftAndNamed(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO flow_responses (id, source, wamid, token_hash, flow_token, contact_id, phone_number, response_data, answered_at)
		VALUES ($1, 'nfm_reply', 'wamid.shared', $2, $3, $4, $5, '{}', now())`,
		w.bob.id(7), keyspace.TokenHash(w.ada.token), w.ada.token, w.bob.contact, w.bob.phone)
	report := w.erase(Request{By: PhoneNumber, Value: w.ada.phone})
	if report.Erased[sessionRows] != 0 || report.Erased[stepRows] != 0 || report.Erased[contactRows] != 2 || report.Erased[redisSessions] != 0 {
		t.Errorf("erased %v", report.Erased)
	}
	if !slices.ContainsFunc(report.Remains, func(r Remains) bool { return strings.Contains(r.What, "shared flow tokens") && *r.Count == 1 }) {
		t.Errorf("remains %+v", report.Remains)
	}
	var his int
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM flow_responses WHERE id = $1", w.bob.id(7)).Scan(&his); err != nil || his != 1 {
		t.Errorf("his answer under the shared token: %d, %v", his, err)
	}
}

func TestClaimsOfSignedTokensCountForAUserIDOnly(t *testing.T) {
	w := newWorld(t)
	report := w.erase(Request{By: UserID, Value: w.ada.claim})
	// The token is hers: what came under it goes, her contact has another user id.
	if report.Erased[sessionRows] != 1 || report.Erased[stepRows] != 2 || report.Erased[responseRows] != 2 ||
		report.Erased[contactRows] != 0 || report.Erased[redisSessions] != 1 {
		t.Errorf("erased %v", report.Erased)
	}
}

func TestAnotherAccountIsAnotherBusiness(t *testing.T) {
	w := newWorld(t)
	before := w.dump()
	report := w.erase(Request{Account: "shop", By: UserID, Value: w.ada.claim})
	for _, store := range []string{contactRows, responseRows, sessionRows, stepRows, messageRows, deliveryRows, keysHashed, redisSessions} {
		if report.Erased[store] != 0 {
			t.Errorf("%s of another account: %d", store, report.Erased[store])
		}
	}
	after := w.dump()
	for _, line := range before {
		if strings.HasPrefix(line, "contacts|") && !slices.Contains(after, line) {
			t.Errorf("gone: %s", line)
		}
	}
}

func TestWebhooksThatOnlyMentionThePersonAreFoundWhenEveryBodyIsSearched(t *testing.T) {
	w := newWorld(t)
	id := uuid.New()
	w.exec("INSERT INTO webhook_events (id, received_at, body) VALUES ($1, $2, $3)", id, w.at,
		[]byte(value(`"user_preferences":[{"wa_id":"`+w.ada.phone+`","value":"stop"}]`)))
	body := func() (text string) {
		if err := w.pool.QueryRow(t.Context(), "SELECT convert_from(body, 'UTF8') FROM webhook_events WHERE id = $1", id).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	w.erase(Request{By: PhoneNumber, Value: w.ada.phone})
	if !strings.Contains(body(), w.ada.phone) {
		t.Fatal("bodies without rows are only looked for when asked")
	}
	w.erase(Request{By: PhoneNumber, Value: w.ada.phone, EveryBody: true})
	if body() != string(redacted) {
		t.Errorf("left %s", body())
	}
}

func TestWhatIsStillInTheStreamsIsWaitedForAndErasedToo(t *testing.T) {
	w := newWorld(t)
	stream := w.keys.Events(1)
	late := value(`"contacts":[` + contactOf(w.ada) + `],"messages":[` + answerOf(w.ada, "-late") + `]`)
	entry := w.append(stream, "webhook", late)
	w.append(w.keys.LargeEvents(0), "webhook", value(`"messages":[`+answerOf(w.bob, "-late")+`]`))

	unread := w.erase(Request{By: PhoneNumber, Value: w.ada.phone, DryRun: true})
	if !slices.ContainsFunc(unread.Remains, func(r Remains) bool { return r.What == "entries in the streams" && *r.Count == 1 }) {
		t.Errorf("remains %+v", unread.Remains)
	}
	// A writer that read her contact before it was erased stores her message after
	// that, under an id that is not there any more.
	done := make(chan *Report)
	w.client.XDel(t.Context(), w.keys.LargeEvents(0), w.client.XRange(t.Context(), w.keys.LargeEvents(0), "-", "+").Val()[0].ID)
	go func() { done <- w.erase(Request{By: PhoneNumber, Value: w.ada.phone, Wait: DefaultWait}) }()
	testkit.Eventually(t, "the first pass is over", func() bool {
		var n int
		err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM contacts WHERE id = $1", w.ada.contact).Scan(&n)
		return err == nil && n == 0
	})
	w.webhook(w.ada.id(30), late, w.ada)
	w.client.XDel(t.Context(), stream, entry)
	report := <-done
	if report.Erased[messageRows] != 5 {
		t.Errorf("erased %v", report.Erased)
	}
	for _, line := range w.dump() {
		if about(line, []string{w.ada.phone, w.ada.name, w.ada.secret}) {
			t.Errorf("still there: %.400s", line)
		}
	}
}

func TestWhatIsNotStoredInTimeIsReported(t *testing.T) {
	w := newWorld(t)
	w.append(w.keys.Events(0), "webhook", value(`"messages":[`+answerOf(w.ada, "-late")+`,`+answerOf(w.bob, "-late")+`]`))
	w.append(w.keys.Events(0), "webhook", value(`"messages":[`+answerOf(w.bob, "-later")+`]`))
	report := w.erase(Request{By: PhoneNumber, Value: w.ada.phone})
	if !slices.ContainsFunc(report.Remains, func(r Remains) bool { return r.What == "entries in the streams" && *r.Count == 1 }) {
		t.Errorf("remains %+v", report.Remains)
	}
	if n := w.client.XLen(t.Context(), w.keys.Events(0)).Val(); n != 2 {
		t.Errorf("%d entries are left in the stream: unread ones are never deleted", n)
	}
}

func TestMistakesAreNamedWithoutTheirValue(t *testing.T) {
	w := newWorld(t)
	for name, r := range map[string]Request{
		"a number with letters": {By: PhoneNumber, Value: "secret-1650"},
		"a number too short":    {By: PhoneNumber, Value: "1650"},
		"no user id":            {By: UserID},
		"Meta's default token":  {By: FlowToken, Value: "unused"},
		"no text":               {By: UserID, Value: "secret\x00"},
		"nothing":               {Value: "secret"},
	} {
		r.Account = "default"
		_, err := w.eraser.Erase(t.Context(), r)
		if _, ok := err.(*MistakeError); !ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
