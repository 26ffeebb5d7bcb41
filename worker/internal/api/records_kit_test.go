package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// collected is an API on a database that the worker's own writer fills.
type collected struct {
	*served
	writer *ingest.Writer
	began  time.Time
}

func collect(t *testing.T) *collected {
	t.Helper()
	t.Parallel()
	s := serve(t)
	w := ingest.NewWriter(s.pool, ingest.Config{Nudge: func() {}, Accounts: func(_, _, fallback string) string { return fallback }})
	return &collected{s, w, time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}
}

func (c *collected) exec(sql string, args ...any) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), sql, args...); err != nil {
		c.t.Fatal(err)
	}
}

// entry stores one entry of a stream, which an edge wrote so many minutes after
// the beginning.
func (c *collected) entry(kind event.Kind, account, id string, minute int, body []byte) {
	c.t.Helper()
	e := event.Entry{Kind: kind, Account: account, ID: id, Time: c.began.Add(time.Duration(minute) * time.Minute), Source: "edge", Body: body}
	dead, err := c.writer.Write(c.t.Context(), []stream.Entry{{Stream: "s", ID: "1-1", Event: e}})
	if err != nil || len(dead) > 0 {
		c.t.Fatal(err, dead)
	}
}

func (c *collected) step(account string, minute int, s event.Step) {
	c.t.Helper()
	if s.Flow == "" {
		s.Flow = "csat"
	}
	if s.Action == "" {
		s.Action = "data_exchange"
	}
	if s.StartedAt.IsZero() {
		s.StartedAt = c.began.Add(time.Duration(minute) * time.Minute)
	}
	c.entry(event.KindStep, account, fmt.Sprint(s.Flow, s.Token, ":", s.Version), minute, s.Encode())
}

// answer stores the message that a finished flow sends. person is what the
// webhook tells of its sender, as in `"wa_id":"1650"`.
func (c *collected) answer(account string, minute int, wamid, person, response string) {
	c.t.Helper()
	escaped, err := json.Marshal(response)
	if err != nil {
		c.t.Fatal(err)
	}
	from := ""
	if strings.Contains(person, "wa_id") {
		_, rest, _ := strings.Cut(person, `"wa_id":"`)
		number, _, _ := strings.Cut(rest, `"`)
		from = `"from":"` + number + `",`
	}
	body := fmt.Sprintf(`{"object":"whatsapp_business_account","entry":[{"id":"w","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1065"},`+
		`"contacts":[{"profile":{"name":"Ada"},%s}],"messages":[{%s"id":"%s","timestamp":"%d","type":"interactive","interactive":{"type":"nfm_reply",`+
		`"nfm_reply":{"name":"flow","response_json":%s}}}]}}]}]}`,
		person, from, wamid, c.began.Add(time.Duration(minute)*time.Minute).Unix(), escaped)
	sum := sha256.Sum256([]byte(body))
	c.entry(event.KindWebhook, account, hex.EncodeToString(sum[:]), minute, []byte(body))
}

// ids are the rows of a list, each by the field of that name.
func (r *response) ids(field string) string {
	r.t.Helper()
	var rows []map[string]any
	r.is(200).data(&rows)
	var all []string
	for _, row := range rows {
		all = append(all, fmt.Sprint(row[field]))
	}
	return strings.Join(all, " ")
}

const twoOptions = `{"version":"7.3","screens":[{"id":"A","terminal":true,"layout":{"type":"SingleColumnLayout","children":[
	{"type":"RadioButtonsGroup","name":"rating","label":"x","data-source":[{"id":"5","title":"Very %[1]s"},{"id":"4","title":"Rather %[1]s"}]},
	{"type":"CheckboxGroup","name":"extras","label":"x","data-source":[{"id":"t","title":"Tea"},{"id":"c","title":"Cake"}]},
	{"type":"Footer","label":"ok","on-click-action":{"name":"complete","payload":{"score":"${form.rating}","extras":"${form.extras}"}}}]}}]}`

// flow stores a flow with two versions: what was "glad" in the first is "happy"
// in the second, of an hour later.
func (c *collected) flow(account, name string) {
	c.t.Helper()
	id := uuid.New()
	c.exec("INSERT INTO flows (id, account, name, version) VALUES ($1, $2, $3, 2)", id, account, name)
	for i, word := range []string{"glad", "happy"} {
		c.exec("INSERT INTO flow_versions (account, flow_id, version, definition, flow_json, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
			account, id, i+1, "d-"+word, []byte(fmt.Sprintf(twoOptions, word)), c.began.Add(time.Duration(i)*time.Hour-time.Minute))
	}
}
