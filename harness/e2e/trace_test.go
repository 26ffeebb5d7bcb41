package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// A request that comes to the edge in a trace is in the same trace when the worker
// stores what became of it.
func TestATraceGoesOnFromTheEdgeToTheWorker(t *testing.T) {
	const traceID, outside = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	var mu sync.Mutex
	var spans []byte // OTLP, of which ids and names stand in it as they are
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it comes again
		}
		mu.Lock()
		defer mu.Unlock()
		spans = append(spans, body...)
	}))
	defer collector.Close()
	s := start(t, site.Options{Worker: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=50"}})
	body := []byte(`{"object":"whatsapp_business_account","entry":[]}`)
	status, _, err := s.Post(t.Context(), "/webhooks/whatsapp", body, map[string]string{
		"X-Hub-Signature-256": hubsignature.Sign([]byte(s.Secrets.AppSecret), body),
		"Traceparent":         "00-" + traceID + "-" + outside + "-01",
	})
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	raw := func(id string) []byte { b, _ := hex.DecodeString(id); return b }
	eventually(t, 15*time.Second, "the worker's span is in the trace", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		for _, part := range [][]byte{raw(traceID), raw(outside), []byte("store webhook"), []byte("whatsapp-flows-worker")} {
			if !bytes.Contains(spans, part) {
				return errors.New("the collector does not have it")
			}
		}
		return nil
	})
}
