package api

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
)

func TestDeliveryFilters(t *testing.T) {
	r := route(t)
	crm, erp := r.endpoint("default", "crm"), r.endpoint("*", "erp")
	event := uuid.New()
	r.delivery(sent{endpoint: crm, minute: 1, state: "dead", flow: "csat", event: event})
	r.delivery(sent{endpoint: crm, minute: 2, state: "due", flow: "csat"})
	r.delivery(sent{endpoint: erp, minute: 3, state: "delivered", event: event})
	r.delivery(sent{endpoint: erp, minute: 4, state: "leased", kind: "message.received"})
	r.delivery(sent{endpoint: erp, minute: 5, state: "cancelled", account: "shop"})
	for query, want := range map[string]string{
		"":                                     "5 4 3 2 1",
		"state=dead":                           "1",
		"state=due":                            "2",
		"state=leased":                         "4",
		"state=delivered":                      "3",
		"state=cancelled":                      "5",
		"endpoint=crm":                         "2 1",
		"endpoint=" + erp.String():             "5 4 3",
		"endpoint=nobody":                      "",
		"eventType=message.received":           "4",
		"flow=csat":                            "2 1",
		"flow=csat&state=dead":                 "1",
		"eventId=" + event.String():            "3 1",
		"since=2026-11-20T08:03:00Z":           "5 4 3",
		"until=2026-11-20T08:03:00Z":           "2 1",
		"since=2026-11-20&until=2026-11-21":    "5 4 3 2 1",
		"account=shop":                         "5",
		"account=default&endpoint=erp&limit=1": "4",
	} {
		if got := r.minutes(r.get("/api/deliveries?" + query)); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// Also of an endpoint that is gone.
	r.exec("DELETE FROM deliveries WHERE endpoint_id = $1", crm)
	r.exec("DELETE FROM callback_endpoints WHERE id = $1", crm)
	for _, query := range []string{"endpoint=crm", "endpoint=" + crm.String()} {
		if got := r.minutes(r.get("/api/deliveries?" + query)); got != "1" {
			t.Errorf("%s: %q", query, got)
		}
	}
	for query, words := range map[string]string{
		"state=lost": "due, leased, delivered, dead, cancelled", "eventId=7": "uuid", "since=yesterday": "2026-11-23", "colour=red": "colour",
		"since=2026-11-21&until=2026-11-20": "earlier one first", "cursor=e30": "cursor", "cursor=x": "cursor", "limit=0": "limit", "endpoint=%00": "UTF-8",
	} {
		r.get("/api/deliveries?"+query).failed(400, "ValidationError", words)
	}
}

// Deliveries that are finished, or sent again, while somebody turns the pages
// are neither left out nor shown twice.
func TestPagesOfDeliveriesAreStableWhileTheyMove(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	var want []string
	for i := range 12 {
		id, _ := r.delivery(sent{endpoint: crm, minute: i / 3, state: []string{"due", "dead", "delivered"}[i%3]})
		want = append(want, id.String())
	}
	sort.Sort(sort.Reverse(sort.StringSlice(want)))
	var got []string
	cursor := ""
	for page := 0; ; page++ {
		answer := r.get("/api/deliveries?limit=2" + cursor).is(200)
		got = append(got, strings.Fields(answer.ids("id"))...)
		_, next := answer.page()
		if next == nil {
			break
		}
		cursor = "&cursor=" + *next
		switch page {
		case 1: // one to come, one that was seen
			r.send("POST", "/api/deliveries/replay", input{"state": "dead"}).is(200)
		case 2:
			for _, id := range want {
				r.send("POST", "/api/deliveries/"+id+"/cancel", nil)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

func TestADeliveryShowsItsAttemptsAndItsBody(t *testing.T) {
	r := route(t)
	crm, erp := r.endpoint("default", "crm"), r.endpoint("default", "erp")
	event := uuid.New()
	id, _ := r.delivery(sent{endpoint: crm, state: "dead", event: event, attempt: 2, body: `{"a":"é"}`})
	for n := range 2 {
		r.exec(`INSERT INTO attempts (id, at, delivery_id, endpoint_id, number, status, error, milliseconds, response_body)
			VALUES (gen_random_uuid(), $1::timestamptz + $4 * interval '1 second', $2, $3, $4, 500, 'the receiver answered 500, expected 2xx', 12, $5)`,
			r.began, id, crm, n+1, append([]byte("no\xff\x00"), []byte(strings.Repeat("é", 3000))...))
	}
	var d deliveries.Detail
	path := "/api/deliveries/" + id.String()
	r.get(path).is(200).data(&d)
	if len(d.Attempts) != 2 || d.Attempts[0].Number != 1 || *d.Attempts[1].Status != 500 || d.Attempts[0].Tries != 1 || d.Body != nil {
		t.Errorf("%+v", d)
	}
	if text := *d.Attempts[0].Response; !strings.HasPrefix(text, "no\uFFFD\uFFFDéé") || len(text) > 4200 || strings.HasSuffix(text, "\uFFFD") {
		t.Errorf("response %q", text)
	}
	r.get(path + "?body=true").is(200).data(&d)
	if d.Body == nil || *d.Body != `{"a":"é"}` || *d.BodyBytes != 10 {
		t.Errorf("body %v", d.Body)
	}
	// By webhook-id, while that means one.
	if r.get("/api/deliveries/" + event.String()).is(200).data(&d); d.ID != id {
		t.Errorf("by the webhook-id: %s", d.ID)
	}
	other, _ := r.delivery(sent{endpoint: erp, state: "due", event: event})
	r.get("/api/deliveries/"+event.String()).failed(409, "ConflictError", "?endpoint=")
	if r.get("/api/deliveries/" + event.String() + "?endpoint=erp").is(200).data(&d); d.ID != other {
		t.Errorf("by the webhook-id and the endpoint: %s", d.ID)
	}
	r.get("/api/deliveries/"+event.String()+"?endpoint=nobody").failed(404, "NotFoundError")
	r.get("/api/deliveries/"+uuid.NewString()).failed(404, "NotFoundError")
	r.get("/api/deliveries/7").failed(400, "ValidationError", "id")

	// The body of a raw webhook is where the webhook is.
	raw, _ := r.delivery(sent{endpoint: crm, state: "due", kind: "webhook.received"})
	r.exec(`INSERT INTO webhook_events (id, received_at, body) SELECT subject_id, subject_at, '{"entry":[]}' FROM deliveries WHERE id = $1`, raw)
	if r.get("/api/deliveries/" + raw.String() + "?body=true").is(200).data(&d); *d.Body != `{"entry":[]}` {
		t.Errorf("raw body %q", *d.Body)
	}
}

func TestOneDeliveryIsSentAgain(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	for _, state := range []string{"dead", "delivered", "cancelled"} {
		id, event := r.delivery(sent{endpoint: crm, state: state, attempt: 10, body: "{}"})
		var d deliveries.Delivery
		for range 2 { // the second time it is open already
			r.send("POST", "/api/deliveries/"+id.String()+"/replay", nil).is(200)
		}
		got := r.get("/api/deliveries/" + id.String() + "?body=true").is(200)
		open, replay, base, wait := r.open(id)
		if open != "due" || !replay || base != 10 || wait > 0 || !strings.Contains(string(got.body), event.String()) || !strings.Contains(string(got.body), `"body":"{}"`) ||
			!strings.Contains(string(got.body), `"attempt":10`) {
			t.Errorf("%s: %s %t %d %f %+v %s", state, open, replay, base, wait, d, got.body)
		}
	}
	due, _ := r.delivery(sent{endpoint: crm, state: "due"})
	leased, _ := r.delivery(sent{endpoint: crm, state: "leased"})
	for _, id := range []uuid.UUID{due, leased} {
		r.send("POST", "/api/deliveries/"+id.String()+"/replay", nil).is(200)
	}
	if state, replay, _, wait := r.open(due); state != "due" || replay || wait > 0 {
		t.Errorf("an open one: %s %t %f", state, replay, wait)
	}
	if state, _, _, wait := r.open(leased); state != "leased" || wait < 1000 {
		t.Errorf("one that is being sent: %s %f", state, wait)
	}
	// The same event on its way already; an endpoint that is off, or gone.
	twice, event := r.delivery(sent{endpoint: crm, state: "dead"})
	r.delivery(sent{endpoint: crm, state: "due", event: event})
	r.send("POST", "/api/deliveries/"+twice.String()+"/replay", nil).failed(409, "ConflictError", "on its way")
	gone := r.endpoint("default", "gone")
	lost, _ := r.delivery(sent{endpoint: gone, state: "dead"})
	r.exec("UPDATE callback_endpoints SET status = 'off' WHERE id = $1", gone)
	r.send("POST", "/api/deliveries/"+lost.String()+"/replay", nil).failed(409, "ConflictError", "off")
	r.exec("DELETE FROM callback_endpoints WHERE id = $1", gone)
	r.send("POST", "/api/deliveries/"+lost.String()+"/replay", nil).failed(409, "ConflictError", "removed")
	r.send("POST", "/api/deliveries/"+uuid.NewString()+"/replay", nil).failed(404, "NotFoundError")
}

func TestDeliveriesAreCancelled(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	for _, state := range []string{"due", "leased"} {
		id, _ := r.delivery(sent{endpoint: crm, state: state, attempt: 1})
		var d deliveries.Delivery
		for range 2 { // once more does no harm
			r.send("POST", "/api/deliveries/"+id.String()+"/cancel", nil).is(200).data(&d)
		}
		if d.State != "cancelled" || d.Endpoint != "crm" || d.FinishedAt == nil || d.Attempt != 1 {
			t.Errorf("%+v", d)
		}
	}
	done, _ := r.delivery(sent{endpoint: crm, state: "delivered"})
	r.send("POST", "/api/deliveries/"+done.String()+"/cancel", nil).failed(409, "ConflictError", "finished")
}

func TestDeletingAnEndpointCancelsWhatWaits(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	r.exec(`INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at)
		SELECT gen_random_uuid(), $1, 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now() FROM generate_series(1, 2345)`, crm)
	var deleted DeletedCallback
	if r.send("DELETE", "/api/callbacks/crm", nil).is(200).data(&deleted); deleted.Cancelled != 2345 {
		t.Errorf("%+v", deleted)
	}
	var past int
	if err := r.pool.QueryRow(t.Context(), "SELECT count(*) FROM delivery_history WHERE state = 'cancelled' AND endpoint_name = 'crm'").Scan(&past); err != nil || past != 2345 {
		t.Errorf("%d in the history, %v", past, err)
	}
}

func TestManyDeliveriesAreSentAgain(t *testing.T) {
	r := route(t)
	crm, erp := r.endpoint("default", "crm"), r.endpoint("default", "erp")
	r.exec("UPDATE callback_endpoints SET rate_limit = 2 WHERE id = $1", erp)
	for i := range 6 {
		r.delivery(sent{endpoint: []uuid.UUID{crm, erp}[i%2], minute: i, state: "dead", flow: "csat"})
	}
	r.delivery(sent{endpoint: crm, minute: 7, state: "delivered"})
	taken, event := r.delivery(sent{endpoint: crm, minute: 8, state: "dead"})
	r.delivery(sent{endpoint: crm, minute: 8, state: "due", event: event})
	replay := func(body input) (done Replayed) {
		t.Helper()
		r.send("POST", "/api/deliveries/replay", body).is(200).data(&done)
		return done
	}
	if got := replay(input{"dryRun": true}); got.Count != 6 || got.More || !got.DryRun {
		t.Errorf("counted: %+v", got)
	}
	if got := replay(input{"dryRun": true, "limit": 4}); got.Count != 4 || !got.More {
		t.Errorf("counted some: %+v", got)
	}
	if got := replay(input{"dryRun": true, "endpoint": "crm", "since": "2026-11-20T08:02:00Z", "until": "2026-11-20T08:05:00Z", "flow": "csat", "eventType": "flow.completed"}); got.Count != 2 {
		t.Errorf("counted by a filter: %+v", got)
	}
	first := replay(input{"rate": 0.5, "limit": 4})
	if first.Count != 4 || !first.More || first.LastRunAt == nil {
		t.Errorf("the first four: %+v", first)
	}
	if got := replay(input{"rate": 0.5, "finishedBefore": first.FinishedBefore}); got.Count != 2 || got.More {
		t.Errorf("the rest: %+v", got)
	}
	if got := replay(input{"rate": 0.5}); got.Count != 0 || got.LastRunAt != nil {
		t.Errorf("once more: %+v", got)
	}
	// Three for each endpoint, two seconds apart, over both requests.
	for _, id := range []uuid.UUID{crm, erp} {
		rows, err := r.pool.Query(t.Context(), `SELECT (extract(epoch FROM run_at - min(run_at) OVER ()))::float8 FROM deliveries WHERE endpoint_id = $1 AND replay ORDER BY id`, id)
		if err != nil {
			t.Fatal(err)
		}
		var at []string
		for rows.Next() {
			var wait float64
			if err := rows.Scan(&wait); err != nil {
				t.Fatal(err)
			}
			at = append(at, fmt.Sprintf("%.0f", wait))
		}
		if fmt.Sprint(at) != "[0 2 4]" {
			t.Errorf("due at %v", at)
		}
	}
	if state, _, _, _ := r.open(taken); state != "" {
		t.Error("an event that is on its way was doubled")
	}
	if got := replay(input{"state": "delivered"}); got.Count != 1 {
		t.Errorf("delivered ones: %+v", got)
	}
	for body, words := range map[string]string{
		`{"state": "due"}`: "dead, delivered, cancelled", `{"limit": 0}`: "limit", `{"rate": 0}`: "rate", `{"since": "soon"}`: "2026-11-23",
		`{"since": "2026-11-21", "until": "2026-11-20"}`: "earlier one first", `{"eventId": "7"}`: "uuid", `{"all": true}`: "all", `{"endpoint": "a\u0000"}`: "NUL",
	} {
		if got := r.send("POST", "/api/deliveries/replay", body); got.code != 400 || !strings.Contains(string(got.body), words) {
			t.Errorf("%s: %s, want %s", body, got.body, words)
		}
	}
	r.send("POST", "/api/deliveries/replay", nil).failed(400, "ValidationError")
}

// What was delivered is sent again once, although it is delivered again before the
// next request goes on.
func TestAReplayOfDeliveredOnesComesToItsEnd(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	const n, portion = 7, 3
	for i := range n {
		r.delivery(sent{endpoint: crm, minute: i, state: "delivered"})
	}
	var again int
	body := input{"state": "delivered", "limit": portion}
	for range n {
		var done Replayed
		r.send("POST", "/api/deliveries/replay", body).is(200).data(&done)
		again += done.Count
		r.exec(`WITH d AS (DELETE FROM deliveries RETURNING *)
			INSERT INTO delivery_history (id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, state, attempt, created_at, finished_at)
			SELECT id, account, endpoint_id, 'crm', event_type, event_id, event_at, subject_id, subject_at, 'delivered', attempt + 1, created_at, now() + interval '5 ms' FROM d`)
		if !done.More {
			break
		}
		body["finishedBefore"] = done.FinishedBefore
	}
	if again != n {
		t.Errorf("%d were sent again, want each of %d once", again, n)
	}
}

// Several who replay the same at once send nothing twice and lose nothing, and
// no two are due at the same moment.
func TestReplaysAtOnceDoNotDouble(t *testing.T) {
	r := route(t)
	crm := r.endpoint("default", "crm")
	const n = 1200
	r.exec(`INSERT INTO delivery_history (id, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, state, attempt, created_at, finished_at)
		SELECT gen_random_uuid(), $1, 'crm', 'flow.completed', gen_random_uuid(), now(), gen_random_uuid(), now(), 'dead', 10, now(), now() FROM generate_series(1, $2)`, crm, n)
	var wait sync.WaitGroup
	counts := make([]int, 3)
	for i := range counts {
		wait.Go(func() {
			var done Replayed
			r.send("POST", "/api/deliveries/replay", input{"endpoint": "crm"}).is(200).data(&done)
			counts[i] = done.Count
		})
	}
	wait.Wait()
	var open, moments, past int
	if err := r.pool.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT run_at), (SELECT count(*) FROM delivery_history) FROM deliveries`).Scan(&open, &moments, &past); err != nil {
		t.Fatal(err)
	}
	if open != n || moments != n || past != 0 || counts[0]+counts[1]+counts[2] != n {
		t.Errorf("%d open at %d moments, %d left, counted %v", open, moments, past, counts)
	}
}

func TestDeliveriesOfOtherAccountsAreInvisible(t *testing.T) {
	r := route(t)
	all, own := r.endpoint("*", "all"), r.endpoint("shop", "crm")
	bank, _ := r.delivery(sent{account: "bank", endpoint: all, state: "dead"})
	foreign, _ := r.delivery(sent{account: "shop", endpoint: all, state: "dead", minute: 1})
	mine, _ := r.delivery(sent{account: "shop", endpoint: own, state: "dead", minute: 2})
	shop, reader := r.as(shopToken), r.as(readerToken)
	if got := r.minutes(shop.get("/api/deliveries")); got != "2 1" {
		t.Errorf("list %q", got)
	}
	shop.get("/api/deliveries/"+bank.String()).failed(404, "NotFoundError")
	shop.get("/api/deliveries/" + foreign.String()).is(200)
	for _, action := range []string{"/replay", "/cancel"} {
		shop.send("POST", "/api/deliveries/"+bank.String()+action, nil).failed(404, "NotFoundError")
		shop.send("POST", "/api/deliveries/"+foreign.String()+action, nil).failed(404, "NotFoundError")
		reader.send("POST", "/api/deliveries/"+mine.String()+action, nil).failed(403, "ForbiddenError")
	}
	reader.send("POST", "/api/deliveries/replay", input{}).failed(403, "ForbiddenError")
	var done Replayed
	if shop.send("POST", "/api/deliveries/replay", input{}).is(200).data(&done); done.Count != 1 {
		t.Errorf("of its own endpoints: %+v", done)
	}
	if r.send("POST", "/api/deliveries/replay?account=shop", input{}).is(200).data(&done); done.Count != 1 {
		t.Errorf("of one account: %+v", done)
	}
}
