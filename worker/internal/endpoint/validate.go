package endpoint

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// The limits of settings.
const (
	longestName        = 100
	longestDescription = 1000
	longestURL         = 2048
	maxEvents          = 20
	maxFlows           = 500
	maxAttempts        = 50
	maxInFlight        = 1000
	fastestRate        = 10_000
	longestPause       = 7 * 24 * 3600  // seconds before one attempt
	longestSchedule    = 30 * 24 * 3600 // seconds in all
	longestDisable     = 8760           // hours
)

// Mistake is one thing that is wrong with settings.
type Mistake struct {
	Field   string // as the API calls it
	Message string // goes on behind the field's name, as in "is empty"
}

// Invalid is all that is wrong with settings.
type Invalid []Mistake

// Error implements error.
func (i Invalid) Error() string {
	all := make([]string, len(i))
	for n, m := range i {
		all[n] = m.Field + " " + m.Message
	}
	return strings.Join(all, "; ")
}

func (i *Invalid) add(field, format string, args ...any) {
	*i = append(*i, Mistake{field, fmt.Sprintf(format, args...)})
}

// Rules are what the worker's environment says about endpoints.
type Rules struct {
	AllowNetworks []netip.Prefix // CALLBACK_ALLOW_CIDRS
	// FixedSecrets says that CALLBACK_SECRET is set: those are the secrets of the
	// environment's endpoint.
	FixedSecrets bool
}

// name is what fits into a path.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Validate is an Invalid with everything that is wrong, or nil.
func (s Settings) Validate(r Rules) error {
	var wrong Invalid
	switch {
	case !plainName.MatchString(s.Name) || len(s.Name) > longestName:
		wrong.add("name", "is %.64q, expected up to %d letters, digits, dots, dashes and underscores, such as crm", s.Name, longestName)
	case uuid.Validate(s.Name) == nil:
		wrong.add("name", "is a UUID, which would be taken for the id of an endpoint: choose another one")
	}
	checkText(&wrong, "description", s.Description, longestDescription)
	if err := CheckURL(s.URL, r.AllowNetworks); err != nil {
		wrong.add("url", "%s", err)
	}
	s.checkEvents(&wrong)
	s.checkHeaders(&wrong)
	s.checkSending(&wrong)
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

func checkText(wrong *Invalid, field, text string, longest int) {
	if n := utf8.RuneCountInString(text); n > longest || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		wrong.add(field, "has %d characters, or some that are no text, expected at most %d", n, longest)
	}
}

// CheckURL does not repeat the URL: it often is a secret itself. A name that
// resolves to a private address is refused when it is connected to.
func CheckURL(value string, allow []netip.Prefix) error {
	u, err := url.Parse(value)
	const expected = ", expected a URL such as https://example.com/hooks/flows"
	switch {
	case value == "":
		return fmt.Errorf("is missing" + expected)
	case len(value) > longestURL:
		return fmt.Errorf("has %d characters, expected at most %d", len(value), longestURL)
	case err != nil:
		return fmt.Errorf("is none" + expected)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("does not begin with https:// or http://" + expected)
	case u.Hostname() == "":
		return fmt.Errorf("names no host" + expected)
	case u.User != nil:
		return fmt.Errorf("holds a user or a password: put them into auth, where nobody is shown them")
	case strings.Contains(value, "#"):
		return fmt.Errorf("has a fragment (#…), which is never sent: leave it out")
	case u.Port() == "0":
		return fmt.Errorf("names the port 0" + expected)
	}
	if err := callback.CheckHost(u.Hostname(), allow); err != nil {
		return fmt.Errorf("is refused: %w", err)
	}
	return nil
}

func (s Settings) checkEvents(wrong *Invalid) {
	if len(s.Events) == 0 || len(s.Events) > maxEvents {
		wrong.add("events", "has %d event types, expected 1 to %d, or *", len(s.Events), maxEvents)
		return
	}
	known := true
	for i, pattern := range s.Events {
		if err := eventtype.CheckPattern(pattern); err != nil {
			wrong.add("events", "is wrong: %s", err)
			known = false
		} else if slices.Contains(s.Events[:i], pattern) {
			wrong.add("events", "names %s twice", pattern)
		}
	}
	only := func(t eventtype.Type) bool { return len(s.Events) == 1 && s.Events[0] == string(t) }
	switch {
	case s.Payload == payload.Seed && !only(eventtype.FlowCompleted):
		wrong.add("payload", "is seed, which is of flow.completed only: use event, or leave the others out")
	case s.Payload == payload.Raw && !only(eventtype.WebhookReceived):
		wrong.add("payload", "is raw, which is of webhook.received only: use another endpoint for the others")
	case s.Payload != payload.Seed && s.Payload != payload.Typed && s.Payload != payload.Raw:
		wrong.add("payload", "is %.64q, expected seed, event or raw", string(s.Payload))
	}
	s.checkFlows(wrong, known)
}

