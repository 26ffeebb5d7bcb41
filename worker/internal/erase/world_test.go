package erase

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// someone is one of the people of the world.
type someone struct {
	prefix                                  string // of the ids of all rows about them: ada00000 or b0b00000
	phone, user, token, name, claim, secret string // secret is what they answered
	bare, contact                           uuid.UUID
	session, response                       uuid.UUID
	wamid                                   string
}

func (p *someone) id(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%s-0000-7000-8000-%012d", p.prefix, n))
}

// marks are texts by which a row is about a person.
func (p *someone) marks() []string {
	return []string{p.phone, p.user, p.token, p.name, p.claim, p.secret, p.prefix, keyspace.TokenHash(p.token), p.wamid}
}

// world is a database and a Redis with everything of two people in it.
type world struct {
	*testing.T
	pool     *pgxpool.Pool
	client   redis.UniversalClient
	keys     keyspace.Keys
	eraser   *Eraser
	ada, bob *someone
	at       time.Time
	both     string // the webhook that both are in, and its id
	bothID   uuid.UUID
	metrics  *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, pool: testkit.Database(t), at: time.Now().UTC().Truncate(time.Second).Add(-time.Hour), metrics: prometheus.NewRegistry()}
	w.client, w.keys, _ = testkit.Redis(t, 2)
	if err := store.CreatePartitions(t.Context(), w.pool, w.at); err != nil {
		t.Fatal(err)
	}
	w.eraser = New(Config{Pool: w.pool, Redis: w.client, Keys: w.keys, Metrics: w.metrics})
	w.eraser.pause = time.Millisecond
	w.ada = &someone{prefix: "ada00000", phone: "16505551234", user: "US.10001", token: "tok-ada/1", name: "Ada Lovelace", claim: "customer-ada", secret: "analytical engine", wamid: "wamid.ofADA"}
	w.bob = &someone{prefix: "b0b00000", phone: "447700900123", user: "GB.20002", token: "tok-bob/1", name: "Bob Marley", claim: "customer-bob", secret: "one love", wamid: "wamid.ofBOB"}
	w.exec("INSERT INTO flows (id, name) VALUES ($1, 'csat')", uuid.New())
	for _, e := range []string{"crm", "lake"} {
		w.exec(`INSERT INTO callback_endpoints (id, name, url, secrets, timeout_ms, max_attempts) VALUES ($1, $2, 'https://example.com', '{whsec_x}', 1000, 5)`,
			endpointID(e), e)
	}
	for _, p := range []*someone{w.ada, w.bob} {
		w.settle(p)
	}
	w.bothID = uuid.MustParse("cccccccc-0000-7000-8000-000000000001")
	w.both = `{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"metadata":{"display_phone_number":"1555","phone_number_id":"1065"},"contacts":[` +
		contactOf(w.ada) + ", " + contactOf(w.bob) + `],"messages":[` + answerOf(w.ada, "") + " ,\n" + answerOf(w.bob, "") + `],"statuses":[` + statusOf(w.ada) + `,` + statusOf(w.bob) + `]}}]}]}`
	w.webhook(w.bothID, w.both, w.ada, w.bob)
	w.deliver("cccccccc", 50, "webhook.received", w.bothID, nil)
	w.dead(1, "webhook", w.both)
	return w
}

func endpointID(name string) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte(name)) }

func contactOf(p *someone) string {
	return fmt.Sprintf(`{"profile":{"name":%q},"wa_id":%q,"user_id":%q}`, p.name, p.phone, p.user)
}

func answerOf(p *someone, suffix string) string {
	response, _ := json.Marshal(fmt.Sprintf(`{"flow_token":%q,"text":%q}`, p.token, p.secret))
	return fmt.Sprintf(`{"from":%q,"from_user_id":%q,"id":"%s","timestamp":"1764400000","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":%s}}}`,
		p.phone, p.user, p.wamid+suffix, strings.ReplaceAll(string(response), "/", `\/`))
}

