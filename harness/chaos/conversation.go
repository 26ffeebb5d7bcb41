package chaos

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

const (
	account  = "default"
	flowName = "chaos"
)

// occurrence is one event as an edge would append it, and the rows that must come
// of it, each named as judge.go names them.
type occurrence struct {
	kind  event.Kind
	id    string
	shard int
	body  []byte
	rows  []string
}

// Rows that come of an occurrence.
func rowStep(tokenHash string, version int64) string {
	return "step " + tokenHash + " " + strconv.FormatInt(version, 10)
}
func rowStray(kind event.Kind, mark string) string { return string(kind) + " " + mark }
func rowWebhook(digest string) string              { return "webhook " + digest }
func rowMessage(wamid string) string               { return "message " + wamid }
func rowStatus(wamid, status string) string        { return "status " + wamid + " " + status }
func rowAnswer(of string) string                   { return "answer " + of } // wamid, or the token's hash

// conversation is everything that one user's way through a flow makes edges
// append, in order: three steps of a session, the nfm_reply that completes it or,
// for one in eight, a step that closes it without one; a text message, a status,
// a step without a session and a reply that the phone refused. Unless unique, one
// reply in twenty comes twice.
func conversation(run string, n int, keys keyspace.Keys, unique bool) []occurrence {
	name := fmt.Sprintf("%s-%d", run, n)
	token, user := "tok-"+name, "user-"+name
	began := time.Now().UTC().Truncate(time.Millisecond)
	session := keyspace.SessionID(account, flowName, token)
	shard := keys.DigestShard(session[:])
	hash := keyspace.TokenHash(token)
	step := func(version int64, s event.Step) occurrence {
		s.Flow, s.Definition, s.Token, s.User, s.Version, s.Attempt = flowName, "d", token, user, version, 1
		s.StartedAt, s.Milliseconds = began, 3
		return occurrence{
			kind: event.KindStep, id: keyspace.Hex(session) + ":" + strconv.FormatInt(version, 10), shard: shard,
			body: s.Encode(), rows: []string{rowStep(hash, version)},
		}
	}
	score := json.RawMessage(strconv.Itoa(n % 5))
	params := json.RawMessage(fmt.Sprintf(`{"flow_token":%q,"score":%s}`, token, score))
	all := []occurrence{
		step(1, event.Step{Action: "INIT", To: "RATING", Outcome: event.OutcomeNext}),
		step(2, event.Step{Action: "data_exchange", From: "RATING", To: "COMMENT", Outcome: event.OutcomeNext,
			Answers: map[string]json.RawMessage{"score": score}}),
	}
	if n%8 == 7 {
		last := step(3, event.Step{Action: "data_exchange", From: "COMMENT", To: "SUCCESS", Outcome: event.OutcomeClose,
			Collected: map[string]json.RawMessage{"score": score}})
		last.rows = append(last.rows, rowAnswer(hash))
		all = append(all, last)
	} else {
		wamid := "wamid.reply." + name
		reply := hook(keys, phone.CompletionWebhook(phone.Completion{
			WABA: "102290129340398", PhoneNumberID: "106540352242922", DisplayPhone: "15550783881",
			Phone: number(n), Name: "Ana", MessageID: wamid, ContextID: "wamid.flow." + name, Time: began, Params: params,
		}), rowMessage(wamid), rowAnswer(wamid))
		all = append(all, step(3, event.Step{Action: "data_exchange", From: "COMMENT", To: "SUCCESS", Outcome: event.OutcomeComplete, Params: params}), reply)
		if n%20 == 0 && !unique {
			all = append(all, reply) // Meta sends what it takes for unanswered again
		}
	}
	wamid := "wamid.text." + name
	return append(all,
		hook(keys, change(fmt.Sprintf(`"contacts":[{"wa_id":%[1]q,"profile":{"name":"Ana"}}],"messages":[{"from":%[1]q,"id":%[2]q,"timestamp":"%[3]d","type":"text","text":{"body":"hello %[4]s"}}]`,
			number(n), wamid, began.Unix(), name)), rowMessage(wamid)),
		hook(keys, change(fmt.Sprintf(`"statuses":[{"id":"wamid.sent.%[1]s","status":"delivered","timestamp":"%[2]d","recipient_id":%[3]q}]`,
			name, began.Unix(), number(n))), rowStatus("wamid.sent."+name, "delivered")),
		stray(keys, event.KindStatelessStep, name, event.Step{Action: "data_exchange", Outcome: event.OutcomeNext}),
		stray(keys, event.KindClientError, name, event.Step{Action: "error", Outcome: event.OutcomeError, ErrorKey: "timeout"}),
	)
}

// number is a user's phone number: few enough that users come back.
func number(n int) string { return "1555" + fmt.Sprintf("%07d", n%50_000) }

func hook(keys keyspace.Keys, body []byte, rows ...string) occurrence {
	digest := sha256.Sum256(body)
	return occurrence{
		kind: event.KindWebhook, id: keyspace.Hex(digest), shard: keys.DigestShard(digest[:]), body: body,
		rows: append([]string{rowWebhook(keyspace.Hex(digest))}, rows...),
	}
}

func change(value string) []byte {
	return []byte(`{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"field":"messages","value":` +
		`{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},` + value + `}}]}]}`)
}

// stray is a step that belongs to no session; its screen of origin names it.
func stray(keys keyspace.Keys, kind event.Kind, name string, s event.Step) occurrence {
	digest := sha256.Sum256([]byte(string(kind) + name))
	s.Flow, s.From = flowName, name
	return occurrence{
		kind: kind, id: keyspace.Hex(digest), shard: keys.DigestShard(digest[:]), body: s.Encode(),
		rows: []string{rowStray(kind, name)},
	}
}
