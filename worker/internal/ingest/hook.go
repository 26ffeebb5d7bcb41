package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

// longestID bounds every id that Meta gives, in bytes. Index rows end at 2.7 kB;
// real ids are under 200.
const longestID = 1000

// nfmReply is the source of an answer that a message brought.
const nfmReply = "nfm_reply"

// hook is one webhook: its raw bytes, the messages and statuses in it, and what
// Meta reports of flows.
type hook struct {
	key         key
	id          uuid.UUID
	at          time.Time
	body        []byte
	problem     string
	traceparent string
	messages    []*message
	flowEvents  []*flowEvent
}

// message is one message or status of a webhook. Every occurrence gets a row,
// so that one person's data is found in every raw body that holds it.
type message struct {
	key      key // zero without an id
	repeated bool

	account, kind, typ, wamid, context, phoneNumberID string
	at                                                time.Time
	person                                            *identity
	answer                                            *answer
	status                                            status
}

// answer is what a finished Flow sent.
type answer struct {
	id                              uuid.UUID
	account, source, wamid, context string
	tokenHash, token, flow          string
	attempt                         int
	attemptStarted                  time.Time // zero for one that a message brought
	person                          *identity // nil for one that the endpoint closed
	userID, phoneNumber, numberID   string
	data                            string // JSON, or empty
	raw                             []byte // what came when it is no JSON object
	paramsHash                      string
	incomplete                      bool
	event                           uuid.UUID
	at                              time.Time
	traceparent                     string
}

// newHook takes a webhook apart, whose row has the id. Whatever is wrong with it,
// its bytes are kept.
func newHook(row uuid.UUID, e event.Entry, accounts func(phoneNumberID, wabaID, fallback string) string, now time.Time) *hook {
	account := clean(e.Account)
	h := &hook{
		key: key{account, string(event.KindWebhook), clean(e.ID)},
		id:  row, at: partitionTime(e.Time, now), body: e.Body, traceparent: traceparent(e),
	}
	payload, err := webhook.Parse(e.Body)
	if err != nil {
		h.problem = clean(err.Error())
		return h
	}
	for i := range payload.Changes {
		c := &payload.Changes[i]
		owner := clean(accounts(c.PhoneNumberID, c.WABA, account))
		for j := range c.Messages {
			h.messages = append(h.messages, h.newMessage(c, &c.Messages[j], owner, e.Time, payload))
		}
		for j := range c.Statuses {
			h.messages = append(h.messages, h.newStatus(c, &c.Statuses[j], owner, e.Time, payload))
		}
		if c.Flow != nil {
			h.flowEvents = append(h.flowEvents, newFlowEvent(c, owner, e.Time))
		}
	}
	if len(h.flowEvents) > 0 {
		h.keepValues()
	}
	if len(payload.Problems) > 0 {
		h.problem = cut(clean(strings.Join(payload.Problems, "; ")), 2000)
	}
	return h
}

func (h *hook) newMessage(c *webhook.Change, in *webhook.Message, account string, received time.Time, p *webhook.Payload) *message {
	m := &message{
		account: account, kind: keyMessage, typ: in.Type, at: received,
		wamid: bounded(in.ID, "id of a message", p), phoneNumberID: bounded(c.PhoneNumberID, "phone_number_id", p),
		context: bounded(in.Context.ID, "context id of a message", p),
	}
	m.typ = cut(clean(m.typ), 100)
	if at, ok := in.Timestamp.Time(); ok {
		m.at = at
	}
	if m.wamid != "" {
		m.key = key{account, keyMessage, m.wamid}
	}
	m.person = newIdentity(account, in.From, in.FromUserID, c.Sender(in), m.at, p)
	if response, ok := in.FlowAnswer(); ok {
		m.answer = newAnswer(m, response)
		m.answer.context, m.answer.event, m.answer.traceparent = m.context, h.id, h.traceparent
	}
	return m
}

func (h *hook) newStatus(c *webhook.Change, in *webhook.Status, account string, received time.Time, p *webhook.Payload) *message {
	m := &message{
		account: account, kind: keyStatus, typ: cut(clean(in.Status), 100), at: received,
		wamid: bounded(in.ID, "id of a status", p), phoneNumberID: bounded(c.PhoneNumberID, "phone_number_id", p),
		status: newStatusDetails(in),
	}
	if at, ok := in.Timestamp.Time(); ok {
		m.at = at
	}
	m.person = newIdentity(account, in.RecipientID, in.RecipientUserID, c.Recipient(in), m.at, p)
	if m.wamid != "" {
		recipient := ""
		if m.person != nil {
			recipient = m.person.phone
			if recipient == "" {
				recipient = m.person.userID
			}
		}
		m.key = key{account, keyStatus, statusKey(m.wamid, m.typ, recipient)}
	}
	return m
}

// statusKey is a hash, because a key is kept long and a phone number is not its
// business: SHA-256, hex, of wamid|status|recipient.
func statusKey(wamid, status, recipient string) string {
	sum := sha256.Sum256([]byte(wamid + "|" + status + "|" + recipient))
	return hex.EncodeToString(sum[:])
}

// status is what a status says besides its name.
type status struct {
	errorCode                            pgtype.Int4
	errorTitle                           string
	pricingModel, pricingType, pricingOf string
	billable                             pgtype.Bool
	callbackData                         string
}

func newStatusDetails(in *webhook.Status) status {
	s := status{
		pricingModel: cut(clean(in.Pricing.Model), 100), pricingType: cut(clean(in.Pricing.Type), 100),
		pricingOf: cut(clean(in.Pricing.Category), 100), callbackData: cut(clean(in.CallbackData), 1000),
	}
	if in.Pricing.Billable != nil {
		s.billable = pgtype.Bool{Bool: *in.Pricing.Billable, Valid: true}
	}
	if len(in.Errors) > 0 {
		s.errorCode = pgtype.Int4{Int32: in.Errors[0].Code, Valid: true}
		s.errorTitle = cut(clean(in.Errors[0].Title), 500)
	}
	return s
}

// newAnswer keeps an answer in whatever form it came.
func newAnswer(m *message, response []byte) *answer {
	a := &answer{
		id: newID(), account: m.account, source: nfmReply, wamid: m.wamid,
		person: m.person, numberID: m.phoneNumberID, at: m.at,
	}
	if m.person != nil {
		a.userID, a.phoneNumber = m.person.userID, m.person.phone
	}
	data := clean(string(response))
	isJSON, isObject := kindOfJSON([]byte(data))
	if isJSON {
		a.data = data
	}
	if !isObject {
		a.raw = response
		return a
	}
	var object struct {
		Token json.RawMessage `json:"flow_token"`
	}
	var sent string
	if json.Unmarshal([]byte(data), &object) == nil && object.Token != nil {
		_ = json.Unmarshal(object.Token, &sent) // a token that is no string is unusable, and none
	}
	a.setToken(sent)
	if a.tokenHash == "" {
		a.paramsHash = paramsHash([]byte(data))
	}
	return a
}

// setToken keeps a token, and its hash if it can be a key: Meta's default
// "unused" belongs to everybody.
func (a *answer) setToken(sent string) {
	a.token = clean(sent)
	a.tokenHash = tokenHash(sent)
}

func tokenHash(sent string) string {
	if sent == "" || sent == "unused" {
		return ""
	}
	return keyspace.TokenHash(sent)
}

// bounded cleans an id and refuses one that no index could hold.
func bounded(s, what string, p *webhook.Payload) string {
	if len(s) > longestID {
		p.Problems = append(p.Problems, "the "+what+" is too long to be one")
		return ""
	}
	return clean(s)
}
