// Package publiccheck looks at a flow endpoint and a webhook from outside, as
// Meta does: through whatever stands between the internet and the edge.
//
// It sends health checks (pings), which change nothing, and the handshake of a
// webhook. It never sends a verify token or a signed body to a host whose
// certificate does not hold, nor a verify token by plain http over a network.
package publiccheck

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Config is what the checks need.
type Config struct {
	// HTTP calls the site; its redirect policy is replaced. Its Timeout is not used.
	HTTP *http.Client
	// PrivateCA says that HTTP trusts more than the public authorities.
	PrivateCA bool
	Now       func() time.Time

	Endpoint string // URL of the flow endpoint; empty: there is none
	Webhook  string // URL of the webhook; empty: there is none

	PublicKey *rsa.PublicKey // what was registered at WhatsApp; nil: not known
	// AppSecrets are those the edge accepts, the current one first.
	AppSecrets  [][]byte
	VerifyToken string
	// Account names the findings when there are several; empty otherwise.
	Account string
}

// The names of the findings, to which Account is added.
const (
	TLS        = "public URL: TLS"
	RoundTrip  = "public URL: round trip"
	Bytes      = "public URL: body unchanged"
	Signature  = "public URL: forged signature"
	Latency    = "public URL: latency"
	Handshake  = "webhook: handshake"
	WrongToken = "webhook: wrong verify token"
	Post       = "webhook: post"
)

const (
	// userAgent is Meta's for webhooks, which rules of firewalls look at.
	userAgent = "facebookexternalua"

	// maxAnswer is what is read of an answer, in bytes.
	maxAnswer = 1 << 20
)

func (c Config) name(n string) string {
	if c.Account == "" {
		return n
	}
	return n + " (account " + c.Account + ")"
}

// Checks are those of the endpoint and of the webhook.
func Checks(c Config) []doctor.Check {
	client := *c.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Timeout = 0 // contexts bound each exchange
	c.HTTP = &client
	return []doctor.Check{
		{Name: c.name(RoundTrip), Within: 90 * time.Second, Run: c.endpoint},
		{Name: c.name(Handshake), Within: 45 * time.Second, Run: c.webhook},
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	certificates
	took   time.Duration
	before time.Time
}

func (c Config) send(ctx context.Context, method, target string, body []byte, header map[string]string) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, phone.DefaultTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(string(body)))
	if err != nil {
		return a, err
	}
	request.Header.Set("User-Agent", userAgent)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	a.before = c.Now()
	response, err := c.HTTP.Do(request)
	if err == nil {
		defer response.Body.Close() //nolint:errcheck // only read
		a.status, a.header = response.StatusCode, response.Header
		if response.TLS != nil {
			a.certificates = certificates{response.TLS.PeerCertificates, response.TLS.VerifiedChains, response.TLS.Version}
		}
		a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	}
	a.took = c.Now().Sub(a.before)
	if err == nil {
		return a, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return a, errSlow
	}
	var at *url.Error // its text repeats the URL, and with it the verify token
	if errors.As(err, &at) {
		err = at.Err
	}
	return a, err
}

var errSlow = fmt.Errorf("no answer within %s", phone.DefaultTimeout)

// endpoint does the whole round trip of a health check, then asks what it can
// about the way there.
func (c Config) endpoint(ctx context.Context) []doctor.Finding {
	names := []string{TLS, RoundTrip, Bytes, Signature, Latency}
	skip := func(from int, reason string) (skipped []doctor.Finding) {
		for _, name := range names[from:] {
			skipped = append(skipped, doctor.Skip(c.name(name), reason))
		}
		return skipped
	}
	switch {
	case c.Endpoint == "":
		return skip(0, "no URL of a flow endpoint is known: give --url")
	case c.PublicKey == nil:
		return skip(0, "no public key is known to seal a request for")
	case len(c.AppSecrets) == 0:
		return skip(0, "no app secret is known to sign a request with")
	}
	plain, first, err := c.ping(ctx, unescaped, c.AppSecrets[0])
	tls, reached := c.transport(c.Endpoint, first, err)
	found := []doctor.Finding{tls}
	if !reached {
		return append(found, skip(1, "not reached, see "+c.name(TLS))...)
	}
	if plain.Status != doctor.OK {
		found = append(found, plain)
		return append(found, skip(2, "see "+c.name(RoundTrip))...)
	}
	found = append(found, plain, c.unchanged(ctx), c.forged(ctx))
	found = append(found, c.latency(ctx, first), c.clock(first))
	return slices.DeleteFunc(found, func(f doctor.Finding) bool { return f.Name == "" })
}

// clock compares with the Date of an answer.
func (c Config) clock(a answer) doctor.Finding {
	at, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return doctor.Finding{}
	}
	return doctor.Clock(c.name("the public URL"), a.before, a.before.Add(a.took), at, time.Second)
}

// The times of an endpoint that Meta's alerts look at (p90 over 30 minutes), and
// the one after which the phone gives up.
const (
	alertAfter = time.Second
	worseAfter = 5 * time.Second
	pings      = 5
)

func (c Config) latency(ctx context.Context, first answer) doctor.Finding {
	took := []time.Duration{}
	for range pings {
		finding, a, _ := c.ping(ctx, escaped, c.AppSecrets[0])
		if finding.Status != doctor.OK {
			finding.Name = c.name(Latency)
			finding.Evidence = "one of several health checks failed: " + finding.Evidence
			return finding
		}
		took = append(took, a.took)
	}
	slices.Sort(took)
	median, slowest := took[len(took)/2], took[len(took)-1]
	evidence := fmt.Sprintf("%d health checks: median %s, slowest %s, the first with its connection %s; Meta's alert begins at %s, the phone gives up after %s",
		pings, round(median), round(slowest), round(first.took), alertAfter, phone.DefaultTimeout)
	const fix = "run more edges or cores, put the edge nearer, look at what stands between; a flow's own logic comes on top of this"
	switch {
	case median >= worseAfter:
		return doctor.Failed(c.name(Latency), evidence, "Meta throttles flows whose endpoint is this slow, and users wait or get an error", fix)
	case slowest >= alertAfter:
		return doctor.Warned(c.name(Latency), evidence, "with a p90 above 1 s Meta raises an alert (ENDPOINT_LATENCY)", fix)
	}
	return doctor.Fine(c.name(Latency), "%s", evidence)
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}