func statusOf(p *someone) string {
	return fmt.Sprintf(`{"id":"wamid.to%s","status":"read","recipient_id":%q,"timestamp":"1764400001"}`, p.prefix, p.phone)
}

func value(parts string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{` + parts + `}}]}]}`
}

// settle stores everything that is one person's alone.
func (w *world) settle(p *someone) {
	w.Helper()
	p.contact, p.bare, p.session, p.response = p.id(1), p.id(2), p.id(3), p.id(4)
	hash := keyspace.TokenHash(p.token)
	w.exec("INSERT INTO contacts (id, user_id, phone_number, username, name) VALUES ($1, $2, $3, 'u', $4)", p.contact, p.user, p.phone, p.name)
	w.exec("INSERT INTO contacts (id, phone_number, name, merged_into) VALUES ($1, $2, $3, $4)", p.bare, p.phone, p.name, p.contact)
	w.exec(`INSERT INTO flow_sessions (id, flow, token_hash, flow_token, user_id, version, attempt, status, answers, started_at, last_activity_at)
		VALUES ($1, 'csat', $2, $3, $4, 1, 1, 'completed', $5, now(), now())`, p.session, hash, p.token, p.claim, `{"text":"`+p.secret+`"}`)
	for i, at := range []time.Time{w.at, w.at.AddDate(0, -2, 0)} { // the default partition too
		w.exec(`INSERT INTO flow_steps (id, at, kind, flow, token_hash, action, answers, params, outcome) VALUES ($1, $2, 'step', 'csat', $3, 'data_exchange', $4, $4, 'complete')`,
			p.id(10+i), at, hash, `{"text":"`+p.secret+`"}`)
	}
	w.exec(`INSERT INTO flow_responses (id, source, wamid, session_id, attempt, flow, token_hash, flow_token, contact_id, phone_number, user_id, response_data, answered_at)
		VALUES ($1, 'nfm_reply', $2, $3, 1, 'csat', $4, $5, $6, $7, $8, $9, now())`,
		p.response, p.wamid, p.session, hash, p.token, p.contact, p.phone, p.user, `{"text":"`+p.secret+`"}`)
	w.exec(`INSERT INTO flow_responses (id, source, wamid, contact_id, phone_number, response_raw, answered_at)
		VALUES ($1, 'nfm_reply', $2, $3, $4, $5, now())`, p.id(5), p.wamid+"-old", p.bare, p.phone, []byte(p.secret))
	w.exec(`INSERT INTO flow_responses (id, source, session_id, attempt, attempt_started_at, flow, token_hash, flow_token, user_id, response_data, answered_at)
		VALUES ($1, 'endpoint', $2, 2, now(), 'csat', $3, $4, $5, $6, now())`, p.id(6), p.session, hash, p.token, p.claim, `{"text":"`+p.secret+`"}`)

	w.exec("INSERT INTO webhook_messages (event_id, event_at, position, kind, type, wamid, contact_id) VALUES ($1, $2, 1, 'status', 'read', $3, $4)",
		p.id(22), w.at, "4to"+p.prefix, p.contact) // its webhook is gone already
	alone := p.id(20)
	w.webhook(alone, value(`"contacts":[`+contactOf(p)+`],"messages":[`+answerOf(p, "-old")+`]`), p)
	broken := value(`"messages":[` + answerOf(p, "-broken") + `]`)
	w.exec("INSERT INTO webhook_events (id, received_at, body, problem) VALUES ($1, $2, $3, 'the body is no JSON')", p.id(21), w.at, []byte(broken[:len(broken)-9]))

	position := int32(0)
	w.deliver(p.prefix, 100, "flow.completed", p.response, nil)
	w.deliver(p.prefix, 200, "flow.screen", p.id(10), nil)
	w.deliver(p.prefix, 300, "message.received", alone, &position)
	w.deliver(p.prefix, 400, "webhook.received", alone, nil)

	w.dead(100+int(p.prefix[0]), "step", string((&event.Step{Flow: "csat", Token: p.token, Action: "INIT", Outcome: event.OutcomeNext}).Encode()))
	w.dead(300+int(p.prefix[0]), "webhook", broken[:len(broken)-5])

	for _, k := range []struct{ kind, dedup string }{
		{"message", p.wamid}, {"status", "wamid.to" + p.prefix + "|read|" + p.phone}, {"status", "wamid.to" + p.prefix + "|sent|" + p.user}, {"status", "4to" + p.prefix + "|read|" + p.phone}, {"step", "hash:1@2"},
	} {
		w.exec("INSERT INTO event_keys (kind, dedup) VALUES ($1, $2) ON CONFLICT DO NOTHING", k.kind, k.dedup)
	}
	w.set(w.sessionKey(p, "csat"), `1 1000 30 h`+"\n"+`{"answers":{"text":"`+p.secret+`"}}{"data":{}}`)
	w.set(w.keys.Reply(0, keyspace.TokenHash("envelope"+p.prefix)), "200c2VhbGVk")
}

func (w *world) sessionKey(p *someone, flow string) string {
	return w.keys.Session(w.keys.SessionShard("default", flow, p.token), "default", flow, p.token)
}

func (w *world) set(key, value string) {
	w.Helper()
	if err := w.client.Set(w.Context(), key, value, time.Hour).Err(); err != nil {
		w.Fatal(err)
	}
}

// webhook stores a webhook and its messages, as the writer numbers them.
func (w *world) webhook(id uuid.UUID, body string, people ...*someone) {
	w.Helper()
	w.exec("INSERT INTO webhook_events (id, received_at, body) VALUES ($1, $2, $3)", id, w.at, []byte(body))
	payload, err := webhook.Parse([]byte(body))
	if err != nil {
		w.Fatal(err)
	}
	position := 0
	add := func(kind, typ, wamid, phone string) {
		for _, p := range people {
			if p.phone == phone {
				contact := p.contact
				if kind == "status" {
					contact = p.bare // from before its user id was known
				}
				w.exec("INSERT INTO webhook_messages (event_id, event_at, position, kind, type, wamid, contact_id, callback_data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
					id, w.at, position, kind, typ, wamid, contact, "order of "+p.name)
			}
		}
		position++
	}
	for _, c := range payload.Changes {
		for _, m := range c.Messages {
			add("message", m.Type, m.ID, m.From)
		}
		for _, s := range c.Statuses {
			add("status", s.Status, s.ID, s.RecipientID)
		}
	}
}

// deliver adds deliveries in every state, to both endpoints, with attempts.
func (w *world) deliver(prefix string, from int, typ string, subject uuid.UUID, position *int32) {
	w.Helper()
	body := []byte("callback about " + prefix + " of " + typ)
	if typ == "webhook.received" {
		body = nil
	}
	id := func(n int) uuid.UUID {
		return uuid.MustParse(fmt.Sprintf("%s-0000-7000-9000-%012d", prefix, from+n))
	}
	for i, endpoint := range []string{"crm", "lake"} {
		state, lease := "due", (*uuid.UUID)(nil)
		if i == 1 {
			l := uuid.New()
			state, lease = "leased", &l
		}
		w.exec(`INSERT INTO deliveries (id, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position, state, lease_id, lease_until, attempt, body, ordering_key)
			VALUES ($1, $2, $3, $4, now(), $5, now(), $6, $7, $8, CASE WHEN $7 = 'leased' THEN now() + interval '1 minute' END, $9, $10, 'key')`,
			id(i), endpointID(endpoint), typ, id(90), subject, position, state, lease, i, body)
	}
	for i, state := range []string{"delivered", "dead", "cancelled"} {
		w.exec(`INSERT INTO delivery_history (id, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, subject_position, state, attempt, body, created_at, finished_at)
			VALUES ($1, $2, 'crm', $3, $4, now(), $5, now(), $6, $7, $8, $9, now(), now())`,
			id(10+i), endpointID("crm"), typ, id(91+i), subject, position, state, 2-i, body)
		w.exec(`INSERT INTO attempts (id, at, delivery_id, endpoint_id, number, status, milliseconds, response_body) VALUES ($1, $2, $3, $4, 1, 200, 5, $5)`,
			id(20+i), w.at, id(10+i), endpointID("crm"), []byte("echo of "+prefix))
	}
}

// dead adds a dead entry, in the table and in the dead stream.
func (w *world) dead(n int, kind, body string) {
	w.Helper()
	fields := map[string][]byte{"v": []byte("1"), "kind": []byte(kind), "account": []byte("default"), "body": []byte(body), "id": []byte("hash")}
	text, err := json.Marshal(fields)
	if err != nil {
		w.Fatal(err)
	}
	w.exec("INSERT INTO dead_entries (id, stream, stream_id, kind, reason, fields) VALUES ($1, 's', $2, $3, 'why', $4)",
		uuid.MustParse(fmt.Sprintf("dddddddd-0000-7000-8000-%012d", n)), fmt.Sprint(n, "-1"), kind, text)
	w.append(w.keys.DeadEvents(n%2), kind, body)
}

func (w *world) append(stream, kind, body string) string {
	w.Helper()
	id, err := w.client.XAdd(w.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"v", "1", "kind", kind, "account", "default", "id", "hash", "body", body}}).Result()
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), sql, args...); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) erase(r Request) *Report {
	w.Helper()
	if r.Account == "" {
		r.Account = "default"
	}
	report, err := w.eraser.Erase(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return report
}

// dump is every row of every table and every key of Redis, one line each, with
// what is encoded in clear too.
func (w *world) dump() []string {
	w.Helper()
	var lines []string
	rows, err := w.pool.Query(w.Context(), `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE '%goose%' ORDER BY 1`)
	if err != nil {
		w.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			w.Fatal(err)
		}
		tables = append(tables, name)
	}
	for _, table := range tables {
		rows, err := w.pool.Query(w.Context(), "SELECT t.* FROM "+table+" t")
		if err != nil {
			w.Fatal(err)
		}
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				w.Fatal(err)
			}
			line := table
			for i, f := range rows.FieldDescriptions() {
				line += "|" + f.Name + "=" + readable(values[i])
			}
			lines = append(lines, line)
		}
		if err := rows.Err(); err != nil {
			w.Fatal(err)
		}
	}
	prefix, _, _ := strings.Cut(w.keys.ShardCount(), "shards")
	for _, key := range w.client.Keys(w.Context(), prefix+"*").Val() {
		switch kind := w.client.Type(w.Context(), key).Val(); kind {
		case "string":
			lines = append(lines, "redis "+key+"="+w.client.Get(w.Context(), key).Val())
		case "hash":
			lines = append(lines, fmt.Sprint("redis ", key, w.client.HGetAll(w.Context(), key).Val()))
		case "stream":
			for _, m := range w.client.XRange(w.Context(), key, "-", "+").Val() {
				lines = append(lines, fmt.Sprint("redis ", key, m.ID, m.Values))
			}
		default:
			w.Fatalf("%s is a %s", key, kind)
		}
	}
	slices.Sort(lines)
	return lines
}

func readable(v any) string {
	switch v := v.(type) {
	case [16]byte:
		return uuid.UUID(v).String()
	case []byte:
		fields := map[string]string{}
		if json.Unmarshal(v, &fields) == nil { // dead_entries
			text := ""
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				raw, _ := base64.StdEncoding.DecodeString(fields[name])
				text += name + ":" + string(raw) + ","
			}
			return text
		}
		return string(v)
	}
	return fmt.Sprint(v)
}

// about says whether a line names one of the marks.
func about(line string, marks []string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(strings.ReplaceAll(line, `\/`, "/"), mark) })
}
