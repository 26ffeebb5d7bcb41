package publiccheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// form is how the body of a request is written.
type form func(body []byte) []byte

// unescaped is what any JSON encoder writes: one that reads and writes it again
// on the way changes nothing.
func unescaped(body []byte) []byte { return bytes.ReplaceAll(body, []byte(`\/`), []byte("/")) }

// escaped is what Meta sends: each slash escaped.
func escaped(body []byte) []byte { return body }

// full has all that a middle box could write otherwise: escapes in both cases,
// surrogates, an emoji in UTF-8, white space, and a member nobody knows.
func full(body []byte) []byte {
	return append([]byte(`{ "doctor" : "\u00e9 \u00E9 \ud83d\ude00 é 😀 \/ & < ' \t", `), body[1:]...)
}

// ping is one health check through the whole way. Its finding is RoundTrip.
func (c Config) ping(ctx context.Context, write form, secret []byte) (doctor.Finding, answer, error) {
	var last answer
	var failed error
	p := phone.Phone{PublicKey: c.PublicKey, AppSecret: secret}
	p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
		last, failed = c.send(ctx, http.MethodPost, c.Endpoint, body, header)
		return last.status, last.body, failed
	}
	err := pingAs(ctx, &p, write)
	if failed != nil {
		return c.unreached(RoundTrip, failed), last, failed
	}
	if err == nil {
		return doctor.Fine(c.name(RoundTrip), "%s answers a signed and sealed health check: it has the app secret and the private key", c.Endpoint), last, nil
	}
	return c.judge(last, err), last, nil
}

const pong = `{"data":{"status":"active"}}`

// pingAs is phone.Ping with a body of another form, whose signature is made after
// it was written.
func pingAs(ctx context.Context, p *phone.Phone, write form) error {
	envelope, err := p.Seal([]byte(`{"version":"3.0","action":"ping"}`))
	if err != nil {
		return err
	}
	envelope.Body = write(envelope.Body)
	status, body, err := p.Post(ctx, envelope)
	if err != nil {
		return err
	}
	text, err := envelope.Open(body)
	switch {
	case status == http.StatusOK && err == nil && string(text) != pong:
		return errOther
	case status == http.StatusOK && err == nil:
		return nil
	case err == nil:
		return errSealed
	}
	return err
}

var (
	errOther  = errors.New("what it answers is not that it is active")
	errSealed = errors.New("the answer is sealed under the request's key")
)

