package tracing

import (
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	for _, variable := range os.Environ() { // those of whoever runs the tests
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			_ = os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

// collector is an OTLP receiver that decodes what comes.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	answers  []int // statuses of the next answers; then 200
	requests []*http.Request
	resource map[string]string
	spans    []*tracepb.Span
}

func newCollector(t *testing.T, answers ...int) *collector {
	t.Helper()
	c := &collector{answers: answers}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		raw, err := io.ReadAll(body)
		var data tracepb.TracesData // the bytes of an ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(raw, &data) != nil {
			t.Errorf("%d bytes that are no traces", len(raw))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests = append(c.requests, r)
		if len(c.answers) > 0 {
			w.WriteHeader(c.answers[0])
			c.answers = c.answers[1:]
			return
		}
		for _, resource := range data.GetResourceSpans() {
			c.resource = make(map[string]string)
			for _, a := range resource.GetResource().GetAttributes() {
				c.resource[a.GetKey()] = a.GetValue().GetStringValue()
			}
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	return c
}

// begin starts tracing with a log that can be read.
func begin(t *testing.T) (*Tracing, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	tracing := Start("v1", "w", zap.New(core))
	t.Cleanup(tracing.Stop)
	return tracing, logs
}

func (c *collector) span(t *testing.T, name string) *tracepb.Span {
	t.Helper()
	for _, s := range c.spans {
		if s.GetName() == name {
			return s
		}
	}
	t.Fatalf("no span %q among %d", name, len(c.spans))
	return nil
}

// attributes are those of a span as text; numbers in decimal.
func attributes(s *tracepb.Span) map[string]any {
	all := make(map[string]any)
	for _, a := range s.GetAttributes() {
		switch {
		case a.GetValue().GetStringValue() != "":
			all[a.GetKey()] = a.GetValue().GetStringValue()
		default:
			all[a.GetKey()] = a.GetValue().GetIntValue()
		}
	}
	return all
}

func expectAttributes(t *testing.T, s *tracepb.Span, want map[string]any) {
	t.Helper()
	if got := attributes(s); !maps.Equal(got, want) {
		t.Errorf("span %q has\n%v, want\n%v", s.GetName(), got, want)
	}
}
