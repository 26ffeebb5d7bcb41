package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Statuses of the Flow protocol that net/http does not know.
const (
	statusCannotDecrypt = 421
	statusBadSignature  = 432
)

const (
	flowPath    = "/flows/endpoint/"
	webhookPath = "/webhooks/whatsapp"
	pingPayload = `{"version":"3.0","action":"ping"}`
	pingAnswer  = `{"data":{"status":"active"}}`
)

func pings(_ context.Context, t *target, n int) ([]load.Call, error) {
	return each(n, func(i int) (load.Call, error) { return t.sealed(i, []byte(pingPayload), pingAnswer) })
}

func inits(_ context.Context, t *target, n int) ([]load.Call, error) {
	return each(n, func(i int) (load.Call, error) { return t.opening(i, rand.Text()) })
}

// exchanges are second steps of sessions that were begun through the edge; of
// those that begin filled in, where the target has enough of them.
func exchanges(ctx context.Context, t *target, n int) ([]load.Call, error) {
	tokens, enough := t.unused(n)
	if !enough {
		var err error
		if tokens, err = newSessions(ctx, t, n); err != nil {
			return nil, fmt.Errorf("beginning the sessions: %w", err)
		}
	}
	return each(n, func(i int) (load.Call, error) { return t.exchange(i, tokens[i], 5) })
}

// newSessions are the tokens of n users who have begun the flow.
func newSessions(ctx context.Context, t *target, n int) ([]string, error) {
	tokens := make([]string, n)
	openings, err := each(n, func(i int) (load.Call, error) {
		tokens[i] = rand.Text()
		return t.opening(i, tokens[i])
	})
	if err != nil {
		return nil, err
	}
	return tokens, t.answerAll(ctx, openings, 4)
}

// forgeries are well-formed requests under a signature with another secret.
func forgeries(_ context.Context, t *target, n int) ([]load.Call, error) {
	return repeated(n, func(i int) (load.Call, error) {
		envelope, err := t.sender("").Seal([]byte(pingPayload))
		if err != nil {
			return load.Call{}, err
		}
		return load.Call{
			Request: signed([]byte("not the app secret"), t.flowPath(i), envelope.Body),
			Judge:   wants(statusBadSignature),
		}, nil
	})
}

// noEnvelopes are signed JSON without the three members of an envelope, about as
// long as one.
func noEnvelopes(_ context.Context, t *target, n int) ([]load.Call, error) {
	return repeated(n, func(i int) (load.Call, error) {
		body := fmt.Appendf(nil, `{"object":"no envelope","id":"%s"}`, randomText(450))
		return load.Call{Request: signed(t.secret(), t.flowPath(i), body), Judge: wants(http.StatusBadRequest)}, nil
	})
}

// randomCiphertexts are well-formed and signed envelopes of random bytes, for
// each of which the private key must be tried.
func randomCiphertexts(_ context.Context, t *target, n int) ([]load.Call, error) {
	return each(n, func(i int) (load.Call, error) {
		return load.Call{Request: signed(t.secret(), t.flowPath(i), randomEnvelope()), Judge: wants(statusCannotDecrypt)}, nil
	})
}

func webhooks(_ context.Context, t *target, n int) ([]load.Call, error) {
	return each(n, func(i int) (load.Call, error) {
		return load.Call{Request: signed(t.secret(), webhookPath, finishedForm(i, "")), Judge: wants(http.StatusOK)}, nil
	})
}

