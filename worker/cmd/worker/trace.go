package main

import (
	"context"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/tracing"
)

// attemptTrace gives each attempt a span in the trace of its delivery; nil when
// traces are off.
func attemptTrace(t *tracing.Tracing) func(context.Context, callback.Delivery) (context.Context, string, func(callback.Result)) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context, d callback.Delivery) (context.Context, string, func(callback.Result)) {
		attempt := t.Deliver(d.Traceparent, string(d.EventType))
		return ctx, attempt.Traceparent(), func(r callback.Result) {
			attempt.End(tracing.Outcome{
				Endpoint: d.Endpoint.Name, WebhookID: d.EventID.String(), Attempt: d.Attempt,
				Status: r.Status, Class: r.Outcome(), Delivered: r.Delivered(),
			})
		}
	}
}
