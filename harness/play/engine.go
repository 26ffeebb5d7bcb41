package play

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

// Engine answers one phone in this process: the cryptography, the tokens and the
// engine are those of the edge, only Redis and HTTP are not there.
type Engine struct {
	Definition  *flow.Definition
	Key         *rsa.PrivateKey
	TokenSecret []byte           // of signed flow tokens
	Now         func() time.Time // the clock of the flow
	Fetch       flow.Fetcher

	session []byte // as it would stand in Redis
}

// Send answers one request; it is a phone's transport. Where the edge would fall
// back to the same screen with an apology, it returns the error instead.
func (e *Engine) Send(ctx context.Context, body []byte, _ map[string]string) (int, []byte, error) {
	envelope, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		return 0, nil, err
	}
	plaintext, sealer, err := envelope.Open(e.Key)
	if err != nil {
		return 0, nil, err
	}
	defer sealer.Wipe()
	// As on the edge, nothing of the plaintext outlives its request. Zeros might
	// pass unseen.
	defer func() {
		for i := range plaintext {
			plaintext[i] = 0xaa
		}
	}()
	request, err := flow.ParseRequest(plaintext)
	if err != nil {
		return 0, nil, err
	}
	if request.Action == flow.Ping {
		return http.StatusOK, sealer.Seal([]byte(`{"data":{"status":"active"}}`)), nil
	}
	reply, err := e.answer(ctx, request)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, sealer.Seal(reply.JSON()), nil
}

func (e *Engine) answer(ctx context.Context, request *flow.Request) (flow.Reply, error) {
	now := e.Now()
	var previous *flow.Session
	if e.session != nil && !request.Stateless() {
		var err error
		if previous, err = flow.ParseSession(e.session); err != nil {
			return flow.Reply{}, err
		}
	}
	session, err := flow.Begin(previous, e.Definition, request, now)
	if err != nil {
		return flow.Reply{}, err
	}
	if flowtoken.IsSigned(request.Token) {
		// Tokens expire by the real time, whatever time the flow is played at.
		claims, err := flowtoken.Verify([][]byte{e.TokenSecret}, request.Token, time.Now())
		if err != nil {
			return flow.Reply{}, err
		}
		session.User, session.UserName = claims.User, claims.Name
	}
	said, err := flow.Answer(ctx, e.Definition, session, request, flow.Env{Now: now, Fetch: e.Fetch, Random: rand.Reader})
	if err != nil {
		return flow.Reply{}, err
	}
	reply, err := flow.Guard(e.Definition, request, said.JSON())
	if err != nil {
		return flow.Reply{}, err
	}
	session.Finish(request, reply)
	e.session = session.Encode()
	return reply, nil
}

// client fetches from the upstreams of a conversation, as the edge would from
// real ones.
type client struct {
	upstreams *Upstreams
}

// maxBody bounds what an upstream may answer, in bytes.
const maxBody = 1 << 20

// Fetch implements flow.Fetcher.
func (c client) Fetch(ctx context.Context, r flow.FetchRequest) (flow.FetchResult, error) {
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, c.upstreams.URL(r.Upstream)+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return flow.FetchResult{}, err
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return flow.FetchResult{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return flow.FetchResult{}, err
	case len(body) > maxBody:
		return flow.FetchResult{}, fmt.Errorf("the answer is larger than %d bytes", maxBody)
	case len(body) == 0:
		return flow.FetchResult{Status: response.StatusCode}, nil
	case !json.Valid(body):
		return flow.FetchResult{}, errors.New("the answer is no JSON")
	}
	return flow.FetchResult{Status: response.StatusCode, Body: body}, nil
}
