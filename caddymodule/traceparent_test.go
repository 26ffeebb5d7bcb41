package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	outsideSpan = "00f067aa0ba902b7"
	outside     = "00-" + traceID + "-" + outsideSpan + "-01"
)

func TestOnlyAWellFormedTraceparentIsTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		want   string
	}{
		{"sampled", []string{outside}, outside},
		{"not sampled", []string{"00-" + traceID + "-" + outsideSpan + "-00"}, "00-" + traceID + "-" + outsideSpan + "-00"},
		{"flags of a later level", []string{"00-" + traceID + "-" + outsideSpan + "-03"}, "00-" + traceID + "-" + outsideSpan + "-03"},
		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"two of them", []string{outside, outside}, ""},
		{"a zero trace", []string{"00-" + strings.Repeat("0", 32) + "-" + outsideSpan + "-01"}, ""},
		{"a zero span", []string{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"}, ""},
		{"the forbidden version", []string{"ff-" + traceID + "-" + outsideSpan + "-01"}, ""},
		{"a later version", []string{"01-" + traceID + "-" + outsideSpan + "-01"}, ""},
		{"capital letters", []string{strings.ToUpper(outside)}, ""},
		{"no hex digit in the trace", []string{"00-" + traceID[:31] + "z-" + outsideSpan + "-01"}, ""},
		{"no hex digit in the span", []string{"00-" + traceID + "-" + outsideSpan[:15] + "g-01"}, ""},
		{"no hex digit in the flags", []string{"00-" + traceID + "-" + outsideSpan + "-0x"}, ""},
		{"dashes elsewhere", []string{"00-" + traceID[:31] + "-" + outsideSpan + "6-01-"}, ""},
		{"something behind it", []string{outside + "-x"}, ""},
		{"white space around it", []string{" " + outside[:54]}, ""},
		{"something else", []string{"hello"}, ""},
		{"very long", []string{outside + strings.Repeat("0", 1<<20)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Traceparent": c.values}}
			if got := traceparent(r); got != c.want {
				t.Errorf("got %.60q, want %q", got, c.want)
			}
		})
	}
}

func TestTheSpanAroundUsGoesBeforeTheHeader(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0x0a, 15: 0xff}, SpanID: trace.SpanID{0xb0, 7: 0x01}, TraceFlags: trace.FlagsSampled,
	})
	r := (&http.Request{Header: http.Header{"Traceparent": {outside}}}).
		WithContext(trace.ContextWithSpanContext(t.Context(), span))
	if got, want := traceparent(r), "00-0a0000000000000000000000000000ff-b000000000000001-01"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestATraceparentCostsNoMemoryUnlessASpanIsAroundUs(t *testing.T) {
	for name, header := range map[string]http.Header{
		"none": {}, "taken": {"Traceparent": {outside}}, "dropped": {"Traceparent": {"00-" + strings.Repeat("x", 52)}},
	} {
		r := (&http.Request{Header: header}).WithContext(t.Context())
		if n := testing.AllocsPerRun(100, func() { traceparent(r) }); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

// Every kind of entry carries it, with Caddy's own tracing around and without.
func TestEveryEntryCarriesTheTrace(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none") // spans are made all the same
	t.Setenv("OTEL_PROPAGATORS", "tracecontext")
	for _, c := range []struct {
		name, directive, header string
		want                    func(string) bool
	}{
		{"the caller's", "", outside, func(got string) bool { return got == outside }},
		{"nobody's", "", "", func(got string) bool { return got == "" }},
		{"Caddy's span in the caller's trace", "tracing", outside, func(got string) bool {
			return strings.HasPrefix(got, "00-"+traceID+"-") && strings.HasSuffix(got, "-01") && !strings.Contains(got, outsideSpan)
		}},
		{"a trace that Caddy began", "tracing", "", func(got string) bool { return isTraceparent(got) && !strings.Contains(got, traceID) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := engineSite
			if c.directive != "" {
				body = "route {\n" + c.directive + "\n" + engineSite + "\n}"
			}
			s := newSite(t).load("", body)
			send := func(path string, body []byte) {
				t.Helper()
				header := signed(body)
				if c.header != "" {
					header["Traceparent"] = c.header
				}
				if a := s.do(http.MethodPost, path, header, body); a.status != http.StatusOK {
					t.Fatalf("status %d", a.status)
				}
			}
			for _, r := range []request{
				step("INIT", "", "a-token", nil),
				step("INIT", "", "", nil),
				step("data_exchange", "NAME", "a-token", request{"error": "timeout_error", "error_message": "it took too long"}),
			} {
				send(booking, seal(t, s.public, r).body)
			}
			send(hook, []byte(`{"object":"whatsapp_business_account"}`))
			kinds := make(map[event.Kind]bool)
			for _, e := range s.events() {
				kinds[e.Kind] = true
				if !c.want(e.Traceparent) {
					t.Errorf("%s: traceparent %q", e.Kind, e.Traceparent)
				}
			}
			for _, kind := range []event.Kind{event.KindStep, event.KindStatelessStep, event.KindClientError, event.KindWebhook} {
				if !kinds[kind] {
					t.Errorf("no entry of kind %s", kind)
				}
			}
		})
	}
}
