package tracing

import (
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// parse reads a traceparent of version 00, the only one the edge lets through
// (https://www.w3.org/TR/trace-context/). Anything else is an invalid context.
func parse(traceparent string) trace.SpanContext {
	var id struct {
		trace trace.TraceID
		span  trace.SpanID
		flags [1]byte
	}
	if len(traceparent) != 55 || traceparent[:3] != "00-" || traceparent[35] != '-' || traceparent[52] != '-' ||
		!read(id.trace[:], traceparent[3:35]) || !read(id.span[:], traceparent[36:52]) || !read(id.flags[:], traceparent[53:]) {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id.trace, SpanID: id.span, TraceFlags: trace.TraceFlags(id.flags[0]), Remote: true,
	})
}

// read decodes hex digits, of which capitals are none here.
func read(into []byte, digits string) bool {
	for i := range len(digits) {
		if digits[i] >= 'A' && digits[i] <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(into, []byte(digits))
	return err == nil
}

func format(c trace.SpanContext) string {
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}
