package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

const userAgent = "WhatsApp-Flow-Server/1.0 (caddy-whatsapp-flows)"

// send makes one request and reads its answer.
func (p *Pool) send(ctx context.Context, u *Upstream, r flow.FetchRequest, within time.Duration, idempotencyKey string) (flow.FetchResult, Result, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := u.request(ctx, r, idempotencyKey)
	if err != nil {
		return u.fail(Invalid, "the path is no part of a URL")
	}
	start := time.Now()
	defer func() { p.observer.Sent(u.name, time.Since(start)) }()
	response, err := p.client.Do(request)
	if err != nil {
		return u.broken(ctx, within, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		return u.fail(Failed, "it answered with status %d, and redirects are not followed: name the place it leads to", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, u.maxBody+1))
	if err != nil {
		return u.broken(ctx, within, err)
	}
	return u.answer(response, body)
}

func (u *Upstream) request(ctx context.Context, r flow.FetchRequest, idempotencyKey string) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, u.base+r.Path, body)
	if err != nil {
		return nil, err
	}
	request.Header = u.header.Clone()
	for name, value := range map[string]string{"Accept": "application/json", "User-Agent": userAgent} {
		if request.Header.Get(name) == "" {
			request.Header.Set(name, value)
		}
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.Method != http.MethodGet && idempotencyKey != "" {
		// In lower case on purpose, which is the same on the wire: under its
		// canonical name Go takes it as leave to send a POST again when the
		// connection breaks, and not every upstream knows the header.
		request.Header["idempotency-key"] = []string{idempotencyKey}
	}
	return request, nil
}

// answer judges what came. A status of 4xx or 5xx is an answer too, whatever its
// body: a rule may want to tell "not found" from "down".
func (u *Upstream) answer(response *http.Response, body []byte) (flow.FetchResult, Result, error) {
	good := response.StatusCode < 300
	fetched := flow.FetchResult{Status: response.StatusCode}
	encoding := response.Header.Get("Content-Encoding") // gzip, which was asked for, is undone and gone
	switch {
	case len(body) == 0:
	case int64(len(body)) > u.maxBody:
		if good {
			return u.fail(Failed, "its answer is over %s: raise max_body, or ask it for less", humanize.IBytes(uint64(u.maxBody)))
		}
	case encoding != "" && encoding != "identity":
		if good {
			return u.fail(Failed, "its answer has a Content-Encoding that was not asked for, expected plain JSON")
		}
	case utf8.Valid(body) && json.Valid(body):
		fetched.Body = body
	case good:
		return u.fail(Failed, "its answer is not JSON")
	}
	if good {
		return fetched, OK, nil
	}
	return fetched, Status, nil
}

// broken is a request that got no answer, or only a part of one.
func (u *Upstream) broken(ctx context.Context, within time.Duration, err error) (flow.FetchResult, Result, error) {
	if ctx.Err() != nil {
		return u.fail(Timeout, "no answer within %s", within.Round(time.Millisecond))
	}
	return u.fail(Failed, "%s", describe(err))
}

// describe is what may be said of an error of net/http, which in part repeats
// the URL or what the other side sent.
func describe(err error) string {
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var (
		network     *net.OpError
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &resolution), errors.As(err, &network), errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &alert):
		return err.Error()
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks plain HTTP: write http:// in its URL, or have it speak TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it broke off its answer"
	default:
		return "what it sent is no answer of HTTP"
	}
}
