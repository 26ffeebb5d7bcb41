package tracing

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

const (
	traceID   = "4bf92f3577b34da6a3ce929d0e0e4736"
	edgeSpan  = "00f067aa0ba902b7"
	sampled   = "00-" + traceID + "-" + edgeSpan + "-01"
	unsampled = "00-" + traceID + "-" + edgeSpan + "-00"
)

func entry(id string, kind event.Kind, traceparent string) stream.Entry {
	return stream.Entry{Stream: "waf:{s3}:events", ID: id, Shard: 3, Event: event.Entry{
		Kind: kind, Account: "shop", ID: "an-id-of-the-event", Traceparent: traceparent, Body: []byte(`{"phone":"5511999999999"}`),
	}}
}

func TestOneTraceFromTheEdgeThroughTheStreamToTheReceiver(t *testing.T) {
	c := newCollector(t)
	tracing, _ := begin(t)
	taken := time.Now().Add(-40 * time.Millisecond)
	dead := entry("5-1", event.KindStatelessStep, sampled)
	tracing.Stored([]stream.Entry{
		entry("1-1", event.KindStep, sampled), entry("2-1", event.KindWebhook, unsampled),
		entry("3-1", event.KindWebhook, ""), entry("4-1", event.KindClientError, "00-not-one-01"), dead,
	}, []stream.Dead{{Entry: dead, Reason: "tests"}}, taken)

	attempt := tracing.Deliver(sampled, "flow.completed")
	header := attempt.Traceparent()
	attempt.End(Outcome{Endpoint: "crm", WebhookID: "01a20978-302d-7d9a-b7bb-52d8ccf9b832", Attempt: 2, Status: 503, Class: "5xx"})
	refused := tracing.Deliver(sampled, "message.received")
	refused.End(Outcome{Endpoint: "crm", WebhookID: "w", Attempt: 1, Status: 200, Class: "2xx", Delivered: true})
	if got := tracing.Deliver(unsampled, "flow.completed"); got.Traceparent() != unsampled {
		t.Errorf("a trace that is not sampled goes on as %q", got.Traceparent())
	}
	for _, none := range []string{"", "00-not-one-01", strings.ToUpper(sampled)} {
		attempt := tracing.Deliver(none, "flow.completed")
		if attempt.Traceparent() != "" {
			t.Errorf("%q goes on as %q", none, attempt.Traceparent())
		}
		attempt.End(Outcome{})
	}
	tracing.Stop()

	if len(c.spans) != 4 {
		t.Fatalf("%d spans, want 4", len(c.spans))
	}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) != traceID || hex.EncodeToString(s.GetParentSpanId()) != edgeSpan {
			t.Errorf("span %q is %x under %x", s.GetName(), s.GetTraceId(), s.GetParentSpanId())
		}
	}
	if c.resource["service.name"] != "whatsapp-flows-worker" || c.resource["service.version"] != "v1" || c.resource["service.instance.id"] != "w" {
		t.Errorf("resource %v", c.resource)
	}
	stored := c.span(t, "store step")
	expectAttributes(t, stored, map[string]any{
		"whatsapp_flows.account": "shop", "whatsapp_flows.kind": "step", "whatsapp_flows.shard": int64(3),
		"messaging.system": "redis", "messaging.message.id": "1-1",
	})
	if stored.GetStartTimeUnixNano() != uint64(taken.UnixNano()) || stored.GetEndTimeUnixNano() < stored.GetStartTimeUnixNano()+40e6 {
		t.Errorf("from %d to %d", stored.GetStartTimeUnixNano(), stored.GetEndTimeUnixNano())
	}
	if s := c.span(t, "store stateless_step"); s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("a dead entry has status %v", s.GetStatus())
	}
	delivered := c.span(t, "deliver flow.completed")
	expectAttributes(t, delivered, map[string]any{
		"whatsapp_flows.endpoint": "crm", "whatsapp_flows.webhook_id": "01a20978-302d-7d9a-b7bb-52d8ccf9b832",
		"whatsapp_flows.attempt": int64(2), "whatsapp_flows.outcome": "5xx",
		"http.request.method": "POST", "http.response.status_code": int64(503),
	})
	if want := "00-" + traceID + "-" + hex.EncodeToString(delivered.GetSpanId()) + "-01"; header != want {
		t.Errorf("the receiver gets %q, want %q", header, want)
	}
	if code := delivered.GetStatus().GetCode(); code != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("a refused attempt has status %v", code)
	}
	if code := c.span(t, "deliver message.received").GetStatus().GetCode(); code == tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("a delivery has status %v", code)
	}
}