func each(n int, one func(i int) (load.Call, error)) ([]load.Call, error) {
	calls := make([]load.Call, n)
	for i := range calls {
		var err error
		if calls[i], err = one(i); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

// repeated makes no more than some hundred different calls: the edge keeps
// nothing of those that it refuses before it decrypts them.
func repeated(n int, one func(i int) (load.Call, error)) ([]load.Call, error) {
	distinct, err := each(min(n, 500), one)
	if err != nil {
		return nil, err
	}
	return each(n, func(i int) (load.Call, error) { return distinct[i%len(distinct)], nil })
}

// opening is the INIT of a user.
func (t *target) opening(i int, token string) (load.Call, error) {
	payload, err := t.sender(token).Payload(flow.Init, "", map[string]any{})
	if err != nil {
		return load.Call{}, err
	}
	return t.sealed(i, payload, `"screen":"RATING"`)
}

// exchange is the step of a user from the first screen to the second.
func (t *target) exchange(i int, token string, score int) (load.Call, error) {
	data := map[string]any{"score": strconv.Itoa(score)}
	if t.padding > 0 {
		data["note"] = randomText(t.padding)
	}
	payload, err := t.sender(token).Payload(flow.DataExchange, "RATING", data)
	if err != nil {
		return load.Call{}, err
	}
	return t.sealed(i, payload, `"screen":"COMMENT"`)
}

// sealed encrypts a payload under a key of its own. The answer must open and
// hold want.
func (t *target) sealed(i int, payload []byte, want string) (load.Call, error) {
	sender := t.sender("")
	sender.PublicKey = t.keys[i%len(t.keys)]
	envelope, err := sender.Seal(payload)
	if err != nil {
		return load.Call{}, err
	}
	return load.Call{
		Request: signed(t.secret(), t.flowPath(i), envelope.Body),
		Judge:   func(status int, body []byte) error { return opens(envelope, status, body, want) },
	}, nil
}

func opens(envelope *phone.Envelope, status int, body []byte, want string) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d, expected 200", status)
	}
	plaintext, err := envelope.Open(body)
	if err != nil {
		return err
	}
	if !bytes.Contains(plaintext, []byte(want)) {
		return errors.New("the answer opens, but is not the expected one")
	}
	return nil
}

// wants judges an answer by its status; refusals and webhooks get no body.
func wants(want int) func(int, []byte) error {
	return func(status int, body []byte) error {
		if status != want || len(body) > 0 {
			return fmt.Errorf("status %d and %d bytes, expected status %d and none", status, len(body), want)
		}
		return nil
	}
}

func signed(secret []byte, path string, body []byte) []byte {
	return load.Request(path, []string{"X-Hub-Signature-256: " + hubsignature.Sign(secret, body)}, body)
}

// randomEnvelope has the members and lengths of a ping's envelope.
func randomEnvelope() []byte {
	secret := make([]byte, 256+16+len(pingPayload)+16)
	rand.Read(secret)
	key, rest := secret[:256], secret[256:]
	key[0] = 0 // below the modulus
	return fmt.Appendf(nil, `{"encrypted_flow_data":"%s","encrypted_aes_key":"%s","initial_vector":"%s"}`,
		base64Of(rest[16:]), base64Of(key), base64Of(rest[:16]))
}

// finishedForm is a webhook with one finished form of a user of its own.
func statusOf(i int) []byte {
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1029384756","changes":[{"field":"messages","value":{`+
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},`+
		`"statuses":[{"id":"wamid.%d.%s","status":"delivered","timestamp":"%d","recipient_id":"1650%08d",`+
		`"pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}}]}}]}]}`,
		i, rand.Text(), time.Now().Unix(), i%20000)
}

func finishedForm(i int, token string) []byte {
	id := rand.Text()
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1029384756","changes":[{"field":"messages","value":{`+
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},`+
		`"contacts":[{"profile":{"name":"User %d"},"wa_id":"1650%08d","user_id":"US.%s"}],`+
		`"messages":[{"from":"1650%08d","id":"wamid.%s","timestamp":"%d","type":"interactive",`+
		`"context":{"from":"15550783881","id":"wamid.context.%s"},`+
		`"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent",`+
		`"response_json":"{\"flow_token\":\"%s\",\"score\":\"5\",\"comment\":\"all fine\"}"}}}]}}]}]}`,
		i, i, id, i, id, time.Now().Unix(), id, cmp.Or(token, id))
}
