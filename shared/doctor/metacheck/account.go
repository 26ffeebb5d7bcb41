package metacheck

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// unasked is a finding about what Meta did not tell.
func unasked(name string, err error) doctor.Finding {
	return doctor.Failed(name, oneLine(err), "it cannot be judged", "see what Meta says; is the id right, and the object assigned to the token's system user?")
}

func (c Config) account(ctx context.Context, info graph.TokenInfo, a Account) (found []doctor.Finding) {
	if len(a.WABAs)+len(a.Numbers) == 0 {
		return []doctor.Finding{doctor.Skip("meta: account "+a.Name, "META_WABA_ID names no WhatsApp Business Account of it")}
	}
	fields := c.fields(ctx, info, a)
	found = append(found, fields)
	keys := map[string]bool{} // numbers looked at
	for _, waba := range a.WABAs {
		subscribed := c.subscribed(ctx, info, waba)
		found = append(found, subscribed, c.health(ctx, "meta: account "+waba+": health", waba))
		ready, numbers := c.numbers(ctx, a, waba, keys)
		found = append(found, numbers...)
		found = append(found, c.flows(ctx, info, a, waba, publishing{number: ready, subscribed: subscribed.Status, fields: fields.Status})...)
	}
	for _, id := range a.Numbers {
		if !keys[id] {
			_, of := c.number(ctx, a, graph.Number{ID: id}, false)
			found = append(found, of...)
		}
	}
	return found
}

// subscribed asks whether the token's app gets the webhooks of a WhatsApp Business
// Account.
func (c Config) subscribed(ctx context.Context, info graph.TokenInfo, waba string) doctor.Finding {
	name := "meta: account " + waba + ": webhooks"
	apps, err := c.Client.SubscribedApps(ctx, waba)
	if err != nil {
		return unasked(name, err)
	}
	var names []string
	for _, app := range apps {
		if app.ID == info.AppID {
			return doctor.Fine(name, "go to the app %s", named(app.Name, app.ID))
		}
		names = append(names, named(app.Name, app.ID))
	}
	evidence := "no app is subscribed"
	if len(names) > 0 {
		evidence = "go to " + strings.Join(names, ", ") + ", not to the token's app " + info.AppID
	}
	return doctor.Failed(name, evidence, "answers, statuses and alerts do not arrive, and a flow cannot be published", "subscribe the app: `worker meta subscribe`")
}

// fields asks what the app is subscribed to, which Meta tells the app only.
func (c Config) fields(ctx context.Context, info graph.TokenInfo, a Account) doctor.Finding {
	name := "meta: app " + info.AppID + ": fields"
	if c.As == nil || len(a.AppSecrets) == 0 {
		return doctor.Skip(name, "the app secret is not known here; the edge's doctor knows it")
	}
	var subs []graph.Subscription
	client, err := c.As(graph.AppToken(info.AppID, string(a.AppSecrets[0])))
	if err == nil {
		subs, err = client.Subscriptions(ctx, info.AppID)
	}
	if err != nil {
		return doctor.Failed(name, oneLine(err), "either the app secret is not that of the token's app, so that signatures do not fit, or the call is refused", "compare app_secret with the app's settings at Meta (App settings, Basic)")
	}
	at := slices.IndexFunc(subs, func(s graph.Subscription) bool { return s.Object == graph.AccountObject })
	const fix = "subscribe it: `worker meta subscribe`"
	if at < 0 {
		return doctor.Failed(name, "no subscription to "+graph.AccountObject, "no webhook is sent", fix)
	}
	s := subs[at]
	slices.Sort(s.Fields)
	evidence := strings.Join(s.Fields, ", ") + " to " + withoutQuery(s.CallbackURL)
	var lacks []string
	for _, field := range []string{"messages", "flows"} {
		if !slices.Contains(s.Fields, field) {
			lacks = append(lacks, field)
		}
	}
	switch {
	case len(lacks) > 0:
		return doctor.Failed(name, evidence+"; missing: "+strings.Join(lacks, ", "), "without messages no answer arrives, without flows no alert before Meta throttles a flow", fix)
	case !s.Active:
		return doctor.Failed(name, evidence+", not active", "no webhook is sent", fix)
	case a.Webhook != "" && s.CallbackURL != a.Webhook:
		return doctor.Warned(name, evidence+", expected "+a.Webhook, "webhooks go elsewhere, unless that leads here too", fix)
	}
	return doctor.Fine(name, "%s", evidence)
}

// withoutQuery leaves out of a webhook's URL what may be a secret of whom it
// belongs to.
func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that is none"
	}
	u.RawQuery, u.User, u.Fragment = "", nil, ""
	return u.String()
}

func (c Config) health(ctx context.Context, name, id string) doctor.Finding {
	health, err := c.Client.HealthStatus(ctx, id)
	if err != nil {
		return unasked(name, err)
	}
	return judgeHealth(name, health)
}

