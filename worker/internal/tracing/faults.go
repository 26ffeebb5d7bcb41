package tracing

import (
	"context"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// sayEvery is how often a collector that does not work is worth a line.
const sayEvery = time.Minute

// faults logs what goes wrong with traces, at most once a minute.
type faults struct {
	log       *zap.Logger
	collector string

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// Handle implements otel.ErrorHandler.
func (f *faults) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Before(f.next) {
		f.suppressed++
		return
	}
	f.log.Warn("spans could not be sent to the collector and are dropped",
		zap.String("collector", f.collector), zap.Int("suppressed", f.suppressed), zap.Error(err))
	f.next, f.suppressed = now.Add(sayEvery), 0
}

// reporting hands the errors of an exporter to the faults of its own Tracing
// instead of those of the process.
type reporting struct {
	sdktrace.SpanExporter
	faults *faults
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.faults.Handle(err)
	}
	return nil
}
