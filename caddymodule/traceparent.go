package caddymodule

import (
	"net/http"

	"go.opentelemetry.io/otel/trace"
)

// traceparentLength is that of version 00, which has no other:
// 00-<32 hex digits>-<16 hex digits>-<2 hex digits>.
const traceparentLength = 55

// traceparent is the W3C trace context (https://www.w3.org/TR/trace-context/) in
// which an entry is written, so that the worker can join the trace: the span of
// Caddy's `tracing` directive when that is around us, else the header as it came,
// else none. What has not exactly the shape of version 00 is dropped: it goes into
// Redis, into Postgres and on to the receivers of callbacks. A request without
// one costs no memory.
func traceparent(r *http.Request) string {
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		return formatTraceparent(span)
	}
	values := r.Header["Traceparent"]
	if len(values) != 1 || !isTraceparent(values[0]) {
		return ""
	}
	return values[0]
}

func formatTraceparent(span trace.SpanContext) string {
	const digits = "0123456789abcdef"
	var room [traceparentLength]byte
	text := append(room[:0], "00-"...)
	hex := func(bytes ...byte) {
		for _, b := range bytes {
			text = append(text, digits[b>>4], digits[b&0xf])
		}
	}
	traceID, spanID := span.TraceID(), span.SpanID()
	hex(traceID[:]...)
	text = append(text, '-')
	hex(spanID[:]...)
	text = append(text, '-')
	hex(byte(span.TraceFlags()))
	return string(text)
}

// isTraceparent says whether a value is one of version 00 with ids that are not
// zero. Capital letters are not allowed.
func isTraceparent(value string) bool {
	if len(value) != traceparentLength || value[:3] != "00-" || value[35] != '-' || value[52] != '-' {
		return false
	}
	return isHexID(value[3:35]) && isHexID(value[36:52]) && isHex(value[53:])
}

func isHexID(text string) bool {
	for i := range len(text) {
		if text[i] != '0' {
			return isHex(text)
		}
	}
	return false
}

func isHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
