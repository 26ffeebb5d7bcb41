package endpoint

import (
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// A webhook-id has one body for ever; of a raw one there is no copy that a change
// could not reach.
func TestRawStaysRaw(t *testing.T) {
	for _, c := range []struct {
		from, to payload.Form
		refused  bool
	}{
		{payload.Raw, payload.Typed, true},
		{payload.Typed, payload.Raw, true},
		{payload.Seed, payload.Raw, true},
		{payload.Raw, payload.Raw, false},
		{payload.Typed, payload.Typed, false},
	} {
		t.Run(string(c.from)+" to "+string(c.to), func(t *testing.T) {
			s := Defaults()
			s.Name, s.URL, s.Events, s.Payload = "crm", "https://example.com/", []string{string(eventtype.WebhookReceived)}, c.from
			e := &Endpoint{Account: "default", Settings: s}
			s.Payload, s.Description = c.to, "changed"
			if c.from == payload.Seed {
				e.Events = []string{string(eventtype.FlowCompleted)}
			}
			err := e.Check(s, Rules{})
			if (err != nil) != c.refused || err != nil && !strings.HasPrefix(err.Error(), "payload cannot change") {
				t.Errorf("err = %v", err)
			}
		})
	}
}
