package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// Stored makes the span "store <kind>" of each entry of a committed batch whose
// trace is sampled: from when a writer took the batch until now. It is the Stored
// of stream.Config.
func (t *Tracing) Stored(entries []stream.Entry, dead []stream.Dead, taken time.Time) {
	if t == nil {
		return
	}
	now := time.Now()
	for i := range entries {
		e := &entries[i]
		if e.Event.Traceparent == "" {
			continue
		}
		parent := parse(e.Event.Traceparent)
		if !parent.IsValid() || !parent.IsSampled() {
			continue
		}
		_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "store "+string(e.Event.Kind),
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(taken),
			trace.WithAttributes(
				attribute.String("whatsapp_flows.account", e.Event.Account),
				attribute.String("whatsapp_flows.kind", string(e.Event.Kind)),
				attribute.Int("whatsapp_flows.shard", e.Shard),
				attribute.String("messaging.system", "redis"),
				attribute.String("messaging.message.id", e.ID)))
		for _, d := range dead {
			if d.Entry.ID == e.ID && d.Entry.Stream == e.Stream {
				span.SetStatus(codes.Error, "it can never be stored and is in dead_entries")
			}
		}
		span.End(trace.WithTimestamp(now))
	}
}