func judgeHealth(name string, health *graph.Health) doctor.Finding {
	if health == nil {
		return doctor.Skip(name, "Meta tells nothing")
	}
	var said, solutions []string
	for _, e := range health.Entities {
		for _, problem := range e.Errors {
			said = append(said, fmt.Sprintf("%s %s: %s (%d)", strings.ToLower(strings.ReplaceAll(e.Type, "_", " ")), e.ID, problem.Description, problem.Code))
			if problem.Solution != "" {
				solutions = append(solutions, problem.Solution)
			}
		}
	}
	evidence := strings.Join(append([]string{health.CanSend}, said...), "; ")
	fix := strings.Join(append(solutions, "see the object in WhatsApp Manager"), "; ")
	switch health.CanSend {
	case graph.Available, "":
		return doctor.Fine(name, "%s", evidence)
	case graph.Limited:
		return doctor.Warned(name, evidence, "messages go out, but not all", fix)
	}
	return doctor.Failed(name, evidence, "no message goes out", fix)
}

// numbers looks at each phone number. ready says that one is verified and has a
// signed key, which publishing a flow needs.
func (c Config) numbers(ctx context.Context, a Account, waba string, seen map[string]bool) (ready bool, found []doctor.Finding) {
	name := "meta: account " + waba + ": phone numbers"
	numbers, err := c.Client.Numbers(ctx, waba)
	switch {
	case err != nil:
		return false, []doctor.Finding{unasked(name, err)}
	case len(numbers) == 0:
		return false, []doctor.Finding{doctor.Failed(name, "none", "nothing can be sent, and a flow cannot be published", "add a phone number in WhatsApp Manager")}
	}
	for _, n := range numbers {
		seen[n.ID] = true
		good, of := c.number(ctx, a, n, true)
		ready = ready || good
		found = append(found, of...)
	}
	return ready, found
}

func (c Config) number(ctx context.Context, a Account, n graph.Number, listed bool) (ready bool, found []doctor.Finding) {
	label := "meta: number " + n.ID
	state := doctor.Skip(label+": state", "it is not in a WhatsApp Business Account of META_WABA_ID")
	if listed {
		state = numberState(label+": state", n)
	}
	key, signed := c.key(ctx, label+": key", a, n.ID)
	health := c.health(ctx, label+": health", n.ID)
	return n.Verification == verified && signed, []doctor.Finding{state, key, health}
}

// verified is how Meta calls a number whose owner has proven to be that.
const verified = "VERIFIED"

func numberState(name string, n graph.Number) doctor.Finding {
	evidence := fmt.Sprintf("%s, %s, %s, quality %s", n.Display, n.Verification, n.Status, n.Quality)
	switch {
	case n.Verification != verified:
		return doctor.Warned(name, evidence, "a flow needs a verified number to be published", "verify the number in WhatsApp Manager; never deregister one that works to mend something else")
	case n.Status != "" && n.Status != "CONNECTED":
		return doctor.Warned(name, evidence, "it does not send or receive now", "see the number in WhatsApp Manager")
	case n.Quality == "RED":
		return doctor.Warned(name, evidence, "Meta lowers how many messages it may send", "see why users block or report it")
	}
	return doctor.Fine(name, "%s", evidence)
}

// key compares what WhatsApp encrypts with to the edge's keys. signed says that a
// flow can be published with it: it is valid, and one that the edge has, as far as
// that is known.
func (c Config) key(ctx context.Context, name string, a Account, number string) (found doctor.Finding, signed bool) {
	const register = "register the edge's key: `caddy whatsapp-flows keys register`"
	held, err := c.Client.GetPublicKey(ctx, number)
	if err != nil {
		return unasked(name, err), false
	}
	if held.PEM == "" {
		return doctor.Failed(name, "no public key is registered", "flows with an endpoint do not open for users of this number (public-key-missing), and cannot be published", register), false
	}
	public, err := flowcrypto.ReadPublicKey([]byte(held.PEM))
	if public == nil {
		return doctor.Failed(name, "WhatsApp holds what is no public key: "+oneLine(err), "phones cannot encrypt", register), false
	}
	fingerprint := flowcrypto.Fingerprint(public)
	evidence := fmt.Sprintf("%s, %s", fingerprint, held.Signature)
	at := slices.Index(a.Fingerprints, fingerprint)
	switch {
	case len(a.Fingerprints) > 0 && at < 0:
		return doctor.Failed(name, evidence+", not a key of the edge", "every request of users of this number gets 421", register), false
	case held.Signature == graph.SignatureMismatch:
		return doctor.Failed(name, evidence, "phones refuse the key: the number was registered anew since it was set (public-key-signature-verification)", register), false
	case held.Signature != graph.SignatureValid:
		return doctor.Warned(name, fingerprint+", without a signature status", "it cannot be said whether phones take it", register), false
	case at > 0:
		return doctor.Warned(name, fmt.Sprintf("%s, key %d of the edge, not its current one", evidence, at+1), "once that key is retired, every request gets 421", register), true
	case at < 0:
		return doctor.Fine(name, "%s; the edge's keys are not known here", evidence), true
	}
	return doctor.Fine(name, "%s, the edge's current key", evidence), true
}
