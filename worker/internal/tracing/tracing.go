// Package tracing joins the worker to the traces of requests: what the edge
// wrote with a W3C traceparent gets a span when it is stored and one for each
// attempt to deliver it, and the receiver gets the traceparent of the attempt.
//
//	edge's span ─┬─▶ store step
//	             └─▶ deliver flow.completed ─▶ the receiver's own spans
//
// It is off, and costs nothing, unless the standard variables of OpenTelemetry
// name a collector (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
// No trace begins here: an entry without a traceparent, or whose trace the edge
// did not sample, has no spans. Fails open: without a collector everything is
// stored and delivered, and spans are dropped.
package tracing

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// serviceName is what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES may change.
const serviceName = "whatsapp-flows-worker"

// stopWithin is how long the last spans may take to be sent.
const stopWithin = 2 * time.Second

// Tracing makes spans. A nil *Tracing is one that is off: all its methods may be
// called and do nothing.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	client   *client
	faults   *faults
}

// Start reads the standard variables from the environment of the process, where
// OpenTelemetry's own code reads the rest of them: the sampler
// (OTEL_TRACES_SAMPLER; parentbased_always_on) and the batches (OTEL_BSP_…). It
// returns nil when tracing is off, and also, with a warning in the log, when it
// is on and cannot be done: a wrong variable must not keep a worker from working.
// No connection is opened yet.
func Start(version, instance string, log *zap.Logger) *Tracing {
	e, err := readEnvironment(os.Getenv, os.ReadFile)
	if err != nil {
		log.Warn("there will be no traces", zap.Error(err))
		return nil
	}
	if e == nil {
		return nil
	}
	about, err := resource.New(context.Background(),
		resource.WithAttributes(
			attribute.String("service.name", serviceName), attribute.String("service.version", version),
			attribute.String("service.instance.id", instance)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		log.Warn("OTEL_RESOURCE_ATTRIBUTES is not understood whole: expected name=value, separated by commas", zap.Error(err))
	}
	t := &Tracing{client: newClient(e), faults: &faults{log: log, collector: e.collector()}}
	// Whatever else the library has to say, instead of on stderr in its own words.
	otel.SetErrorHandler(t.faults)
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithBatcher(reporting{otlptrace.NewUnstarted(t.client), t.faults}))
	t.tracer = t.provider.Tracer("github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker", trace.WithInstrumentationVersion(version))
	log.Info("traces are sent to a collector", zap.String("collector", e.collector()))
	return t
}

// Stop sends the last spans, within two seconds: what the collector has not
// taken by then is dropped.
func (t *Tracing) Stop() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.faults.Handle(fmt.Errorf("the last spans were not sent: %w", err))
	}
	t.client.abandon()
}