// judge says what an answer means that is no pong. err says what is wrong with
// its body.
func (c Config) judge(a answer, err error) doctor.Finding {
	name, status := c.name(RoundTrip), fmt.Sprintf("status %d", a.status)
	if wall := wall(a); wall != "" && a.status != statusSignature && a.status != statusDecrypt {
		return firewall(name, status, wall)
	}
	switch {
	case a.status == http.StatusOK && errors.Is(err, errOther):
		return doctor.Failed(name, `200, sealed rightly, but not {"data":{"status":"active"}}`, "Meta's health check is red and a flow cannot be published", "answer a ping with exactly that")
	case a.status == http.StatusOK:
		return doctor.Failed(name, "200, but "+err.Error()+describe(a), "the phone shows an error: it can open only bare base64 that is sealed under its key and inverted vector (response-decryption-error)",
			"take out what changes bodies of answers on the way (a CDN's optimisation, an injected script, a line end added); is this URL the flow endpoint?")
	case a.status == statusSignature:
		return doctor.Failed(name, "432: the endpoint does not take our signature", "every request of Meta gets 432 too if its app has this secret, and users see an error",
			"compare app_secret with the one that the running edge has (restart or `caddy whatsapp-flows keys reload`) and with the app's settings at Meta (App settings, Basic); is this URL this edge's?")
	case a.status == statusDecrypt:
		return doctor.Failed(name, "421: the endpoint has the app secret, but cannot open what is sealed for our key", "every phone gets 421, fetches the public key again, and fails",
			"the running edge has another private key than the configuration: `caddy whatsapp-flows keys reload`, then `keys status`; is this URL this edge's?")
	case a.status == statusToken && errors.Is(err, errSealed):
		return doctor.Failed(name, "427 to a health check", "Meta's health check is red: a ping has no flow token, so none can be invalid", "answer pings before tokens are looked at")
	case a.status == statusToken && len(a.body) > 0:
		return doctor.Failed(name, "427 with a body in clear text"+describe(a), "the phone cannot read the message and leaves the button of the chat enabled; a ping must not get 427 at all",
			"seal the body of a 427 as that of a 200, and answer pings before tokens are looked at")
	case a.status >= 300 && a.status < 400:
		return doctor.Failed(name, fmt.Sprintf("%s to %s", status, a.header.Get("Location")), "Meta does not follow redirects: each request fails", "register the URL at its end as endpoint URI, or take the redirect away for this path")
	case a.status == http.StatusNotFound:
		return doctor.Failed(name, "404", "the site has no such path, or the edge no such flow: Meta's health check fails",
			"compare the path with the Caddyfile, and the flow's name with those of \"redis: published flows\"; publish the flow with `worker flows load DIR`, or name another with --flow")
	case a.status == http.StatusMethodNotAllowed, a.status == http.StatusBadRequest:
		return doctor.Failed(name, status, "what answers there does not take a request of WhatsApp Flows", "compare the URL with the Caddyfile's path of whatsapp_flow; does something between change the method or the body?")
	case a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout, a.status >= statusNoOrigin && a.status < statusNoOrigin+8:
		return doctor.Failed(name, status+describe(a), "a proxy before the edge does not reach it", "start the edge; compare the proxy's upstream with the edge's address")
	case a.status == http.StatusServiceUnavailable:
		return doctor.Failed(name, status+describe(a), "the edge has more requests than it can decrypt in time, or a proxy before it has none to send them to", "look at the edge's log; run another one")
	}
	return doctor.Failed(name, status+describe(a), "only 200 is success: Meta counts all else as unexpected_http_status_code", "look at the log of what answers there")
}

const (
	// statusNoOrigin and the seven behind it are Cloudflare's for a site that it
	// does not reach.
	statusNoOrigin = 520

	statusDecrypt   = 421
	statusToken     = 427
	statusSignature = 432
)

// unchanged sends bodies that differ from each other only in how they are
// written.
func (c Config) unchanged(ctx context.Context) doctor.Finding {
	name := c.name(Bytes)
	for _, way := range []struct {
		what  string
		write form
	}{{`escaped slashes (\/)`, escaped}, {`escapes (\u00e9, \ud83d\ude00), an emoji and white space`, full}} {
		finding, a, err := c.ping(ctx, way.write, c.AppSecrets[0])
		switch {
		case err != nil, finding.Status != doctor.OK && a.status != statusSignature:
			finding.Name = name
			finding.Evidence = "a body with " + way.what + ": " + finding.Evidence
			return finding
		case finding.Status != doctor.OK:
			return doctor.Failed(name, "432 to a body with "+way.what+", 200 to the same without", "something on the way writes JSON anew, so that Meta's signature does not fit any more: each request fails",
				"find the proxy, firewall or function that parses bodies, and have it pass them on as they are")
		}
	}
	return doctor.Fine(name, "bodies with escapes, an emoji and white space arrive as they were sent")
}

// forged sends what Meta did not sign.
func (c Config) forged(ctx context.Context) doctor.Finding {
	name := c.name(Signature)
	finding, a, err := c.ping(ctx, escaped, []byte("not the secret of this app"))
	switch {
	case err != nil:
		finding.Name = name
		return finding
	case a.status == http.StatusOK && finding.Status == doctor.OK:
		return doctor.Failed(name, "200 to a forged signature", "anybody can send requests as if they were a user of WhatsApp", "serve this path with whatsapp_flow, which checks X-Hub-Signature-256, and with nothing before it that answers")
	case a.status != statusSignature:
		return doctor.Warned(name, fmt.Sprintf("status %d to a forged signature, expected 432", a.status), "Meta asks for 432; what answered is not the edge", "see what answers there")
	}
	return doctor.Fine(name, "432, as Meta asks for")
}