func TestTheStandardVariablesAreObeyed(t *testing.T) {
	c := newCollector(t)
	t.Setenv("OTEL_SERVICE_NAME", "shop-worker")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", strings.Replace(c.URL, "http://", "http://user:geheim@", 1)+"/otlp/")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20key, x-other = 2")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	tracing, logs := begin(t)
	tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
	tracing.Stop()
	c.span(t, "store step")
	if c.resource["service.name"] != "shop-worker" || c.resource["deployment.environment.name"] != "test" {
		t.Errorf("resource %v", c.resource)
	}
	r := c.requests[0]
	user, password, _ := r.BasicAuth()
	if r.URL.Path != "/otlp/v1/traces" || user != "user" || password != "geheim" || r.Header.Get("X-Key") != "a key" ||
		r.Header.Get("X-Other") != "2" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%s %v", r.URL.Path, r.Header)
	}
	for _, line := range logs.All() {
		if text := line.Message + " " + line.ContextMap()["collector"].(string); strings.Contains(text, "geheim") {
			t.Errorf("the log holds the password: %s", text)
		}
	}
}

func TestTheSamplerMayRefuseWhatTheEdgeSampled(t *testing.T) {
	c := newCollector(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	tracing, _ := begin(t)
	tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
	attempt := tracing.Deliver(sampled, "flow.completed")
	if got := attempt.Traceparent(); !strings.HasPrefix(got, "00-"+traceID+"-") || !strings.HasSuffix(got, "-00") {
		t.Errorf("the receiver gets %q", got)
	}
	attempt.End(Outcome{})
	tracing.Stop()
	if len(c.requests) != 0 {
		t.Errorf("%d requests", len(c.requests))
	}
}

func TestACollectorThatIsBusyIsAskedAgain(t *testing.T) {
	c := newCollector(t, http.StatusServiceUnavailable)
	tracing, logs := begin(t)
	tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
	if err := tracing.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.span(t, "store step")
	if n := logs.FilterMessageSnippet("dropped").Len(); n != 0 || len(c.requests) != 2 {
		t.Errorf("%d requests, %d lines", len(c.requests), n)
	}
}

func TestFailuresAreSaidOnceAMinuteWithoutCredentials(t *testing.T) {
	c := newCollector(t, 400, 401, 403, 404)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", strings.Replace(c.URL, "http://", "http://user:geheim@", 1)+"/?key=geheim")
	tracing, logs := begin(t)
	batch := func() {
		t.Helper()
		tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
		if err := tracing.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	batch()
	batch()
	batch()
	failed := logs.FilterMessageSnippet("dropped")
	if failed.Len() != 1 {
		t.Fatalf("%d lines, want 1", failed.Len())
	}
	tracing.faults.next = time.Now() // a minute goes by
	batch()
	if again := logs.FilterMessageSnippet("dropped").All(); len(again) != 2 || again[1].ContextMap()["suppressed"] != int64(2) {
		t.Errorf("lines %v", again)
	}
	c.Close() // now the connection fails
	tracing.faults.next = time.Now()
	tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
	tracing.Stop()
	for _, line := range logs.All() {
		for _, value := range line.ContextMap() {
			if text, ok := value.(string); ok && strings.Contains(text, "geheim") {
				t.Errorf("the log holds the credentials: %v", line)
			}
		}
	}
}

func TestACollectorThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	tracing, logs := begin(t)
	tracing.Stored([]stream.Entry{entry("1-1", event.KindStep, sampled)}, nil, time.Now())
	started := time.Now()
	tracing.Stop()
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if logs.FilterMessageSnippet("dropped").Len() != 1 {
		t.Errorf("lines %v", logs.All())
	}
	tracing.Stop() // once more does no harm
}

func TestWhatIsOffCostsNothing(t *testing.T) {
	tracing := Start("v1", "w", nil) // no variable is set: not even a log is needed
	if tracing != nil {
		t.Fatal("tracing is on without a collector")
	}
	entries := []stream.Entry{entry("1-1", event.KindStep, sampled), entry("2-1", event.KindWebhook, "")}
	now := time.Now()
	n := testing.AllocsPerRun(100, func() {
		tracing.Stored(entries, nil, now)
		attempt := tracing.Deliver(sampled, "flow.completed")
		if attempt.Traceparent() != "" {
			t.Error("a traceparent although tracing is off")
		}
		attempt.End(Outcome{Endpoint: "crm", WebhookID: "w", Attempt: 1, Status: 200, Class: "2xx", Delivered: true})
	})
	if n != 0 {
		t.Errorf("%g allocations", n)
	}
	tracing.Stop()
}

func TestEntriesOutsideOfTracesCostNothing(t *testing.T) {
	newCollector(t)
	tracing, _ := begin(t)
	entries := []stream.Entry{entry("1-1", event.KindStep, ""), entry("2-1", event.KindWebhook, unsampled)}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { tracing.Stored(entries, nil, now) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// BenchmarkStored is one batch of 64 entries.
func BenchmarkStored(b *testing.B) {
	var off *Tracing
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	on := Start("v1", "w", zap.NewNop())
	b.Cleanup(on.Stop)
	for _, c := range []struct {
		name        string
		tracing     *Tracing
		traceparent string
	}{{"off", off, sampled}, {"on/no trace", on, ""}, {"on/sampled", on, sampled}} {
		b.Run(c.name, func(b *testing.B) {
			entries := make([]stream.Entry, 64)
			for i := range entries {
				entries[i] = entry("1-1", event.KindStep, c.traceparent)
			}
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				c.tracing.Stored(entries, nil, now)
			}
		})
	}
}
