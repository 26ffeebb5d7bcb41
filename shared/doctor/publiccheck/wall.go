package publiccheck

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
)

// refusals are the statuses that firewalls refuse with and the edge never sends,
// but for 401 and 403 of its webhook.
var refusals = map[int]bool{401: true, 403: true, 406: true, 409: true, 418: true, 428: true, 429: true, 444: true, 451: true}

// mark is how a product shows itself.
type mark struct {
	product string
	header  string // that it sends; empty: look at body
	value   string // what the header's value holds, in lower case; empty: anything
	body    string // what the body holds
}

// marks are of firewalls and networks before sites, the surest first.
var marks = []mark{
	{"Cloudflare", "Cf-Mitigated", "", ""},
	{"Cloudflare", "Cf-Ray", "", ""},
	{"Cloudflare", "Server", "cloudflare", ""},
	{"Imperva", "X-Iinfo", "", ""},
	{"Imperva", "X-Cdn", "imperva", ""},
	{"Imperva", "", "", "Incapsula incident"},
	{"Akamai", "Server", "akamaighost", ""},
	{"Akamai", "X-Akamai-Request-Id", "", ""},
	{"Sucuri", "X-Sucuri-Id", "", ""},
	{"AWS WAF", "X-Amzn-Waf-Action", "", ""},
	{"AWS CloudFront", "X-Amz-Cf-Id", "", ""},
	{"AWS load balancer", "Server", "awselb", ""},
	{"Azure Front Door", "X-Azure-Ref", "", ""},
	{"Azure Application Gateway", "Server", "microsoft-azure-application-gateway", ""},
	{"Google Cloud Armor or its load balancer", "Via", "1.1 google", ""},
	{"Fastly", "X-Fastly-Request-Id", "", ""},
	{"DDoS-Guard", "Server", "ddos-guard", ""},
	{"Barracuda", "Set-Cookie", "barra_counter_session", ""},
	{"F5 BIG-IP", "", "", "The requested URL was rejected. Please consult with your administrator"},
	{"FortiWeb", "", "", "FortiGuard"},
	{"ModSecurity", "", "", "Mod_Security"},
	{"ModSecurity", "Server", "mod_security", ""},
	{"Vercel", "X-Vercel-Id", "", ""},
	{"Varnish", "X-Varnish", "", ""},
}

// product names what shows itself in an answer; empty when nothing does.
func product(a answer) string {
	for _, m := range marks {
		if m.header == "" {
			if bytes.Contains(a.body, []byte(m.body)) {
				return m.product
			}
			continue
		}
		for _, value := range a.header.Values(m.header) {
			if strings.Contains(strings.ToLower(value), m.value) {
				return m.product
			}
		}
	}
	return ""
}

// wall describes what stopped a request before the edge, if something did: a
// page for people, where the edge never sends one, or a refusal with a mark.
func wall(a answer) string {
	page, by := isPage(a), product(a)
	switch {
	case a.status >= 300 && a.status < 400, a.status == http.StatusNotFound:
		return "" // a page that says where to go, or that nothing is there
	case a.status >= 500 && a.header.Get("Cf-Mitigated") == "" && (a.status != http.StatusServiceUnavailable || by == ""):
		return "" // a page that says that what is behind fails; riddles came with 503 too
	case page: // with 200 it is a riddle for browsers
	case refusals[a.status] && by != "":
	default:
		return ""
	}
	if by == "" {
		if by = a.header.Get("Server"); by == "" {
			by = "an unnamed server"
		}
	}
	if page {
		return by + ", with an HTML page"
	}
	return by
}

func isPage(a answer) bool {
	start := bytes.ToLower(bytes.TrimSpace(a.body[:min(len(a.body), 512)]))
	return bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html")) ||
		strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && bytes.HasPrefix(start, []byte("<"))
}

func firewall(name, status, wall string) doctor.Finding {
	return doctor.Failed(name, fmt.Sprintf("%s from %s", status, wall), "a firewall or proxy before the edge refuses what looks like Meta: requests and webhooks do not arrive, or late",
		"let POSTs to this path through without a riddle, bot rules or rate limits; requests of Meta prove themselves by their signature")
}

// describe is what an answer shows besides its status; no part of its body.
func describe(a answer) string {
	by := product(a)
	if by == "" {
		by = a.header.Get("Server")
	}
	said := ""
	if by != "" {
		said = " from " + by
	}
	if kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";"); kind != "" {
		said += " (" + kind + fmt.Sprintf(", %d bytes)", len(a.body))
	}
	return said
}