func (s Settings) checkFlows(wrong *Invalid, known bool) {
	if s.Flows == nil {
		return
	}
	if len(s.Flows) == 0 || len(s.Flows) > maxFlows {
		wrong.add("flows", "has %d names, expected 1 to %d, or null for every flow", len(s.Flows), maxFlows)
	}
	for i, flow := range s.Flows {
		if flow == "" || len(flow) > 255 || !utf8.ValidString(flow) || strings.ContainsRune(flow, 0) {
			wrong.add("flows", "holds %.64q, expected names of flows, or Meta's ids of them", flow)
		} else if slices.Contains(s.Flows[:i], flow) {
			wrong.add("flows", "names %.64s twice", flow)
		}
	}
	aboutFlows := func(t eventtype.Type) bool {
		return strings.HasPrefix(string(t), "flow.") && eventtype.Subscription{Events: s.Events}.WantsType(t)
	}
	if known && !slices.ContainsFunc(eventtype.All(), aboutFlows) {
		wrong.add("flows", "would let nothing through: %s is about no flow", strings.Join(s.Events, ", "))
	}
}

func (s Settings) checkHeaders(wrong *Invalid) {
	if len(s.Headers) > maxHeaders {
		wrong.add("headers", "has %d of them, expected at most %d", len(s.Headers), maxHeaders)
		return
	}
	var names []string
	for name := range s.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if err := checkHeaderName(name); err != nil {
			wrong.add("headers", "cannot be sent: %s", err)
		} else if slices.ContainsFunc(names[:i], func(other string) bool { return strings.EqualFold(name, other) }) {
			wrong.add("headers", "names %s twice", name)
		} else if err := checkHeaderValue(s.Headers[name]); err != nil {
			wrong.add("headers", "cannot be sent: %s %s", name, err)
		}
	}
}

func (s Settings) checkSending(wrong *Invalid) {
	between := func(field string, n, least, most int) {
		if n < least || n > most {
			wrong.add(field, "is %d, expected %d to %d", n, least, most)
		}
	}
	between("timeoutMs", int(s.Timeout.Milliseconds()), 1, int(callback.LongestTimeout.Milliseconds()))
	between("maxInFlight", s.MaxInFlight, 1, maxInFlight)
	between("disableAfterHours", s.DisableAfterHours, 0, longestDisable)
	if s.RateLimit < 0 || s.RateLimit > fastestRate || math.IsNaN(s.RateLimit) || s.RateLimit > 0 && s.RateLimit < 0.001 {
		wrong.add("rateLimit", "is %g, expected 0.001 to %d requests a second, or null for no limit", s.RateLimit, fastestRate)
	}
	if s.Schedule == nil {
		between("maxAttempts", s.MaxAttempts, 1, len(callback.Schedule))
		return
	}
	if n := len(s.Schedule); n < 1 || n > maxAttempts {
		wrong.add("schedule", "has %d pauses, expected 1 to %d, or null for the default", n, maxAttempts)
		return
	}
	total := int64(0)
	for _, pause := range s.Schedule {
		total += int64(pause)
		if pause < 0 || pause > longestPause {
			wrong.add("schedule", "has a pause of %d seconds, expected 0 to %d", pause, longestPause)
		}
	}
	if total > longestSchedule {
		wrong.add("schedule", "goes on for %d seconds, expected at most %d (30 days)", total, longestSchedule)
	}
	between("maxAttempts", s.MaxAttempts, 1, maxAttempts)
}

// Check is Validate of what e shall become. What the environment decides of its
// endpoint must stay, and is not judged.
func (e *Endpoint) Check(s Settings, r Rules) error {
	var wrong Invalid
	if (e.Payload == payload.Raw) != (s.Payload == payload.Raw) {
		// A raw body is not frozen but read from its webhook: what is on its way,
		// or is sent again, would be another one under the same webhook-id.
		wrong.add("payload", "cannot change between raw and another form, as a webhook-id has one body for ever: make another endpoint")
	}
	if e.Ours() {
		wrong = append(wrong, e.owned(s)...)
		// Judged as those of any endpoint are, but for what is owned.
		s.URL, s.Timeout, s.MaxAttempts = "https://example.com", time.Second, 1
	}
	if err := s.Validate(r); err != nil {
		wrong = append(wrong, err.(Invalid)...)
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// owned is what s changes of that which the environment decides.
func (e *Endpoint) owned(s Settings) (wrong Invalid) {
	for _, owned := range []struct {
		field, variable string
		same            bool
	}{
		{"name", "", s.Name == e.Name},
		{"url", "CALLBACK_WEBHOOK_URL", s.URL == e.URL},
		{"timeoutMs", "CALLBACK_TIMEOUT", s.Timeout == e.Timeout},
		{"maxAttempts", "CALLBACK_MAX_RETRIES", s.MaxAttempts == e.MaxAttempts},
	} {
		if !owned.same && owned.variable == "" {
			wrong.add(owned.field, "of the environment's endpoint cannot change")
		} else if !owned.same {
			wrong.add(owned.field, "of the environment's endpoint is that of %s: change it there and start the workers again", owned.variable)
		}
	}
	return wrong
}
