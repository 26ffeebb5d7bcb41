package publiccheck

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
)

// certificates are those a server showed.
type certificates struct {
	chain    []*x509.Certificate   // as sent
	verified [][]*x509.Certificate // each up to an authority
	version  uint16
}

// ends is when the first certificate ends that the leaf needs.
func (c certificates) ends() (until time.Time, of *x509.Certificate) {
	of = c.chain[0]
	until = of.NotAfter
	for i, chain := range c.verified {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if i == 0 || first.NotAfter.After(until) { // clients take any chain that holds
			until, of = first.NotAfter, first
		}
	}
	return until, of
}

// transport judges how far a first request came: the name, the connection, TLS.
func (c Config) transport(target string, a answer, err error) (found doctor.Finding, reached bool) {
	name := c.name(TLS)
	u, parseErr := url.Parse(target)
	if parseErr != nil || u.Host == "" {
		return doctor.Failed(name, "the URL is none", "Meta cannot call it", "give one such as https://flows.example.com"), false
	}
	local := isLocal(u.Hostname())
	switch {
	case err != nil:
		return c.unreached(TLS, err), false
	case u.Scheme != "https" && local:
		return doctor.Skip(name, "plain http on this machine; Meta calls https only"), true
	case u.Scheme != "https":
		return doctor.Failed(name, "plain http", "Meta calls https only, and whoever is on the way can read and change what is sent", "serve it by https: a site address without http:// has Caddy get a certificate"), true
	case len(a.chain) == 0:
		return doctor.Skip(name, "the client does not tell the certificate"), true
	}
	leaf := a.chain[0]
	now := c.Now()
	until, of := a.ends()
	left := until.Sub(now)
	evidence := fmt.Sprintf("%s, certificate of %s from %s, %d in the chain, valid until %s (%s left)", tls.VersionName(a.version),
		u.Hostname(), issuer(leaf), len(a.chain), until.UTC().Format(time.RFC3339), days(left))
	if of != leaf {
		evidence += ", when that of " + of.Subject.CommonName + " in its chain ends"
	}
	// Caddy renews when a third is left.
	if life := leaf.NotAfter.Sub(leaf.NotBefore); left < life/6 {
		return doctor.Warned(name, evidence, "it should have been renewed: from that moment on no request arrives", "look at the edge's log for why the certificate is not renewed; is port 80 or 443 reachable from the internet?"), true
	}
	if c.PrivateCA && !local {
		return doctor.Warned(name, evidence+"; trusted because of a given authority", "Meta trusts public authorities only", "get a certificate of a public authority: a public name as site address has Caddy do so"), true
	}
	return doctor.Fine(name, "%s", evidence), true
}

func issuer(leaf *x509.Certificate) string {
	name := leaf.Issuer.CommonName
	if len(leaf.Issuer.Organization) > 0 {
		name = leaf.Issuer.Organization[0] + " " + name
	}
	if name = strings.TrimSpace(name); name == "" {
		return "an authority without a name"
	}
	return name
}

func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Minute).String()
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// unreached says why no answer came.
func (c Config) unreached(what string, err error) doctor.Finding {
	name := c.name(what)
	const nobody = "no request of Meta arrives"
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return c.untrusted(name, verification)
	}
	var dns *net.DNSError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, errSlow):
		return doctor.Failed(name, err.Error(), "Meta gives up after 10 s as well: timeout_error", "look at what stands before the edge, and at the edge's log; does a firewall drop packets?")
	case errors.As(err, &dns):
		return doctor.Failed(name, "the name is not found: "+dns.Err, nobody, "add an A or AAAA record for it, or mend the URL")
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return doctor.Failed(name, "what answers there speaks no TLS", nobody, "mend the port, or have Caddy serve https there")
	case errors.As(err, &alert), strings.Contains(err.Error(), "tls: "):
		return doctor.Failed(name, "the TLS handshake fails: "+err.Error(), nobody, "is this name a site of the Caddyfile, and has Caddy a certificate for it? Look at its log")
	case strings.Contains(err.Error(), "connection refused"):
		return doctor.Failed(name, "connection refused", nobody, "start the edge, and let the port through the firewall")
	}
	return doctor.Failed(name, err.Error(), nobody, "see whether the edge runs and this URL leads to it")
}

// untrusted says what is wrong with a certificate.
func (c Config) untrusted(name string, err *tls.CertificateVerificationError) doctor.Finding {
	const meaning = "Meta does not connect: no request arrives"
	var leaf *x509.Certificate
	if len(err.UnverifiedCertificates) > 0 {
		leaf = err.UnverifiedCertificates[0]
	}
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case leaf != nil && errors.As(err, &invalid) && invalid.Reason == x509.Expired && c.Now().Before(leaf.NotBefore):
		return doctor.Failed(name, "the certificate is valid only from "+leaf.NotBefore.UTC().Format(time.RFC3339), meaning, "set this machine's clock, or that of the one that made it")
	case leaf != nil && errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return doctor.Failed(name, "the certificate expired at "+leaf.NotAfter.UTC().Format(time.RFC3339), meaning, "renew it: look at the edge's log for why Caddy did not; is port 80 or 443 reachable from the internet?")
	case errors.As(err, &host):
		names := "no name"
		if leaf != nil && len(leaf.DNSNames) > 0 {
			names = strings.Join(leaf.DNSNames, ", ")
		}
		return doctor.Failed(name, "the certificate is for "+names+", not for "+host.Host, meaning, "make the name a site of the Caddyfile, or mend the URL; does a proxy before the edge answer with its own certificate?")
	case leaf != nil && errors.As(err, &unknown) && len(err.UnverifiedCertificates) == 1 && len(leaf.IssuingCertificateURL) > 0:
		return doctor.Failed(name, "the server sends no intermediate certificate: its chain ends at "+issuer(leaf), meaning+", although browsers do, which fetch what is missing", "serve the full chain (fullchain.pem instead of cert.pem)")
	case leaf != nil && errors.As(err, &unknown):
		return doctor.Failed(name, "the certificate is from "+issuer(leaf)+", which is no public authority", meaning, "use a public name as site address, so that Caddy gets a certificate that Meta trusts; for a trial, trust the authority here with --ca FILE")
	}
	return doctor.Failed(name, "the certificate does not hold: "+err.Err.Error(), meaning, "get another one")
}
