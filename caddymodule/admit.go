package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/admission"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

const (
	// longestWait is how long a request waits at most for its private
	// operation, and half of it is what a newcomer may expect to wait: 250 ms.
	// A line is there for bursts; under lasting overload every user stands in
	// all of it. WhatsApp alerts when a tenth of the requests takes over a
	// second, and the network, the author's logic and its fetches come on top.
	longestWait = 500 * time.Millisecond

	// waitShare is the part of a shorter timeout that may go by in the line: a
	// fifth. That of 2.5 s comes to longestWait.
	waitShare = 5

	// pingText is the longest plaintext that is taken for a ping, in bytes.
	// WhatsApp's is {"version":"3.0","action":"ping"}, 33 of them. What a phone
	// sends names its flow token and comes to 75 and more. The length of a
	// ciphertext tells that of its plaintext before anything is decrypted; who
	// is taken for the wrong class only stands elsewhere in the line.
	pingText = 64

	// pingBody is the longest body of such a plaintext: 545 bytes, and room for
	// the backslashes that WhatsApp puts before slashes.
	pingBody = 600

	// maxBodies is how many bytes of bodies the process holds at once, beside
	// smallBody of each: a dozen of the largest that WhatsApp sends, and no less than
	// the largest max_body.
	maxBodies = 128 << 20
)

// Reasons of a refusal under overload, as the metrics name them.
const (
	reasonOverloaded = "overloaded"
	reasonMemory     = "memory"
)

// gate and bodies belong to the process, as its processors and its memory do. The
// gate is made at the first use, when Caddy has set GOMAXPROCS.
var (
	gate = sync.OnceValue(func() *admission.Gate {
		return admission.New(runtime.GOMAXPROCS(0), time.Now)
	})
	bodies = admission.NewBudget(maxBodies)
)

// maxWait is how long a request of this handler waits at most.
func (h *FlowHandler) maxWait() time.Duration { return min(h.timeout/waitShare, longestWait) }

// hopeless says that the request would be turned away later, which its announced
// length is enough to tell.
func (x *exchange) hopeless() bool {
	return x.http.ContentLength > pingBody && gate().Full(admission.Other, x.maxWait())
}

// errOverloaded is a request that cannot be decrypted in time.
var errOverloaded = errors.New("too many requests wait for their decryption")

// open decrypts the envelope when it is its turn. The slot is held for all keys of
// the account: each of them may cost a private operation.
func (x *exchange) open(ctx context.Context) (plaintext []byte, sealer *flowcrypto.Sealer, key *accountKey, err error) {
	class := admission.Other
	if x.envelope.PlaintextLen() <= pingText {
		class = admission.Ping
	}
	waited, ok := gate().Enter(ctx, class, x.maxWait())
	if !ok {
		return nil, nil, nil, errOverloaded
	}
	defer gate().Leave()
	if waited > 0 {
		admissionSeconds.Observe(waited.Seconds())
	}
	// Whoever else can run goes first, up to its own place in the line: otherwise
	// the scheduler's queue, which refuses nobody, would be the line.
	runtime.Gosched()
	return x.credentials.open(x.envelope)
}

// shed turns a request away because the process has no room for it. It costs as
// little as can be: no page of handle_errors, no log line for each. The phone shows
// its own error, and its user may try again.
func (x *exchange) shed(w http.ResponseWriter, reason string) (state.Stored, error) {
	// The server drops the rest of a short body, so that the connection can be
	// used again, but it shall not wait long for it; and not at all for one that
	// the client only sends when it is asked to.
	_ = http.NewResponseController(w).SetReadDeadline(x.start.Add(x.timeout))
	if x.http.Header.Get("Expect") != "" {
		w.Header().Set("Connection", "close")
	}
	x.outcome = "shed"
	refused.get(pair{x.account.name, reason}).Inc()
	refusals.report(x.logger, "flow request", x.account.name, reason, http.StatusServiceUnavailable, time.Now(), zap.String("flow", x.name))
	return state.Stored{Status: http.StatusServiceUnavailable}, nil
}

// countBody counts the body against what the process may hold. What it returns
// must be called when the body is of no more use. Reading what has no room is an
// admission.ErrFull.
func countBody(r *http.Request) (done func()) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return func() {}
	}
	counted := bodies.Reader(r.Body, smallBody)
	r.Body = struct {
		io.Reader
		io.Closer
	}{counted, r.Body}
	return counted.Close
}

var admissionSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "admission_wait_seconds",
	Help:    "How long flow requests waited for their decryption, of those that had to wait and got it.",
	Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5},
})

// admissionMetrics are read from the gate when metrics are scraped.
func admissionMetrics() []prometheus.Collector {
	collectors := []prometheus.Collector{
		admissionSeconds,
		gauge("admission_slots", "How many decryptions may run at once.", func() float64 {
			return float64(gate().Stats().Slots)
		}),
		gauge("admission_running", "Decryptions that run.", func() float64 {
			return float64(gate().Stats().Running)
		}),
		gauge("admission_waiting", "Flow requests that wait for their decryption.", func() float64 {
			return float64(gate().Stats().Waiting)
		}),
		gauge("body_bytes", "Memory of the bodies under way, without the first 32 KiB of each.", func() float64 {
			return float64(bodies.Taken())
		}),
	}
	for class, name := range map[admission.Class]string{admission.Ping: "ping", admission.Other: "other"} {
		collectors = append(collectors,
			admissionCounter("admitted_total", "Flow requests that were let through to their decryption.", name,
				func() float64 { return float64(gate().Stats().Admitted[class]) }),
			admissionCounter("shed_total", "Flow requests that were turned away because they would have waited too long.", name,
				func() float64 { return float64(gate().Stats().Refused[class]) }),
		)
	}
	return collectors
}

func admissionCounter(name, help, class string, value func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "admission_" + name, Help: help,
		ConstLabels: prometheus.Labels{"class": class},
	}, value)
}
