package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Attempt is the span "deliver <event type>" of one attempt, open until End. The
// zero Attempt belongs to a delivery that is in no trace.
type Attempt struct {
	span        trace.Span
	traceparent string
}

// Deliver begins an attempt in the trace of its delivery, whose traceparent is
// that of the row; empty is none.
func (t *Tracing) Deliver(traceparent, eventType string) Attempt {
	if t == nil || traceparent == "" {
		return Attempt{}
	}
	parent := parse(traceparent)
	switch {
	case !parent.IsValid():
		return Attempt{}
	case !parent.IsSampled():
		return Attempt{traceparent: traceparent} // the receiver shall not sample it either
	}
	_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "deliver "+eventType,
		trace.WithSpanKind(trace.SpanKindClient))
	return Attempt{span: span, traceparent: format(span.SpanContext())}
}

// Traceparent is the header of that name of the callback request; empty when
// there is to be none.
func (a Attempt) Traceparent() string { return a.traceparent }

// Outcome is what came of an attempt.
type Outcome struct {
	Endpoint  string // its name
	WebhookID string
	Attempt   int    // from 1
	Status    int    // of the response, 0 when none came
	Class     string // as in delivery_attempts_total
	Delivered bool
}

// End closes the span.
func (a Attempt) End(o Outcome) {
	if a.span == nil || !a.span.IsRecording() {
		return
	}
	a.span.SetAttributes(
		attribute.String("whatsapp_flows.endpoint", o.Endpoint),
		attribute.String("whatsapp_flows.webhook_id", o.WebhookID),
		attribute.Int("whatsapp_flows.attempt", o.Attempt),
		attribute.String("whatsapp_flows.outcome", o.Class),
		attribute.String("http.request.method", "POST"))
	if o.Status != 0 {
		a.span.SetAttributes(attribute.Int("http.response.status_code", o.Status))
	}
	if !o.Delivered {
		a.span.SetStatus(codes.Error, o.Class)
	}
	a.span.End()
}
