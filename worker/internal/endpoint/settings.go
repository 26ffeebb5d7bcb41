// Package endpoint keeps the receivers of callbacks: what each of them wants,
// where and how it is sent, and whether anything is sent at all. The API, the
// command line and the environment (CALLBACK_WEBHOOK_URL) change them here and
// nowhere else; package callback reads them and stops those that fail.
package endpoint

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// Settings are what an operator decides of an endpoint.
type Settings struct {
	Name        string
	Description string
	URL         string
	Events      []string // types, or patterns that end in *
	Flows       []string // nil: every flow, and what is about none
	Payload     payload.Form
	Headers     map[string]string // sent with every request; values are secrets
	Auth        string            // value of the Authorization header; empty: none
	Timeout     time.Duration
	MaxAttempts int
	Schedule    []int32 // seconds before each attempt, the first included; nil: callback.Schedule
	MaxInFlight int
	RateLimit   float64 // requests a second; 0: none
	Ordered     bool    // one in flight for each flow token
	// DisableAfterHours of failures without a success; 0: never.
	DisableAfterHours int
}

// Defaults are the settings of a new endpoint, without its name and URL.
func Defaults() Settings {
	return Settings{
		Events: []string{string(eventtype.FlowCompleted)}, Payload: payload.Typed, Timeout: 15 * time.Second,
		MaxAttempts: len(callback.Schedule), MaxInFlight: 32, DisableAfterHours: 120,
	}
}

// Same says whether nothing differs.
func (s Settings) Same(o Settings) bool {
	return s.Name == o.Name && s.Description == o.Description && s.URL == o.URL && slices.Equal(s.Events, o.Events) &&
		(s.Flows == nil) == (o.Flows == nil) && slices.Equal(s.Flows, o.Flows) && s.Payload == o.Payload && maps.Equal(s.Headers, o.Headers) &&
		s.Auth == o.Auth && s.Timeout == o.Timeout && s.MaxAttempts == o.MaxAttempts && slices.Equal(s.Schedule, o.Schedule) &&
		s.MaxInFlight == o.MaxInFlight && s.RateLimit == o.RateLimit && s.Ordered == o.Ordered && s.DisableAfterHours == o.DisableAfterHours
}

// Clone shares nothing with s.
func (s Settings) Clone() Settings {
	s.Events, s.Flows, s.Schedule, s.Headers = slices.Clone(s.Events), slices.Clone(s.Flows), slices.Clone(s.Schedule), maps.Clone(s.Headers)
	return s
}
