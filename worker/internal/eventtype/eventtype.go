// Package eventtype names the kinds of events that endpoints subscribe to, and
// says which endpoint gets which event. It is pure.
package eventtype

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Type is a kind of event, as subscriptions, payloads and the database write it.
type Type string

// The types. Each has a subject: the row that its payload is made from.
const (
	FlowCompleted     Type = "flow.completed"      // flow_responses: a form came back
	FlowStarted       Type = "flow.started"        // flow_steps: a user opened a flow
	FlowScreen        Type = "flow.screen"         // flow_steps: a user sent a screen
	FlowError         Type = "flow.error"          // flow_steps: the phone refused a reply
	MessageReceived   Type = "message.received"    // webhook_messages
	MessageStatus     Type = "message.status"      // webhook_messages: sent, delivered, read, failed
	FlowStatusChanged Type = "flow.status_changed" // flow_events: published, throttled, blocked
	FlowAlert         Type = "flow.alert"          // flow_events: error rate, latency, availability, version expiry
	WebhookReceived   Type = "webhook.received"    // webhook_events: Meta's bytes as they came
	EndpointDisabled  Type = "endpoint.disabled"   // endpoint_events
	EndpointEnabled   Type = "endpoint.enabled"    // endpoint_events
)

// all gives each type its code, which is part of event ids: append only.
var all = []Type{
	FlowCompleted, FlowStarted, FlowScreen, FlowError, MessageReceived, MessageStatus,
	FlowStatusChanged, FlowAlert, WebhookReceived, EndpointDisabled, EndpointEnabled,
}

// All lists every type.
func All() []Type { return slices.Clone(all) }

// ID is the id of the event of type t about a subject: the webhook-id of all its
// deliveries, wherever they go and however often. It is not stored with the
// subject but made from its id, a UUID version 7, whose last four bytes, of
// sixteen that no two subjects share, take in the type and the position of a
// message inside its webhook.
func ID(t Type, subject uuid.UUID, position int) uuid.UUID {
	id := subject
	code := uint32(slices.Index(all, t)+1) | uint32(position)<<8 //nolint:gosec // a body of 4 MiB has no more than 2^24 elements
	for i := range 4 {
		id[15-i] ^= byte(code >> (8 * i))
	}
	return id
}

// AnyAccount is the account of an endpoint that receives from every one.
const AnyAccount = "*"

// Subscription says what an endpoint wants.
type Subscription struct {
	Account string   // AnyAccount, or one
	Events  []string // types, or patterns that end in *
	Flows   []string // names of flows, or Meta's ids of them; nil: every flow, and what is about none
}

// Wants says whether an event goes to the endpoint. flow is empty for an event
// that is about no flow, or about one that is not known.
func (s Subscription) Wants(t Type, account, flow string) bool {
	return (s.Account == AnyAccount || s.Account == account) && s.WantsType(t) && s.WantsFlow(flow)
}

// WantsType looks at the type only.
func (s Subscription) WantsType(t Type) bool {
	return slices.ContainsFunc(s.Events, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return open && strings.HasPrefix(string(t), prefix) || pattern == string(t)
	})
}

// WantsFlow looks at the flow only.
func (s Subscription) WantsFlow(flow string) bool {
	return s.Flows == nil || flow != "" && slices.Contains(s.Flows, flow)
}

// CheckPattern says what is wrong with an element of Subscription.Events.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an event type is empty, expected one such as flow.completed, or a pattern such as flow.* or *")
	}
	if strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
		return fmt.Errorf("%q has a * that is not at its end", pattern)
	}
	if !slices.ContainsFunc(all, func(t Type) bool { return Subscription{Events: []string{pattern}}.WantsType(t) }) {
		names := make([]string, len(all))
		for i, t := range all {
			names[i] = string(t)
		}
		return fmt.Errorf("no event type is called %q: there are %s, and patterns such as flow.* and *", pattern, strings.Join(names, ", "))
	}
	return nil
}
