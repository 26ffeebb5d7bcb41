// Package phonetest is a business's endpoint in the process of a test: the
// engine of shared/flow behind the cryptography, and faults to plant in it.
package phonetest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// AppSecret is what requests to an Endpoint are signed with.
const AppSecret = "the app secret of a test"

// Key is the business's key, made once for all tests of a process.
var Key = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// Fault is something an endpoint does wrong.
type Fault struct {
	OAEPSHA1   bool // unwraps keys with OAEP-SHA1, as PHP does by default
	MGF1SHA1   bool // unwraps keys with OAEP-SHA256 and MGF1-SHA1, as Java does by default
	ReversedIV bool // seals with the vector's bytes in reverse order
	SameIV     bool // seals with the request's own vector
	Plain      bool // does not seal at all
	Status     int  // answers with this status, with the body as usual
	// Alter changes the plaintext of an answer, or makes one where the engine has
	// none (nil).
	Alter func(request *flow.Request, answer []byte) []byte
}

// Endpoint answers as a business does. It is safe for concurrent use.
type Endpoint struct {
	Definition *flow.Definition
	PrivateKey *rsa.PrivateKey // nil is Key()
	Fault      Fault

	mu       sync.Mutex
	sessions map[string][]byte
	requests []*flow.Request
}

// Requests are the requests that came, decrypted.
func (e *Endpoint) Requests() []*flow.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// Send is a phone's transport to the endpoint.
func (e *Endpoint) Send(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
	verifier, err := hubsignature.New([]byte(AppSecret))
	if err != nil {
		return 0, nil, err
	}
	if _, ok := verifier.Verify(header["X-Hub-Signature-256"], body); !ok {
		return 432, nil, nil
	}
	plaintext, seal, ok := e.open(body)
	if !ok {
		return 421, nil, nil
	}
	request, err := flow.ParseRequest(plaintext)
	if err != nil {
		return http.StatusBadRequest, nil, nil
	}
	e.mu.Lock()
	e.requests = append(e.requests, request)
	e.mu.Unlock()
	answer, status := e.answer(ctx, request)
	if e.Fault.Alter != nil {
		if altered := e.Fault.Alter(request, answer); altered != nil {
			answer, status = altered, http.StatusOK
		}
	}
	if answer == nil {
		return status, nil, nil
	}
	if e.Fault.Status != 0 {
		status = e.Fault.Status
	}
	if e.Fault.Plain {
		return status, answer, nil
	}
	return status, []byte(base64.StdEncoding.EncodeToString(seal(answer))), nil
}

// ServeHTTP makes it a server's handler.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	status, answer, err := e.Send(r.Context(), body, map[string]string{"X-Hub-Signature-256": r.Header.Get("X-Hub-Signature-256")})
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// open is written out, rather than borrowed, so that its steps can be done
// wrong.
func (e *Endpoint) open(body []byte) (plaintext []byte, seal func([]byte) []byte, ok bool) {
	var envelope struct {
		Data []byte `json:"encrypted_flow_data"`
		Key  []byte `json:"encrypted_aes_key"`
		IV   []byte `json:"initial_vector"`
	}
	if json.Unmarshal(body, &envelope) != nil || len(envelope.IV) != 16 {
		return nil, nil, false
	}
	private := e.PrivateKey
	if private == nil {
		private = Key()
	}
	hash := sha256.New()
	if e.Fault.OAEPSHA1 {
		hash = sha1.New()
	}
	key, err := rsa.DecryptOAEP(hash, nil, private, envelope.Key, nil)
	if e.Fault.MGF1SHA1 {
		key, err = private.Decrypt(nil, envelope.Key, &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA1})
	}
	if err != nil {
		return nil, nil, false
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, false
	}
	aead, err := cipher.NewGCMWithNonceSize(block, len(envelope.IV))
	if err != nil {
		return nil, nil, false
	}
	if plaintext, err = aead.Open(nil, envelope.IV, envelope.Data, nil); err != nil {
		return nil, nil, false
	}
	iv := bytes.Clone(envelope.IV)
	switch {
	case e.Fault.ReversedIV:
		slices.Reverse(iv)
	case !e.Fault.SameIV:
		for i := range iv {
			iv[i] = ^iv[i]
		}
	}
	return plaintext, func(answer []byte) []byte { return aead.Seal(nil, iv, answer, nil) }, true
}

// answer asks the engine. Its errors are answered as a server in trouble does.
func (e *Endpoint) answer(ctx context.Context, request *flow.Request) ([]byte, int) {
	if request.Action == flow.Ping {
		return []byte(`{"data":{"status":"active"}}`), http.StatusOK
	}
	if _, _, reported := request.ErrorNotification(); reported {
		return []byte(`{"data":{"acknowledged":true}}`), http.StatusOK
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var previous *flow.Session
	if stored := e.sessions[request.Token]; stored != nil && !request.Stateless() {
		var err error
		if previous, err = flow.ParseSession(stored); err != nil {
			return nil, http.StatusInternalServerError
		}
	}
	session, err := flow.Begin(previous, e.Definition, request, time.Now())
	if err != nil {
		return nil, http.StatusBadRequest
	}
	said, err := flow.Answer(ctx, e.Definition, session, request, flow.Env{Now: time.Now()})
	if err != nil {
		return nil, http.StatusInternalServerError
	}
	reply, err := flow.Guard(e.Definition, request, said.JSON())
	if err != nil {
		return nil, http.StatusInternalServerError
	}
	session.Finish(request, reply)
	if e.sessions == nil {
		e.sessions = map[string][]byte{}
	}
	e.sessions[request.Token] = session.Encode()
	return reply.JSON(), http.StatusOK
}

// Dice are dice that always fall alike.
func Dice(seed uint64) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, seed)) }
