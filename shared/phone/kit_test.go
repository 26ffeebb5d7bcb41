package phone_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

const appSecret = "test_app_secret"

var businessKey = sync.OnceValue(func() *rsa.PrivateKey { return newKey() })

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// endpoint is a business's server: it opens requests and gives one answer.
type endpoint struct {
	t      *testing.T
	key    *rsa.PrivateKey
	answer string // plaintext, sealed
	status int    // 0 is 200
	raw    *string
	// what came
	requests []map[string]json.RawMessage
	bodies   [][]byte
}

func (e *endpoint) send(_ context.Context, body []byte, header map[string]string) (int, []byte, error) {
	verifier, err := hubsignature.New([]byte(appSecret))
	if err != nil {
		e.t.Fatal(err)
	}
	e.bodies = append(e.bodies, body)
	if _, ok := verifier.Verify(header["X-Hub-Signature-256"], body); !ok {
		return 432, nil, nil
	}
	if header["Content-Type"] != "application/json" {
		e.t.Errorf("content type %q", header["Content-Type"])
	}
	envelope, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		e.t.Errorf("the phone sent no envelope: %v", err)
		return http.StatusBadRequest, nil, nil
	}
	plaintext, sealer, err := envelope.Open(e.key)
	if err != nil {
		return 421, nil, nil
	}
	var request map[string]json.RawMessage
	if err := json.Unmarshal(plaintext, &request); err != nil {
		e.t.Errorf("the phone sent no JSON: %v", err)
	}
	e.requests = append(e.requests, request)
	status := e.status
	if status == 0 {
		status = http.StatusOK
	}
	if e.raw != nil {
		return status, []byte(*e.raw), nil
	}
	return status, sealer.Seal([]byte(e.answer)), nil
}

// definition has FIRST and OTHER as entries, FIRST → SECOND → LAST.
func definition(t *testing.T) *flow.Definition {
	t.Helper()
	def, err := flow.Load([]byte(`{
	  "version": "7.3", "data_api_version": "4.0",
	  "routing_model": {"FIRST": ["SECOND"], "OTHER": ["SECOND"], "SECOND": ["LAST"], "LAST": []},
	  "screens": [
	    {"id": "FIRST", "title": "First", "data": {"greeting": {"type": "string", "__example__": "hi"}}, "layout": `+layout+`},
	    {"id": "OTHER", "title": "Other", "layout": `+layout+`},
	    {"id": "SECOND", "title": "Second", "data": {"n": {"type": "number", "__example__": 1}}, "layout": `+layout+`},
	    {"id": "LAST", "title": "Last", "terminal": true, "layout": `+layout+`}
	  ]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

const layout = `{"type": "SingleColumnLayout", "children": [{"type": "Footer", "label": "Go", "on-click-action": {"name": "data_exchange", "payload": {}}}]}`

func newPhone(t *testing.T, e *endpoint) *phone.Phone {
	t.Helper()
	e.t = t
	if e.key == nil {
		e.key = businessKey()
	}
	return &phone.Phone{
		PublicKey: &e.key.PublicKey, AppSecret: []byte(appSecret), Token: "tok-1", Send: e.send,
		Pause: func(context.Context, time.Duration) error { return nil },
	}
}
