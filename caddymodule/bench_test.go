package caddymodule

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// BenchmarkDataExchange is the second step of a session, from the request's
// bytes to those of its answer, over the real Redis. Beside the time it reports
// the CPU time of this process per request, and as a multiple of one RSA
// decryption by the same key.
func BenchmarkDataExchange(b *testing.B) {
	for _, connections := range []int{1, 4} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			h, public := benchHandler(b)
			serve := func(bodies [][]byte) {
				var next atomic.Int64
				var senders sync.WaitGroup
				for range connections {
					senders.Go(func() {
						for i := int(next.Add(1)) - 1; i < len(bodies); i = int(next.Add(1)) - 1 {
							r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(bodies[i]))
							r.Header.Set(signatureHeader, signed(bodies[i])[signatureHeader])
							w := httptest.NewRecorder()
							if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusOK {
								b.Errorf("status %d, %v", w.Code, err)
							}
						}
					})
				}
				senders.Wait()
			}
			openings, steps := make([][]byte, b.N), make([][]byte, b.N)
			for i := range b.N {
				token := rand.Text()
				openings[i] = seal(b, public, step("INIT", "", token, nil)).body
				steps[i] = seal(b, public, step("data_exchange", "NAME", token, request{"name": "Ada"})).body
			}
			serve(openings)
			decryption := cpuOfDecryption(b, h)

			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			serve(steps)
			used := (cpuTime(b) - before) / time.Duration(b.N)
			b.ReportMetric(float64(used.Nanoseconds()), "cpu-ns/op")
			b.ReportMetric(float64(used)/float64(decryption), "decryptions/op")
		})
	}
}

// benchHandler is a flow endpoint without a server around it.
func benchHandler(b *testing.B) (*FlowHandler, *rsa.PublicKey) {
	b.Helper()
	s := newSite(b)
	ctx, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		b.Fatal(err)
	}
	h := &FlowHandler{EndpointRaw: []byte(`{"name":"engine"}`), Flows: "testdata/flows"}
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	if err := h.app.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.app.Cleanup() })
	return h, s.public
}

// cpuOfDecryption is the CPU time of one RSA-OAEP decryption by the handler's key.
func cpuOfDecryption(b *testing.B, h *FlowHandler) time.Duration {
	b.Helper()
	key := h.only.keys[0]
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key.Public().(*rsa.PublicKey), make([]byte, 16), nil)
	if err != nil {
		b.Fatal(err)
	}
	const times = 300
	start := cpuTime(b)
	for range times {
		if _, err := key.Decrypt(rand.Reader, ciphertext, &rsa.OAEPOptions{Hash: crypto.SHA256}); err != nil {
			b.Fatal(err)
		}
	}
	return (cpuTime(b) - start) / times
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
