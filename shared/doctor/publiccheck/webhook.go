package publiccheck

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// webhook does the handshake, with the right token and with a wrong one, then
// posts what looks like a webhook but is signed with no secret of the app: it
// must come as far as the edge, which refuses it and stores nothing.
func (c Config) webhook(ctx context.Context) []doctor.Finding {
	names := []string{Handshake, WrongToken, Post}
	skip := func(from int, reason string) (skipped []doctor.Finding) {
		for _, name := range names[from:] {
			skipped = append(skipped, doctor.Skip(c.name(name), reason))
		}
		return skipped
	}
	switch {
	case c.Webhook == "":
		return skip(0, "no URL of a webhook is known: give --url")
	case c.VerifyToken == "":
		return skip(0, "no verify token is known")
	}
	if u, err := url.Parse(c.Webhook); err == nil && u.Scheme != "https" && !isLocal(u.Hostname()) {
		return skip(0, "plain http: whoever is on the way could read the verify token; see "+c.name(TLS))
	}
	found, by := c.handshake(ctx)
	if by == nobody {
		return append([]doctor.Finding{found}, skip(1, "see "+c.name(Handshake))...)
	}
	wrong := doctor.Skip(c.name(WrongToken), "see "+c.name(Handshake))
	if by == edge {
		wrong = c.wrongToken(ctx)
	}
	return []doctor.Finding{found, wrong, c.post(ctx)}
}

func (c Config) ask(ctx context.Context, token, challenge string) (answer, error) {
	query := url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {challenge}, "hub.verify_token": {token}}
	return c.send(ctx, http.MethodGet, c.Webhook+"?"+query.Encode(), nil, nil)
}

// answerer is who answered.
type answerer int

const (
	nobody answerer = iota
	somebody
	edge // or what does as it does
)

func (c Config) handshake(ctx context.Context) (doctor.Finding, answerer) {
	name := c.name(Handshake)
	challenge := rand.Text()
	a, err := c.ask(ctx, c.VerifyToken, challenge)
	if err != nil {
		return c.unreached(Handshake, err), nobody
	}
	status := fmt.Sprintf("status %d", a.status)
	const meaning = "Meta does not save the webhook's URL, so no answer ever comes"
	wall := wall(a)
	switch {
	case a.status == http.StatusOK && string(a.body) == challenge:
		return doctor.Fine(name, "%s gives the challenge back", c.Webhook), edge
	case wall != "" && !(a.status == http.StatusForbidden && len(a.body) == 0):
		return firewall(name, status, wall), somebody
	case a.status == http.StatusOK:
		return doctor.Failed(name, "200, but the body is not the challenge alone"+describe(a), meaning, "serve this path with whatsapp_webhook, and take out what changes bodies of answers"), somebody
	case a.status == http.StatusForbidden && len(a.body) == 0:
		return doctor.Failed(name, "403: the edge has another verify token", meaning, "compare verify_token with what the running edge has: `caddy whatsapp-flows keys reload`, and give Meta the same"), edge
	case a.status >= 300 && a.status < 400:
		return doctor.Failed(name, status+" to "+withoutQuery(a.header.Get("Location")), meaning+": Meta does not follow redirects", "register the URL at its end"), somebody
	case a.status == http.StatusNotFound:
		return doctor.Failed(name, "404", meaning, "compare the path with the Caddyfile's whatsapp_webhook"), somebody
	}
	return doctor.Failed(name, status+describe(a), meaning, "look at the log of what answers there"), somebody
}

// withoutQuery leaves out the verify token, which a redirect may repeat.
func withoutQuery(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "a URL that is none"
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}

func (c Config) wrongToken(ctx context.Context) doctor.Finding {
	name := c.name(WrongToken)
	challenge := rand.Text()
	a, err := c.ask(ctx, "not-the-token", challenge)
	switch {
	case err != nil:
		return c.unreached(WrongToken, err)
	case a.status == http.StatusOK && string(a.body) == challenge:
		return doctor.Failed(name, "200: any verify token is taken", "anybody can make this URL the webhook of an app of theirs", "serve this path with whatsapp_webhook")
	case a.status != http.StatusForbidden:
		return doctor.Warned(name, fmt.Sprintf("status %d%s, expected 403", a.status, describe(a)), "what answered is not the edge", "see what answers there")
	}
	return doctor.Fine(name, "403")
}

// post sends a webhook that nobody signed.
func (c Config) post(ctx context.Context) doctor.Finding {
	name := c.name(Post)
	body := phone.CompletionWebhook(phone.Completion{WABA: "0", PhoneNumberID: "0", UserID: "US.0", Name: "é 😀 <doctor>", MessageID: "wamid.doctor", ContextID: "wamid.doctor",
		Time: c.Now(), Params: json.RawMessage(`{"flow_token":"doctor","text":"SELECT * FROM t; ../../etc/passwd 😀"}`)})
	a, err := c.send(ctx, http.MethodPost, c.Webhook, body, map[string]string{"Content-Type": "application/json", "X-Hub-Signature-256": hubsignature.Sign([]byte(rand.Text()), body)})
	if err != nil {
		return c.unreached(Post, err)
	}
	status := fmt.Sprintf("status %d", a.status)
	wall := wall(a)
	switch {
	case a.status == http.StatusUnauthorized && len(a.body) == 0:
		return doctor.Fine(name, "a webhook with text of all kinds comes as far as the edge, which refuses it for its forged signature (401)")
	case a.status == http.StatusOK:
		return doctor.Failed(name, "200 to a forged signature", "anybody can put answers into your tables", "serve this path with whatsapp_webhook, and with nothing before it that answers")
	case wall != "":
		return firewall(name, status, wall)
	}
	return doctor.Failed(name, status+describe(a)+", expected 401", "webhooks do not come as far as the edge", "look at the log of what answers there")
}
